// The records and events of a wait list, and a list without records.
#include <gtest/gtest.h>

#include "support/wait_stage.h"

namespace clr_host_memory::test {
namespace {

using std::chrono_literals::operator""ms;

TEST(WaitListMemory, DestructorFreesRecordsAndEvents) {
  FakeMemorySystem memory;
  FakeThreadSystem threads;
  Budget budget({.limit = {100}});
  CountingWaker server;
  budget.SetDispatcher(&server);
  {
    WaitList list(memory, threads, budget);
    ASSERT_TRUE(list.Open(&server));
    EXPECT_EQ(list.Wait({.bytes = {10}, .ticket = list.TakeTicket()}), WaitResult::kTimedOut);
    EXPECT_EQ(threads.LiveEvents(), 1);
  }
  EXPECT_EQ(threads.LiveEvents(), 0);
  EXPECT_EQ(memory.LiveMetadata(), 0u);
}

TEST(WaitListMemory, ListWithoutRecordsRefusesWaitsOnly) {
  FakeMemorySystem memory;
  FakeThreadSystem threads;
  Budget budget({.limit = {100}});
  CountingWaker server;
  WaitList list(memory, threads, budget);
  list.Hold(false);
  EXPECT_EQ(list.Serve(threads.Now()), kForever);
  memory.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory);
  EXPECT_FALSE(list.Open(&server));
  EXPECT_EQ(list.Wait({.bytes = {10}, .deadline = 10ms, .ticket = list.TakeTicket()}), WaitResult::kNoRoom);
  list.Abandon(false);
  EXPECT_EQ(list.Serve(threads.Now()), kForever);
}

}  // namespace
}  // namespace clr_host_memory::test
