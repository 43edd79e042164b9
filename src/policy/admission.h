// The admission policy: a pure function of request, usage and limits. It knows no clock, no lock and no error number.
//
// Criticality in tiers (docs/policy.md): eTaskCritical may fill the limit less the domain's and the process's headroom,
// eAppDomainCritical the limit less the process's headroom, eProcessCritical all of it. A request that needs no new
// memory (pages that are charged already) is always admitted: it makes nothing worse.
#ifndef CLRHM_POLICY_ADMISSION_H
#define CLRHM_POLICY_ADMISSION_H

#include <array>
#include <cstddef>

#include "base/outcome.h"
#include "base/units.h"

namespace clr_host_memory {

// Invariant: app_domain_headroom + process_headroom <= limit.
struct Limits {
  Bytes limit = kUnlimited;
  Bytes app_domain_headroom;
  Bytes process_headroom;
};

struct Request {
  Bytes bytes;  // that would be charged anew
  Criticality level = Criticality::kTask;
};

struct Usage {
  Bytes charged;
};

enum class Admission : std::uint8_t {
  kAdmitted,
  kOverCeiling,
  kBehindQueue,  // requests that wait for memory come first
};

// The most that may be charged once a request of each level has been admitted.
using Ceilings = std::array<Bytes, kCriticalityCount>;

[[nodiscard]] constexpr Ceilings CeilingsOf(const Limits& limits) {
  if (limits.limit == kUnlimited) return {kUnlimited, kUnlimited, kUnlimited};
  const Bytes app_domain = limits.limit - limits.process_headroom;
  return {app_domain - limits.app_domain_headroom, app_domain, limits.limit};
}

// ceiling: of the request's level.
[[nodiscard]] constexpr Admission Admit(const Request& request, const Usage& usage, Bytes ceiling) {
  if (request.bytes == Bytes{}) return Admission::kAdmitted;
  if (usage.charged > ceiling || request.bytes > ceiling - usage.charged) return Admission::kOverCeiling;
  return Admission::kAdmitted;
}
[[nodiscard]] constexpr Admission Admit(const Request& request, const Usage& usage, const Ceilings& ceilings) {
  return Admit(request, usage, ceilings[static_cast<std::size_t>(request.level)]);
}

// What is kept back when the host leaves it to the library: for the process 1/16 of the limit, between 1 and 64 MiB,
// for the domain a quarter of that; never more than a quarter of the limit together. No limit: none.
struct Headroom {
  Bytes app_domain;
  Bytes process;
};
[[nodiscard]] Headroom DefaultHeadroom(Bytes limit);

// What a request of this level must leave of the emergency reserve to those above it: a quarter, an eighth, nothing.
[[nodiscard]] constexpr Bytes ReserveToLeave(Criticality level, Bytes reserve) {
  switch (level) {
    case Criticality::kTask: return {reserve.value / 4};
    case Criticality::kAppDomain: return {reserve.value / 8};
    case Criticality::kProcess: break;
  }
  return {};
}

enum class LimitsError : std::uint8_t { kNone, kLimitIsZero, kHeadroomExceedsLimit };
[[nodiscard]] LimitsError Validate(const Limits& limits);

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_ADMISSION_H
