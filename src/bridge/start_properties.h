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
// least, a GC with a limit of its own five times that; 32-bit runtimes have no regions and do not look.
inline constexpr char kRegionRangeProperty[] = "System.GC.RegionRange";
// What that GC takes on a machine of physical_memory bytes.
[[nodiscard]] constexpr std::uint64_t RegionRange(std::uint64_t physical_memory) noexcept {
  return std::min(2 * physical_memory, std::uint64_t{256} << 30);
}

// The runtime property for the GC's own limit, in bytes, on what it commits: it then collects and gives back in time,
// where a GC that is only refused asks for new regions and throws (docs/decisions/0011). It cannot be changed later.
inline constexpr char kHardLimitProperty[] = "System.GC.HeapHardLimit";

// Those given, and besides
// - kRegionRangeProperty, when the runtime is told of less memory than the machine has, unless it is among them, or
//   a server GC or large pages are chosen, or the GC has a limit of its own;
// - kHardLimitProperty, when there is one, unless the program or its environment has a limit for the GC of its own.
// Without memory for them, just those given. To be made once the bridge is attached, on the thread that starts the
// runtime; what was given outlives it.
class StartProperties {
 public:
  // client: of the manager, used here only; null: the one that this copy of the library has bridged. gc_hard_limit: bytes;
  // 0: none.
  StartProperties(int count, const char** keys, const char** values, IClrHostMemoryClient* client,
                  std::uint64_t gc_hard_limit = 0) noexcept;
  StartProperties(const StartProperties&) = delete;
  StartProperties& operator=(const StartProperties&) = delete;

  [[nodiscard]] int count() const noexcept { return count_; }
  [[nodiscard]] const char** keys() const noexcept { return keys_; }
  [[nodiscard]] const char** values() const noexcept { return values_; }

 private:
  using Digits = std::array<char, 24>;
  void Add(const char* key, std::uint64_t value, Digits* digits) noexcept;

  int count_;
  const char** keys_;
  const char** values_;
  std::unique_ptr<const char*[]> own_;
  Digits range_{};
  Digits hard_limit_{};
};

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_START_PROPERTIES_H
