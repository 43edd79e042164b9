// Reports modules that are loaded, by any code. The OS reports a load under the loader lock, where attaching is
// impossible. By the OS's documentation the module's imports are not resolved yet; current loaders resolve them before.
// So a second report follows on the watch's own thread.
#ifndef CLRHM_BRIDGE_PATCH_LOAD_WATCH_H
#define CLRHM_BRIDGE_PATCH_LOAD_WATCH_H

#include <windows.h>

#include <string>
#include <string_view>

namespace clr_host_memory {

// The functions that a watch calls. wanted(file name, module) is called under the loader lock for each module, before
// its code runs. It must take no lock that is held while modules are loaded. attend() is called on the watch's thread
// after a module that was wanted.
struct LoadWatchCalls {
  bool (*wanted)(std::wstring_view file_name, HMODULE module) noexcept;
  void (*attend)() noexcept;
};

// Starts the watch of the process. S_OK also if it runs already. HRESULT_FROM_WIN32: no thread could be created, or
// the OS does not report loads.
[[nodiscard]] HRESULT StartLoadWatch(const LoadWatchCalls& calls, std::string* reason) noexcept;
// Stops the watch if needed() returns false; no StartLoadWatch runs between that check and the stop. Once it has
// stopped, neither function is called. Must not be called under the loader lock. Idempotent.
void StopLoadWatchUnless(bool (*needed)() noexcept) noexcept;

// Returns a reference to the module whose path is path, for FreeLibrary; null if it is not loaded. Waits until the
// thread that loads it has finished. Never loads a module itself.
[[nodiscard]] HMODULE HoldWhenLoaded(const std::wstring& path) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_LOAD_WATCH_H
