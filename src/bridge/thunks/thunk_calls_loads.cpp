#include "bridge/module_registry.h"
#include "bridge/thunks/thunk_calls.h"
#include "bridge/thunks/thunk_support.h"

namespace clr_host_memory::thunks {
namespace {

// load is the original function, bound to its arguments. It may run for a long time, so it runs outside the scope.
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
    AttachLoaded(module.index, loaded);
  }
  return loaded;
}

}  // namespace

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
  return LoadThrough(module, BridgedFunction::kLoadLibraryW, 0,
                     [&] { return Original<decltype(::LoadLibraryW)>(module, BridgedFunction::kLoadLibraryW)(name); });
}

HMODULE LoadLibraryA(ThunkModule& module, LPCSTR name) noexcept {
  return LoadThrough(module, BridgedFunction::kLoadLibraryA, 0,
                     [&] { return Original<decltype(::LoadLibraryA)>(module, BridgedFunction::kLoadLibraryA)(name); });
}

}  // namespace clr_host_memory::thunks
