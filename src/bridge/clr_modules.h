// The modules of a CLR: coreclr.dll, its JIT compiler and its standalone GCs.
#ifndef CLRHM_BRIDGE_CLR_MODULES_H
#define CLRHM_BRIDGE_CLR_MODULES_H

#include <windows.h>

namespace clr_host_memory {

enum class ClrModule { kNone, kRuntime, kJit, kGc };

// Recognises module by its exports, and a GC also by its file name; module may be any value. Throws std::bad_alloc.
[[nodiscard]] ClrModule KindOf(HMODULE module);

// Returns whether the runtime of module has begun to start; module may be any value. Throws std::bad_alloc.
[[nodiscard]] bool IsStartedRuntime(HMODULE module);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_CLR_MODULES_H
