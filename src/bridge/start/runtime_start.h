// Bridges the runtime that hostfxr and hostpolicy start (ClrHostMemoryBridgeHostFxr). hostpolicy.dll asks
// GetProcAddress for coreclr_initialize. It receives a function that attaches the bridge to that coreclr.dll, calls
// coreclr_initialize, and finishes the start. hostpolicy.dll itself is found when it is loaded.
#ifndef CLRHM_BRIDGE_START_RUNTIME_START_H
#define CLRHM_BRIDGE_START_RUNTIME_START_H

#include <clr_host_memory/core_clr_bridge.h>

#include <string>
#include <string_view>

namespace clr_host_memory {

// What to do with the runtime that hostpolicy starts.
struct RuntimeStartOrders {
  ComReference<IClrHostMemoryBridge> bridge;  // open; it may have no module yet
  // Attaches bridge to coreclr, which may be attached already, and begins the start. Keeps the reason of a failure for
  // VerifyCallsArrive.
  HRESULT (*attach)(IClrHostMemoryBridge* bridge, HMODULE coreclr) noexcept;
  // Ends a start that has failed.
  void (*abandon)(IClrHostMemoryBridge* bridge) noexcept;
  // Keeps the reason why hostpolicy cannot be watched, until an attach succeeds. May be called under the loader lock.
  void (*fail)(IClrHostMemoryBridge* bridge, std::string reason) noexcept;
  HostFxrOptions options;
};

// Serves the next start by hostpolicy, and each later one until one succeeds. A process can have one watch at a time,
// since the functions that hostpolicy calls are plain functions. Holds a reference to the bridge until then.
// S_OK; E_OUTOFMEMORY; HOST_E_INVALIDOPERATION: there is a watch already; otherwise the results of ImportPatch::Apply
// for a loaded hostpolicy.dll, and of StartLoadWatch.
[[nodiscard]] HRESULT WatchRuntimeStart(RuntimeStartOrders orders, std::string* reason) noexcept;
// Ends the watch of bridge, if there is a watch; idempotent. A start in progress is served to its end. Must not be
// called under the loader lock.
void StopWatchingRuntimeStart(const IClrHostMemoryBridge* bridge) noexcept;

// ---- For late_modules.h. The first two may be called under the loader lock.

// Returns whether a watch waits for hostpolicy.dll.
[[nodiscard]] bool IsRuntimeStartWatched() noexcept;
// Redirects the import of a module that is being loaded, if there is a watch and the module is hostpolicy.dll. Returns
// whether it is.
bool RedirectIfHostPolicy(std::wstring_view file_name, HMODULE module) noexcept;
// Redirects the import of every loaded hostpolicy.dll, if there is a watch: the loader may have reported the module
// before its imports were resolved.
void RedirectLoadedHostPolicies() noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_RUNTIME_START_H
