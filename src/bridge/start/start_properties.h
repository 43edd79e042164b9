// The properties that a bridged runtime must start with.
#ifndef CLRHM_BRIDGE_START_START_PROPERTIES_H
#define CLRHM_BRIDGE_START_START_PROPERTIES_H

#include <clr_host_memory/bridge_abi.h>

#include <algorithm>
#include <cstdint>

namespace clr_host_memory {

// The runtime property for the address space that the GC's regions come from, in bytes. Without it the workstation GC
// of .NET 10 takes twice the memory that the machine reports when the GC starts. Under limits below 10 MiB that is too
// little to start with, and the limit could never be raised above that size (docs/decisions/0006). A server GC takes
// at least 256 GiB, and a GC with its own limit takes five times that. 32-bit runtimes have no regions and ignore the
// property.
inline constexpr char kRegionRangeProperty[] = "System.GC.RegionRange";
// Returns the range that this GC takes on a machine with physical_memory bytes.
[[nodiscard]] constexpr std::uint64_t RegionRange(std::uint64_t physical_memory) noexcept {
  return std::min(2 * physical_memory, std::uint64_t{256} << 30);
}

// The runtime property for the GC's own limit, in bytes, on what it commits. With it the GC collects and decommits in
// time. Without it, a GC that is only refused asks for new regions and throws (docs/decisions/0011). It cannot be
// changed later.
inline constexpr char kHardLimitProperty[] = "System.GC.HeapHardLimit";

// The properties for the companion, as IClrHostMemoryBridge::GetStartProperties specifies.
inline constexpr char kControlProperty[] = "ClrHostMemory.Control";
inline constexpr char kFollowProperty[] = "ClrHostMemory.FollowGcLimit";

// Returns the properties to pass in addition to the given ones, as IClrHostMemoryBridge::GetStartProperties specifies;
// leaves size and version 0. Asks the currently bridged manager what it reports about the machine.
[[nodiscard]] ClrHostMemoryStartProperties AddedStartProperties(std::uint32_t count, const char* const* keys,
                                                                const char* const* values,
                                                                std::uint64_t gc_hard_limit) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_START_PROPERTIES_H
