#include "bridge/thunk_calls.h"

#include <clr_host_memory/clr_host_memory.h>

#include <optional>

#include "bridge/bridge_client.h"
#include "bridge/criticality.h"
#include "bridge/memory_notifications.h"
#include "bridge/module_registry.h"

namespace clr_host_memory::bridge::calls {
namespace {

// Puts the thread's last error back: what the bridge does beside the function asked for must leave no trace there.
class KeptLastError {
 public:
  KeptLastError() noexcept : error_(GetLastError()) {}
  ~KeptLastError() { SetLastError(error_); }
  KeptLastError(const KeptLastError&) = delete;
  KeptLastError& operator=(const KeptLastError&) = delete;

 private:
  DWORD error_;
};

// The function the import pointed at before, with the type of the named Win32 function.
template <typename Function>
Function* Original(const ThunkModule& module, BridgedFunction function) noexcept {
  return reinterpret_cast<Function*>(
      module.originals[static_cast<std::size_t>(function)].load(std::memory_order_acquire));
}

const BridgeClient* Count(ThunkModule& module, BridgedFunction function, const CallScope& scope) noexcept {
  if (scope.client() != nullptr) {
    module.calls[static_cast<std::size_t>(function)].fetch_add(1, std::memory_order_relaxed);
  }
  return scope.client();
}

EMemoryCriticalLevel LevelOf(const BridgeClient& client, const void* address, SIZE_T size, DWORD type) noexcept {
  const bool started = client.runtime_started.load(std::memory_order_relaxed);
  ClrHostMemoryRegion region{};
  const bool known = CriticalityDependsOnRegion(started, address, type) &&
                     client.ledger->FindRegion(address, &region) == S_OK;
  return CriticalityOf(started, address, size, type, known ? &region : nullptr);
}

bool IsThisProcess(HANDLE process) noexcept {
  if (process == GetCurrentProcess()) return true;
  const KeptLastError kept;
  return GetProcessId(process) == GetCurrentProcessId();
}

// Splits, joins or keeps placeholders, which only VirtualAlloc2 makes: never memory of the manager.
bool IsOfPlaceholders(DWORD free_type) noexcept {
  constexpr DWORD kCoalescePlaceholders = 0x1;  // MEM_COALESCE_PLACEHOLDERS, which MinGW's headers lack
  constexpr DWORD kPreservePlaceholder = 0x2;   // MEM_PRESERVE_PLACEHOLDER
  return (free_type & (kCoalescePlaceholders | kPreservePlaceholder)) != 0;
}

// Whether a view could not be mapped for want of memory or address space, rather than for a mistake of the caller.
bool WantsRoom(DWORD error, const void* base) noexcept {
  return error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_COMMITMENT_LIMIT ||
         (error == ERROR_INVALID_ADDRESS && base == nullptr);
}

// The address space of the view at base; size is what was asked for, 0 for the whole section.
SIZE_T ViewSize(const void* base, SIZE_T size) noexcept {
  if (size != 0) {
    constexpr SIZE_T kPageSize = 4096;  // on every processor that Windows runs on
    return (size + kPageSize - 1) / kPageSize * kPageSize;
  }
  const auto start = static_cast<const char*>(base);
  const char* end = start;
  MEMORY_BASIC_INFORMATION information{};
  while (::VirtualQuery(end, &information, sizeof(information)) != 0 && information.AllocationBase == base) {
    end = static_cast<const char*>(information.BaseAddress) + information.RegionSize;
  }
  return static_cast<SIZE_T>(end - start);
}

// map is the original function, bound to its arguments.
template <typename Map>
LPVOID MapThrough(const BridgeClient& client, SIZE_T size, LPVOID base, Map map) noexcept {
  const DWORD error_before = GetLastError();
  LPVOID view = map();
  if (view == nullptr) {
    const DWORD error = GetLastError();
    if (!WantsRoom(error, base) || FAILED(client.manager->NeedsVirtualAddressSpace(base, size))) {
      SetLastError(error);
      return nullptr;
    }
    SetLastError(error_before);
    view = map();
    if (view == nullptr) return nullptr;
  }
  const KeptLastError kept;
  // The view is the caller's whether or not the manager can keep account of it.
  client.manager->AcquiredVirtualAddressSpace(view, ViewSize(view, size));
  return view;
}

// A view that the manager knows and that the OS still has at address.
bool FindView(const BridgeClient& client, LPCVOID address, ClrHostMemoryRegion* view) noexcept {
  const KeptLastError kept;
  if (client.ledger->FindRegion(address, view) != S_OK || view->is_view == 0) return false;
  MEMORY_BASIC_INFORMATION information{};
  return ::VirtualQuery(address, &information, sizeof(information)) != 0 && information.Type == MEM_MAPPED &&
         information.AllocationBase == view->base;
}

// load is the original function, bound to its arguments. It may run for long, so it is not inside the scope.
template <typename Load>
HMODULE LoadThrough(ThunkModule& module, BridgedFunction function, DWORD flags, Load load) noexcept {
  const bool bridged = [&] {
    const CallScope scope;
    return Count(module, function, scope) != nullptr;
  }();
  const HMODULE loaded = load();
  constexpr DWORD kNotAsCode = LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_DATAFILE_EXCLUSIVE |
                               LOAD_LIBRARY_AS_IMAGE_RESOURCE | DONT_RESOLVE_DLL_REFERENCES;
  if (bridged && loaded != nullptr && (flags & kNotAsCode) == 0) {
    const KeptLastError kept;
    AttachIfStandaloneGc(module.index, loaded);
  }
  return loaded;
}

}  // namespace

LPVOID VirtualAlloc(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type, DWORD protect) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualAlloc, scope);
  if (client == nullptr) {
    return Original<decltype(::VirtualAlloc)>(module, BridgedFunction::kVirtualAlloc)(address, size, type, protect);
  }
  void* memory = nullptr;
  const EMemoryCriticalLevel level = LevelOf(*client, address, size, type);
  return client->manager->VirtualAlloc(address, size, type, protect, level, &memory) == S_OK ? memory : nullptr;
}

LPVOID VirtualAllocExNuma(ThunkModule& module, HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                          DWORD node) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualAllocExNuma, scope);
  if (client == nullptr || !IsThisProcess(process)) {
    return Original<decltype(::VirtualAllocExNuma)>(module, BridgedFunction::kVirtualAllocExNuma)(
        process, address, size, type, protect, node);
  }
  void* memory = nullptr;
  const EMemoryCriticalLevel level = LevelOf(*client, address, size, type);
  const HRESULT hr = client->ledger->VirtualAllocOnNode(address, size, type, protect, node, level, &memory);
  return hr == S_OK ? memory : nullptr;
}

BOOL VirtualFree(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualFree, scope);
  if (client != nullptr && !IsOfPlaceholders(type)) {
    const DWORD error_before = GetLastError();
    const HRESULT hr = client->manager->VirtualFree(address, size, type);
    // A manager that is down still frees what it gave out, so what it does not answer for is not its own either.
    if (hr != HOST_E_INVALIDOPERATION && hr != HOST_E_CLRNOTAVAILABLE) return hr == S_OK ? TRUE : FALSE;
    SetLastError(error_before);
  }
  return Original<decltype(::VirtualFree)>(module, BridgedFunction::kVirtualFree)(address, size, type);
}

SIZE_T VirtualQuery(ThunkModule& module, LPCVOID address, PMEMORY_BASIC_INFORMATION buffer, SIZE_T length) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualQuery, scope);
  if (client != nullptr && buffer != nullptr) {
    const DWORD error_before = GetLastError();
    SIZE_T written = 0;
    const HRESULT hr = client->manager->VirtualQuery(const_cast<void*>(address), buffer, length, &written);
    if (hr != HOST_E_CLRNOTAVAILABLE) return FAILED(hr) ? 0 : written;
    SetLastError(error_before);  // asking takes no memory: it goes on when the manager is down
  }
  return Original<decltype(::VirtualQuery)>(module, BridgedFunction::kVirtualQuery)(address, buffer, length);
}

BOOL VirtualProtect(ThunkModule& module, LPVOID address, SIZE_T size, DWORD protect, PDWORD old_protect) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualProtect, scope);
  if (client != nullptr && old_protect != nullptr) {
    const DWORD error_before = GetLastError();
    const HRESULT hr = client->manager->VirtualProtect(address, size, protect, old_protect);
    if (hr != HOST_E_CLRNOTAVAILABLE) return hr == S_OK ? TRUE : FALSE;
    SetLastError(error_before);  // changing protections takes no memory either
  }
  return Original<decltype(::VirtualProtect)>(module, BridgedFunction::kVirtualProtect)(address, size, protect,
                                                                                        old_protect);
}

LPVOID MapViewOfFile(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                     SIZE_T size) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kMapViewOfFile, scope);
  const auto map = [&] {
    return Original<decltype(::MapViewOfFile)>(module, BridgedFunction::kMapViewOfFile)(mapping, access, offset_high,
                                                                                        offset_low, size);
  };
  return client == nullptr ? map() : MapThrough(*client, size, nullptr, map);
}

LPVOID MapViewOfFileEx(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                       SIZE_T size, LPVOID base) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kMapViewOfFileEx, scope);
  const auto map = [&] {
    return Original<decltype(::MapViewOfFileEx)>(module, BridgedFunction::kMapViewOfFileEx)(
        mapping, access, offset_high, offset_low, size, base);
  };
  return client == nullptr ? map() : MapThrough(*client, size, base, map);
}

BOOL UnmapViewOfFile(ThunkModule& module, LPCVOID address) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kUnmapViewOfFile, scope);
  const auto unmap = Original<decltype(::UnmapViewOfFile)>(module, BridgedFunction::kUnmapViewOfFile);
  ClrHostMemoryRegion view{};
  if (client == nullptr || !FindView(*client, address, &view)) return unmap(address);

  // Before the OS does it: another thread may be given the same addresses at once.
  {
    const KeptLastError kept;
    client->manager->ReleasedVirtualAddressSpace(view.base);
  }
  const BOOL unmapped = unmap(address);
  if (!unmapped) {
    const KeptLastError kept;
    client->manager->AcquiredVirtualAddressSpace(view.base, static_cast<SIZE_T>(view.reserved));
  }
  return unmapped;
}

HMODULE LoadLibraryExW(ThunkModule& module, LPCWSTR name, HANDLE file, DWORD flags) noexcept {
  return LoadThrough(module, BridgedFunction::kLoadLibraryExW, flags, [&] {
    return Original<decltype(::LoadLibraryExW)>(module, BridgedFunction::kLoadLibraryExW)(name, file, flags);
  });
}

HMODULE LoadLibraryExA(ThunkModule& module, LPCSTR name, HANDLE file, DWORD flags) noexcept {
  return LoadThrough(module, BridgedFunction::kLoadLibraryExA, flags, [&] {
    return Original<decltype(::LoadLibraryExA)>(module, BridgedFunction::kLoadLibraryExA)(name, file, flags);
  });
}

HMODULE LoadLibraryW(ThunkModule& module, LPCWSTR name) noexcept {
  return LoadThrough(module, BridgedFunction::kLoadLibraryW, 0, [&] {
    return Original<decltype(::LoadLibraryW)>(module, BridgedFunction::kLoadLibraryW)(name);
  });
}

HMODULE LoadLibraryA(ThunkModule& module, LPCSTR name) noexcept {
  return LoadThrough(module, BridgedFunction::kLoadLibraryA, 0, [&] {
    return Original<decltype(::LoadLibraryA)>(module, BridgedFunction::kLoadLibraryA)(name);
  });
}

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
    if (hr != S_OK) CloseHandle(handle);
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
