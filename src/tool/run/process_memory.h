// This process's memory as the OS shows it, for accounting.h.
#ifndef CLRHM_TOOL_RUN_PROCESS_MEMORY_H
#define CLRHM_TOOL_RUN_PROCESS_MEMORY_H

#include "tool/run/memory_breakdown.h"

#include <clr_host_memory/memory_manager.h>

namespace clr_host_memory::tool {

// Walks the whole address space with VirtualQuery: some milliseconds where hundreds of GiB are reserved. Takes no lock
// but the loader's and the process heap's, so that it may be called while threads hang in the manager. Calls that run
// meanwhile blur it: what they commit or free between two looks is in `unexplained`. Throws std::bad_alloc.
[[nodiscard]] MemoryBreakdown BreakDownProcess(const MemoryManager& manager);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_PROCESS_MEMORY_H
