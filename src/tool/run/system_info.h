// The memory facts of this machine's OS, for `clrmem info`.
#ifndef CLRHM_TOOL_RUN_SYSTEM_INFO_H
#define CLRHM_TOOL_RUN_SYSTEM_INFO_H

#include <cstdint>
#include <optional>
#include <string>

namespace clr_host_memory::tool {

// Sizes in bytes.
struct SystemInfo {
  std::string windows_version;  // "10.0.19045", and ", Wine 8.0" appended under Wine
  std::uint64_t page_size = 0;
  std::uint64_t allocation_granularity = 0;
  std::uint32_t processors = 0;
  std::uint32_t numa_nodes = 0;
  std::uint64_t physical_memory = 0;
  std::uint64_t physical_available = 0;
  std::uint64_t commit_limit = 0;
  std::uint64_t commit_in_use = 0;
  std::uint64_t address_space = 0;                 // size for this process
  std::uint64_t large_page_minimum = 0;            // 0: none
  std::optional<std::uint64_t> job_process_limit;  // committed memory the job allows this process
  std::optional<std::uint64_t> job_limit;          // committed memory the job allows all of its processes together
};
[[nodiscard]] SystemInfo ReadSystemInfo();
[[nodiscard]] std::string FormatSystemInfo(const SystemInfo& info);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_SYSTEM_INFO_H
