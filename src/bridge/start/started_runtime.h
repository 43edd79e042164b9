// What the loaded modules say of a CoreCLR's start (docs/decisions/0012).
#ifndef CLRHM_BRIDGE_START_STARTED_RUNTIME_H
#define CLRHM_BRIDGE_START_STARTED_RUNTIME_H

#include <windows.h>

namespace clr_host_memory {

// Whether the runtime of coreclr, a loaded coreclr.dll, has begun to start: its core library,
// System.Private.CoreLib.dll, is loaded. The GC is there by then. A core library in the folder of another loaded
// coreclr.dll is that one's. Takes the loader lock. Throws std::bad_alloc.
[[nodiscard]] bool HasBegunToStart(HMODULE coreclr);

// Whether module, which a runtime has loaded as code, is an assembly other than the core library. The first of them is
// loaded after coreclr_initialize, which runs code of the core library alone. Throws std::bad_alloc.
[[nodiscard]] bool IsAssemblyOfProgram(HMODULE module);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_STARTED_RUNTIME_H
