// Memory as a CLR is to see the machine: what the OS, a job and the limit leave together, and each of them by itself
// for the pressure machine. Pure: numbers in, numbers out.
#ifndef CLRHM_POLICY_MEMORY_STATUS_H
#define CLRHM_POLICY_MEMORY_STATUS_H

#include <array>
#include <cstdint>

#include "base/units.h"
#include "os/memory_system.h"
#include "policy/pressure.h"

namespace clr_host_memory {

// How the limit stands. What counts against it may be more than it: it was lowered, or the process grew.
struct LimitUse {
  Bytes limit = kUnlimited;  // the whole of it
  Bytes charged;
  Bytes outside;        // what else counts against it
  Bytes headroom = {};  // of the limit, out of reach for task-critical requests, which a heap grows by
};

[[nodiscard]] constexpr Bytes InUse(const LimitUse& use) {
  return {use.charged > kUnlimited - use.outside ? kUnlimited : use.charged + use.outside};
}
// What is in use above the limit; 0 while it fits.
[[nodiscard]] constexpr Bytes OverLimit(const LimitUse& use) {
  return use.limit == kUnlimited || InUse(use) <= use.limit ? Bytes{} : InUse(use) - use.limit;
}

// Bounds are the limit, the job's, the machine's commit limit and physical memory; one the OS does not tell is none.
struct MemoryStatus {
  std::uint32_t percent_in_use = 0;  // 0 to 100, of the bound that is used most; rounded down. Of the limit: of what is
                                     // in reach for task-critical requests, as is what is available
  Bytes total_physical;              // the least of limit, job and physical memory
  Bytes available_physical;          // the least that any bound leaves
  Bytes total_commit;                // the least of limit, job and commit limit; kUnlimited where none is known
  Bytes available_commit;            // the least that they leave
};
[[nodiscard]] MemoryStatus StatusOf(const MemoryLoad& load, const LimitUse& use);

// Limit, job, physical memory, commit limit, for Pressure.
using PressureSources = std::array<PressureSource, 4>;
[[nodiscard]] PressureSources SourcesOf(const MemoryLoad& load, const LimitUse& use);

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_MEMORY_STATUS_H
