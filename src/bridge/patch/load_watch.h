// Tells of modules that are loaded, whoever loads them, on a thread of its own: the OS says so under the loader lock,
// where nothing can be done about it, and before the module's imports are resolved.
#ifndef CLRHM_BRIDGE_PATCH_LOAD_WATCH_H
#define CLRHM_BRIDGE_PATCH_LOAD_WATCH_H

#include <windows.h>

#include <string>
#include <string_view>

namespace clr_host_memory {

// wanted(file name) is asked under the loader lock, for each module, and takes no lock that is held while modules are
// loaded. attend() is called on the watch's thread after one that was wanted.
struct LoadWatchCalls {
  bool (*wanted)(std::wstring_view file_name) noexcept;
  void (*attend)() noexcept;
};

// One watch for the process. S_OK also when there is one; HRESULT_FROM_WIN32: no thread, or an OS that does not tell.
[[nodiscard]] HRESULT StartLoadWatch(const LoadWatchCalls& calls, std::string* reason) noexcept;
// Stops it if needed() says no, which no StartLoadWatch comes between. When it has stopped neither function is called
// any more. Not under the loader lock. Idempotent.
void StopLoadWatchUnless(bool (*needed)() noexcept) noexcept;

// A reference to the module called path if it is loaded, once whoever loads it has finished; null: it is not. For
// FreeLibrary. It never loads a module by itself.
[[nodiscard]] HMODULE HoldWhenLoaded(const std::wstring& path) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_LOAD_WATCH_H
