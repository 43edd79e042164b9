// The outcome of a request, with all data that the COM edge needs to answer it. Portable: no HRESULT here.
#ifndef CLRHM_BASE_OUTCOME_H
#define CLRHM_BASE_OUTCOME_H

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "base/win32.h"

namespace clr_host_memory {

// The cost of a failure: task, application domain or process. The values are those of EMemoryCriticalLevel.
enum class Criticality : std::uint8_t { kTask = 0, kAppDomain = 1, kProcess = 2 };
inline constexpr std::size_t kCriticalityCount = 3;

enum class Verdict : std::uint8_t {
  kDone,        // the OS did it, and the ledger recorded it
  kOverLimit,   // refused by policy: above the limit, or above the ceiling that headroom for higher levels leaves
  kOsRefused,   // the OS refused; Outcome::error is the reason
  kNoMetadata,  // no memory for the manager's own tables; nothing was changed
  kNotOurs,     // the memory to be freed was not allocated by the host
  kTimedOut,    // the request waited for memory until its deadline
  kAbandoned,   // the wait was cancelled by the host or by the shutdown
  kNotOwner,    // the request touches a reserve or a sealed region of the host
  kExclusiveElsewhere,  // another thread holds an exclusive section, and this request may not wait
  kUnavailable,         // shut down, or latched after an invariant broke
  kInvariantBroken,     // the OS broke an invariant; every later request is kUnavailable
};

// A verdict and the error that GetLastError must return after a failure. kSuccess: the caller's last error stays.
struct [[nodiscard]] Outcome {
  Verdict verdict = Verdict::kDone;
  win32::Error error = win32::kSuccess;

  [[nodiscard]] constexpr bool ok() const { return verdict == Verdict::kDone; }
  [[nodiscard]] static constexpr Outcome Done() { return {}; }
  [[nodiscard]] static constexpr Outcome OverLimit() { return {Verdict::kOverLimit, win32::kCommitmentLimit}; }
  [[nodiscard]] static constexpr Outcome OsRefused(win32::Error error) { return {Verdict::kOsRefused, error}; }
  [[nodiscard]] static constexpr Outcome NoMetadata() { return {Verdict::kNoMetadata, win32::kNotEnoughMemory}; }
  [[nodiscard]] static constexpr Outcome NotOurs() { return {Verdict::kNotOurs, win32::kInvalidAddress}; }
  [[nodiscard]] static constexpr Outcome TimedOut() { return {Verdict::kTimedOut, win32::kTimeout}; }
  [[nodiscard]] static constexpr Outcome Abandoned() { return {Verdict::kAbandoned, win32::kOperationAborted}; }
  [[nodiscard]] static constexpr Outcome NotOwner() { return {Verdict::kNotOwner, win32::kNotOwner}; }
  [[nodiscard]] static constexpr Outcome ExclusiveElsewhere() {
    return {Verdict::kExclusiveElsewhere, win32::kNotOwner};
  }
  [[nodiscard]] static constexpr Outcome Unavailable() { return {Verdict::kUnavailable, win32::kNotSupported}; }
  [[nodiscard]] static constexpr Outcome InvariantBroken() { return {Verdict::kInvariantBroken, win32::kNotSupported}; }
};

struct [[nodiscard]] AddressOutcome {
  Outcome outcome;
  Address address = 0;  // 0 unless outcome.ok()
};

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_OUTCOME_H
