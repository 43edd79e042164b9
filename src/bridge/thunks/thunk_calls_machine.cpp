#include <clr_host_memory/memory_manager_abi.h>
// psapi.h needs windows.h before it.
#include <psapi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "bridge/state/memory_notifications.h"
#include "bridge/thunks/thunk_support.h"
#include "bridge/thunks/thunk_table.h"
#include "com/backend.h"

namespace clr_host_memory::thunks {
namespace {

// Reports memory as the manager's limit allows it, in the fields for load, physical memory and page file. The other
// fields are Win32's. After the manager has shut down, all fields are Win32's.
BOOL GlobalMemoryStatusEx(Thunk<decltype(::GlobalMemoryStatusEx)>& thunk, LPMEMORYSTATUSEX buffer) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const BOOL answered = thunk.Original()(buffer);
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

constexpr ThunkRow kMemoryStatusRow = Win32Row<&GlobalMemoryStatusEx>("GlobalMemoryStatusEx");

// Returns the memory that the manager allows, if that is less than the machine has. Empty: the machine must not be
// presented as a container.
std::optional<BackendMemoryStatus> ContainerStatus(const BridgeClient* client, const ThunkModule& module) noexcept {
  if (client == nullptr || !client->as_container.load(std::memory_order_relaxed)) return std::nullopt;
  BackendMemoryStatus status{};
  status.size = sizeof(status);
  if (client->backend->GetMemoryStatus(&status) != S_OK) return std::nullopt;
  MEMORYSTATUSEX machine{};
  machine.dwLength = sizeof(machine);
  const auto& thunk = static_cast<const Thunk<decltype(::GlobalMemoryStatusEx)>&>(kMemoryStatusRow.thunk(module.index));
  const auto ask = thunk.Original();
  // A module that asks about jobs and never about the machine has no such import.
  if (!(ask != nullptr ? ask(&machine) : ::GlobalMemoryStatusEx(&machine))) return std::nullopt;
  if (status.total_physical >= machine.ullTotalPhys) return std::nullopt;
  return status;
}

// These two simulate a job for this process and any job, if two conditions hold. The bridge presents the manager's
// limit as a container's, and the limit is less than the machine's memory. The simulated job limits the commit of all
// its processes to what the manager allows. Otherwise the original functions are called. A smaller limit of a real job
// stays.
BOOL IsProcessInJob(Thunk<decltype(::IsProcessInJob)>& thunk, HANDLE process, HANDLE job, PBOOL result) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const BOOL answered = thunk.Original()(process, job, result);
  if (!answered || job != nullptr || *result != FALSE) return answered;
  const KeptLastError kept;
  if (IsThisProcess(process) && ContainerStatus(client, thunk.module)) *result = TRUE;
  return answered;
}

BOOL QueryInformationJobObject(Thunk<decltype(::QueryInformationJobObject)>& thunk, HANDLE job, JOBOBJECTINFOCLASS kind,
                               LPVOID information, DWORD length, LPDWORD returned) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const DWORD error_before = GetLastError();
  const BOOL answered = thunk.Original()(job, kind, information, length, returned);
  using Limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION;
  if (job != nullptr || kind != JobObjectExtendedLimitInformation || information == nullptr ||
      length != sizeof(Limits)) {
    return answered;
  }
  const DWORD error = GetLastError();
  const std::optional<BackendMemoryStatus> status = ContainerStatus(client, thunk.module);
  SetLastError(status ? error_before : error);
  if (!status) return answered;
  auto* const limits = static_cast<Limits*>(information);
  if (!answered) *limits = {};  // not in a job
  DWORD& flags = limits->BasicLimitInformation.LimitFlags;
  const auto own = static_cast<SIZE_T>(std::min<std::uint64_t>(status->total_physical, SIZE_MAX));
  const bool has_limit = (flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0;
  limits->JobMemoryLimit = has_limit ? std::min(limits->JobMemoryLimit, own) : own;
  flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
  if (returned != nullptr) *returned = sizeof(Limits);
  return TRUE;
}

// If the machine is presented as a container (ContainerStatus), reports what is in use of the limit. It is reported as
// this process's working set and paging file usage. A GC in a container divides the working set by the job's
// limit to learn the memory load. The real working set also has pages that the limit does not count, such as images.
BOOL K32GetProcessMemoryInfo(Thunk<decltype(::K32GetProcessMemoryInfo)>& thunk, HANDLE process,
                             PPROCESS_MEMORY_COUNTERS counters, DWORD size) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const BOOL answered = thunk.Original()(process, counters, size);
  if (!answered || size < sizeof(*counters) || !IsThisProcess(process)) return answered;
  const KeptLastError kept;
  const std::optional<BackendMemoryStatus> status = ContainerStatus(client, thunk.module);
  if (!status) return answered;
  const auto in_use =
      static_cast<SIZE_T>(std::min<std::uint64_t>(status->total_physical - status->available_physical, SIZE_MAX));
  counters->WorkingSetSize = in_use;
  counters->PeakWorkingSetSize = std::max(counters->PeakWorkingSetSize, in_use);
  counters->PagefileUsage = in_use;
  counters->PeakPagefileUsage = std::max(counters->PeakPagefileUsage, in_use);
  return answered;
}

// Returns a handle to an event that is signalled while the manager reports Low (or High). The caller may close it at
// any time. The first such call registers the bridge with the manager, replacing any callback registered before. If
// that fails, the notification is Win32's.
HANDLE CreateMemoryResourceNotification(Thunk<decltype(::CreateMemoryResourceNotification)>& thunk,
                                        MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  if (client != nullptr && (type == LowMemoryResourceNotification || type == HighMemoryResourceNotification)) {
    const DWORD error_before = GetLastError();
    const HANDLE handle = NewNotificationHandle(type);
    if (handle == nullptr) return nullptr;
    const HRESULT hr = client->notifications->Register(client->manager.get());
    if (hr != S_OK) ::CloseHandle(handle);
    SetLastError(error_before);
    if (hr == S_OK) return handle;
  }
  return thunk.Original()(type);
}

// Passes handles that do not refer to these events to the original function. Before Windows 10 handles cannot be
// compared, so all handles go there. The original function works for events, so it answers correctly for these events,
// too.
BOOL QueryMemoryResourceNotification(Thunk<decltype(::QueryMemoryResourceNotification)>& thunk, HANDLE notification,
                                     PBOOL state) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  if (client != nullptr && state != nullptr) {
    const KeptLastError kept;
    if (const std::optional<bool> signalled = NotificationState(notification)) {
      *state = *signalled ? TRUE : FALSE;
      return TRUE;
    }
  }
  return thunk.Original()(notification, state);
}

}  // namespace

gsl::span<const ThunkRow> MachineRows() noexcept {
  static constexpr std::array kRows = {
      kMemoryStatusRow,
      Win32Row<&IsProcessInJob>("IsProcessInJob"),
      Win32Row<&QueryInformationJobObject>("QueryInformationJobObject"),
      Win32Row<&K32GetProcessMemoryInfo>("K32GetProcessMemoryInfo"),
      Win32Row<&CreateMemoryResourceNotification>("CreateMemoryResourceNotification"),
      Win32Row<&QueryMemoryResourceNotification>("QueryMemoryResourceNotification"),
  };
  return kRows;
}

}  // namespace clr_host_memory::thunks
