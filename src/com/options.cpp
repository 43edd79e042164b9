#include "com/options.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "budget/headroom_pool.h"

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kPercent = CLR_HOST_MEMORY_PERCENT(0);
constexpr std::uint32_t kNotAPercentage = 101;
constexpr std::uint64_t kLargestSpace = std::uint64_t{1} << 47;  // bytes: no address space is larger

[[nodiscard]] bool IsPercent(uint64_t headroom) {
  return headroom >= kPercent && headroom != CLR_HOST_MEMORY_DEFAULT_HEADROOM;
}
[[nodiscard]] std::uint32_t PercentIn(uint64_t headroom) {
  return static_cast<std::uint32_t>(std::min<uint64_t>(headroom - kPercent, kNotAPercentage));
}

// Returns the headroom in bytes. A percentage without a limit is 0 bytes.
[[nodiscard]] Bytes HeadroomOf(uint64_t headroom, Bytes limit, Bytes by_default) {
  if (headroom == CLR_HOST_MEMORY_DEFAULT_HEADROOM) return by_default;
  if (!IsPercent(headroom)) return {headroom};
  if (limit == kUnlimited) return {};
  const std::uint64_t percent = PercentIn(headroom);
  return {RoundDownToPage(limit.value / 100 * percent + limit.value % 100 * percent / 100)};
}

}  // namespace

Limits LimitsOf(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom, const char** reason,
                uint64_t committed_headroom) noexcept {
  *reason = nullptr;
  if (IsPercent(app_domain_headroom) && PercentIn(app_domain_headroom) > 100) {
    *reason = "app_domain_headroom is above 100 percent: give CLR_HOST_MEMORY_PERCENT(0) to (100)";
  }
  if (IsPercent(process_headroom) && PercentIn(process_headroom) > 100) {
    *reason = "process_headroom is above 100 percent: give CLR_HOST_MEMORY_PERCENT(0) to (100)";
  }
  if (limit != 0 && limit < kLeastLimit) {
    *reason =
        "limit is below 65536 bytes (64 KiB), the smallest reservation: give the bytes the CLR may commit, such as "
        "67108864";
  }
  const Bytes committed = HeadroomPool::SizeFor({std::min(committed_headroom, kLargestSpace)});
  const Headroom defaults = DefaultHeadroom({limit}, committed);
  Limits limits{.limit = {limit},
                .app_domain_headroom = HeadroomOf(app_domain_headroom, {limit}, defaults.app_domain),
                .process_headroom = HeadroomOf(process_headroom, {limit}, defaults.process),
                .committed_headroom = committed};
  limits.last_resort = LastResortOf(limits.process_headroom, committed);
  if (*reason != nullptr) return limits;
  switch (Validate(limits)) {
    case LimitsError::kNone: break;
    case LimitsError::kLimitIsZero:
      *reason = "limit is 0: give the bytes the CLR may commit, or CLR_HOST_MEMORY_NO_LIMIT";
      break;
    case LimitsError::kHeadroomExceedsLimit:
      *reason = "app_domain_headroom and process_headroom add up to more than limit: lower them or raise limit";
      break;
  }
  return limits;
}

PressureThresholds ThresholdsOf(const ClrHostMemoryThresholds& thresholds, const char** reason) noexcept {
  *reason = nullptr;
  const PressureThresholds ours{.enter_low = thresholds.enter_low,
                                .leave_low = thresholds.leave_low,
                                .leave_high = thresholds.leave_high,
                                .enter_high = thresholds.enter_high,
                                .dwell = Milliseconds{thresholds.dwell_ms},
                                .repeat_low = Milliseconds{thresholds.repeat_low_ms}};
  if (ours.enter_low >= ours.leave_low) {
    *reason = "thresholds.enter_low is not below leave_low: leave a gap, so that Low does not begin and end repeatedly";
  } else if (ours.leave_low > ours.leave_high) {
    *reason = "thresholds.leave_low is above leave_high: raise leave_high or lower leave_low";
  } else if (ours.leave_high >= ours.enter_high) {
    *reason =
        "thresholds.leave_high is not below enter_high: leave a gap, so that High does not begin and end repeatedly";
  } else if (ours.enter_high > 100) {
    *reason = "thresholds.enter_high is above 100: give a percentage of available memory, at most 100";
  } else if (ours.repeat_low <= Milliseconds::zero()) {
    *reason = "thresholds.repeat_low_ms is 0: give the milliseconds after which Low is notified again, such as 8192";
  }
  return ours;
}

ThrashSettings ThrashSettingsOf(uint32_t window_ms, uint32_t refusals, const char** reason) noexcept {
  *reason = nullptr;
  if (window_ms != 0 && (window_ms < kShortestThrashWindow || window_ms > kLongestThrashWindow)) {
    *reason =
        "thrash_window_ms is not within 1000 to 3600000: give a few seconds, such as 5000, or 0 to turn the thrash "
        "guard off";
  } else if (refusals == 0) {
    *reason = "thrash_refusals is 0: give the least number of refused requests that shows a spinning CLR, such as 40";
  }
  return {.window = Milliseconds{window_ms}, .refusals = refusals};
}

ManagerSettings SettingsOf(const ClrHostMemoryOptions& given, const char** reason) noexcept {
  ManagerSettings settings;
  *reason = nullptr;
  // The library knows two sizes of the struct. Any other size is of a newer caller with unknown fields.
  constexpr std::size_t kFirstSize = offsetof(ClrHostMemoryOptions, thrash_window_ms);
  if (given.size != kFirstSize && given.size != sizeof(ClrHostMemoryOptions)) {
    *reason =
        "options->size is not a size that this library knows: initialize options with CLR_HOST_MEMORY_OPTIONS_INIT";
    return settings;
  }
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  std::memcpy(&options, &given, given.size);
  if ((options.flags & ~std::uint32_t{kClrHostMemoryCountWholeProcess}) != 0) {
    *reason = "options->flags has a bit that is not defined: set kClrHostMemoryCountWholeProcess, or 0";
    return settings;
  }
  const bool has_limit = options.limit != CLR_HOST_MEMORY_NO_LIMIT;
  settings.limits = LimitsOf(options.limit, options.app_domain_headroom, options.process_headroom, reason,
                             options.committed_headroom);
  if (*reason != nullptr) return settings;
  if (options.committed_headroom >= kLargestSpace) {
    *reason = "committed_headroom is larger than any address space: lower it";
  } else if (has_limit && settings.limits.committed_headroom > settings.limits.process_headroom) {
    *reason = "committed_headroom is larger than process_headroom, of which it is a part: lower it, or raise that";
  }
  if (*reason != nullptr) return settings;
  settings.monitor.thresholds = ThresholdsOf(options.thresholds, reason);
  if (*reason != nullptr) return settings;
  settings.monitor.count_whole_process = (options.flags & kClrHostMemoryCountWholeProcess) != 0;

  settings.monitor.thrash = ThrashSettingsOf(options.thrash_window_ms, options.thrash_refusals, reason);
  if (*reason != nullptr) return settings;

  if (options.address_space_reserve >= kLargestSpace) {
    *reason = "address_space_reserve is larger than any address space: lower it";
  } else if (*std::max_element(std::begin(options.wait_ms), std::end(options.wait_ms)) > kLongestWait) {
    *reason = "wait_ms is above an hour (3600000) for a level: lower it, or give 0 for no wait";
  } else if (options.sampling_ms == 0 || options.sampling_ms > kLongestSampling) {
    *reason =
        "sampling_ms is not within 1 to 60000: give the milliseconds between two samples of the memory load, such as "
        "100";
  }
  settings.app_domain_headroom = options.app_domain_headroom;
  settings.process_headroom = options.process_headroom;
  settings.address_space_reserve = {options.address_space_reserve};
  settings.sampling = Milliseconds{options.sampling_ms};
  std::copy(std::begin(options.wait_ms), std::end(options.wait_ms), settings.wait_ms.begin());
  return settings;
}

}  // namespace clr_host_memory
