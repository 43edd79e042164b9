// Waiting requests, one step at a time on a fake clock.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "support/wait_list_support.h"
#include "support/wait_stage.h"

namespace clr_host_memory::test {
namespace {

using std::chrono_literals::operator""ms;

// The limit is 100, and all of it is in use unless a test changes this.
class WaitListTest : public testing::Test {
 protected:
  WaitListTest() : stage(8) {
    stage.Open({.limit = {100}});
    stage.budget().Charge({100});
  }
  // After every test, no request waits and nothing is lost.
  void TearDown() override {
    stage.list().Abandon(true);
    static_cast<void>(stage.Serve());
    for (std::size_t i = 0; i < 8; ++i) {
      if (stage.Waits(i)) stage.GoOn(i);
      EXPECT_FALSE(stage.Waits(i)) << i;
    }
    static_cast<void>(stage.Serve());
    EXPECT_TRUE(IsIdle(stage.budget(), stage.list()));
  }

  WaitRequest Request(std::uint64_t bytes, Criticality level = kTask, Milliseconds deadline = 1000ms) {
    return {.bytes = {bytes}, .level = level, .deadline = deadline, .ticket = stage.list().TakeTicket()};
  }
  WaitRequest RefusedByOs(std::uint64_t bytes) {
    WaitRequest request = Request(bytes);
    request.refused_by_os = true;
    return request;
  }
  void ServeIfWoken() {
    EXPECT_GT(stage.server().wakes, 0);
    static_cast<void>(stage.Serve());
  }
  [[nodiscard]] testing::AssertionResult Granted(std::size_t waiter) { return EndsAs(waiter, WaitResult::kGranted); }
  [[nodiscard]] testing::AssertionResult EndsAs(std::size_t waiter, WaitResult result) {
    if (stage.Waits(waiter)) stage.GoOn(waiter);
    if (stage.Waits(waiter)) return testing::AssertionFailure() << "waiter " << waiter << " still waits";
    if (stage.Result(waiter) == result) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "waiter " << waiter << ": " << testing::PrintToString(stage.Result(waiter));
  }
  [[nodiscard]] testing::AssertionResult Sleeps(std::size_t waiter) {
    if (stage.Waits(waiter)) stage.Disturb(waiter);
    if (stage.Waits(waiter)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "waiter " << waiter << ": " << testing::PrintToString(stage.Result(waiter));
  }
  [[nodiscard]] Bytes Charged() { return stage.budget().Charged(); }

  WaitStage stage;
};

TEST_F(WaitListTest, ReturnedMemoryIsChargedBeforeTheWaiterResumes) {
  stage.Begin(0, Request(30));
  ServeIfWoken();
  EXPECT_TRUE(Sleeps(0));
  stage.budget().Uncharge({40});
  ServeIfWoken();
  EXPECT_EQ(Charged(), Bytes{90});
  EXPECT_EQ(stage.budget().Waiting(), 0u);
  EXPECT_TRUE(stage.IsSignalled(0));
  EXPECT_TRUE(Granted(0));
  EXPECT_EQ(Charged(), Bytes{90});
  EXPECT_EQ(stage.list().Counts(kTask).granted, 1u);
}

TEST_F(WaitListTest, MemoryReturnedBeforeTheWaitGrantsAtOnce) {
  stage.budget().Uncharge({40});
  stage.Begin(0, Request(30));
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
}

TEST_F(WaitListTest, ServesByLevelThenByTicket) {
  const WaitRequest requests[] = {Request(10, kTask),    Request(10, kAppDomain), Request(10, kProcess),
                                  Request(10, kProcess), Request(10, kAppDomain), Request(10, kTask)};
  // The ticket decides the order, not the time of the announcement.
  for (const std::size_t i : {3u, 5u, 1u}) stage.Begin(i, requests[i]);
  ServeIfWoken();
  for (const std::size_t i : {4u, 0u, 2u}) stage.Begin(i, requests[i]);
  ServeIfWoken();
  EXPECT_EQ(stage.budget().Waiting(), 6u);
  std::vector<std::size_t> rest{2, 3, 1, 4, 0, 5};
  while (!rest.empty()) {
    stage.budget().Uncharge({10});
    ServeIfWoken();
    EXPECT_TRUE(Granted(rest.front()));
    rest.erase(rest.begin());
    for (const std::size_t i : rest) EXPECT_TRUE(Sleeps(i)) << i;
  }
}

TEST_F(WaitListTest, OneReturnServesEveryWaiterItSuffices) {
  for (std::size_t i = 0; i < 4; ++i) stage.Begin(i, Request(10));
  stage.budget().Uncharge({35});
  ServeIfWoken();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(Granted(i));
  EXPECT_TRUE(Sleeps(3));
  EXPECT_EQ(Charged(), Bytes{95});
}

TEST_F(WaitListTest, SmallerRequestDoesNotOvertakeTheQueueHead) {
  stage.Begin(0, Request(50));
  stage.Begin(1, Request(1));
  stage.budget().Uncharge({10});
  ServeIfWoken();
  EXPECT_TRUE(Sleeps(0));
  EXPECT_TRUE(Sleeps(1));
  stage.budget().Uncharge({41});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Granted(1));
  EXPECT_EQ(Charged(), Bytes{100});
}

TEST_F(WaitListTest, AnnouncedWaiterBlocksChargesOfItsLevelAndBelow) {
  stage.budget().Uncharge({50});
  stage.Begin(0, Request(60, kAppDomain));
  const auto try_all = [&] {
    EXPECT_EQ(stage.budget().TryCharge({1}, kTask), Admission::kBehindQueue);
    EXPECT_EQ(stage.budget().TryCharge({1}, kAppDomain), Admission::kBehindQueue);
    EXPECT_EQ(stage.budget().TryCharge({1}, kProcess), Admission::kAdmitted);
    EXPECT_EQ(stage.budget().TryCharge({}, kTask), Admission::kAdmitted);
    stage.budget().Uncharge({1});
  };
  try_all();
  ServeIfWoken();
  try_all();
  stage.threads().Advance(1000ms);
  static_cast<void>(stage.Serve());
  EXPECT_EQ(stage.budget().TryCharge({1}, kTask), Admission::kAdmitted);
}

TEST_F(WaitListTest, RefusalBehindAnAnnouncedWaiterWakesTheDispatcher) {
  stage.Begin(0, Request(30));
  stage.server().wakes = 0;  // as if the thread had been suspended before its wake-up
  EXPECT_EQ(stage.budget().TryCharge({1}, kTask), Admission::kBehindQueue);
  EXPECT_GT(stage.server().wakes, 0);
  static_cast<void>(stage.Serve());
  EXPECT_EQ(stage.budget().TryCharge({1}, kTask), Admission::kBehindQueue);
  EXPECT_EQ(stage.server().wakes, 0);
}

TEST_F(WaitListTest, ZeroByteRequestNeitherBlocksNorIsBlocked) {
  stage.Begin(0, Request(50, kProcess));
  stage.Begin(1, Request(0));
  EXPECT_EQ(stage.budget().Waiting(), 1u);
  ServeIfWoken();
  EXPECT_TRUE(Granted(1));
  EXPECT_TRUE(Sleeps(0));
  EXPECT_EQ(Charged(), Bytes{100});

  WaitRequest refused = RefusedByOs(0);
  refused.level = kProcess;
  stage.Begin(1, refused);
  stage.Begin(2, Request(10, kAppDomain));
  stage.budget().CancelCharge({60});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Granted(2));
  EXPECT_TRUE(Sleeps(1));
  EXPECT_EQ(stage.budget().TryCharge({0}, kTask), Admission::kAdmitted);
}

TEST_F(WaitListTest, TimedOutWaiterWakesTheDispatcherForItsRecord) {
  stage.Begin(0, Request(30, kAppDomain, 100ms));
  EXPECT_EQ(stage.Serve(), 100ms);
  stage.threads().Advance(99ms);
  EXPECT_TRUE(Sleeps(0));
  EXPECT_EQ(stage.Serve(), 1ms);
  stage.threads().Advance(1ms);
  EXPECT_TRUE(EndsAs(0, WaitResult::kTimedOut));
  EXPECT_EQ(stage.list().Counts(kAppDomain).timed_out, 1u);
  EXPECT_EQ(stage.list().FreeRecords(), WaitList::kMostWaiters - 1);
  ServeIfWoken();
  EXPECT_EQ(stage.list().FreeRecords(), WaitList::kMostWaiters);
  EXPECT_EQ(stage.budget().Waiting(), 0u);
}

TEST_F(WaitListTest, InfiniteDeadlineSetsNoTimer) {
  stage.Begin(0, Request(30, kTask, kForever));
  EXPECT_EQ(stage.Serve(), kForever);
  stage.threads().Advance(1'000'000'000ms);
  EXPECT_EQ(stage.Serve(), kForever);
  EXPECT_TRUE(Sleeps(0));
  stage.budget().Uncharge({30});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
}

// The waiter's thread is suspended and cannot leave the queue itself.
TEST_F(WaitListTest, DispatcherEndsTimedOutWaitsOfSuspendedThreads) {
  stage.budget().Uncharge({10});
  stage.Begin(0, Request(50, kTask, 100ms));
  stage.Begin(1, Request(10));
  EXPECT_EQ(stage.Serve(), 100ms);
  stage.threads().Advance(100ms);
  static_cast<void>(stage.Serve());
  EXPECT_TRUE(Granted(1));
  EXPECT_TRUE(EndsAs(0, WaitResult::kTimedOut));
  EXPECT_EQ(Charged(), Bytes{100});
}

TEST_F(WaitListTest, TimedOutWaiterIsNotChargedAndTheNextIsServed) {
  stage.Begin(0, Request(50, kTask, 100ms));
  stage.Begin(1, Request(10));
  static_cast<void>(stage.Serve());
  stage.threads().Advance(100ms);
  EXPECT_TRUE(EndsAs(0, WaitResult::kTimedOut));
  stage.budget().Uncharge({50});
  ServeIfWoken();
  EXPECT_TRUE(Granted(1));
  EXPECT_EQ(Charged(), Bytes{60});
}

TEST_F(WaitListTest, LateDispatcherStillGrantsAvailableMemory) {
  stage.Begin(0, Request(50, kTask, 100ms));
  stage.budget().Uncharge({50});
  stage.threads().Advance(200ms);
  static_cast<void>(stage.Serve());
  EXPECT_TRUE(Granted(0));
}

TEST_F(WaitListTest, AbandonEndsWaitsOfTicketsTakenSoFar) {
  const WaitRequest early = Request(30);
  stage.Begin(0, early);
  stage.Begin(1, Request(0));
  stage.list().Hold(true);
  stage.Begin(2, Request(30, kProcess));
  const WaitRequest taken_before = Request(30);
  stage.list().Abandon(false);
  ServeIfWoken();
  for (const std::size_t i : {0u, 1u, 2u}) EXPECT_TRUE(EndsAs(i, WaitResult::kAbandoned));
  EXPECT_EQ(stage.budget().Waiting(), 0u);

  stage.Begin(3, taken_before);
  EXPECT_TRUE(EndsAs(3, WaitResult::kAbandoned));
  stage.Begin(3, early);
  EXPECT_TRUE(EndsAs(3, WaitResult::kAbandoned));
  EXPECT_EQ(stage.list().Counts(kTask).abandoned, 4u);
  EXPECT_EQ(stage.list().Counts(kProcess).abandoned, 1u);

  stage.list().Hold(false);
  stage.Begin(4, Request(30));
  stage.budget().Uncharge({30});
  ServeIfWoken();
  EXPECT_TRUE(Granted(4));
}

TEST_F(WaitListTest, PermanentAbandonEndsLaterWaitsToo) {
  stage.Begin(0, Request(30));
  stage.list().Abandon(true);
  stage.list().Abandon(false);  // does not revoke the permanent abandon
  ServeIfWoken();
  EXPECT_TRUE(EndsAs(0, WaitResult::kAbandoned));
  stage.Begin(1, Request(0));
  EXPECT_TRUE(EndsAs(1, WaitResult::kAbandoned));
}

// The request was announced after the dispatcher's last round, so it ends by itself.
TEST_F(WaitListTest, AbandonedWaiterEndsWithoutTheDispatcher) {
  stage.Begin(0, Request(30));
  stage.list().Abandon(true);
  stage.Disturb(0);
  EXPECT_TRUE(EndsAs(0, WaitResult::kAbandoned));
}

TEST_F(WaitListTest, HoldGrantsNothing) {
  stage.budget().Uncharge({50});
  stage.list().Hold(true);
  stage.Begin(0, Request(0));
  stage.Begin(1, Request(10));
  stage.Begin(2, Request(10, kProcess, 100ms));
  EXPECT_EQ(stage.Serve(), 100ms);
  for (const std::size_t i : {0u, 1u, 2u}) EXPECT_TRUE(Sleeps(i));
  stage.threads().Advance(100ms);
  static_cast<void>(stage.Serve());
  EXPECT_TRUE(EndsAs(2, WaitResult::kTimedOut));
  stage.list().Hold(false);
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Granted(1));
  EXPECT_EQ(Charged(), Bytes{60});
}

TEST_F(WaitListTest, DecommittedHeadroomServesOnlyProcessLevel) {
  stage.budget().SetLimits({.limit = {120}, .process_headroom = {20}, .committed_headroom = {20}});
  ASSERT_EQ(SetHeldHeadroom(stage.budget(), {20}), Bytes{20});
  stage.Begin(0, Request(10, kProcess));
  stage.Begin(1, Request(5, kAppDomain));
  ServeIfWoken();
  SetHeldHeadroom(stage.budget(), {11});
  ServeIfWoken();
  EXPECT_TRUE(Sleeps(0));
  SetHeldHeadroom(stage.budget(), {});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Sleeps(1));
  EXPECT_EQ(Charged(), Bytes{110});
}

TEST_F(WaitListTest, EachLevelWaitsForItsOwnCeiling) {
  stage.Begin(0, Request(5, kTask));
  ServeIfWoken();
  stage.budget().SetLimits({.limit = {130}, .app_domain_headroom = {10}, .process_headroom = {20}});
  ServeIfWoken();
  EXPECT_TRUE(Sleeps(0));
  stage.Begin(1, Request(10, kAppDomain));
  stage.Begin(2, Request(20, kProcess));
  ServeIfWoken();
  EXPECT_TRUE(Granted(2));
  EXPECT_TRUE(Sleeps(1));
  stage.budget().Uncharge({20});
  ServeIfWoken();
  EXPECT_TRUE(Granted(1));
  EXPECT_TRUE(Sleeps(0));
}

TEST_F(WaitListTest, RaisedLimitOrLessUnchargedMemoryWakesTheDispatcher) {
  stage.Begin(0, Request(10));
  stage.Begin(1, Request(10));
  static_cast<void>(stage.Serve());
  stage.budget().SetUncharged({10});
  static_cast<void>(stage.Serve());
  stage.budget().SetLimits({.limit = {120}});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Sleeps(1));
  stage.budget().SetUncharged({});
  ServeIfWoken();
  EXPECT_TRUE(Granted(1));
}

TEST_F(WaitListTest, OsRefusedRequestIsRetriedAfterTheRetryInterval) {
  stage.budget().Uncharge({50});
  stage.Begin(0, RefusedByOs(10));
  EXPECT_EQ(stage.Serve(), WaitList::kOsRetry);
  stage.threads().Advance(WaitList::kOsRetry - 1ms);
  EXPECT_EQ(stage.Serve(), 1ms);
  EXPECT_TRUE(Sleeps(0));
  stage.threads().Advance(1ms);
  static_cast<void>(stage.Serve());
  EXPECT_TRUE(Granted(0));
  EXPECT_EQ(Charged(), Bytes{60});
}

TEST_F(WaitListTest, OsRefusedRequestIsRetriedAfterAReturn) {
  stage.budget().Uncharge({50});
  stage.Begin(0, RefusedByOs(10));
  static_cast<void>(stage.Serve());
  stage.budget().Uncharge({1});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
}

TEST_F(WaitListTest, OsRefusedRequestAlsoWaitsForTheLimit) {
  stage.Begin(0, RefusedByOs(10));
  stage.threads().Advance(WaitList::kOsRetry);
  EXPECT_EQ(stage.Serve(), 950ms);
  EXPECT_TRUE(Sleeps(0));
  stage.budget().Uncharge({10});
  ServeIfWoken();
  EXPECT_TRUE(Granted(0));
}

// The rollback of each would count as a return for the other.
TEST_F(WaitListTest, TwoOsRefusedRequestsDoNotWakeEachOther) {
  stage.budget().Uncharge({50});
  const WaitRequest requests[] = {RefusedByOs(10), RefusedByOs(10)};
  for (const std::size_t i : {0u, 1u}) stage.Begin(i, requests[i]);
  int tries = 0;
  for (int ms = 0; ms < 200; ++ms) {
    for (int round = 0; round < 5; ++round) {
      static_cast<void>(stage.Serve());
      for (const std::size_t i : {0u, 1u}) {
        if (stage.IsSignalled(i)) stage.GoOn(i);
        if (stage.Waits(i)) continue;
        ++tries;
        stage.budget().CancelCharge({10});
        stage.Begin(i, requests[i]);
      }
    }
    stage.threads().Advance(1ms);
  }
  EXPECT_EQ(tries, 6);  // both, at 50, 100 and 150 ms
}

TEST_F(WaitListTest, OsRefusedRequestKeepsItsPlaceInTheQueue) {
  stage.budget().Uncharge({5});
  WaitRequest first = Request(10);
  stage.Begin(0, first);
  stage.Begin(1, Request(10));
  stage.budget().Uncharge({5});
  ServeIfWoken();
  ASSERT_TRUE(Granted(0));
  stage.budget().CancelCharge({10});
  first.refused_by_os = true;
  stage.Begin(0, first);
  ServeIfWoken();
  EXPECT_TRUE(Sleeps(0));
  EXPECT_TRUE(Sleeps(1));
  stage.threads().Advance(WaitList::kOsRetry);
  static_cast<void>(stage.Serve());
  EXPECT_TRUE(Granted(0));
  EXPECT_TRUE(Sleeps(1));
}

TEST_F(WaitListTest, SpuriousSignalDoesNotEndTheWait) {
  stage.Begin(0, Request(10));
  stage.Disturb(0);
  stage.Disturb(0);
  EXPECT_TRUE(stage.Waits(0));
}

TEST_F(WaitListTest, ReturnsWithoutWaitersWakeNothing) {
  stage.budget().Uncharge({10});
  stage.budget().CancelCharge({10});
  stage.budget().SetLimits({.limit = {90}});
  EXPECT_EQ(stage.server().wakes, 0);
}

TEST_F(WaitListTest, WaitWithoutAFreeRecordIsRefused) {
  // A waiter that leaves at once keeps its record until the dispatcher has seen it.
  for (std::uint32_t i = 0; i < WaitList::kMostWaiters; ++i) {
    ASSERT_EQ(stage.list().Wait(Request(10, kTask, 0ms)), WaitResult::kTimedOut) << i;
  }
  EXPECT_EQ(stage.list().FreeRecords(), 0u);
  EXPECT_EQ(stage.budget().Waiting(), WaitList::kMostWaiters);
  EXPECT_EQ(stage.list().Wait(Request(10)), WaitResult::kNoRoom);
  ServeIfWoken();
  EXPECT_EQ(stage.list().FreeRecords(), WaitList::kMostWaiters);
  EXPECT_EQ(stage.list().Counts(kTask).waits, WaitList::kMostWaiters);
}

TEST_F(WaitListTest, WaitWithoutAnEventIsRefused) {
  stage.threads().FailEvents(1);
  EXPECT_EQ(stage.list().Wait(Request(10)), WaitResult::kNoRoom);
  EXPECT_EQ(stage.list().FreeRecords(), WaitList::kMostWaiters);
  EXPECT_EQ(stage.budget().Waiting(), 0u);
  EXPECT_EQ(stage.list().Wait(Request(10, kTask, 0ms)), WaitResult::kTimedOut);
}

TEST_F(WaitListTest, EventsAreReusedWithTheirRecords) {
  for (int round = 0; round < 10; ++round) {
    for (std::size_t i = 0; i < 3; ++i) stage.Begin(i, Request(1));
    stage.budget().Uncharge({3});
    ServeIfWoken();
    for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(Granted(i));
  }
  EXPECT_EQ(stage.threads().LiveEvents(), 3);
}

}  // namespace
}  // namespace clr_host_memory::test
