// A runtime that is linked into the program's .exe: a single-file program's, or a native AOT one's.
#ifndef CLRHM_BRIDGE_START_LINKED_RUNTIME_H
#define CLRHM_BRIDGE_START_LINKED_RUNTIME_H

#include <windows.h>

#include <array>

namespace clr_host_memory {

// Returns whether module is the program's .exe and contains the runtime: it exports what debuggers look for in such a
// file. A native AOT library exports the same, and is a plug-in.
[[nodiscard]] bool HasLinkedRuntime(HMODULE module) noexcept;

// Returns the file version of a single-file program's runtime: 8, 0, 3326, 52219 is that of .NET 8.0.33. All 0: module
// does not tell it, as a native AOT program.
[[nodiscard]] std::array<int, 4> LinkedRuntimeVersion(HMODULE module) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_LINKED_RUNTIME_H
