// Infers the purpose for which a modern CoreCLR requests memory, and the cost of a refusal. The runtime itself states
// neither. Pure functions; docs/decisions/0009 has the measurements behind them.
#ifndef CLRHM_BRIDGE_THUNKS_PURPOSE_H
#define CLRHM_BRIDGE_THUNKS_PURPOSE_H

#include <clr_host_memory/memory_manager_abi.h>

#include <cstdint>

#include "base/gc_reservation.h"
#include "com/backend.h"

namespace clr_host_memory {

using Purpose = ClrHostMemoryPurpose;

// A GC reserves its heap in pieces of at least this size. Its smaller reservations are bookkeeping.
inline constexpr std::uint64_t kLeastGcHeapReservation = std::uint64_t{16} * 1024 * 1024;
// A GC's tables for a range of address space take about 1/110 of it with concurrent collections (mostly the mark
// array) and 1/1000 without. A reservation smaller than the largest reservation by this factor is taken for such
// tables.
inline constexpr std::uint64_t kHeapPerBookkeeping = 64;

[[nodiscard]] constexpr bool IsExecutable(DWORD protect) noexcept {
  return (protect & (PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY)) != 0;
}

// Returns whether a request reserves address space as only a GC does.
[[nodiscard]] constexpr bool IsGcReservation(DWORD allocation_type, DWORD protect) noexcept {
  return (allocation_type & (MEM_RESERVE | MEM_COMMIT)) == MEM_RESERVE && IsReservedByGc(protect & 0xFF);
}
[[nodiscard]] constexpr bool IsGcReservation(const BackendRegion& region) noexcept {
  return region.is_view == 0 && IsReservedByGc(region.reserved_as);
}

// Returns the purpose of a commit in a region of private pages or a view. protect: the protection of the pages.
// largest_gc_reservation: bytes, the largest reservation of the module that makes the request. Only that module's
// reservations count: another module's GC, in a plug-in, says nothing about this one's.
[[nodiscard]] constexpr Purpose PurposeIn(const BackendRegion& region, DWORD protect,
                                          std::uint64_t largest_gc_reservation) noexcept {
  if ((region.reserved_as & kRegionOfHeap) != 0) return kClrHostMemoryNativeHeap;
  if (IsGcReservation(region)) {
    const bool is_heap =
        region.reserved >= kLeastGcHeapReservation && region.reserved > largest_gc_reservation / kHeapPerBookkeeping;
    return is_heap ? kClrHostMemoryGcHeap : kClrHostMemoryGcBookkeeping;
  }
  if (IsExecutable(protect)) return kClrHostMemoryCodeHeap;
  // With W^X, the loader and the JIT reserve views of one section.
  if (region.is_view != 0 || region.reserved_as == PAGE_NOACCESS || IsExecutable(region.reserved_as)) {
    return kClrHostMemoryLoaderHeap;
  }
  return kClrHostMemoryUnknownPurpose;
}

// Returns the purpose of a request that commits. region: the region that holds address; null if the manager knows
// none, or if address is null.
[[nodiscard]] constexpr Purpose PurposeOf(DWORD allocation_type, DWORD protect, const BackendRegion* region,
                                          std::uint64_t largest_gc_reservation, bool is_own_stack) noexcept {
  if (is_own_stack) return kClrHostMemoryStack;
  if (region != nullptr && (allocation_type & MEM_RESERVE) == 0) {
    return PurposeIn(*region, protect, largest_gc_reservation);
  }
  return IsExecutable(protect) ? kClrHostMemoryCodeHeap : kClrHostMemoryUnknownPurpose;
}

// Returns the critical level that reflects the cost of a refusal.
//
// A GC turns a refusal of its heap's growth into an OutOfMemoryException, which a program can catch. Code, types and
// stacks cannot be refused safely: the runtime fails fast, throws at unexpected places, or hangs. A GC's tables could
// be refused, but the refusal would occur just when the GC needs them. At its limit the GC collects, and a concurrent
// collection needs its mark array. Before the runtime has started, every request is critical, since start-up would
// fail.
[[nodiscard]] constexpr EMemoryCriticalLevel LevelOf(Purpose purpose, bool runtime_started) noexcept {
  return runtime_started && purpose == kClrHostMemoryGcHeap ? eTaskCritical : eProcessCritical;
}

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_PURPOSE_H
