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

// Returns the range for a GC with its own limit that will be raised: the GC's own choice at least.
[[nodiscard]] constexpr std::uint64_t RegionRangeOfLimit(std::uint64_t gc_limit,
                                                         std::uint64_t physical_memory) noexcept {
  return std::max(5 * gc_limit, RegionRange(physical_memory));
}

// The runtime property for the size of a region, bytes. A GC derives it from its range. In the larger range it would
// take regions of 4 MiB, of which a small heap has too few (docs/decisions/0006).
inline constexpr char kRegionSizeProperty[] = "System.GC.RegionSize";
// Returns the size that a GC with a limit takes by itself in its own range, which is five times the limit. The initial
// regions of a heap, 19 in all, then fit into half of the range. A server GC's heaps differ in size, so it takes half
// of that.
[[nodiscard]] constexpr std::uint64_t RegionSizeOfLimit(std::uint64_t gc_limit, std::uint64_t heaps) noexcept {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const std::uint64_t most = 5 * gc_limit / 2 / 19 / heaps / (heaps > 1 ? 2 : 1);
  return most >= 4 * kMiB ? 4 * kMiB : most >= 2 * kMiB ? 2 * kMiB : kMiB;
}

// The runtime property for the GC's own limit, in bytes, on what it commits. With it the GC collects and decommits in
// time. Without it, a GC that is only refused asks for new regions and throws (docs/decisions/0011). Only the companion
// can change it later.
inline constexpr char kHardLimitProperty[] = "System.GC.HeapHardLimit";

// The runtime property for managed code that looks for its manager: "<process id>:0x<address>" of the manager's
// IClrHostMemoryControl, in hexadecimal digits (src/client). The process's id makes a copy in a child process harmless.
inline constexpr char kControlProperty[] = "CLR_HOST_MEMORY_CONTROL";

// Returns the properties to pass in addition to the given ones, as IClrHostMemoryBridge::GetStartProperties specifies;
// leaves size and version 0. Asks the currently bridged manager what it reports about the machine. If it adds
// kControlProperty, the process keeps a reference to the manager until it ends. *start_limit receives the limit that
// the GC starts with, bytes: UINT64_MAX: none; 0: a companion must not change it.
[[nodiscard]] ClrHostMemoryStartProperties AddedStartProperties(std::uint32_t count, const char* const* keys,
                                                                const char* const* values, std::uint64_t gc_hard_limit,
                                                                std::uint64_t* start_limit) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_START_PROPERTIES_H
