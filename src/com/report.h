// The manager's state as text: IClrHostMemoryControl::WriteReport.
#ifndef CLRHM_COM_REPORT_H
#define CLRHM_COM_REPORT_H

#include <clr_host_memory/memory_manager_abi.h>

#include "engine/engine.h"

namespace clr_host_memory {

// The most regions a report lists. The totals count all of them.
inline constexpr std::uint64_t kMostReportedRegions = 256;

// Calls write_line for each line of the report: the statistics, and the engine's regions as they are now. Allocates
// nothing.
void WriteReportLines(const ClrHostMemoryStatistics& statistics, const Engine& engine,
                      ClrHostMemoryReportLine write_line, void* context);

}  // namespace clr_host_memory

#endif  // CLRHM_COM_REPORT_H
