// The properties that a bridged runtime is to start with.
#ifndef CLRHM_BRIDGE_START_START_PROPERTIES_H
#define CLRHM_BRIDGE_START_START_PROPERTIES_H

#include <clr_host_memory/clr_host_memory.h>

#include <algorithm>
#include <cstdint>

namespace clr_host_memory {

// The runtime property for the address space that the GC's regions are to come from, in bytes. Without it the
// workstation GC of .NET 10 takes twice the memory it is told of when it starts: too little to start with under limits
// below 10 MiB, and then no limit could be raised to more than that (docs/decisions/0006). A server GC takes 256 GiB at
// least, a GC with a limit of its own five times that; 32-bit runtimes have no regions and do not look.
inline constexpr char kRegionRangeProperty[] = "System.GC.RegionRange";
// What that GC takes on a machine of physical_memory bytes.
[[nodiscard]] constexpr std::uint64_t RegionRange(std::uint64_t physical_memory) noexcept {
  return std::min(2 * physical_memory, std::uint64_t{256} << 30);
}

// The runtime property for the GC's own limit, in bytes, on what it commits: it then collects and gives back in time,
// where a GC that is only refused asks for new regions and throws (docs/decisions/0011). It cannot be changed later.
inline constexpr char kHardLimitProperty[] = "System.GC.HeapHardLimit";

// What is to be passed besides the given properties, as IClrHostMemoryBridge::GetStartProperties has it; size and
// version are left 0. The manager that is bridged now is asked what it tells of the machine.
[[nodiscard]] ClrHostMemoryStartProperties AddedStartProperties(std::uint32_t count, const char* const* keys,
                                                                const char* const* values,
                                                                std::uint64_t gc_hard_limit) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_START_PROPERTIES_H
