// The limit that a GC receives: what the manager's limit leaves to its heap. A GC that knows its limit collects and
// decommits in time. One that is only refused asks for new regions and throws (docs/decisions/0011). Pure.
#ifndef CLRHM_POLICY_GC_LIMIT_H
#define CLRHM_POLICY_GC_LIMIT_H

#include <algorithm>

#include "base/units.h"
#include "policy/memory_status.h"

namespace clr_host_memory {

// The least heap limit with which programs of .NET 8 and 10 start soundly. With 3892 KiB .NET 10 starts, and then ends
// with 0x80131506 (measured).
inline constexpr Bytes kLeastGcLimit{std::uint64_t{4} << 20};
// What a runtime has when Main begins in addition to its GC's heap, and what a small program soon adds. It is code,
// types and native blocks (measured: docs/policy.md).
inline constexpr Bytes kBesidesGcAtStart{std::uint64_t{6} << 20};

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

// Returns the new limit for the GC; 0: its limit still serves. The new one is half a step less than the GC could have,
// so that small changes of the rest need no other limit. A step is 1/64 of the limit.
[[nodiscard]] constexpr Bytes GcLimitToTell(Bytes told, Bytes could_have, Bytes limit) {
  if (could_have == kUnlimited) return told == kUnlimited ? Bytes{} : kUnlimited;
  const Bytes step{std::max(limit.value / 64, kPageSize)};
  if (told != kUnlimited && told <= could_have && could_have - told <= step) return {};
  const Bytes less{RoundDownToPage(could_have.value - std::min(could_have.value, step.value / 2))};
  return std::max(less, Bytes{kPageSize});
}

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_GC_LIMIT_H
