// The admission policy: a pure function of request, usage and limits. It uses no clock, no lock and no error number.
//
// Criticality in tiers (docs/policy.md): eTaskCritical may fill the limit less the headrooms for domain and process.
// eAppDomainCritical may fill the limit less the headroom for the process. eProcessCritical may fill all of it. The
// host may keep a part of the headroom for the process committed; that part is not charged, but counts. A
// request that needs no new memory, because its pages are charged already, is always admitted: it does not raise the
// charge.
#ifndef CLRHM_POLICY_ADMISSION_H
#define CLRHM_POLICY_ADMISSION_H

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/outcome.h"
#include "base/units.h"

namespace clr_host_memory {

// Invariants: app_domain_headroom + process_headroom <= limit; committed_headroom + last_resort <= process_headroom.
struct Limits {
  Bytes limit = kUnlimited;
  Bytes app_domain_headroom;
  Bytes process_headroom;
  Bytes committed_headroom = {};  // the most of the process headroom that the host keeps committed
  // The part of the process headroom for requests that come after a refused process-critical one. A CLR makes an
  // OutOfMemoryException of a refusal. To throw and catch it may need memory that cannot be refused, too.
  Bytes last_resort = {};
};

struct Request {
  Bytes bytes;  // bytes that would be newly charged
  Criticality level = Criticality::kTask;
};

struct Usage {
  Bytes charged;
};

enum class Admission : std::uint8_t {
  kAdmitted,
  kOverCeiling,
  kBehindQueue,  // waiting requests are served first
};

// The greatest total charge after a request of each level is admitted.
using Ceilings = std::array<Bytes, kCriticalityCount>;

[[nodiscard]] constexpr Ceilings CeilingsOf(const Limits& limits) {
  if (limits.limit == kUnlimited) return {kUnlimited, kUnlimited, kUnlimited};
  const Bytes app_domain = limits.limit - limits.process_headroom;
  return {app_domain - limits.app_domain_headroom, app_domain, limits.limit};
}

// Returns whether the request fits. ceiling: the ceiling of the request's level.
[[nodiscard]] constexpr Admission Admit(const Request& request, const Usage& usage, Bytes ceiling) {
  if (request.bytes == Bytes{}) return Admission::kAdmitted;
  if (usage.charged > ceiling || request.bytes > ceiling - usage.charged) return Admission::kOverCeiling;
  return Admission::kAdmitted;
}
[[nodiscard]] constexpr Admission Admit(const Request& request, const Usage& usage, const Ceilings& ceilings) {
  return Admit(request, usage, ceilings[static_cast<std::size_t>(request.level)]);
}

// The default headroom. Process: 1/32 of the limit, between 2 and 32 MiB, but never more than 1/8 of the limit. Domain:
// a quarter of that. If `committed` of it are to be kept committed, the process's is at least as large, up to a quarter
// of the limit. Without a limit there is none.
struct Headroom {
  Bytes app_domain;
  Bytes process;
};
[[nodiscard]] Headroom DefaultHeadroom(Bytes limit, Bytes committed = {});
// Returns the last resort of a process headroom: half of it, or what is not to be kept committed.
[[nodiscard]] constexpr Bytes LastResortOf(Bytes process_headroom, Bytes committed) {
  const Bytes left = process_headroom - std::min(process_headroom, committed);
  return std::min(left, Bytes{RoundDownToPage(process_headroom.value / 2)});
}

// Returns the part of a last resort that only requests get whose refusal is fatal: a quarter, at most 256 KiB.
[[nodiscard]] constexpr Bytes LastPartOf(Bytes last_resort) {
  constexpr Bytes kMost{std::uint64_t{256} * 1024};
  return std::min(kMost, Bytes{RoundDownToPage(last_resort.value / 4)});
}

enum class LimitsError : std::uint8_t { kNone, kLimitIsZero, kHeadroomExceedsLimit };
[[nodiscard]] LimitsError Validate(const Limits& limits);

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_ADMISSION_H
