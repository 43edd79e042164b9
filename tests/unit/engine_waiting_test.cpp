// Requests that wait for memory, through the engine, and the guarantee of the process-critical level.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "heap/private_heap.h"
#include "support/std_thread_system.h"
#include "unit/relief_fixture.h"

namespace clr_host_memory::test {
namespace {

// ---- waiting, on one thread: the wait hook plays the dispatcher and all other threads

class WaitingTest : public ReliefTest {
 protected:
  WaitingTest() {
    EXPECT_TRUE(engine.OpenWaits(&server));
    for (const Criticality level : {Criticality::kTask, Criticality::kAppDomain, Criticality::kProcess}) {
      engine.SetWait(level, Milliseconds{1000});
    }
    threads.SetWaitHook([this](EventHandle, Milliseconds deadline) {
      (void)engine.ServeWaiters(threads.Now());
      ++rounds;
      if (during) during(rounds);
      const Milliseconds next = std::min(deadline, threads.Now() + Milliseconds{100});
      threads.SetNow(next);
      (void)engine.ServeWaiters(next);
    });
  }
  // Fills the limit for task-critical requests.
  void Fill() { ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok()); }

  CountingWaker server;
  std::function<void(int round)> during;
  int rounds = 0;
};

TEST_F(WaitingTest, RequestIsGrantedWhenMemoryReturns) {
  Fill();
  during = [&](int round) {
    if (round == 3) {
      EXPECT_TRUE(Decommit(region, kMiB).ok());
    }
  };
  EXPECT_TRUE(Take(kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(rounds, 3);
  EXPECT_EQ(Charged(), Bytes{14 * kMiB});
  EXPECT_EQ(engine.waits().Counts(Criticality::kTask).granted, 1u);
  EXPECT_TRUE(Exact());
}

TEST_F(WaitingTest, RequestTimesOutAtItsDeadlineUncharged) {
  Fill();
  const Milliseconds before = threads.Now();
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::TimedOut());
  EXPECT_EQ(threads.Now() - before, Milliseconds{1000});
  EXPECT_EQ(Charged(), Bytes{14 * kMiB});
  EXPECT_TRUE(Exact());
}

TEST_F(WaitingTest, LevelWithoutAWaitIsRefusedAtOnce) {
  engine.SetWait(Criticality::kTask, Milliseconds{0});
  Fill();
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(rounds, 0);
  EXPECT_EQ(engine.waits().Counts(Criticality::kTask).waits, 0u);
}

TEST_F(WaitingTest, RequestThatNeverFitsIsRefusedAtOnce) {
  EXPECT_EQ(Take(15 * kMiB, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(Allocate(0, 64 * kMiB, win32::kMemReserve | win32::kMemCommit).outcome, Outcome::OverLimit());
  EXPECT_EQ(rounds, 0);
}

TEST_F(WaitingTest, CommittedPagesNeverWait) {
  Fill();
  EXPECT_TRUE(Commit(region, kMiB).outcome.ok());
  EXPECT_EQ(rounds, 0);
}

TEST_F(WaitingTest, CancelAndShutdownAbandonWaits) {
  Fill();
  during = [&](int round) {
    if (round == 2) engine.CancelWaits();
  };
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::Abandoned());
  during = [&](int round) {
    if (round == 4) engine.Shutdown();
  };
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::Abandoned());
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::Unavailable());
  EXPECT_EQ(Charged(), Bytes{14 * kMiB});
}

TEST_F(WaitingTest, OsRefusedRequestIsRetriedUntilTheOsGrantsIt) {
  os.SetCommitLimit({kMiB});
  ASSERT_TRUE(Take(kMiB, Criticality::kTask).outcome.ok());
  during = [&](int round) {
    if (round == 5) os.SetCommitLimit({2 * kMiB});  // other code freed memory, without a notification
  };
  EXPECT_TRUE(Take(kMiB, Criticality::kTask).outcome.ok());
  EXPECT_GE(rounds, 5);
  EXPECT_TRUE(Exact());
  during = nullptr;
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::TimedOut());
  EXPECT_TRUE(Exact());
}

TEST_F(WaitingTest, LowerLevelDoesNotOvertakeAWaitingHigherLevel) {
  Fill();
  engine.SetWait(Criticality::kTask, Milliseconds{0});
  during = [&](int round) {
    if (round == 1) {
      // The waiter needs 3 MiB, and only 2 MiB are free. Memory returned meanwhile is closed to lower levels.
      EXPECT_TRUE(Decommit(region, 128 * kKiB).ok());
      EXPECT_EQ(Commit(region, kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
      EXPECT_TRUE(Decommit(region + kMiB, kMiB).ok());
    }
  };
  EXPECT_TRUE(Commit(region + 100 * kMiB, 3 * kMiB, Criticality::kProcess).outcome.ok());
  during = nullptr;
  EXPECT_TRUE(Decommit(region + 100 * kMiB, 3 * kMiB).ok());
  EXPECT_TRUE(Commit(region, kPageSize, Criticality::kTask).outcome.ok());
}

TEST_F(WaitingTest, ProcessCriticalRequestUsesTheReserveBeforeWaiting) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_TRUE(Take(kReserve.value, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(rounds, 0);
  during = [&](int round) {
    if (round == 2) {
      EXPECT_TRUE(Decommit(region, kPageSize).ok());
    }
  };
  EXPECT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Charged(), kLimits.limit);
}

TEST_F(WaitingTest, ReserveServesTheQueueHeadOnceItSuffices) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  during = [&](int round) {
    if (round == 2) {
      EXPECT_TRUE(Decommit(region, 7 * kMiB + kMiB / 2).ok());  // 8 MiB are wanted, and the reserve has 1
    }
  };
  EXPECT_TRUE(Commit(region + 100 * kMiB, 8 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(rounds, 2);
  EXPECT_EQ(Held(), Bytes{kMiB / 2});
}

TEST_F(WaitingTest, RequestFullyCoveredByTheReserveSkipsTheQueue) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  during = [&](int round) {
    if (round != 1) return;
    EXPECT_TRUE(Decommit(region, kMiB).ok());
    EXPECT_TRUE(Commit(region + 200 * kMiB, 64 * kKiB, Criticality::kProcess).outcome.ok());
    // The returned memory is still free for the waiting request.
    EXPECT_EQ(Charged() + Bytes{kMiB}, kLimits.limit - Held());
    EXPECT_TRUE(Decommit(region + kMiB, 7 * kMiB).ok());
  };
  EXPECT_TRUE(Commit(region + 100 * kMiB, 8 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(engine.waits().Counts(Criticality::kProcess).waits, 1u);
}

TEST_F(WaitingTest, ExclusiveSectionOwnerIsRefusedAtOnce) {
  Fill();
  ASSERT_TRUE(engine.EnterExclusive(Milliseconds{0}).ok());
  EXPECT_EQ(Take(kMiB, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(rounds, 0);
  ASSERT_TRUE(engine.LeaveExclusive().ok());
}

TEST_F(WaitingTest, HeapBlocksWaitLikePages) {
  PrivateHeap malloc(engine, 1);
  ASSERT_TRUE(malloc.Open(Criticality::kProcess).ok());
  Fill();
  during = [&](int round) {
    if (round == 2) {
      EXPECT_TRUE(Decommit(region, kUnitSize).ok());
    }
  };
  const BlockOutcome block = malloc.Allocate(100, Criticality::kTask);
  EXPECT_TRUE(block.outcome.ok());
  EXPECT_TRUE(malloc.Free(block.block).ok());
}

TEST_F(WaitingTest, RaisedLimitGrantsWaitingRequests) {
  Fill();
  during = [&](int round) {
    if (round == 2) engine.ledger().budget().SetLimits({.limit = {32 * kMiB}});
  };
  EXPECT_TRUE(Take(4 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{18 * kMiB});
}

// ---- the guarantee of the process-critical level, on all cores

TEST(ProcessCritical, NeverFailsWhileTheReserveHasRoomUnderLoad) {
  FakeMemorySystem os;
  StdThreadSystem threads;
  Engine engine(os, threads, {.limit = {8 * kMiB}, .app_domain_headroom = {}, .process_headroom = kReserve});
  ASSERT_EQ(engine.OpenReserves(kReserve, {}), win32::kSuccess);
  const auto reserve = [&] {
    return engine
        .Allocate({.size = 64 * kMiB, .type = win32::kMemReserve, .protect = kPageReadWrite}, Criticality::kTask)
        .address;
  };
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> refused_below = 0;
  std::vector<std::thread> greedy;
  const unsigned cores = std::max(2u, std::thread::hardware_concurrency());
  for (unsigned t = 0; t < cores; ++t) {
    greedy.emplace_back([&, base = reserve(), level = t % 2 == 0 ? Criticality::kTask : Criticality::kAppDomain] {
      while (!stop.load()) {
        std::uint64_t at = 0;
        for (; at < 16 * kMiB; at += 4 * kPageSize) {
          const AllocateRequest commit{base + at, 4 * kPageSize, win32::kMemCommit, kPageReadWrite};
          if (engine.Allocate(commit, level).outcome.ok()) continue;
          refused_below.fetch_add(1);
          break;
        }
        if (at != 0) (void)engine.Free(base, at, win32::kMemDecommit);
      }
    });
  }
  // Every request up to the size of the reserve is granted. Each takes a whole slice, since a request can leave part
  // of a slice unused.
  const Address base = reserve();
  while (refused_below.load() == 0) std::this_thread::yield();
  constexpr std::uint64_t kStep = 4 * kPageSize;
  for (int round = 0; round < 300 || engine.headroom_pool().Uses() == 0; ++round) {
    for (std::uint64_t at = 0; at < kReserve.value; at += kStep) {
      const AllocateRequest commit{base + at, kStep, win32::kMemCommit, kPageReadWrite};
      ASSERT_EQ(engine.Allocate(commit, Criticality::kProcess).outcome, Outcome::Done()) << round << " at " << at;
    }
    ASSERT_TRUE(engine.Free(base, kReserve.value, win32::kMemDecommit).ok());
    while (!engine.TakeBackReserves()) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : greedy) thread.join();
  EXPECT_EQ(engine.ledger().budget().Charged(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
