// The accounting part of the summary (--accounting).
#ifndef CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H
#define CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H

#include "tool/report/summary_table.h"
#include "tool/run/memory_breakdown.h"

namespace clr_host_memory::tool {

void AddBreakdown(Table& table, const MemoryBreakdown& accounting);
[[nodiscard]] Json BreakdownJson(const MemoryBreakdown& accounting);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H
