#include "policy/pressure.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <random>

namespace clr_host_memory {
namespace {

using std::optional;

constexpr Bytes kTotal{1000};
constexpr PressureThresholds kThresholds{.enter_low = 10,
                                         .leave_low = 20,
                                         .leave_high = 60,
                                         .enter_high = 70,
                                         .dwell = Milliseconds{1000},
                                         .repeat_low = Milliseconds{8192}};

// Observes one source with this percentage available.
class PressureTest : public ::testing::Test {
 protected:
  optional<Availability> At(Milliseconds now, std::uint64_t percent, bool os_says_low = false) {
    const std::array sources{PressureSource{kTotal, {percent * 10}}};
    return pressure_.Observe({sources, os_says_low}, now);
  }

  Pressure pressure_{kThresholds, Milliseconds{0}};
};

TEST_F(PressureTest, SendsNothingWhileNeutral) {
  for (int ms = 0; ms < 60'000; ms += 250) EXPECT_EQ(At(Milliseconds{ms}, 40), std::nullopt);
  EXPECT_EQ(pressure_.state(), Availability::kNeutral);
}

struct Step {
  int at_ms;
  std::uint64_t percent;
  optional<Availability> message;
};

// Each row continues from the state after the row before.
TEST_F(PressureTest, FollowsTheThresholdTable) {
  constexpr auto kLow = Availability::kLow;
  constexpr auto kNeutral = Availability::kNeutral;
  constexpr auto kHigh = Availability::kHigh;
  const Step steps[] = {
      {100, 11, {}},         // not low yet
      {200, 10, kLow},       // at the threshold; Low needs no dwell
      {300, 15, {}},         // above enter_low, below leave_low: still low
      {400, 20, {}},         // would be neutral, but was low for only 200 ms
      {1199, 20, {}},        // 999 ms
      {1200, 20, kNeutral},  // the dwell has ended
      {1300, 5, kLow},       // low again at once
      {9491, 5, {}},         // 8191 ms later: not repeated yet
      {9492, 5, kLow},       // repeated after 8192 ms
      {17'684, 19, kLow},    // and again, since 19 % is still low
      {17'700, 90, kHigh},   // straight to high, after more than the dwell in low
      {17'800, 65, {}},      // below enter_high, above leave_high: still high
      {18'699, 60, {}},      // would be neutral, but the dwell has not ended
      {18'700, 60, kNeutral}, {19'700, 69, {}}, {19'800, 70, kHigh}, {19'801, 10, kLow},  // low from high, too
      {20'801, 60, kNeutral},  // 60 % enters neutral from low
  };
  for (const Step& step : steps) {
    SCOPED_TRACE(step.at_ms);
    EXPECT_EQ(At(Milliseconds{step.at_ms}, step.percent), step.message);
  }
}

TEST_F(PressureTest, OsLowNotificationCountsAsNothingAvailable) {
  EXPECT_EQ(At(Milliseconds{10}, 100, true), Availability::kLow);
  EXPECT_EQ(At(Milliseconds{20}, 100, false), std::nullopt);
  EXPECT_EQ(At(Milliseconds{1010}, 100, false), Availability::kHigh);
}

TEST_F(PressureTest, FinishEndsOnlyLow) {
  EXPECT_EQ(pressure_.Finish(Milliseconds{0}), std::nullopt);
  ASSERT_EQ(At(Milliseconds{10}, 1), Availability::kLow);
  EXPECT_EQ(pressure_.Finish(Milliseconds{20}), Availability::kNeutral);
  EXPECT_EQ(pressure_.Finish(Milliseconds{30}), std::nullopt);
}

TEST(AvailablePercent, TightestSourceCounts) {
  const std::array sources{PressureSource{{1000}, {900}}, PressureSource{{4000}, {400}}, PressureSource{{10}, {5}}};
  EXPECT_EQ(AvailablePercent({sources}), 10U);
}

TEST(AvailablePercent, UnboundedSourcesCauseNoPressure) {
  const std::array sources{PressureSource{kUnlimited, {}}, PressureSource{{}, {}}};
  EXPECT_EQ(AvailablePercent({sources}), 100U);
  EXPECT_EQ(AvailablePercent({}), 100U);
}

TEST(AvailablePercent, IsExactAtTheBorders) {
  struct Row {
    std::uint64_t total, available;
    std::uint32_t percent;
  };
  constexpr std::uint64_t kMost = kUnlimited.value - 1;
  const Row rows[] = {
      {1, 0, 0},   {1, 1, 100}, {3, 1, 33}, {100, 101, 100}, {kMost, kMost, 100}, {kMost, 0, 0}, {kMost, kMost / 2, 50},
      {50, 49, 98}};
  for (const Row& row : rows) {
    const std::array sources{PressureSource{{row.total}, {row.available}}};
    EXPECT_EQ(AvailablePercent({sources}), row.percent) << row.total << " " << row.available;
  }
}

TEST(PressureThresholds, DefaultsAreValidAndOverlapsAreRejected) {
  EXPECT_TRUE(AreValid({}));
  EXPECT_TRUE(AreValid(kThresholds));
  EXPECT_FALSE(AreValid({.enter_low = 15, .leave_low = 15}));
  EXPECT_FALSE(AreValid({.leave_low = 45}));
  EXPECT_FALSE(AreValid({.leave_high = 50}));
  EXPECT_FALSE(AreValid({.enter_high = 101}));
  EXPECT_FALSE(AreValid({.dwell = Milliseconds{-1}}));
  EXPECT_FALSE(AreValid({.repeat_low = Milliseconds{0}}));
}

// For any readings: Neutral, High, or (after the period) Low again follows Low. No other messages are closer than the
// dwell. A message differs from the one before, unless both are Low.
TEST(Pressure, KeepsMessageRatesForRandomReadings) {
  std::mt19937_64 random(20'261'123);
  for (int run = 0; run < 200; ++run) {
    Pressure pressure(kThresholds, Milliseconds{0});
    Availability last = Availability::kNeutral;
    Milliseconds last_at{0};
    Milliseconds now{0};
    for (int step = 0; step < 500; ++step) {
      now += Milliseconds{random() % 2000};
      const std::array sources{PressureSource{kTotal, {random() % 1001}}};
      const auto message = pressure.Observe({sources, random() % 50 == 0}, now);
      if (!message) continue;
      if (*message == Availability::kLow) {
        if (last == Availability::kLow) {
          ASSERT_GE(now - last_at, kThresholds.repeat_low);
        }
      } else {
        ASSERT_NE(*message, last);
        ASSERT_GE(now - last_at, kThresholds.dwell);
      }
      last = *message;
      last_at = now;
    }
    const auto end = pressure.Finish(now);
    EXPECT_EQ(end.has_value(), last == Availability::kLow);
  }
}

}  // namespace
}  // namespace clr_host_memory
