#include "bridge/thunk_calls.h"

#include <clr_host_memory/clr_host_memory.h>

#include "bridge/criticality.h"
#include "bridge/thunk_support.h"

namespace clr_host_memory::bridge::calls {
namespace {

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

}  // namespace clr_host_memory::bridge::calls
