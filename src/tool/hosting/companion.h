// Whether the companion of the run changes the limit of the GC (docs/tool.md, The GC's limit).
#ifndef CLRHM_TOOL_HOSTING_COMPANION_H
#define CLRHM_TOOL_HOSTING_COMPANION_H

#include "tool/command_line/policy_options.h"
#include "tool/report/summary.h"

#include <clr_host_memory/core_clr_bridge.h>

#include <cstddef>

namespace clr_host_memory::tool {

// Returns the limit that the GC of a bridged runtime starts with, and whether the companion changes it. keys, values:
// all properties that the runtime receives; added: those of them that the bridge added.
[[nodiscard]] GcLimitFigures GcLimitFiguresOf(const PolicyOptions& policy, std::size_t count, const char* const* keys,
                                              const char* const* values, const ClrHostMemoryStartProperties& added);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_COMPANION_H
