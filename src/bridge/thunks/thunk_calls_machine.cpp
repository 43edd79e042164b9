#include "bridge/thunks/thunk_calls.h"

#include <clr_host_memory/memory_manager_abi.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "bridge/state/memory_notifications.h"
#include "bridge/thunks/thunk_support.h"
#include "com/backend.h"

namespace clr_host_memory::thunks {
namespace {

// Returns the memory that the manager allows, if that is less than the machine has. 0: the machine must not be
// presented as a container.
std::uint64_t ContainerSize(const BridgeClient* client, const ThunkModule& module) noexcept {
  if (client == nullptr || !client->as_container.load(std::memory_order_relaxed)) return 0;
  BackendMemoryStatus status{};
  status.size = sizeof(status);
  if (client->backend->GetMemoryStatus(&status) != S_OK) return 0;
  MEMORYSTATUSEX machine{};
  machine.dwLength = sizeof(machine);
  const auto ask = Original<decltype(::GlobalMemoryStatusEx)>(module, BridgedFunction::kGlobalMemoryStatusEx);
  // A module that asks about jobs and never about the machine has no such import.
  if (!(ask != nullptr ? ask(&machine) : ::GlobalMemoryStatusEx(&machine))) return 0;
  return status.total_physical < machine.ullTotalPhys ? status.total_physical : 0;
}

}  // namespace

BOOL IsProcessInJob(ThunkModule& module, HANDLE process, HANDLE job, PBOOL result) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kIsProcessInJob, scope);
  const BOOL answered =
      Original<decltype(::IsProcessInJob)>(module, BridgedFunction::kIsProcessInJob)(process, job, result);
  if (!answered || job != nullptr || *result != FALSE) return answered;
  const KeptLastError kept;
  if (IsThisProcess(process) && ContainerSize(client, module) != 0) *result = TRUE;
  return answered;
}

BOOL QueryInformationJobObject(ThunkModule& module, HANDLE job, JOBOBJECTINFOCLASS kind, LPVOID information,
                               DWORD length, LPDWORD returned) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kQueryInformationJobObject, scope);
  const DWORD error_before = GetLastError();
  const BOOL answered = Original<decltype(::QueryInformationJobObject)>(
      module, BridgedFunction::kQueryInformationJobObject)(job, kind, information, length, returned);
  using Limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION;
  if (job != nullptr || kind != JobObjectExtendedLimitInformation || information == nullptr ||
      length != sizeof(Limits)) {
    return answered;
  }
  const DWORD error = GetLastError();
  const std::uint64_t size = ContainerSize(client, module);
  SetLastError(size != 0 ? error_before : error);
  if (size == 0) return answered;
  auto* const limits = static_cast<Limits*>(information);
  if (!answered) *limits = {};  // not in a job
  DWORD& flags = limits->BasicLimitInformation.LimitFlags;
  const auto own = static_cast<SIZE_T>(std::min<std::uint64_t>(size, SIZE_MAX));
  const bool has_limit = (flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0;
  limits->JobMemoryLimit = has_limit ? std::min(limits->JobMemoryLimit, own) : own;
  flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
  if (returned != nullptr) *returned = sizeof(Limits);
  return TRUE;
}

BOOL GlobalMemoryStatusEx(ThunkModule& module, LPMEMORYSTATUSEX buffer) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kGlobalMemoryStatusEx, scope);
  const BOOL answered =
      Original<decltype(::GlobalMemoryStatusEx)>(module, BridgedFunction::kGlobalMemoryStatusEx)(buffer);
  if (!answered || client == nullptr) return answered;

  const KeptLastError kept;
  BackendMemoryStatus status{};
  status.size = sizeof(status);
  if (client->backend->GetMemoryStatus(&status) != S_OK) return answered;
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

}  // namespace clr_host_memory::thunks
