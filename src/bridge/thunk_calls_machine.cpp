#include "bridge/thunk_calls.h"

#include <clr_host_memory/clr_host_memory.h>

#include <optional>

#include "bridge/memory_notifications.h"
#include "bridge/thunk_support.h"

namespace clr_host_memory::bridge::calls {

BOOL GlobalMemoryStatusEx(ThunkModule& module, LPMEMORYSTATUSEX buffer) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kGlobalMemoryStatusEx, scope);
  const BOOL answered =
      Original<decltype(::GlobalMemoryStatusEx)>(module, BridgedFunction::kGlobalMemoryStatusEx)(buffer);
  if (!answered || client == nullptr) return answered;

  const KeptLastError kept;
  ClrHostMemoryStatus status{};
  status.size = sizeof(status);
  if (client->ledger->GetMemoryStatus(&status) != S_OK) return answered;
  buffer->dwMemoryLoad = status.percent_in_use;
  buffer->ullTotalPhys = status.total_physical;
  buffer->ullAvailPhys = status.available_physical;
  buffer->ullTotalPageFile = status.total_commit;
  buffer->ullAvailPageFile = status.available_commit;
  return answered;
}

HANDLE CreateMemoryResourceNotification(ThunkModule& module, MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kCreateMemoryResourceNotification, scope);
  if (client != nullptr && (type == LowMemoryResourceNotification || type == HighMemoryResourceNotification)) {
    const DWORD error_before = GetLastError();
    const HANDLE handle = NewNotificationHandle(type);
    if (handle == nullptr) return nullptr;
    const HRESULT hr = client->notifications->Register(client->manager);
    if (hr != S_OK) ::CloseHandle(handle);
    SetLastError(error_before);
    if (hr == S_OK) return handle;
  }
  return Original<decltype(::CreateMemoryResourceNotification)>(
      module, BridgedFunction::kCreateMemoryResourceNotification)(type);
}

BOOL QueryMemoryResourceNotification(ThunkModule& module, HANDLE notification, PBOOL state) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kQueryMemoryResourceNotification, scope);
  if (client != nullptr && state != nullptr) {
    const KeptLastError kept;
    if (const std::optional<bool> signalled = NotificationState(notification)) {
      *state = *signalled ? TRUE : FALSE;
      return TRUE;
    }
  }
  return Original<decltype(::QueryMemoryResourceNotification)>(
      module, BridgedFunction::kQueryMemoryResourceNotification)(notification, state);
}

}  // namespace clr_host_memory::bridge::calls
