#include "tool/run/event_log.h"

#include <algorithm>

namespace clr_host_memory::tool {

void EventLog::Record(const ClrHostMemoryEvent& event) noexcept {
  if (event.kind == kClrHostMemoryEventPressure) RecordPressure(event);
  if (event.kind == kClrHostMemoryEventOverLimit) RecordOverLimit(event);
  if (event.kind == kClrHostMemoryEventThrash) RecordThrash(event);
}

void EventLog::RecordPressure(const ClrHostMemoryEvent& event) noexcept {
  const auto availability = static_cast<EMemoryAvailable>(event.availability);
  if (availability == last_) {
    if (availability == eMemoryAvailableLow) repeated_low_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  last_ = availability;
  const std::size_t count = change_count_.load(std::memory_order_relaxed);
  if (count < changes_.size()) {
    changes_[count] = {static_cast<std::int64_t>(event.milliseconds), availability, event.available_percent};
  }
  change_count_.store(count + 1, std::memory_order_release);
}

void EventLog::RecordOverLimit(const ClrHostMemoryEvent& event) noexcept {
  const std::size_t count = period_count_.load(std::memory_order_relaxed);
  if (event.bytes == 0) {
    if (count == 0 || count > periods_.size()) return;
    periods_[count - 1].until_ms.store(static_cast<std::int64_t>(event.milliseconds), std::memory_order_relaxed);
    return;
  }
  if (count < periods_.size()) {
    periods_[count].from_ms = static_cast<std::int64_t>(event.milliseconds);
    periods_[count].bytes = event.bytes;
  }
  period_count_.store(count + 1, std::memory_order_release);
}

void EventLog::RecordThrash(const ClrHostMemoryEvent& event) noexcept {
  if (thrashed_.load(std::memory_order_relaxed)) return;
  thrash_ = {.at_ms = static_cast<std::int64_t>(event.milliseconds),
             .window_ms = event.window_ms,
             .refusals = event.count,
             .collections = event.collections,
             .obtained_bytes = event.bytes};
  thrashed_.store(true, std::memory_order_release);
}

EventFigures EventLog::Figures() const {
  EventFigures figures;
  const std::size_t changes = change_count_.load(std::memory_order_acquire);
  const std::size_t listed = std::min(changes, changes_.size());
  figures.pressure_changes.assign(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(listed));
  figures.unlisted_pressure_changes = changes - listed;
  figures.repeated_low = repeated_low_.load(std::memory_order_relaxed);

  const std::size_t periods = period_count_.load(std::memory_order_acquire);
  for (std::size_t index = 0; index < std::min(periods, periods_.size()); ++index) {
    const Period& period = periods_[index];
    const std::int64_t until = period.until_ms.load(std::memory_order_relaxed);
    figures.over_limit_periods.push_back(
        {period.from_ms, until == kLasts ? std::nullopt : std::optional(until), period.bytes});
  }
  figures.unlisted_over_limit_periods = periods - figures.over_limit_periods.size();
  if (thrashed_.load(std::memory_order_acquire)) figures.first_thrash = thrash_;
  return figures;
}

}  // namespace clr_host_memory::tool
