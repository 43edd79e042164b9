#include "policy/pressure.h"

#include <algorithm>

namespace clr_host_memory::policy {

bool AreValid(const PressureThresholds& thresholds) {
  return thresholds.enter_low < thresholds.leave_low && thresholds.leave_low <= thresholds.leave_high &&
         thresholds.leave_high < thresholds.enter_high && thresholds.enter_high <= 100 &&
         thresholds.dwell >= Milliseconds::zero() && thresholds.repeat_low > Milliseconds::zero();
}

std::uint32_t AvailablePercent(const PressureReading& reading) {
  if (reading.os_says_low) return 0;
  std::uint32_t least = 100;
  for (const PressureSource& source : reading.sources) {
    if (source.total == kUnlimited || source.total == Bytes{}) continue;
    const std::uint64_t available = std::min(source.available, source.total).value;
    // total / 100 first where the product would overflow: sizes are far above 100 bytes there.
    constexpr std::uint64_t kExact = UINT64_MAX / 100;
    const std::uint64_t percent =
        available <= kExact ? available * 100 / source.total.value : available / (source.total.value / 100);
    least = std::min(least, static_cast<std::uint32_t>(std::min<std::uint64_t>(percent, 100)));
  }
  return least;
}

Availability Pressure::Target(const PressureReading& reading) const {
  const std::uint32_t percent = AvailablePercent(reading);
  // Each state is left at its own threshold, and entered at another.
  const std::uint32_t low_until = state_ == Availability::kLow ? thresholds_.leave_low - 1 : thresholds_.enter_low;
  const std::uint32_t high_from = state_ == Availability::kHigh ? thresholds_.leave_high + 1 : thresholds_.enter_high;
  if (percent <= low_until) return Availability::kLow;
  return percent >= high_from ? Availability::kHigh : Availability::kNeutral;
}

Availability Pressure::Enter(Availability state, Milliseconds now) {
  state_ = state;
  since_ = now;
  if (state == Availability::kLow) last_low_ = now;
  return state;
}

std::optional<Availability> Pressure::Observe(const PressureReading& reading, Milliseconds now) {
  const Availability target = Target(reading);
  if (target == state_) {
    if (state_ != Availability::kLow || now - last_low_ < thresholds_.repeat_low) return std::nullopt;
    last_low_ = now;
    return Availability::kLow;
  }
  if (target != Availability::kLow && now - since_ < thresholds_.dwell) return std::nullopt;
  return Enter(target, now);
}

std::optional<Availability> Pressure::Finish(Milliseconds now) {
  if (state_ != Availability::kLow) return std::nullopt;
  return Enter(Availability::kNeutral, now);
}

}  // namespace clr_host_memory::policy
