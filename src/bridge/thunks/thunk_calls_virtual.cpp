#include <clr_host_memory/memory_manager_abi.h>

#include <array>

#include "bridge/thunks/purpose.h"
#include "bridge/thunks/thunk_support.h"
#include "bridge/thunks/thunk_table.h"
#include "com/backend.h"

namespace clr_host_memory::thunks {
namespace {

// Returns whether address lies in this thread's stack. It makes two system calls, so it is used only for memory that
// the manager does not know.
bool IsOwnStack(LPCVOID address) noexcept {
  const KeptLastError kept;
  MEMORY_BASIC_INFORMATION asked{};
  MEMORY_BASIC_INFORMATION own{};
  return ::VirtualQuery(address, &asked, sizeof(asked)) != 0 && ::VirtualQuery(&own, &own, sizeof(own)) != 0 &&
         asked.State != MEM_FREE && asked.AllocationBase == own.AllocationBase;
}

// A request for memory. Its purpose determines its critical level and its counters.
class PurposedRequest {
 public:
  PurposedRequest(ThunkModule& module, const BridgeClient& client, LPCVOID address, SIZE_T size, DWORD type,
                  DWORD protect) noexcept
      : module_(module), client_(client), size_(size), commits_((type & MEM_COMMIT) != 0),
        gc_reserves_(IsGcReservation(type, protect)) {
    if (!commits_) return;
    BackendRegion region{};
    const bool known = address != nullptr && client.backend->FindRegion(address, &region) == S_OK;
    const bool is_own_stack = address != nullptr && !known && (type & MEM_RESERVE) == 0 && IsOwnStack(address);
    commits_whole_view_ = known && region.is_view != 0 && region.base == address && region.reserved == size;
    purpose_ = PurposeOf(type, protect, known ? &region : nullptr,
                         module.largest_gc_reservation.load(std::memory_order_relaxed), is_own_stack);
  }

  [[nodiscard]] EMemoryCriticalLevel level() const noexcept {
    return LevelOf(purpose_, client_.runtime_started.load(std::memory_order_relaxed));
  }
  // Returns whether a refused request has to be made again, since the CLR cannot bear it. When the CLR releases a block
  // of code, it first commits the whole view, to clear it. If that is refused, it fails fast.
  [[nodiscard]] bool HasToTryAgain(HRESULT result) const noexcept {
    return result == E_OUTOFMEMORY && commits_whole_view_;
  }
  // Counts the result of the request and returns it as the thunk's result.
  LPVOID Settle(LPVOID memory) noexcept {
    if (commits_) {
      module_.requests[purpose_].fetch_add(1, std::memory_order_relaxed);
      // An occupied address is not a lack of memory.
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
  bool commits_whole_view_ = false;
  Purpose purpose_ = kClrHostMemoryUnknownPurpose;
};

// Handles a failure of the manager. If the manager was shut down, calls allocate, the original function bound to its
// arguments; otherwise returns null.
template <typename Allocate>
LPVOID AllocateAfterShutdown(const BridgeClient& client, HRESULT answer, DWORD error_before,
                             Allocate allocate) noexcept {
  if (!IsShutDown(client, answer)) return nullptr;
  SetLastError(error_before);
  return allocate();
}

// Returns whether the call splits, joins or keeps placeholders. Only VirtualAlloc2 makes placeholders, so they are
// never the manager's memory.
bool IsOfPlaceholders(DWORD free_type) noexcept {
  constexpr DWORD kCoalescePlaceholders = 0x1;  // MEM_COALESCE_PLACEHOLDERS, which MinGW's headers lack
  constexpr DWORD kPreservePlaceholder = 0x2;   // MEM_PRESERVE_PLACEHOLDER
  return (free_type & (kCoalescePlaceholders | kPreservePlaceholder)) != 0;
}

LPVOID VirtualAlloc(Thunk<decltype(::VirtualAlloc)>& thunk, LPVOID address, SIZE_T size, DWORD type,
                    DWORD protect) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto allocate = [&] { return thunk.Original()(address, size, type, protect); };
  if (client == nullptr) return allocate();
  const DWORD error_before = GetLastError();
  void* memory = nullptr;
  PurposedRequest request(thunk.module, *client, address, size, type, protect);
  const auto ask = [&] {
    return client->manager->VirtualAlloc(address, size, type, protect, request.level(), &memory);
  };
  HRESULT hr = ask();
  if (request.HasToTryAgain(hr)) {
    SetLastError(error_before);
    client->backend->OpenLastPart();
    hr = ask();
  }
  return request.Settle(hr == S_OK ? memory : AllocateAfterShutdown(*client, hr, error_before, allocate));
}

// Calls the original function if process is another process.
LPVOID VirtualAllocExNuma(Thunk<decltype(::VirtualAllocExNuma)>& thunk, HANDLE process, LPVOID address, SIZE_T size,
                          DWORD type, DWORD protect, DWORD node) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto allocate = [&] { return thunk.Original()(process, address, size, type, protect, node); };
  if (client == nullptr || !IsThisProcess(process)) return allocate();
  const DWORD error_before = GetLastError();
  void* memory = nullptr;
  PurposedRequest request(thunk.module, *client, address, size, type, protect);
  const HRESULT hr = client->backend->VirtualAllocOnNode(address, size, type, protect, node, request.level(), &memory);
  return request.Settle(hr == S_OK ? memory : AllocateAfterShutdown(*client, hr, error_before, allocate));
}

// Calls the original function for memory that did not come from the manager, and for placeholders of VirtualAlloc2.
BOOL VirtualFree(Thunk<decltype(::VirtualFree)>& thunk, LPVOID address, SIZE_T size, DWORD type) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  if (client != nullptr && !IsOfPlaceholders(type)) {
    const DWORD error_before = GetLastError();
    const HRESULT hr = client->manager->VirtualFree(address, size, type);
    // A manager that was shut down still frees the memory that it gave out. If it does not handle the call, the memory
    // is not its own.
    if (hr != HOST_E_INVALIDOPERATION && hr != HOST_E_CLRNOTAVAILABLE) return hr == S_OK ? TRUE : FALSE;
    SetLastError(error_before);
  }
  return thunk.Original()(address, size, type);
}

// Calls the original function after the manager has shut down, and if buffer is null.
SIZE_T VirtualQuery(Thunk<decltype(::VirtualQuery)>& thunk, LPCVOID address, PMEMORY_BASIC_INFORMATION buffer,
                    SIZE_T length) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  if (client != nullptr && buffer != nullptr) {
    const DWORD error_before = GetLastError();
    SIZE_T written = 0;
    const HRESULT hr = client->manager->VirtualQuery(const_cast<void*>(address), buffer, length, &written);
    if (hr != HOST_E_CLRNOTAVAILABLE) return FAILED(hr) ? 0 : written;
    SetLastError(error_before);  // a query takes no memory, so it works after the manager is shut down
  }
  return thunk.Original()(address, buffer, length);
}

// Calls the original function after the manager has shut down, and if old_protect is null.
BOOL VirtualProtect(Thunk<decltype(::VirtualProtect)>& thunk, LPVOID address, SIZE_T size, DWORD protect,
                    PDWORD old_protect) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  if (client != nullptr && old_protect != nullptr) {
    const DWORD error_before = GetLastError();
    const HRESULT hr = client->manager->VirtualProtect(address, size, protect, old_protect);
    if (hr != HOST_E_CLRNOTAVAILABLE) return hr == S_OK ? TRUE : FALSE;
    SetLastError(error_before);  // changing a protection takes no memory either
  }
  return thunk.Original()(address, size, protect, old_protect);
}

}  // namespace

gsl::span<const ThunkRow> VirtualRows() noexcept {
  static constexpr std::array kRows = {
      Win32Row<&VirtualAlloc>("VirtualAlloc"),     Win32Row<&VirtualAllocExNuma>("VirtualAllocExNuma"),
      Win32Row<&VirtualFree>("VirtualFree"),       Win32Row<&VirtualQuery>("VirtualQuery"),
      Win32Row<&VirtualProtect>("VirtualProtect"),
  };
  return kRows;
}

}  // namespace clr_host_memory::thunks
