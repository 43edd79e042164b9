// Fills ClrHostMemoryStatistics from the manager's components.
#ifndef CLRHM_COM_STATISTICS_H
#define CLRHM_COM_STATISTICS_H

#include <clr_host_memory/memory_manager_abi.h>

#include "com/call_counters.h"
#include "com/notifier.h"
#include "engine/engine.h"

namespace clr_host_memory {

// Returns every field but size. First uncharges memory that was freed elsewhere.
[[nodiscard]] ClrHostMemoryStatistics ReadStatistics(Engine& engine, const CallCounters& counters,
                                                     const Notifier& notifier) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_STATISTICS_H
