#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <cstdint>

#include "bridge/thunks/thunk_support.h"
#include "bridge/thunks/thunk_table.h"

namespace clr_host_memory::thunks {
namespace {

// Returns whether a view could not be mapped because memory or address space is short, as opposed to a mistake of the
// caller.
bool WantsRoom(DWORD error, const void* base) noexcept {
  return error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_COMMITMENT_LIMIT ||
         (error == ERROR_INVALID_ADDRESS && base == nullptr);
}

// Returns the address space of the view at base. size: the requested size, 0 for the whole section.
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

constexpr std::uint64_t Join(DWORD high, DWORD low) noexcept { return std::uint64_t{high} << 32 | low; }

void DropStale(const BridgeClient& client, HANDLE handle) noexcept {
  if (const std::uint64_t closed_unseen = client.sections.Take(handle); closed_unseen != 0) {
    client.backend->DropSection(closed_unseen);
  }
}

// Creates a section. create is the original function, bound to its arguments.
template <typename Create>
HANDLE CreateSection(ThunkModule& module, const BridgeClient& client, HANDLE file, DWORD protect, std::uint64_t size,
                     Create create) noexcept {
  const DWORD error_before = GetLastError();
  std::uint64_t section = 0;
  const bool committed = (protect & SEC_RESERVE) == 0;  // SEC_COMMIT is the default
  if (file == INVALID_HANDLE_VALUE) {
    const HRESULT hr = client.backend->AddSection(size, committed ? TRUE : FALSE, eProcessCritical, &section);
    // If the manager does not judge the request, or no longer keeps accounts, the OS decides.
    const bool refused = hr != S_OK && hr != E_INVALIDARG && !IsShutDown(client, hr);
    if (committed) {
      module.requests[kClrHostMemoryMappedView].fetch_add(1, std::memory_order_relaxed);
      if (refused) {
        module.refusals[kClrHostMemoryMappedView].fetch_add(1, std::memory_order_relaxed);
        return nullptr;
      }
    }
    SetLastError(error_before);
  }
  const HANDLE handle = create();
  KeptLastError kept;
  const bool made = handle != nullptr && kept.error() != ERROR_ALREADY_EXISTS;
  if (section != 0 && !made) client.backend->DropSection(section);
  if (handle == nullptr) return handle;
  DropStale(client, handle);
  // The name already existed. If it names a section known to the bridge, this is another handle to that section. The
  // maker of any other section accounts for it.
  if (!made) section = client.sections.Find(handle);
  if (section == 0 || (!made && client.backend->KeepSection(section) != S_OK)) return handle;
  if (client.sections.Add(handle, section)) return handle;
  client.backend->DropSection(section);
  // The views of a reserved section are charged one by one. A committed section would stay unaccounted, so it is
  // refused as if memory were short.
  if (!made || !committed) return handle;
  ::CloseHandle(handle);
  kept.ReportInstead(ERROR_NOT_ENOUGH_MEMORY);
  return nullptr;
}

// Common code of CreateFileMappingA and CreateFileMappingW, which differ only in the name's type.
template <typename Function, typename Name>
HANDLE CreateThrough(Thunk<Function>& thunk, HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                     DWORD size_high, DWORD size_low, Name name) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto create = [&] { return thunk.Original()(file, attributes, protect, size_high, size_low, name); };
  return client == nullptr ? create()
                           : CreateSection(thunk.module, *client, file, protect, Join(size_high, size_low), create);
}

// Maps a view. map is the original function, bound to its arguments.
template <typename Map>
LPVOID MapThrough(const BridgeClient& client, HANDLE mapping, std::uint64_t offset, SIZE_T size, LPVOID base,
                  Map map) noexcept {
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
  // The caller gets the view whether or not the manager can account for it.
  const std::uint64_t section = client.sections.Find(mapping);
  const SIZE_T view_size = ViewSize(view, size);
  if (section == 0 || client.backend->AcquireViewOfSection(view, view_size, section, offset) != S_OK) {
    client.manager->AcquiredVirtualAddressSpace(view, view_size);
  }
  return view;
}

// Sections backed by the paging file are registered with the manager, along with their views, until their handle is
// closed. Thus the manager can recognise views of the same pages. The manager's limit may refuse a section that is
// committed as a whole.
HANDLE CreateFileMappingW(Thunk<decltype(::CreateFileMappingW)>& thunk, HANDLE file, LPSECURITY_ATTRIBUTES attributes,
                          DWORD protect, DWORD size_high, DWORD size_low, LPCWSTR name) noexcept {
  return CreateThrough(thunk, file, attributes, protect, size_high, size_low, name);
}

HANDLE CreateFileMappingA(Thunk<decltype(::CreateFileMappingA)>& thunk, HANDLE file, LPSECURITY_ATTRIBUTES attributes,
                          DWORD protect, DWORD size_high, DWORD size_low, LPCSTR name) noexcept {
  return CreateThrough(thunk, file, attributes, protect, size_high, size_low, name);
}

BOOL CloseHandle(Thunk<decltype(::CloseHandle)>& thunk, HANDLE handle) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const std::uint64_t section = client == nullptr ? 0 : client->sections.Take(handle);
  const BOOL closed = thunk.Original()(handle);
  if (section == 0) return closed;
  const KeptLastError kept;
  const bool kept_open = !closed && client->sections.Add(handle, section);
  if (!kept_open) client->backend->DropSection(section);
  return closed;
}

// Announces the view to the manager. If address space is short, asks the manager to make room and tries the call once
// more.
LPVOID MapViewOfFile(Thunk<decltype(::MapViewOfFile)>& thunk, HANDLE mapping, DWORD access, DWORD offset_high,
                     DWORD offset_low, SIZE_T size) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto map = [&] { return thunk.Original()(mapping, access, offset_high, offset_low, size); };
  return client == nullptr ? map() : MapThrough(*client, mapping, Join(offset_high, offset_low), size, nullptr, map);
}

LPVOID MapViewOfFileEx(Thunk<decltype(::MapViewOfFileEx)>& thunk, HANDLE mapping, DWORD access, DWORD offset_high,
                       DWORD offset_low, SIZE_T size, LPVOID base) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto map = [&] { return thunk.Original()(mapping, access, offset_high, offset_low, size, base); };
  return client == nullptr ? map() : MapThrough(*client, mapping, Join(offset_high, offset_low), size, base, map);
}

BOOL UnmapViewOfFile(Thunk<decltype(::UnmapViewOfFile)>& thunk, LPCVOID address) noexcept {
  const CallScope scope;
  const BridgeClient* client = thunk.Count(scope);
  const auto unmap = thunk.Original();
  BOOL unmapped = FALSE;
  if (client == nullptr || client->backend->UnmapView(address, unmap, &unmapped) != S_OK) return unmap(address);
  return unmapped;
}

}  // namespace

gsl::span<const ThunkRow> MappedRows() noexcept {
  static constexpr std::array kRows = {
      Win32Row<&CreateFileMappingW>("CreateFileMappingW"),
      Win32Row<&CreateFileMappingA>("CreateFileMappingA"),
      Win32Row<&CloseHandle>("CloseHandle"),
      Win32Row<&MapViewOfFile>("MapViewOfFile"),
      Win32Row<&MapViewOfFileEx>("MapViewOfFileEx"),
      Win32Row<&UnmapViewOfFile>("UnmapViewOfFile"),
  };
  return kRows;
}

}  // namespace clr_host_memory::thunks
