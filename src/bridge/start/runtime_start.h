// Sees the runtime start when hostfxr and hostpolicy host it: hostpolicy.dll asks GetProcAddress for
// coreclr_initialize, and is given a function that calls it and then tells the bridge.
#ifndef CLRHM_BRIDGE_START_RUNTIME_START_H
#define CLRHM_BRIDGE_START_RUNTIME_START_H

#include <clr_host_memory/clr_host_memory.h>

#include <cstdint>
#include <optional>
#include <string>

namespace clr_host_memory {

// Points hostpolicy's import of GetProcAddress at the watch, and holds a reference to hostpolicy and bridge until
// StopWatchingRuntimeStart. One at a time in a process, since the functions in between are plain ones.
//
// The runtime gets what the bridge's GetStartProperties adds to its own properties.
//
// When the runtime that is about to start is not one of bridge's modules it is not started: coreclr_initialize answers
// HOST_E_CLRNOTAVAILABLE, for no limit would hold; IClrHostMemoryBridge::VerifyCallsArrive has the sentence for it.
// Likewise when bridge's NoteRuntimeStarted fails: coreclr_initialize answers what it does.
// S_OK; E_POINTER: bridge is null; E_INVALIDARG: hostpolicy is no module or does not import GetProcAddress by name;
// HOST_E_INVALIDOPERATION: there is a watch already; otherwise as ImportPatch::Apply.
// gc_hard_limit: for IClrHostMemoryBridge::GetStartProperties.
[[nodiscard]] HRESULT WatchRuntimeStart(HMODULE hostpolicy, IClrHostMemoryBridge* bridge, std::string* reason,
                                        std::uint64_t gc_hard_limit = 0) noexcept;

// Restores the import; idempotent. Not while hostpolicy is starting the runtime on another thread.
void StopWatchingRuntimeStart() noexcept;

// What coreclr_initialize answered under the last watch, negative for a failure; nullopt: it has not returned, or was
// never called.
[[nodiscard]] std::optional<HRESULT> RuntimeStartResult() noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_RUNTIME_START_H
