// The properties that a bridged runtime is to start with.
#ifndef CLRHM_BRIDGE_START_PROPERTIES_H
#define CLRHM_BRIDGE_START_PROPERTIES_H

#include <clr_host_memory/clr_host_memory.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

namespace clr_host_memory::bridge {

// The runtime property for the address space that the GC's regions are to come from, in bytes. Without it the
// workstation GC of .NET 10 takes twice the memory it is told of when it starts: too little to start with under limits
// below 10 MiB, and then no limit could be raised to more than that (docs/decisions/0006). A server GC takes 256 GiB at
// least; 32-bit runtimes have no regions and do not look.
inline constexpr char kRegionRangeProperty[] = "System.GC.RegionRange";
// What that GC takes on a machine of physical_memory bytes.
[[nodiscard]] constexpr std::uint64_t RegionRange(std::uint64_t physical_memory) noexcept {
  return std::min(2 * physical_memory, std::uint64_t{256} << 30);
}

// Those given, and kRegionRangeProperty when the runtime is told of less memory than the machine has, unless it is among
// them or a server GC is chosen. Without memory for it, just those given. To be made once the bridge is attached, on the
// thread that starts the runtime; what was given outlives it.
class StartProperties {
 public:
  // client: of the manager, used here only; null: the one that this copy of the library has bridged.
  StartProperties(int count, const char** keys, const char** values, IClrHostMemoryClient* client) noexcept;
  StartProperties(const StartProperties&) = delete;
  StartProperties& operator=(const StartProperties&) = delete;

  [[nodiscard]] int count() const noexcept { return count_; }
  [[nodiscard]] const char** keys() const noexcept { return keys_; }
  [[nodiscard]] const char** values() const noexcept { return values_; }

 private:
  int count_;
  const char** keys_;
  const char** values_;
  std::unique_ptr<const char*[]> own_;
  std::array<char, 24> range_{};
};

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_START_PROPERTIES_H
