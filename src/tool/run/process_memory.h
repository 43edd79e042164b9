// Reads this process's memory as the OS shows it, for memory_breakdown.h.
#ifndef CLRHM_TOOL_RUN_PROCESS_MEMORY_H
#define CLRHM_TOOL_RUN_PROCESS_MEMORY_H

#include "tool/run/memory_breakdown.h"

#include <clr_host_memory/memory_manager.h>

#include <cstdint>

namespace clr_host_memory::tool {

// The OS's figure for what this process has committed, including memory that the manager does not see.
struct ProcessCommit {
  std::uint64_t bytes = 0;  // 0 if the OS does not report it
  const char* figure = "";  // "PrivateUsage", or "PagefileUsage" where the OS sets only that (Wine)
};
[[nodiscard]] ProcessCommit ReadProcessCommit() noexcept;

// Walks the whole address space with VirtualQuery and breaks it down. Takes some milliseconds where hundreds of GiB
// are reserved. Takes only the loader's lock and the process heap's lock, so it may be called while threads hang in
// the manager. Concurrent calls blur the result: memory committed or freed during the walk appears in `unexplained`.
// `statistics` are the manager's, read just before, so that they equal the figures beside the breakdown.
// Throws std::bad_alloc.
[[nodiscard]] MemoryBreakdown BreakDownProcess(const MemoryManager& manager, const ClrHostMemoryStatistics& statistics);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_PROCESS_MEMORY_H
