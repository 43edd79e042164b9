// Detects the runtime's start when hostfxr and hostpolicy host it. hostpolicy.dll asks GetProcAddress for
// coreclr_initialize. It receives a function that calls coreclr_initialize and then notifies the bridge and clrmem.
#ifndef CLRHM_TOOL_HOSTING_RUNTIME_START_H
#define CLRHM_TOOL_HOSTING_RUNTIME_START_H

#include <clr_host_memory/core_clr_bridge.h>

#include <functional>
#include <optional>
#include <string>

namespace clr_host_memory::tool {

// Called once the runtime has started, before managed code begins. If it returns a failure, managed code does not
// begin. It must not throw.
using RuntimeStarted = std::function<HRESULT()>;

// Returns the properties to start the runtime with, given those of hostpolicy. It may throw std::bad_alloc only.
using MakeStartProperties =
    std::function<StartProperties(int count, const char* const* keys, const char* const* values)>;

// Redirects hostpolicy's import of GetProcAddress to the watch. Holds a reference to hostpolicy and bridge until
// StopWatchingRuntimeStart. A process can have one watch at a time, since the intermediate functions are plain
// functions. Both functions must be called by one thread at a time.
//
// The runtime receives the properties that make_properties returns; if that is empty, its own and those that the
// bridge's GetStartProperties adds without a GC limit. After the start calls started, unless it is empty, and then the
// bridge's NoteRuntimeStarted.
//
// If the runtime about to start is not one of bridge's modules, it is not started, since no limit would hold. Then
// coreclr_initialize returns HOST_E_CLRNOTAVAILABLE, and IClrHostMemoryBridge::VerifyCallsArrive gives the reason. If
// started fails, coreclr_initialize returns that failure.
//
// Returns:
// - S_OK
// - E_POINTER: bridge is null.
// - E_INVALIDARG: hostpolicy is not a module or does not import GetProcAddress by name.
// - HOST_E_INVALIDOPERATION: there is a watch already.
// - Otherwise the results of ImportPatch::Apply.
[[nodiscard]] HRESULT WatchRuntimeStart(HMODULE hostpolicy, IClrHostMemoryBridge* bridge, std::string* reason,
                                        MakeStartProperties make_properties = {}, RuntimeStarted started = {}) noexcept;

// Restores the import; idempotent. Must not be called while hostpolicy starts the runtime on another thread.
void StopWatchingRuntimeStart() noexcept;

// Returns the result of coreclr_initialize under the last watch; negative for a failure. nullopt: it has not returned,
// or was never called.
[[nodiscard]] std::optional<HRESULT> RuntimeStartResult() noexcept;

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_RUNTIME_START_H
