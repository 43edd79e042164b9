// Helpers that the functions of thunk_calls.h share.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_SUPPORT_H
#define CLRHM_BRIDGE_THUNKS_THUNK_SUPPORT_H

#include <windows.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bridge/state/bridge_client.h"
#include "bridge/thunks/thunk_calls.h"
#include "os/windows/kept_last_error.h"

namespace clr_host_memory {

// Returns the function that the import pointed at before, with the type of the named Win32 function.
template <typename Function>
Function* Original(const ThunkModule& module, BridgedFunction function) noexcept {
  return reinterpret_cast<Function*>(
      module.originals[static_cast<std::size_t>(function)].load(std::memory_order_acquire));
}

// Returns the client of this call, and counts the call if there is a client.
inline const BridgeClient* Count(ThunkModule& module, BridgedFunction function, const CallScope& scope) noexcept {
  if (scope.client() != nullptr) {
    module.calls[static_cast<std::size_t>(function)].fetch_add(1, std::memory_order_relaxed);
  }
  return scope.client();
}

// Returns whether answer comes from a manager that was shut down. Its CLR continues as without a bridge, since it
// lives as long as the process. A latched manager continues to refuse.
inline bool IsShutDown(const BridgeClient& client, HRESULT answer) noexcept {
  std::uint32_t state = kClrHostMemoryRunning;
  return answer == HOST_E_CLRNOTAVAILABLE && client.backend->GetState(&state) == S_OK && state != kClrHostMemoryRunning;
}

inline bool IsThisProcess(HANDLE process) noexcept {
  if (process == GetCurrentProcess()) return true;
  const KeptLastError kept;
  return GetProcessId(process) == GetCurrentProcessId();
}

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_SUPPORT_H
