#include "bridge/thunk_calls.h"

#include <clr_host_memory/clr_host_memory.h>

#include "bridge/thunk_support.h"

namespace clr_host_memory::bridge::calls {
namespace {

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

}  // namespace

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

}  // namespace clr_host_memory::bridge::calls
