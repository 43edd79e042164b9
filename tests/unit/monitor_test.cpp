#include "notify/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "unit/monitor_fixture.h"

namespace clr_host_memory::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(MonitorTest, SendsNothingWhileMemorySuffices) {
  for (int i = 0; i < 100; ++i) EXPECT_THAT(After(100), IsEmpty());
  EXPECT_EQ(ear_.rounds, 100);
  EXPECT_EQ(monitor_.Told(), Availability::kNeutral);
}

TEST_F(MonitorTest, LimitBelowUsageIsLowUntilTheChargeFits) {
  Round();
  SetLimit(50);
  EXPECT_THAT(After(1), ElementsAre("over 10", "Low 0"));
  EXPECT_EQ(monitor_.OverLimit(), Bytes{10 * kMiB});
  Return(5);
  EXPECT_THAT(After(2000), IsEmpty());
  EXPECT_EQ(monitor_.OverLimit(), Bytes{5 * kMiB});
  Return(5);
  EXPECT_THAT(After(100), ElementsAre("over 0"));  // the charge fits, but nothing is available
  EXPECT_EQ(monitor_.OverLimit(), Bytes{});
  Return(20);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, GraceOfALoweredLimitEndsAfterTwoSeconds) {
  Round();
  budget_.SetLimits({.limit = {50 * kMiB}}, true);
  ASSERT_TRUE(budget_.IsInGrace());
  After(1);
  Return(5);
  After(1900);
  EXPECT_TRUE(budget_.IsInGrace());
  EXPECT_EQ(budget_.Bound(), Bytes{60 * kMiB});
  After(200);
  EXPECT_FALSE(budget_.IsInGrace());
  EXPECT_EQ(budget_.Bound(), Bytes{55 * kMiB});
  // The next grace is as long.
  budget_.SetLimits({.limit = {40 * kMiB}}, true);
  After(1);
  After(1900);
  EXPECT_TRUE(budget_.IsInGrace());
}

TEST_F(MonitorTest, FullLimitIsLowUntilTheLimitIsRaised) {
  Round();
  Charge(32);
  EXPECT_THAT(After(100), ElementsAre("Low 8"));
  SetLimit(200);
  EXPECT_THAT(After(500), IsEmpty());  // the dwell has not ended
  EXPECT_THAT(After(500), ElementsAre("High 54"));
  Charge(32);
  EXPECT_THAT(After(1000), ElementsAre("Neutral 38"));
}

TEST_F(MonitorTest, LowPrecedesTaskCriticalRefusalsWithHeadroom) {
  budget_.SetLimits({.limit = {100 * kMiB}, .app_domain_headroom = {10 * kMiB}, .process_headroom = {20 * kMiB}});
  EXPECT_THAT(Round(), IsEmpty());  // 10 of 70 MiB are available
  Charge(5);
  EXPECT_THAT(After(100), ElementsAre("Low 7"));  // 5 of 70 MiB
  EXPECT_EQ(budget_.TryCharge({4 * kMiB}, Criticality::kTask), Admission::kAdmitted);
}

TEST_F(MonitorTest, EverySourceCausesLow) {
  struct Row {
    const char* what;
    std::function<void(MemoryLoad&)> make;
    const char* heard;
  };
  const Row rows[] = {
      {"job", [](auto& load) { load.total_in_job = {100 * kMiB}, load.available_in_job = {3 * kMiB}; }, "Low 3"},
      {"commit", [](auto& load) { load.available_commit = {20 * kMiB}; }, "Low 1"},
      {"physical memory", [](auto& load) { load.available_physical = {80 * kMiB}; }, "Low 8"},
      {"the OS's own notification", [](auto& load) { load.low_signalled = true; }, "Low 0"},
  };
  Round();
  const MemoryLoad plenty = load_;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    row.make(load_);
    EXPECT_THAT(After(100), ElementsAre(row.heard));
    load_ = plenty;
    EXPECT_THAT(After(900), IsEmpty());
    EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
  }
}

TEST_F(MonitorTest, LowIsRepeatedAtTheConfiguredInterval) {
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
  EXPECT_THAT(After(8191), IsEmpty());
  EXPECT_THAT(After(1), ElementsAre("Low 5"));
  EXPECT_THAT(After(8191), IsEmpty());
  monitor_.SetThresholds({.repeat_low = Milliseconds{10'000}});
  EXPECT_THAT(After(1), IsEmpty());
  EXPECT_THAT(After(1808), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, ThresholdsCanChangeWhileRunning) {
  EXPECT_THAT(Round(), IsEmpty());
  monitor_.SetThresholds({.enter_low = 40, .leave_low = 41, .leave_high = 41, .enter_high = 42});
  EXPECT_EQ(waker_.wakes, 1);
  EXPECT_THAT(Round(), ElementsAre("Low 40"));
  monitor_.SetThresholds(kThresholds);
  EXPECT_THAT(After(1000), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, WaitingRequestMakesPressureLow) {
  Round();
  AddWaiter(budget_, Criticality::kTask);
  EXPECT_THAT(Round(), ElementsAre("Low 0"));
  budget_.RemoveWaiting(Criticality::kTask);
  EXPECT_THAT(After(999), IsEmpty());
  EXPECT_THAT(After(1), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, SendsNoHighWhileTheOsDeniesIt) {
  Return(60);
  load_.high_signalled = true;
  Round();
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
  load_.high_signalled = false;
  EXPECT_THAT(After(1000), ElementsAre("Neutral 90"));
  load_.high_signalled = true;
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
}

TEST_F(MonitorTest, MissingOsHighNotificationDeniesNothing) {
  Return(60);
  Round();
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
}

TEST_F(MonitorTest, UnchargedProcessMemoryIsReported) {
  load_.process_private = {75 * kMiB};
  chest_.held = {4 * kMiB};
  Round();
  EXPECT_EQ(monitor_.Uncharged(), Bytes{11 * kMiB});
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{100 * kMiB});  // reported, but not counted against the limit
  load_.process_private = {50 * kMiB};
  After(100);
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
}

TEST_F(MonitorTest, UnchargedProcessMemoryCountsWhenConfigured) {
  load_.process_private = {93 * kMiB};
  EXPECT_THAT(Round(), IsEmpty());
  monitor_.SetCountWholeProcess(true);
  EXPECT_EQ(waker_.wakes, 1);
  EXPECT_THAT(Round(), ElementsAre("Low 7"));
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{67 * kMiB});
  EXPECT_EQ(budget_.TryCharge({8 * kMiB}, Criticality::kProcess), Admission::kOverCeiling);
  EXPECT_EQ(budget_.TryCharge({7 * kMiB}, Criticality::kProcess), Admission::kAdmitted);

  load_.process_private = {110 * kMiB};
  EXPECT_THAT(After(100), ElementsAre("over 10"));
  monitor_.SetCountWholeProcess(false);
  EXPECT_THAT(After(1000), ElementsAre("over 0", "Neutral 33"));
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{100 * kMiB});
}

// Charges and uncharges during the OS call are not mistaken for growth outside the manager.
TEST_F(MonitorTest, ConcurrentChargesAreNotCountedAsUncharged) {
  load_.process_private = {60 * kMiB};
  os_.OnNext(OsCall::kLoad, Moment::kAfter, [&](const OsCallInfo&) { Return(30); });
  Round();
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
  load_.process_private = {40 * kMiB};
  os_.OnNext(OsCall::kLoad, Moment::kBefore, [&](const OsCallInfo&) { Charge(10); });
  After(100);
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
}

TEST_F(MonitorTest, UsedReserveIsLowAndTakenBackAfterPressure) {
  Round();
  chest_.given = {8 * kMiB};
  chest_.whole_again = false;
  EXPECT_THAT(Round(), ElementsAre("used 8", "Low 0"));
  chest_.given = {12 * kMiB};
  EXPECT_THAT(After(100), ElementsAre("used 4"));
  EXPECT_THAT(After(800), IsEmpty());
  EXPECT_EQ(chest_.tries, 0);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
  EXPECT_EQ(chest_.tries, 1);
  EXPECT_THAT(After(99), IsEmpty());
  EXPECT_EQ(chest_.tries, 1);  // waits for the next OS sample
  chest_.whole_again = true;
  EXPECT_THAT(After(1), ElementsAre("restored"));
  EXPECT_THAT(After(100), IsEmpty());
  EXPECT_EQ(chest_.tries, 2);
}

TEST_F(MonitorTest, ReservesStayUsedWhileTheLimitIsExceeded) {
  // Low ends at once, so only the exceeded limit prevents the take-back.
  monitor_.SetThresholds({.enter_low = 0, .leave_low = 1, .dwell = Milliseconds{0}});
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1", "over 10", "Low 0"));
  After(100);
  EXPECT_EQ(chest_.tries, 0);
  Return(15);
  EXPECT_THAT(After(100), ElementsAre("over 0", "Neutral 10", "restored"));
}

TEST_F(MonitorTest, WakeStormAsksTheOsOncePerInterval) {
  Round();
  for (int i = 0; i < 1000; ++i) Round();
  EXPECT_EQ(Asked(), 1U);
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));  // every round reads charge and limit
  EXPECT_EQ(Asked(), 1U);
  After(99);
  EXPECT_EQ(Asked(), 1U);
  After(1);
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(MonitorTest, SleepsUntilTheNextSample) {
  Round();
  EXPECT_EQ(sleep_, Milliseconds{100});
  After(30);
  EXPECT_EQ(sleep_, Milliseconds{70});
  monitor_.SetSampling(Milliseconds{40});
  Round();
  EXPECT_EQ(sleep_, Milliseconds{10});
  After(15);  // a late round
  EXPECT_EQ(Asked(), 2U);
  EXPECT_EQ(sleep_, Milliseconds{40});
  monitor_.SetSampling(Milliseconds{60'000});
  Round();
  EXPECT_EQ(sleep_, Milliseconds{100});  // the limit is checked meanwhile
  Charge(35);
  EXPECT_THAT(After(100), ElementsAre("Low 5"));
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(MonitorTest, FailedOsSampleIsRetriedAfterTheInterval) {
  load_.available_commit = {20 * kMiB};
  EXPECT_THAT(Round(), ElementsAre("Low 1"));
  os_.Fail(OsCall::kLoad, win32::kAccessDenied, 0, 2);
  EXPECT_THAT(After(100), IsEmpty());
  load_.available_commit = {900 * kMiB};
  EXPECT_THAT(After(1000), IsEmpty());  // the last known reading still counts
  Round();
  EXPECT_EQ(Asked(), 3U);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, LimitIsWatchedWithoutOsSamples) {
  os_.Fail(OsCall::kLoad, win32::kAccessDenied, 0, 1000);
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, RepeatSendsTheStateAtOnce) {
  monitor_.Repeat();
  EXPECT_THAT(Round(), ElementsAre("Neutral 40"));
  Charge(35);
  EXPECT_THAT(After(100), ElementsAre("Low 5"));
  EXPECT_THAT(After(100), IsEmpty());
  monitor_.Repeat();
  monitor_.Repeat();
  EXPECT_EQ(waker_.wakes, 3);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
  EXPECT_THAT(Round(), IsEmpty());
  EXPECT_THAT(After(8191), IsEmpty());  // counted from the last message
  EXPECT_THAT(After(1), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, FinishEndsLow) {
  Charge(35);
  Round();
  monitor_.Finish(threads_.Now());
  EXPECT_THAT(ear_.Heard(), ElementsAre("Neutral 5"));
  EXPECT_EQ(monitor_.Told(), Availability::kNeutral);
  monitor_.Finish(threads_.Now());
  const int rounds = ear_.rounds;
  SetLimit(50);
  chest_.given = {kMiB};
  monitor_.Repeat();
  EXPECT_THAT(After(10'000), IsEmpty());
  EXPECT_EQ(sleep_, kForever);
  EXPECT_EQ(ear_.rounds, rounds);
}

TEST_F(MonitorTest, FinishSendsNothingWithoutAnEarlierMessage) {
  Round();
  monitor_.Finish(threads_.Now());
  EXPECT_THAT(ear_.Heard(), IsEmpty());
}

TEST_F(MonitorTest, ListenerCanCallBack) {
  ear_.on_pressure = [&](Availability availability) {
    if (availability != Availability::kLow) return;
    monitor_.SetThresholds(kThresholds);
    monitor_.SetSampling(kSampling);
    monitor_.SetCountWholeProcess(false);
    monitor_.Repeat();
    SetLimit(200);
    EXPECT_EQ(monitor_.Told(), Availability::kLow);
  };
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("over 10", "Low 0"));
  EXPECT_THAT(Round(), ElementsAre("over 0", "Low 70"));  // repeated because the listener called Repeat
  ear_.on_pressure = nullptr;
  EXPECT_THAT(After(1000), ElementsAre("High 70"));
}

TEST_F(MonitorTest, ListenerCallingFinishReceivesOnlyNeutral) {
  ear_.on_pressure = [&](Availability availability) {
    if (availability == Availability::kLow) monitor_.Finish(threads_.Now());
  };
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1", "over 10", "Low 0", "Neutral 0"));
  EXPECT_EQ(ear_.rounds, 0);
}

TEST_F(MonitorTest, FinishBeforeLowSuppressesLow) {
  ear_.on_over = [&] { monitor_.Finish(threads_.Now()); };
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("over 10"));
}

TEST_F(MonitorTest, FinishInTheFirstCallbackSuppressesTheRest) {
  ear_.on_used = [&] { monitor_.Finish(threads_.Now()); };
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1"));
}

TEST_F(MonitorTest, FinishAtTheEndOfPressureTakesBackNoReserve) {
  chest_.given = {kMiB};
  EXPECT_THAT(Round(), ElementsAre("used 1", "Low 0"));
  ear_.on_pressure = [&](Availability) { monitor_.Finish(threads_.Now()); };
  EXPECT_THAT(After(1000), ElementsAre("Neutral 40"));
  EXPECT_EQ(chest_.tries, 0);
}

}  // namespace
}  // namespace clr_host_memory::test
