// Helpers that the bodies of thunks share.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_SUPPORT_H
#define CLRHM_BRIDGE_THUNKS_THUNK_SUPPORT_H

#include <windows.h>

#include <cstdint>

#include "bridge/state/bridge_client.h"
#include "os/windows/kept_last_error.h"

namespace clr_host_memory {

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
