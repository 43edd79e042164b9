// The memory figures that a CLR receives: what the OS, a job and the limit leave together. Also each bound
// separately, for the pressure machine. Pure: numbers in, numbers out.
#ifndef CLRHM_POLICY_MEMORY_STATUS_H
#define CLRHM_POLICY_MEMORY_STATUS_H

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/units.h"
#include "os/memory_system.h"
#include "policy/pressure.h"

namespace clr_host_memory {

// The use of the limit. The bytes that count against it may exceed it, if it was lowered or the process grew.
struct LimitUse {
  Bytes limit = kUnlimited;  // the whole limit
  Bytes charged;
  Bytes outside;        // uncharged bytes that count against the limit
  Bytes headroom = {};  // part of the limit that task-critical requests, by which a heap grows, cannot use
  Bytes held = {};      // committed headroom
};

// Returns the bytes in use, without the committed headroom.
[[nodiscard]] constexpr Bytes InUse(const LimitUse& use) {
  return {use.charged > kUnlimited - use.outside ? kUnlimited : use.charged + use.outside};
}
// Returns by how much the bytes in use and the committed headroom exceed the limit; 0 while they fit.
[[nodiscard]] constexpr Bytes OverLimit(const LimitUse& use) {
  const Bytes all = InUse(use) + std::min(use.held, kUnlimited - InUse(use));
  return use.limit == kUnlimited || all <= use.limit ? Bytes{} : all - use.limit;
}

// The memory figures under all bounds: limit, job, the machine's commit limit, physical memory. A bound that the OS
// does not report is none.
struct MemoryStatus {
  // 0 to 100, of the bound that is used most; rounded down. For the limit, this and the available bytes count only what
  // task-critical requests can use.
  std::uint32_t percent_in_use = 0;
  Bytes total_physical;      // the least of limit, job and physical memory
  Bytes available_physical;  // the least that any bound leaves
  Bytes total_commit;        // the least of limit, job and commit limit; kUnlimited if none is known
  Bytes available_commit;    // the least that these bounds leave
};
[[nodiscard]] MemoryStatus StatusOf(const MemoryLoad& load, const LimitUse& use);

// The bounds for Pressure, in this order: limit, job, physical memory, commit limit.
using PressureSources = std::array<PressureSource, 4>;
[[nodiscard]] PressureSources SourcesOf(const MemoryLoad& load, const LimitUse& use);

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_MEMORY_STATUS_H
