// ClrHostMemoryOptions, checked and in the manager's own terms.
#ifndef CLRHM_COM_OPTIONS_H
#define CLRHM_COM_OPTIONS_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>

#include "base/time.h"
#include "notify/monitor.h"
#include "policy/admission.h"
#include "policy/pressure.h"

namespace clr_host_memory {

inline constexpr std::uint64_t kLeastLimit = 64 * 1024;        // bytes: the least that Windows reserves
inline constexpr std::uint32_t kLongestWait = 60 * 60 * 1000;  // milliseconds
inline constexpr std::uint32_t kLongestSampling = 60 * 1000;   // milliseconds
inline constexpr std::uint32_t kShortestThrashWindow = 1000;   // milliseconds: in a quarter of it there are two rounds
inline constexpr std::uint32_t kLongestThrashWindow = 60 * 60 * 1000;  // milliseconds

struct ManagerSettings {
  Limits limits;
  Monitor::Settings monitor;
  Milliseconds sampling{};
  Bytes emergency_reserve;
  Bytes address_space_reserve;
  bool let_start = false;      // process-critical requests are not held to the limit until it is set again
  bool share_reserve = false;  // the emergency reserve is for every level
  std::array<std::uint32_t, kClrHostMemoryLevelCount> wait_ms{};
};

// Each reads no further than options.size. Each sets *reason to null, or to a sentence that names the field that is
// wrong and says what to change.
[[nodiscard]] ManagerSettings SettingsOf(const ClrHostMemoryOptions& options, const char** reason) noexcept;
[[nodiscard]] Limits LimitsOf(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom,
                              const char** reason) noexcept;
[[nodiscard]] PressureThresholds ThresholdsOf(const ClrHostMemoryThresholds& thresholds, const char** reason) noexcept;

[[nodiscard]] ThrashSettings ThrashSettingsOf(uint32_t window_ms, uint32_t refusals, const char** reason) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_OPTIONS_H
