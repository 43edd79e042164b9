// The companion of the run: where it is, and whether it changes the limit of the GC (docs/tool.md, The GC's limit).
#ifndef CLRHM_TOOL_HOSTING_COMPANION_H
#define CLRHM_TOOL_HOSTING_COMPANION_H

#include "tool/command_line/policy_options.h"
#include "tool/report/summary.h"

#include <clr_host_memory/core_clr_bridge.h>

#include <string>

namespace clr_host_memory::tool {

// Returns the companion's file beside clrmem.exe, in UTF-8; empty: there is none that a runtime could load.
[[nodiscard]] std::string CompanionFile();

// Returns the properties to start a bridged runtime with, and in *figures the limit that its GC starts with and whether
// the companion changes it. companion: the result of CompanionFile. Throws std::bad_alloc.
[[nodiscard]] StartProperties PropertiesWithCompanion(const CoreClrBridge& bridge, const PolicyOptions& policy,
                                                      const std::string& companion, int count, const char* const* keys,
                                                      const char* const* values, GcLimitFigures* figures);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_COMPANION_H
