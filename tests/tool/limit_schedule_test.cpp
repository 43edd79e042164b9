#include "tool/run/limit_schedule.h"

#include <gtest/gtest.h>

#include <windows.h>

namespace clr_host_memory::tool {
namespace {

using namespace clr_host_memory::literals;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kLong{30};

template <typename Condition>
bool Becomes(Condition condition) {
  const auto deadline = steady_clock::now() + kLong;
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    Sleep(1);
  }
  return true;
}

bool AllDone(const LimitSchedule& schedule) {
  for (const LimitChangeFigures& change : schedule.Figures()) {
    if (change.outcome == ChangeOutcome::kNotReached) return false;
  }
  return true;
}

class LimitScheduleTest : public testing::Test {
 protected:
  MemoryManager manager_ = CreateMemoryManager({.limit = 256_MiB}).value();
};

TEST_F(LimitScheduleTest, ChangesNothingBeforeBegin) {
  const LimitSchedule schedule(manager_, {.limit_changes = {{0, 64_MiB}}});
  Sleep(50);
  EXPECT_EQ(manager_.Statistics().limit, 256_MiB);
  EXPECT_EQ(schedule.Figures().at(0).outcome, ChangeOutcome::kNotReached);
}

TEST_F(LimitScheduleTest, BeginAppliesChangesDueAtTimeZero) {
  LimitSchedule schedule(manager_, {.limit_changes = {{0, 64_MiB}, {3'600'000, 8_MiB}}});
  schedule.Begin();
  EXPECT_EQ(manager_.Statistics().limit, 64_MiB);
  EXPECT_EQ(schedule.Figures().at(0).outcome, ChangeOutcome::kApplied);
  EXPECT_EQ(schedule.Figures().at(1).outcome, ChangeOutcome::kNotReached);
}

TEST_F(LimitScheduleTest, AppliesChangesInOrderAndNotEarly) {
  LimitSchedule schedule(manager_, {.limit_changes = {{0, 64_MiB}, {60, 128_MiB}, {120, std::nullopt}}});
  schedule.Begin();
  ASSERT_TRUE(Becomes([&] { return AllDone(schedule); }));
  EXPECT_EQ(manager_.Statistics().limit, CLR_HOST_MEMORY_NO_LIMIT);
  std::int64_t before = 0;
  for (const LimitChangeFigures& change : schedule.Figures()) {
    EXPECT_EQ(change.outcome, ChangeOutcome::kApplied);
    EXPECT_EQ(change.answer, S_OK);
    EXPECT_GE(change.applied_ms, static_cast<std::int64_t>(change.change.after_ms));
    EXPECT_GE(change.applied_ms, before);
    before = change.applied_ms;
  }
}

TEST_F(LimitScheduleTest, TakesPercentHeadroomFromTheNewLimit) {
  LimitSchedule schedule(manager_, {.headroom = Headroom{Percent(25), Percent(5)}, .limit_changes = {{0, 100_MiB}}});
  schedule.Begin();
  ASSERT_TRUE(Becomes([&] { return AllDone(schedule); }));
  EXPECT_EQ(manager_.Statistics().process_headroom, 25_MiB);
  EXPECT_EQ(manager_.Statistics().app_domain_headroom, 5_MiB);
}

TEST_F(LimitScheduleTest, DropsHeadroomWithoutALimit) {
  LimitSchedule schedule(manager_, {.headroom = Headroom{8_MiB, 8_MiB}, .limit_changes = {{0, std::nullopt}}});
  schedule.Begin();
  ASSERT_TRUE(Becomes([&] { return AllDone(schedule); }));
  EXPECT_EQ(manager_.Statistics().limit, CLR_HOST_MEMORY_NO_LIMIT);
  EXPECT_EQ(manager_.Statistics().process_headroom, 0u);
}

TEST_F(LimitScheduleTest, ReportsRefusedChangesAndContinues) {
  LimitSchedule schedule(manager_, {.headroom = Headroom{8_MiB, 0}, .limit_changes = {{0, 4_MiB}, {1, 64_MiB}}});
  schedule.Begin();
  ASSERT_TRUE(Becomes([&] { return AllDone(schedule); }));
  EXPECT_EQ(schedule.Figures()[0].outcome, ChangeOutcome::kRefused);
  EXPECT_EQ(schedule.Figures()[0].answer, E_INVALIDARG);
  EXPECT_EQ(schedule.Figures()[1].outcome, ChangeOutcome::kApplied);
  EXPECT_EQ(manager_.Statistics().limit, 64_MiB);
}

TEST_F(LimitScheduleTest, DestructorDoesNotWaitForPendingChanges) {
  const auto began = steady_clock::now();
  {
    LimitSchedule schedule(manager_, {.limit_changes = {{0, 64_MiB}, {3'600'000, 8_MiB}}});
    schedule.Begin();
    ASSERT_TRUE(Becomes([&] { return schedule.Figures()[0].outcome == ChangeOutcome::kApplied; }));
    EXPECT_EQ(schedule.Figures()[1].outcome, ChangeOutcome::kNotReached);
  }
  EXPECT_LT(steady_clock::now() - began, kLong);
  EXPECT_EQ(manager_.Statistics().limit, 64_MiB);
}

}  // namespace
}  // namespace clr_host_memory::tool
