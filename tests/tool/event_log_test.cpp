#include "tool/run/event_log.h"

#include <gtest/gtest.h>

namespace clr_host_memory::tool {
namespace {

ClrHostMemoryEvent Pressure(std::uint64_t milliseconds, EMemoryAvailable availability, std::uint32_t percent = 50) {
  ClrHostMemoryEvent event{};
  event.size = sizeof(event);
  event.kind = kClrHostMemoryEventPressure;
  event.milliseconds = milliseconds;
  event.availability = static_cast<std::uint32_t>(availability);
  event.available_percent = percent;
  return event;
}

ClrHostMemoryEvent OverLimit(std::uint64_t milliseconds, std::uint64_t bytes) {
  ClrHostMemoryEvent event{};
  event.size = sizeof(event);
  event.kind = kClrHostMemoryEventOverLimit;
  event.milliseconds = milliseconds;
  event.bytes = bytes;
  return event;
}

TEST(EventLog, KeepsTheFirstThrashEvent) {
  EventLog log;
  EXPECT_FALSE(log.Figures().first_thrash);
  ClrHostMemoryEvent event{};
  event.size = sizeof(event);
  event.kind = kClrHostMemoryEventThrash;
  event.milliseconds = 7000;
  event.window_ms = 5100;
  event.count = 800;
  event.collections = 400;
  event.bytes = 4096;
  log.Record(event);
  event.milliseconds = 12000;
  event.count = 1;
  log.Record(event);
  const EventFigures figures = log.Figures();
  ASSERT_TRUE(figures.first_thrash);
  EXPECT_EQ(figures.first_thrash->at_ms, 7000);
  EXPECT_EQ(figures.first_thrash->window_ms, 5100u);
  EXPECT_EQ(figures.first_thrash->refusals, 800u);
  EXPECT_EQ(figures.first_thrash->collections, 400u);
  EXPECT_EQ(figures.first_thrash->obtained_bytes, 4096u);
}

TEST(EventLog, ListsPressureChangesWithTheirTimes) {
  EventLog log;
  log.Record(Pressure(100, eMemoryAvailableHigh, 90));
  log.Record(Pressure(2500, eMemoryAvailableLow, 3));
  const EventFigures figures = log.Figures();
  ASSERT_EQ(figures.pressure_changes.size(), 2u);
  EXPECT_EQ(figures.pressure_changes[0].at_ms, 100);
  EXPECT_EQ(figures.pressure_changes[0].availability, eMemoryAvailableHigh);
  EXPECT_EQ(figures.pressure_changes[0].available_percent, 90u);
  EXPECT_EQ(figures.pressure_changes[1].at_ms, 2500);
  EXPECT_EQ(figures.pressure_changes[1].availability, eMemoryAvailableLow);
  EXPECT_EQ(figures.pressure_changes[1].available_percent, 3u);
  EXPECT_EQ(figures.unlisted_pressure_changes, 0u);
  EXPECT_EQ(figures.repeated_low, 0u);
}

TEST(EventLog, CountsRepeatedLowWithoutListingIt) {
  EventLog log;
  for (const std::uint64_t at : {0u, 8192u, 16384u}) log.Record(Pressure(at, eMemoryAvailableLow));
  log.Record(Pressure(20'000, eMemoryAvailableNeutral));
  log.Record(Pressure(30'000, eMemoryAvailableLow));
  const EventFigures figures = log.Figures();
  EXPECT_EQ(figures.pressure_changes.size(), 3u);
  EXPECT_EQ(figures.repeated_low, 2u);
}

TEST(EventLog, CountsPressureChangesBeyondItsCapacity) {
  EventLog log;
  const std::size_t some = 5;
  for (std::size_t at = 0; at < EventLog::kListedPressureChanges + some; ++at) {
    log.Record(Pressure(at, at % 2 == 0 ? eMemoryAvailableLow : eMemoryAvailableHigh));
  }
  const EventFigures figures = log.Figures();
  ASSERT_EQ(figures.pressure_changes.size(), EventLog::kListedPressureChanges);
  EXPECT_EQ(figures.pressure_changes.back().at_ms, static_cast<std::int64_t>(EventLog::kListedPressureChanges) - 1);
  EXPECT_EQ(figures.unlisted_pressure_changes, some);
}

TEST(EventLog, OverLimitPeriodLastsUntilTheChargeFitsAgain) {
  EventLog log;
  log.Record(OverLimit(1000, 4096));
  ASSERT_EQ(log.Figures().over_limit_periods.size(), 1u);
  EXPECT_FALSE(log.Figures().over_limit_periods[0].until_ms.has_value());
  log.Record(OverLimit(1500, 0));
  log.Record(OverLimit(2000, 8192));
  const EventFigures figures = log.Figures();
  ASSERT_EQ(figures.over_limit_periods.size(), 2u);
  EXPECT_EQ(figures.over_limit_periods[0].from_ms, 1000);
  EXPECT_EQ(figures.over_limit_periods[0].bytes, 4096u);
  EXPECT_EQ(figures.over_limit_periods[0].until_ms, 1500);
  EXPECT_EQ(figures.over_limit_periods[1].from_ms, 2000);
  EXPECT_FALSE(figures.over_limit_periods[1].until_ms.has_value());
}

TEST(EventLog, CountsPeriodsBeyondCapacityAndClosesTheLastListed) {
  EventLog log;
  for (std::uint64_t period = 0; period < EventLog::kListedOverLimitPeriods + 3; ++period) {
    log.Record(OverLimit(10 * period, 1));
    log.Record(OverLimit(10 * period + 5, 0));
  }
  const EventFigures figures = log.Figures();
  ASSERT_EQ(figures.over_limit_periods.size(), EventLog::kListedOverLimitPeriods);
  EXPECT_EQ(figures.over_limit_periods.back().until_ms, figures.over_limit_periods.back().from_ms + 5);
  EXPECT_EQ(figures.unlisted_over_limit_periods, 3u);
}

TEST(EventLog, IgnoresAPeriodEndWithoutABeginning) {
  EventLog log;
  log.Record(OverLimit(10, 0));
  EXPECT_TRUE(log.Figures().over_limit_periods.empty());
}

TEST(EventLog, IgnoresOtherEvents) {
  EventLog log;
  for (const ClrHostMemoryEventKind kind :
       {kClrHostMemoryEventRefusal, kClrHostMemoryEventReserveUsed, kClrHostMemoryEventReserveRestored,
        kClrHostMemoryEventLatch, kClrHostMemoryEventState, kClrHostMemoryEventDetached}) {
    ClrHostMemoryEvent event = Pressure(1, eMemoryAvailableLow);
    event.kind = kind;
    event.bytes = 1;
    log.Record(event);
  }
  EXPECT_TRUE(log.Figures().pressure_changes.empty());
  EXPECT_TRUE(log.Figures().over_limit_periods.empty());
}

}  // namespace
}  // namespace clr_host_memory::tool
