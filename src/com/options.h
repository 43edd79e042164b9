// Checks ClrHostMemoryOptions and converts them to the manager's internal types.
#ifndef CLRHM_COM_OPTIONS_H
#define CLRHM_COM_OPTIONS_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>

#include "base/time.h"
#include "notify/monitor.h"
#include "policy/admission.h"
#include "policy/pressure.h"

namespace clr_host_memory {

inline constexpr std::uint64_t kLeastLimit = 64 * 1024;                // bytes: the smallest reservation of Windows
inline constexpr std::uint32_t kLongestWait = 60 * 60 * 1000;          // milliseconds
inline constexpr std::uint32_t kLongestSampling = 60 * 1000;           // milliseconds
inline constexpr std::uint32_t kShortestThrashWindow = 1000;           // milliseconds: a quarter of it has two rounds
inline constexpr std::uint32_t kLongestThrashWindow = 60 * 60 * 1000;  // milliseconds

struct ManagerSettings {
  Limits limits;
  std::uint64_t app_domain_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;  // as given
  std::uint64_t process_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  Monitor::Settings monitor;
  Milliseconds sampling{};
  Bytes address_space_reserve;
  std::array<std::uint32_t, kClrHostMemoryLevelCount> wait_ms{};
};

// Each function checks its arguments and converts them. SettingsOf reads no further than options.size. If an argument
// is wrong, sets *reason to a sentence that names the field and the correction. Otherwise sets *reason to null.
[[nodiscard]] ManagerSettings SettingsOf(const ClrHostMemoryOptions& options, const char** reason) noexcept;
[[nodiscard]] Limits LimitsOf(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom,
                              const char** reason, uint64_t committed_headroom = 0) noexcept;
[[nodiscard]] PressureThresholds ThresholdsOf(const ClrHostMemoryThresholds& thresholds, const char** reason) noexcept;

[[nodiscard]] ThrashSettings ThrashSettingsOf(uint32_t window_ms, uint32_t refusals, const char** reason) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_OPTIONS_H
