// The accounting report in the summary (--accounting).
#ifndef CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H
#define CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H

#include "tool/report/summary_table.h"
#include "tool/run/memory_breakdown.h"

namespace clr_host_memory::tool {

void AddAccounting(Table& table, const Accounting& accounting);
[[nodiscard]] Json AccountingJson(const Accounting& accounting);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_BREAKDOWN_SUMMARY_H
