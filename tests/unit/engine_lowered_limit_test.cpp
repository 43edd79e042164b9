// A limit that is set below what is in use: the bound, the grace, and the wake when the headroom is used.
#include <gtest/gtest.h>

#include "unit/relief_fixture.h"

namespace clr_host_memory::test {
namespace {

TEST_F(ReliefTest, LimitBelowUsageLeavesTheHeadroomToProcessLevel) {
  ASSERT_TRUE(Take(12 * kMiB, Criticality::kTask).outcome.ok());
  Budget& budget = engine.budget();
  engine.SetLimits({.limit = {4 * kMiB}, .process_headroom = {kMiB}});
  EXPECT_EQ(budget.Bound(), Bytes{13 * kMiB});
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(Take(kPageSize, Criticality::kAppDomain).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Take(kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());

  // Process level may use returned memory again, until SettleBound lowers the bound.
  ASSERT_TRUE(Decommit(region, 2 * kMiB).ok());
  EXPECT_TRUE(Commit(region, kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Commit(region + kMiB, kMiB, Criticality::kTask).outcome, Outcome::OverLimit());
  budget.SettleBound();
  EXPECT_EQ(budget.Bound(), Bytes{13 * kMiB}) << "what is in use and the headroom";
  ASSERT_TRUE(Decommit(region, 2 * kMiB).ok());
  budget.SettleBound();
  EXPECT_EQ(budget.Bound(), Bytes{12 * kMiB});
  ASSERT_TRUE(Decommit(region, 10 * kMiB).ok());
  budget.SettleBound();
  EXPECT_EQ(budget.Bound(), Bytes{4 * kMiB});
  EXPECT_EQ(engine.Figures().most_over_bound, Bytes{});
}

TEST_F(ReliefTest, GraceOfALoweredLimitLeavesLowerLevelsWhatWasInUse) {
  ASSERT_TRUE(Take(12 * kMiB, Criticality::kTask).outcome.ok());
  Budget& budget = engine.budget();
  engine.SetLimits({.limit = {4 * kMiB}, .process_headroom = {kMiB}}, true);
  EXPECT_TRUE(budget.IsInGrace());
  EXPECT_EQ(budget.Bound(), Bytes{13 * kMiB});
  EXPECT_EQ(Take(kPageSize, Criticality::kAppDomain).outcome, Outcome::OverLimit());
  ASSERT_TRUE(Decommit(region, 8 * kMiB).ok());
  budget.SettleBound();
  EXPECT_EQ(budget.Bound(), Bytes{13 * kMiB}) << "the grace keeps it";
  EXPECT_TRUE(Commit(region, 8 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  ASSERT_TRUE(Decommit(region, 11 * kMiB).ok());

  budget.EndGrace();
  EXPECT_FALSE(budget.IsInGrace());
  EXPECT_EQ(budget.Bound(), Bytes{4 * kMiB});
  EXPECT_EQ(Commit(region, 3 * kMiB, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Commit(region, 2 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(engine.Figures().most_over_bound, Bytes{});
}

TEST_F(ReliefTest, LoweredLimitThatFitsHasNoGrace) {
  ASSERT_TRUE(Take(2 * kMiB, Criticality::kTask).outcome.ok());
  engine.SetLimits({.limit = {4 * kMiB}, .process_headroom = {kMiB}}, true);
  EXPECT_FALSE(engine.budget().IsInGrace());
  EXPECT_EQ(Take(kMiB + kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
}

TEST_F(ReliefTest, UseOfTheHeadroomWakesOnceUntilItIsTaken) {
  struct Counter final : Waker {
    void Wake() noexcept override { ++wakes; }
    int wakes = 0;
  } counter;
  Budget& budget = engine.budget();
  budget.SetHeadroomWaker(&counter);
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(counter.wakes, 0);
  EXPECT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(counter.wakes, 1);
  budget.TakeHeadroomUse();
  EXPECT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(counter.wakes, 2);
  budget.SetHeadroomWaker(nullptr);
}

TEST_F(ReliefTest, BoundOfALoweredLimitNeverExceedsTheBoundBefore) {
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok());
  ASSERT_TRUE(Take(2 * kMiB - kPageSize, Criticality::kProcess).outcome.ok());
  engine.SetLimits({.limit = {15 * kMiB}, .process_headroom = {kMiB}});
  EXPECT_EQ(engine.budget().Bound(), kLimits.limit);
  engine.SetLimits({.limit = {4 * kMiB}, .process_headroom = {kMiB}});
  EXPECT_EQ(engine.budget().Bound(), kLimits.limit);
  EXPECT_EQ(Take(2 * kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  engine.SetLimits({.limit = {64 * kMiB}});
  EXPECT_EQ(engine.budget().Bound(), Bytes{64 * kMiB});
}

TEST_F(ReliefTest, LimitThatLeavesLessThanTheHeadroomRaisesTheBoundByTheRest) {
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok());
  engine.SetLimits({.limit = {14 * kMiB + kMiB / 4}, .process_headroom = {kMiB}});
  EXPECT_EQ(engine.budget().Bound(), Bytes{15 * kMiB});
}

}  // namespace
}  // namespace clr_host_memory::test
