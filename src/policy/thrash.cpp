#include "policy/thrash.h"

#include <algorithm>

namespace clr_host_memory {
namespace {

// Returns whether the charge is near the ceiling. A quarter of it may be free, because a refused block may be large.
[[nodiscard]] bool IsAtLimit(const ThrashReading& reading) {
  return reading.ceiling != kUnlimited && reading.charged.value >= reading.ceiling.value / 4 * 3;
}

// Returns whether this many grants are progress, compared with the refusals.
[[nodiscard]] bool AreMany(std::uint64_t grants, std::uint64_t refusals) { return grants > refusals / 4; }
[[nodiscard]] bool IsMuch(Bytes obtained, Bytes ceiling) { return obtained.value > ceiling.value / 16; }

}  // namespace

void ThrashGuard::SetSettings(const ThrashSettings& settings) {
  if (settings.window == settings_.window && settings.refusals == settings_.refusals) return;
  settings_ = settings;
  last_.reset();
  steady_count_ = 0;
}

std::optional<ThrashReport> ThrashGuard::Observe(const ThrashReading& reading, Milliseconds now) {
  if (settings_.window <= Milliseconds::zero()) return std::nullopt;
  if (!last_) {
    last_ = reading;
    refused_at_ = now;
    quarter_ = {.began = now};
  }
  const ThrashReading before = *last_;
  last_ = reading;
  const Milliseconds quarter = settings_.window / static_cast<int>(kQuarters);
  if (reading.counts.refusals != before.counts.refusals) {
    refused_at_ = now;
  } else if (now - refused_at_ > quarter) {
    quarter_ = {.began = now};
    steady_count_ = 0;
    return std::nullopt;
  }
  quarter_.refusals += reading.counts.refusals - before.counts.refusals;
  quarter_.grants += reading.counts.grants - before.counts.grants;
  quarter_.without_gain += reading.counts.without_gain - before.counts.without_gain;
  quarter_.collections += reading.counts.collections - before.counts.collections;
  quarter_.obtained = quarter_.obtained + (reading.charged - std::min(reading.charged, before.charged));
  quarter_.at_limit = quarter_.at_limit && IsAtLimit(reading);
  if (now - quarter_.began < quarter) return std::nullopt;
  return CloseQuarter(now, reading.ceiling);
}

std::optional<ThrashReport> ThrashGuard::CloseQuarter(Milliseconds now, Bytes ceiling) {
  const Quarter closed = quarter_;
  quarter_ = {.began = now};
  if (!closed.at_limit) {
    steady_count_ = 0;
    return std::nullopt;
  }
  if (steady_count_ == kQuarters) {
    std::rotate(steady_.begin(), steady_.begin() + 1, steady_.end());
    --steady_count_;
  }
  steady_[steady_count_++] = closed;
  if (steady_count_ < kQuarters) return std::nullopt;

  ThrashReport report{.window = now - steady_.front().began};
  std::uint64_t grants = 0;
  std::uint64_t without_gain = 0;
  for (const Quarter& quarter : steady_) {
    report.refusals += quarter.refusals;
    report.collections += quarter.collections;
    report.obtained = report.obtained + quarter.obtained;
    grants += quarter.grants;
    without_gain += quarter.without_gain;
  }
  grants -= std::min(grants, without_gain);
  if (report.refusals < settings_.refusals || AreMany(grants, report.refusals) || IsMuch(report.obtained, ceiling)) {
    return std::nullopt;
  }
  steady_count_ = 0;
  return report;
}

std::optional<ThrashReport> GcThrashGuard::Observe(const GcReading& reading, Milliseconds window) {
  if (window <= Milliseconds::zero()) {
    count_ = 0;
    return std::nullopt;
  }
  if (count_ != 0 && (reading.at - marks_[count_ - 1].at) * static_cast<int>(kQuarters) < window) return std::nullopt;
  while (count_ == marks_.size() || (count_ > 1 && reading.at - marks_[1].at >= window)) {
    std::rotate(marks_.begin(), marks_.begin() + 1, marks_.end());
    --count_;
  }
  marks_[count_++] = reading;
  const GcReading& first = marks_.front();
  const Milliseconds elapsed = reading.at - first.at;
  if (elapsed < window) return std::nullopt;

  const std::uint64_t collections = reading.collections - first.collections;
  const Bytes allocated = reading.allocated - first.allocated;
  const bool collects = (reading.paused - first.paused) * 100 >= elapsed * 98;
  const bool gains = collections == 0 || allocated.value / collections >= reading.heap.value / 50;
  if (!collects || gains) return std::nullopt;
  count_ = 0;
  return ThrashReport{.window = elapsed, .refusals = 0, .collections = collections, .obtained = allocated};
}

}  // namespace clr_host_memory
