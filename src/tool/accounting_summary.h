// The accounting report in the summary (--accounting).
#ifndef CLRHM_TOOL_ACCOUNTING_SUMMARY_H
#define CLRHM_TOOL_ACCOUNTING_SUMMARY_H

#include "tool/accounting.h"
#include "tool/summary_table.h"

namespace clr_host_memory::tool {

void AddAccounting(Table& table, const Accounting& accounting);
[[nodiscard]] Json AccountingJson(const Accounting& accounting);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_ACCOUNTING_SUMMARY_H
