#include "policy/pressure.h"

#include <algorithm>

#include "policy/percent.h"

namespace clr_host_memory {

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
    least = std::min(least, PercentOf(source.available, source.total));
  }
  return least;
}

Availability Pressure::Target(const PressureReading& reading) const {
  const std::uint32_t percent = AvailablePercent(reading);
  // Each state has one threshold to enter and another one to leave.
  const std::uint32_t low_until = state_ == Availability::kLow ? thresholds_.leave_low - 1 : thresholds_.enter_low;
  const std::uint32_t high_from = state_ == Availability::kHigh ? thresholds_.leave_high + 1 : thresholds_.enter_high;
  if (percent <= low_until) return Availability::kLow;
  return percent >= high_from && !reading.os_denies_high ? Availability::kHigh : Availability::kNeutral;
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

Availability Pressure::Repeat(Milliseconds now) {
  last_low_ = now;
  return state_;
}

std::optional<Availability> Pressure::Finish(Milliseconds now) {
  if (state_ != Availability::kLow) return std::nullopt;
  return Enter(Availability::kNeutral, now);
}

}  // namespace clr_host_memory
