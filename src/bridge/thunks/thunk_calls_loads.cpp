#include <array>

#include "bridge/late_modules.h"
#include "bridge/thunks/thunk_support.h"
#include "bridge/thunks/thunk_table.h"

namespace clr_host_memory::thunks {
namespace {

// Loads a module. A standalone GC becomes a bridged module, and so do modules whose names were requested
// (late_modules.h). The original function may run for a long time, so it runs outside the scope.
template <typename Function, typename... Arguments>
HMODULE LoadThrough(Thunk<Function>& thunk, DWORD flags, Arguments... arguments) noexcept {
  const bool bridged = [&] {
    const CallScope scope;
    return thunk.Count(scope) != nullptr;
  }();
  const HMODULE loaded = thunk.Original()(arguments...);
  constexpr DWORD kNotAsCode = LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_DATAFILE_EXCLUSIVE |
                               LOAD_LIBRARY_AS_IMAGE_RESOURCE | DONT_RESOLVE_DLL_REFERENCES;
  if (bridged && loaded != nullptr && (flags & kNotAsCode) == 0) {
    const KeptLastError kept;
    AttachLoaded(thunk.module.index, loaded);
  }
  return loaded;
}

HMODULE LoadLibraryExW(Thunk<decltype(::LoadLibraryExW)>& thunk, LPCWSTR name, HANDLE file, DWORD flags) noexcept {
  return LoadThrough(thunk, flags, name, file, flags);
}

HMODULE LoadLibraryExA(Thunk<decltype(::LoadLibraryExA)>& thunk, LPCSTR name, HANDLE file, DWORD flags) noexcept {
  return LoadThrough(thunk, flags, name, file, flags);
}

HMODULE LoadLibraryW(Thunk<decltype(::LoadLibraryW)>& thunk, LPCWSTR name) noexcept {
  return LoadThrough(thunk, 0, name);
}

HMODULE LoadLibraryA(Thunk<decltype(::LoadLibraryA)>& thunk, LPCSTR name) noexcept {
  return LoadThrough(thunk, 0, name);
}

}  // namespace

gsl::span<const ThunkRow> LoadRows() noexcept {
  static constexpr std::array kRows = {
      Win32Row<&LoadLibraryExW>("LoadLibraryExW"),
      Win32Row<&LoadLibraryExA>("LoadLibraryExA"),
      Win32Row<&LoadLibraryW>("LoadLibraryW"),
      Win32Row<&LoadLibraryA>("LoadLibraryA"),
  };
  return kRows;
}

}  // namespace clr_host_memory::thunks
