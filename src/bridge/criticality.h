// What the failure of a modern CoreCLR's request costs, inferred from what the memory is for: the runtime itself no longer
// says it. Pure; docs/decisions/0004 has the measurements behind it.
#ifndef CLRHM_BRIDGE_CRITICALITY_H
#define CLRHM_BRIDGE_CRITICALITY_H

#include <clr_host_memory/clr_host_memory.h>

#include <cstdint>

namespace clr_host_memory::bridge {

// The GC's own reservations are at least this large; loader heaps, code heaps and stubs reserve less.
inline constexpr std::uint64_t kGcReservationBytes = std::uint64_t{16} * 1024 * 1024;

// Whether CriticalityOf needs the region of address to judge; spares the look-up for all other requests.
[[nodiscard]] constexpr bool CriticalityDependsOnRegion(bool runtime_started, const void* address,
                                                        DWORD allocation_type) noexcept {
  return runtime_started && address != nullptr && (allocation_type & (MEM_COMMIT | MEM_RESERVE)) == MEM_COMMIT;
}

// region: what the ledger knows of address, or null. Growth of the GC heap is task-critical: a GC turns its refusal into
// an OutOfMemoryException. All else is process-critical: refused, a CoreCLR fails fast or does not start.
[[nodiscard]] inline EMemoryCriticalLevel CriticalityOf(bool runtime_started, const void* address, SIZE_T size,
                                                        DWORD allocation_type,
                                                        const ClrHostMemoryRegion* region) noexcept {
  if (!CriticalityDependsOnRegion(runtime_started, address, allocation_type)) return eProcessCritical;
  if (region == nullptr || region->is_view != 0 || region->reserved < kGcReservationBytes) return eProcessCritical;
  const auto base = reinterpret_cast<std::uintptr_t>(region->base);
  const auto start = reinterpret_cast<std::uintptr_t>(address);
  if (start < base) return eProcessCritical;
  const std::uint64_t offset = start - base;
  if (offset > region->reserved || size > region->reserved - offset) return eProcessCritical;
  return eTaskCritical;
}

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_CRITICALITY_H
