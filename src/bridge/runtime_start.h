// Sees the runtime start when hostfxr and hostpolicy host it: hostpolicy.dll asks GetProcAddress for coreclr_initialize, and
// is given a function that calls it and then tells the bridge.
#ifndef CLRHM_BRIDGE_RUNTIME_START_H
#define CLRHM_BRIDGE_RUNTIME_START_H

#include <clr_host_memory/clr_host_memory.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

namespace clr_host_memory::bridge {

// The runtime property for the address space that the GC's regions are to come from, in bytes. Without it the
// workstation GC of .NET 10 takes twice the memory it is told of when it starts: too little to start with under limits
// below 10 MiB, and then no limit could be raised to more than that (docs/decisions/0006). A server GC takes 256 GiB at
// least; 32-bit runtimes have no regions and do not look.
inline constexpr char kRegionRangeProperty[] = "System.GC.RegionRange";
// What that GC takes on a machine of physical_memory bytes.
[[nodiscard]] constexpr std::uint64_t RegionRange(std::uint64_t physical_memory) noexcept {
  return std::min(2 * physical_memory, std::uint64_t{256} << 30);
}

// Points hostpolicy's import of GetProcAddress at the watch, and holds a reference to hostpolicy and bridge until
// StopWatchingRuntimeStart. One at a time in a process, since the functions in between are plain ones.
//
// A runtime that is told of less memory than the machine has gets kRegionRangeProperty besides its own properties,
// unless it has it or is to have a server GC.
//
// When the runtime that is about to start is not one of bridge's modules it is not started: coreclr_initialize answers
// HOST_E_CLRNOTAVAILABLE, for no limit would hold; IClrHostMemoryBridge::VerifyCallsArrive has the sentence for it.
// S_OK; E_POINTER: bridge is null; E_INVALIDARG: hostpolicy is no module or does not import GetProcAddress by name;
// HOST_E_INVALIDOPERATION: there is a watch already; otherwise as ImportPatch::Apply.
[[nodiscard]] HRESULT WatchRuntimeStart(HMODULE hostpolicy, IClrHostMemoryBridge* bridge, std::string* reason) noexcept;

// Restores the import; idempotent. Not while hostpolicy is starting the runtime on another thread.
void StopWatchingRuntimeStart() noexcept;

// What coreclr_initialize answered under the last watch, negative for a failure; nullopt: it has not returned, or was
// never called.
[[nodiscard]] std::optional<HRESULT> RuntimeStartResult() noexcept;

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_RUNTIME_START_H
