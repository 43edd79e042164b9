// What became of a request, with all that the COM edge needs to answer it. Portable: no HRESULT here.
#ifndef CLRHM_BASE_OUTCOME_H
#define CLRHM_BASE_OUTCOME_H

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "base/win32.h"

namespace clr_host_memory {

// What a failure costs; the values of EMemoryCriticalLevel.
enum class Criticality : std::uint8_t { kTask = 0, kAppDomain = 1, kProcess = 2 };
inline constexpr std::size_t kCriticalityCount = 3;

enum class Verdict : std::uint8_t {
  kDone,                // the OS did it and the ledger has it
  kOverLimit,           // refused by policy: limit, or headroom kept for higher criticality
  kOsRefused,           // the OS refused; Outcome::error says why
  kNoMetadata,          // no memory for the manager's own tables; nothing was changed
  kNotOurs,             // memory to be freed did not come from the host
  kTimedOut,            // it waited for memory until its deadline
  kAbandoned,           // its wait was cancelled, by the host or by the end
  kNotOwner,            // it touches what the host owns: a reserve, a pinned region
  kExclusiveElsewhere,  // another thread holds an exclusive section, and this request may not wait
  kUnavailable,         // shut down, or latched after an invariant broke
  kInvariantBroken,     // the OS did what it must not; from now on kUnavailable
};

// error is what GetLastError has to say after a failure; kSuccess means leave it as the caller had it.
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
