// Exclusive sections, memory owned by the host, and the manager's stages.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "heap/private_heap.h"
#include "support/engine_fixture.h"
#include "support/std_thread_system.h"

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kHost = 1001;
constexpr std::uint64_t kOther = 1002;

// Runs `act` under this thread id.
template <typename Act>
auto As(std::uint64_t thread, Act act) {
  FakeThreadSystem::SetCurrentThread(thread);
  auto result = act();
  FakeThreadSystem::SetCurrentThread(0);
  return result;
}

class ExclusiveTest : public EngineTest {
 protected:
  ExclusiveTest() { region = ReserveAndCommit(kMiB).address; }
  Outcome Enter(std::uint64_t thread, int bound = 0) {
    return As(thread, [&] { return engine.EnterExclusive(Milliseconds{bound}); });
  }
  Outcome Leave(std::uint64_t thread) {
    return As(thread, [&] { return engine.LeaveExclusive(); });
  }
  Address region = 0;
};

TEST_F(ExclusiveTest, ExclusiveSectionRefusesOtherAllocationsAndServesFrees) {
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  EXPECT_EQ(Reserve(kMiB).outcome, Outcome::ExclusiveElsewhere());
  EXPECT_EQ(Commit(region, kPageSize).outcome, Outcome::ExclusiveElsewhere());
  EXPECT_EQ(ReserveAndCommit(kMiB).outcome, Outcome::ExclusiveElsewhere());
  PrivateHeap heap(engine, 1);
  EXPECT_EQ(heap.Open(Criticality::kProcess), Outcome::ExclusiveElsewhere());
  EXPECT_EQ(heap.Allocate(100, Criticality::kProcess).outcome, Outcome::ExclusiveElsewhere());
  EXPECT_TRUE(Decommit(region, kPageSize).ok());
  EXPECT_TRUE(Release(region).ok());
  EXPECT_EQ(Charged(), Bytes{});
  ASSERT_EQ(Leave(kHost), Outcome::Done());
  EXPECT_TRUE(Reserve(kMiB).outcome.ok());
  EXPECT_TRUE(heap.Allocate(100, Criticality::kProcess).outcome.ok());
}

TEST_F(ExclusiveTest, OwnerAllocationsAreServed) {
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  EXPECT_TRUE(As(kHost, [&] { return Commit(region, 2 * kPageSize).outcome; }).ok());
  EXPECT_TRUE(As(kHost, [&] { return ReserveAndCommit(kMiB).outcome; }).ok());
  ASSERT_EQ(Leave(kHost), Outcome::Done());
}

TEST_F(ExclusiveTest, SectionNestsAndOnlyItsOwnerLeaves) {
  EXPECT_EQ(Leave(kHost), Outcome::NotOwner());
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  EXPECT_EQ(Leave(kOther), Outcome::NotOwner());
  EXPECT_EQ(Enter(kOther), Outcome::ExclusiveElsewhere());
  EXPECT_EQ(Leave(kHost), Outcome::Done());
  EXPECT_EQ(Commit(region, kPageSize).outcome, Outcome::ExclusiveElsewhere());
  EXPECT_EQ(Leave(kHost), Outcome::Done());
  EXPECT_TRUE(Commit(region, kPageSize).outcome.ok());
  EXPECT_EQ(Leave(kHost), Outcome::NotOwner());
  EXPECT_EQ(Enter(kOther), Outcome::Done());
  EXPECT_EQ(Leave(kOther), Outcome::Done());
}

TEST_F(ExclusiveTest, EnteringWaitsUntilTheDeadline) {
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  const Milliseconds before = threads.Now();
  EXPECT_EQ(Enter(kOther, 50), Outcome::TimedOut());
  EXPECT_EQ(threads.Now() - before, Milliseconds{50});
  engine.Shutdown();
  EXPECT_EQ(Enter(kOther, 50), Outcome::Unavailable());
  EXPECT_EQ(Leave(kHost), Outcome::Done());
}

// A commit that is suspended inside its OS call is in progress. The section is not entered before the commit has
// ended.
TEST_F(ExclusiveTest, EnteringFailsDuringAnAllocation) {
  for (const bool in_word : {true, false}) {
    SCOPED_TRACE(in_word);
    Outcome entered = Outcome::Done();
    os.OnNext(OsCall::kAllocate, Moment::kBefore, [&](const OsCallInfo&) { entered = Enter(kHost, 20); });
    const AddressOutcome result = in_word ? Commit(region, kPageSize) : ReserveAndCommit(kMiB);
    EXPECT_TRUE(result.outcome.ok());
    EXPECT_EQ(entered, Outcome::TimedOut());
    EXPECT_TRUE(Commit(region, kPageSize).outcome.ok());  // the failed entry left the gate open
    EXPECT_EQ(Enter(kHost, 20), Outcome::Done());
    EXPECT_EQ(Leave(kHost), Outcome::Done());
  }
}

TEST_F(ExclusiveTest, LevelWithAWaitWaitsForTheSectionToEnd) {
  class NoWaker final : public Waker {
    void Wake() noexcept override {}
  } server;
  ASSERT_TRUE(engine.OpenWaits(&server));
  engine.SetWait(Criticality::kTask, Milliseconds{1000});
  int rounds = 0;
  bool end_it = true;
  threads.SetWaitHook([&](EventHandle, Milliseconds deadline) {
    if (++rounds == 3 && end_it) {
      EXPECT_EQ(Leave(kHost), Outcome::Done());
    }
    threads.SetNow(std::min(deadline, threads.Now() + Milliseconds{100}));
    (void)engine.ServeWaiters(threads.Now());
  });
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  EXPECT_TRUE(ReserveAndCommit(kMiB).outcome.ok());
  EXPECT_EQ(rounds, 3);
  end_it = false;
  ASSERT_EQ(Enter(kHost), Outcome::Done());
  EXPECT_EQ(Reserve(kMiB).outcome, Outcome::TimedOut());
  EXPECT_EQ(Commit(region, kPageSize, Criticality::kProcess).outcome, Outcome::ExclusiveElsewhere());  // has no wait
  ASSERT_EQ(Leave(kHost), Outcome::Done());
}

TEST(ExclusiveSection, StopsAllocationsUnderFullLoad) {
  FakeMemorySystem os;
  StdThreadSystem threads;
  Engine engine(os, threads, {});
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> held = 0;
  std::vector<std::thread> clients;
  for (int t = 0; t < 3; ++t) {
    // Reserves on this thread, before the first section: the section would refuse the reservation of a client that
    // starts late.
    const AddressOutcome region =
        engine.Allocate({.size = 4 * kMiB, .type = win32::kMemReserve, .protect = kPageReadWrite}, Criticality::kTask);
    ASSERT_TRUE(region.outcome.ok());
    clients.emplace_back([&, base = region.address] {
      for (std::uint64_t i = 0; !stop.load(); ++i) {
        const AllocateRequest commit{base + i % 64 * kPageSize, 4 * kPageSize, win32::kMemCommit, kPageReadWrite};
        const Outcome outcome = engine.Allocate(commit, Criticality::kTask).outcome;
        if (outcome.verdict == Verdict::kExclusiveElsewhere) held.fetch_add(1);
        if (outcome.ok()) (void)engine.Free(commit.address, commit.size, win32::kMemDecommit);
        const auto block =
            engine.Allocate({.size = kMiB, .type = win32::kMemReserve | win32::kMemCommit, .protect = kPageReadWrite},
                            Criticality::kTask);
        if (block.outcome.ok()) (void)engine.Free(block.address, 0, win32::kMemRelease);
      }
    });
  }
  for (int section = 0; section < 200; ++section) {
    while (!engine.EnterExclusive(Milliseconds{1000}).ok()) {
    }
    // Frees are still served, so the charge can fall. It cannot rise, however often other threads try to allocate.
    Bytes before = engine.ledger().budget().Charged();
    const std::uint64_t held_before = held.load();
    while (held.load() < held_before + 10) {
      std::this_thread::yield();
      const Bytes now = engine.ledger().budget().Charged();
      ASSERT_LE(now.value, before.value);
      before = now;
    }
    ASSERT_TRUE(engine.LeaveExclusive().ok());
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(engine.ledger().budget().Charged(), Bytes{});
}

// ---- memory owned by the host

class HostOwnedTest : public EngineTest {
 protected:
  // Tries every change that a CLR could make to a range.
  void ExpectAllRefused(Address address, std::uint64_t size) {
    std::uint32_t old = 0;
    EXPECT_EQ(Commit(address, size).outcome, Outcome::NotOwner());
    EXPECT_EQ(Allocate(address, size, win32::kMemReserve).outcome, Outcome::NotOwner());
    EXPECT_EQ(Allocate(address, size, win32::kMemReset).outcome, Outcome::NotOwner());
    EXPECT_EQ(Decommit(address, size), Outcome::NotOwner());
    EXPECT_EQ(engine.Free(address, 0, win32::kMemDecommit), Outcome::NotOwner());
    EXPECT_EQ(Release(address), Outcome::NotOwner());
    EXPECT_EQ(engine.Free(address, size, 0), Outcome::NotOwner());
    EXPECT_EQ(engine.Protect(address, size, 2, &old), Outcome::NotOwner());
  }
};

TEST_F(HostOwnedTest, ReservesAreProtectedFromTheClr) {
  ASSERT_EQ(engine.OpenReserves({kMiB}, {kMiB}), win32::kSuccess);
  const Address headroom = engine.headroom_pool().Range().Start();
  const Address space = engine.address_space().Range().Start();
  ExpectAllRefused(headroom, kPageSize);
  ExpectAllRefused(space + kMiB - kPageSize, 2 * kPageSize);
  std::uint32_t old = 0;
  EXPECT_EQ(engine.Protect(headroom - kPageSize, 2 * kPageSize, 2, &old), Outcome::NotOwner());  // overlaps it
  EXPECT_EQ(engine.headroom_pool().Held(), Bytes{kMiB});
  // Other memory is unaffected.
  const Address own = ReserveAndCommit(kMiB).address;
  EXPECT_TRUE(Decommit(own, kPageSize).ok());
  EXPECT_TRUE(engine.Protect(own + kPageSize, kPageSize, 2, &old).ok());
  EXPECT_TRUE(Release(own).ok());
}

TEST_F(HostOwnedTest, SealedRegionRefusesChangesUntilUnsealed) {
  const Address region = ReserveAndCommit(kMiB).address;
  const PageRange pages{region >> kPageShift, {kMiB / kPageSize}};
  ASSERT_EQ(engine.Seal(pages), SealedRegions::Result::kDone);
  EXPECT_EQ(engine.seals().Count(), 1u);
  ExpectAllRefused(region, kPageSize);
  ExpectAllRefused(region + kMiB - 1, 1);
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(Exact());
  EXPECT_EQ(engine.Seal({pages.first + 255, {2}}), SealedRegions::Result::kOverlaps);
  EXPECT_FALSE(engine.Unseal(region + kPageSize));
  EXPECT_TRUE(engine.Unseal(region));
  EXPECT_FALSE(engine.Unseal(region));
  EXPECT_TRUE(Commit(region, kPageSize).outcome.ok());
  EXPECT_TRUE(Release(region).ok());
}

TEST_F(HostOwnedTest, SealingPartOfARegionBlocksItsRelease) {
  const Address region = ReserveAndCommit(kMiB).address;
  ASSERT_EQ(engine.Seal({(region >> kPageShift) + 10, {1}}), SealedRegions::Result::kDone);
  EXPECT_EQ(Release(region), Outcome::NotOwner());
  EXPECT_EQ(engine.Free(region, 0, win32::kMemDecommit), Outcome::NotOwner());
  EXPECT_TRUE(Decommit(region, 10 * kPageSize).ok());
  EXPECT_EQ(Decommit(region, 11 * kPageSize), Outcome::NotOwner());
  EXPECT_TRUE(Commit(region, 10 * kPageSize).outcome.ok());
}

TEST_F(HostOwnedTest, SealReportsAFullListAndTooLongRanges) {
  EXPECT_EQ(engine.Seal({1, {SealedRegions::kMostPages + 1}}), SealedRegions::Result::kTooLong);
  EXPECT_EQ(engine.Seal({std::uint64_t{1} << 36, {1}}), SealedRegions::Result::kTooLong);
  for (std::uint64_t i = 0; i < SealedRegions::kMost; ++i) {
    ASSERT_EQ(engine.Seal({16 * i + 16, {1}}), SealedRegions::Result::kDone);
  }
  EXPECT_EQ(engine.Seal({8, {1}}), SealedRegions::Result::kFull);
  EXPECT_TRUE(engine.Unseal(16 * kPageSize));
  EXPECT_EQ(engine.Seal({8, {1}}), SealedRegions::Result::kDone);
}

// ---- the manager's stages

TEST_F(EngineTest, FirstLatchCauseIsKept) {
  EXPECT_EQ(engine.latched().cause, LatchCause::kNone);
  engine.Latch({LatchCause::kException, 7, 0xFFFF'FFFF});
  engine.Latch({LatchCause::kOs, 1, 2});
  const Latched latched = engine.latched();
  EXPECT_EQ(latched.cause, LatchCause::kException);
  EXPECT_EQ(latched.method, 7);
  EXPECT_EQ(latched.error, 0xFFFF'FFFF);
  EXPECT_FALSE(engine.Serving());
  EXPECT_EQ(engine.stage(), Stage::kRunning);  // a latched manager can still be drained
  engine.Shutdown();
  EXPECT_EQ(engine.stage(), Stage::kDraining);
  engine.NoteStopped();
  engine.Shutdown();
  EXPECT_EQ(engine.stage(), Stage::kStopped);
}

}  // namespace
}  // namespace clr_host_memory::test
