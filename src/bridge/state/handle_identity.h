// Comparison of two handles for the same object, where the OS supports it (Windows 10).
#ifndef CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H
#define CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H

#include <windows.h>

namespace clr_host_memory {

// Looks up the OS's function. Call it before the functions below, which then take no lock. Idempotent.
void PrepareHandleComparison() noexcept;
[[nodiscard]] bool CanCompareHandles() noexcept;
// Returns false also where the OS cannot compare handles. May change the last error.
[[nodiscard]] bool IsSameObject(HANDLE left, HANDLE right) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_HANDLE_IDENTITY_H
