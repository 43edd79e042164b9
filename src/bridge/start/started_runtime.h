// Deduces from the loaded modules whether a CoreCLR has started (docs/decisions/0012), and its version.
#ifndef CLRHM_BRIDGE_START_STARTED_RUNTIME_H
#define CLRHM_BRIDGE_START_STARTED_RUNTIME_H

#include <windows.h>

namespace clr_host_memory {

// Returns whether the runtime of coreclr, a loaded coreclr.dll, has begun to start. The sign is that its core library,
// System.Private.CoreLib.dll, is loaded; the GC exists by then. A core library in the folder of another loaded
// coreclr.dll belongs to that coreclr.dll. Takes the loader lock. Throws std::bad_alloc.
[[nodiscard]] bool HasBegunToStart(HMODULE coreclr);

// Returns whether module, which a runtime has loaded as code, is an assembly other than the core library. The first
// such assembly is loaded after coreclr_initialize, which runs only code of the core library. Throws std::bad_alloc.
[[nodiscard]] bool IsAssemblyOfProgram(HMODULE module);

// Returns the major version of a module's file, 8 for .NET 8's coreclr.dll; 0: its file lacks a version.
// module must be loaded.
[[nodiscard]] unsigned MajorVersionOf(HMODULE module) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_STARTED_RUNTIME_H
