// The policy's part of the summary: the limit and its changes, headroom, reserve, waits, pressure, what was outside.
#ifndef CLRHM_TOOL_REPORT_POLICY_SUMMARY_H
#define CLRHM_TOOL_REPORT_POLICY_SUMMARY_H

#include "tool/report/summary.h"
#include "tool/report/summary_table.h"

namespace clr_host_memory::tool {

// The limit, and what is a part of it.
void AddLimit(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);
// The rest, as far as it was asked for or has happened.
void AddPolicy(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);

void AddPolicy(Json& json, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_POLICY_SUMMARY_H
