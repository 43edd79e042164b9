// The policy part of the summary: the limit and its changes, headroom, reserve, waits, pressure, and memory outside
// of the manager.
#ifndef CLRHM_TOOL_REPORT_POLICY_SUMMARY_H
#define CLRHM_TOOL_REPORT_POLICY_SUMMARY_H

#include <string>

#include "tool/report/summary.h"
#include "tool/report/summary_table.h"

namespace clr_host_memory::tool {

// Returns what the guard has seen in a window: refused requests, or a GC that collects and gains nearly nothing.
[[nodiscard]] std::string ThrashText(const ThrashFigures& window);

// Adds the limit, its changes, headroom and memory outside of the manager.
void AddLimit(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);
// Adds the rest of the policy, as far as the options requested it or it occurred.
void AddPolicy(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);

void AddPolicy(Json& json, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_POLICY_SUMMARY_H
