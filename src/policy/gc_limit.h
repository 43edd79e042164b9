// The limit that a GC receives: what the manager's limit leaves to its heap. A GC that knows its limit collects and
// decommits in time. One that is only refused asks for new regions and throws (docs/decisions/0011). Pure.
#ifndef CLRHM_POLICY_GC_LIMIT_H
#define CLRHM_POLICY_GC_LIMIT_H

#include <algorithm>

#include "base/units.h"
#include "policy/memory_status.h"

namespace clr_host_memory {

// The least heap limit with which programs of .NET 8 and 10 start soundly. Below it, the GC of .NET 8 without
// concurrent collections ends with 0x80131506 at many limits, under any host (measured). A companion tells the GC less
// at once.
inline constexpr Bytes kLeastGcLimit{std::uint64_t{8} << 20};
// What a runtime has when Main begins in addition to its GC's heap, and what a small program soon adds. It is code,
// types and native blocks (measured: docs/policy.md).
inline constexpr Bytes kBesidesGcAtStart{std::uint64_t{5} << 20};

// Returns the limit to start a GC with. Only the limit and the headroom of `use` count. kUnlimited if there is none.
[[nodiscard]] constexpr Bytes GcLimitAtStart(const LimitUse& use) {
  if (use.limit == kUnlimited) return kUnlimited;
  const Bytes heap = use.limit - std::min(use.limit, use.headroom + use.outside);
  return std::max(heap - std::min(heap, kBesidesGcAtStart), kLeastGcLimit);
}

// Returns the limit of a GC that has `of_gc` of the charged bytes: all that the rest of the charge and the headroom
// leave. At least a page: 0 would be no limit.
[[nodiscard]] constexpr Bytes GcLimitNow(const LimitUse& use, Bytes of_gc) {
  if (use.limit == kUnlimited) return kUnlimited;
  const Bytes others = InUse(use) - std::min(InUse(use), of_gc);
  return std::max(use.limit - std::min(use.limit, use.headroom + others), Bytes{kPageSize});
}

// What a GC has, its present limit, and what it could have.
struct GcShare {
  Bytes told;
  Bytes could_have;
  Bytes has;          // of the charge
  Bytes growth = {};  // of the rest of the charge, lately
};

// Returns the new limit for the GC; 0: its limit still serves. A step is 1/64 of the limit. The new limit is half a
// step less than the GC could have, so that small changes of the rest need no other. If the rest grows by more, as much
// is left free again. A small rise can wait until the GC has three quarters of its limit.
[[nodiscard]] constexpr Bytes GcLimitToTell(const GcShare& gc, Bytes limit) {
  if (gc.could_have == kUnlimited) return gc.told == kUnlimited ? Bytes{} : kUnlimited;
  const Bytes step{std::max(limit.value / 64, kPageSize)};
  if (gc.told != kUnlimited && gc.told <= gc.could_have) {
    const bool needs_it = gc.has >= gc.told - Bytes{gc.told.value / 4};
    const Bytes worth{needs_it ? step.value : std::max(step.value, gc.told.value / 8)};
    if (gc.could_have - gc.told <= worth) return {};
  }
  const std::uint64_t free = std::clamp(gc.growth.value, step.value / 2, std::max(limit.value / 16, step.value / 2));
  const Bytes less{RoundDownToPage(gc.could_have.value - std::min(gc.could_have.value, free))};
  return std::max(less, Bytes{kPageSize});
}

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_GC_LIMIT_H
