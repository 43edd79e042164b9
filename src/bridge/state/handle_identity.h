// Whether two handles are to the same object, where the OS can tell (Windows 10).
#ifndef CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H
#define CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H

#include <windows.h>

namespace clr_host_memory {

// Looks for the OS's function. Before the others, which then take no lock. Idempotent.
void PrepareHandleComparison() noexcept;
[[nodiscard]] bool CanCompareHandles() noexcept;
// False also where it cannot be told. May change the last error.
[[nodiscard]] bool IsSameObject(HANDLE left, HANDLE right) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H
