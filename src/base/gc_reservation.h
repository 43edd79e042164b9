// How the reservations of a GC are recognised (docs/decisions/0009).
#ifndef CLRHM_BASE_GC_RESERVATION_H
#define CLRHM_BASE_GC_RESERVATION_H

#include <cstdint>

#include "base/win32.h"

namespace clr_host_memory {

// Returns whether private memory that was reserved with this PAGE_* constant, and not committed at once, is a GC's.
// Only a GC reserves writable memory to commit it later. The loader and the JIT reserve PAGE_NOACCESS or for execution.
[[nodiscard]] constexpr bool IsReservedByGc(std::uint32_t reserved_as) { return reserved_as == win32::kPageReadWrite; }

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_GC_RESERVATION_H
