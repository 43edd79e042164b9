#include "bridge/thunks/thunk_calls.h"

#include <clr_host_memory/clr_host_memory.h>

#include "bridge/thunks/purpose.h"
#include "bridge/thunks/thunk_support.h"

namespace clr_host_memory::thunks {
namespace {

// Whether address lies in the stack of this thread. Two system calls: for memory the manager does not know.
bool IsOwnStack(LPCVOID address) noexcept {
  const KeptLastError kept;
  MEMORY_BASIC_INFORMATION asked{};
  MEMORY_BASIC_INFORMATION own{};
  return ::VirtualQuery(address, &asked, sizeof(asked)) != 0 && ::VirtualQuery(&own, &own, sizeof(own)) != 0 &&
         asked.State != MEM_FREE && asked.AllocationBase == own.AllocationBase;
}

// One request for memory: what it is for, and with it how critical it is and how it is counted.
class PurposedRequest {
 public:
  PurposedRequest(ThunkModule& module, const BridgeClient& client, LPCVOID address, SIZE_T size, DWORD type,
                  DWORD protect) noexcept
      : module_(module), client_(client), size_(size), commits_((type & MEM_COMMIT) != 0),
        gc_reserves_(IsGcReservation(type, protect)) {
    if (!commits_) return;
    ClrHostMemoryRegion region{};
    const bool known = address != nullptr && client.ledger->FindRegion(address, &region) == S_OK;
    const bool is_own_stack = address != nullptr && !known && (type & MEM_RESERVE) == 0 && IsOwnStack(address);
    purpose_ = PurposeOf(type, protect, known ? &region : nullptr,
                         module.largest_gc_reservation.load(std::memory_order_relaxed), is_own_stack);
  }

  [[nodiscard]] EMemoryCriticalLevel level() const noexcept {
    return LevelOf(purpose_, client_.runtime_started.load(std::memory_order_relaxed));
  }
  // The answer to it, which is the thunk's, too.
  LPVOID Settle(LPVOID memory) noexcept {
    if (commits_) {
      module_.requests[purpose_].fetch_add(1, std::memory_order_relaxed);
      // An address that is taken is no lack of memory.
      const bool refused = memory == nullptr && ::GetLastError() != ERROR_INVALID_ADDRESS;
      if (refused) module_.refusals[purpose_].fetch_add(1, std::memory_order_relaxed);
    } else if (gc_reserves_ && memory != nullptr) {
      std::uint64_t largest = module_.largest_gc_reservation.load(std::memory_order_relaxed);
      while (size_ > largest && !module_.largest_gc_reservation.compare_exchange_weak(largest, size_)) {
      }
    }
    return memory;
  }

 private:
  ThunkModule& module_;
  const BridgeClient& client_;
  const SIZE_T size_;
  const bool commits_;
  const bool gc_reserves_;
  Purpose purpose_ = kClrHostMemoryUnknownPurpose;
};

// After the manager's answer: null, or what allocate, the original function bound to its arguments, gives.
template <typename Allocate>
LPVOID AllocateAfterShutdown(const BridgeClient& client, HRESULT answer, DWORD error_before,
                             Allocate allocate) noexcept {
  if (!IsShutDown(client, answer)) return nullptr;
  SetLastError(error_before);
  return allocate();
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
  const auto allocate = [&] {
    return Original<decltype(::VirtualAlloc)>(module, BridgedFunction::kVirtualAlloc)(address, size, type, protect);
  };
  if (client == nullptr) return allocate();
  const DWORD error_before = GetLastError();
  void* memory = nullptr;
  PurposedRequest request(module, *client, address, size, type, protect);
  const HRESULT hr = client->manager->VirtualAlloc(address, size, type, protect, request.level(), &memory);
  return request.Settle(hr == S_OK ? memory : AllocateAfterShutdown(*client, hr, error_before, allocate));
}

LPVOID VirtualAllocExNuma(ThunkModule& module, HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                          DWORD node) noexcept {
  const CallScope scope;
  const BridgeClient* client = Count(module, BridgedFunction::kVirtualAllocExNuma, scope);
  const auto allocate = [&] {
    return Original<decltype(::VirtualAllocExNuma)>(module, BridgedFunction::kVirtualAllocExNuma)(
        process, address, size, type, protect, node);
  };
  if (client == nullptr || !IsThisProcess(process)) return allocate();
  const DWORD error_before = GetLastError();
  void* memory = nullptr;
  PurposedRequest request(module, *client, address, size, type, protect);
  const HRESULT hr = client->ledger->VirtualAllocOnNode(address, size, type, protect, node, request.level(), &memory);
  return request.Settle(hr == S_OK ? memory : AllocateAfterShutdown(*client, hr, error_before, allocate));
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

}  // namespace clr_host_memory::thunks
