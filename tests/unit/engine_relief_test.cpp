// The committed headroom and the address space reserve, which serve requests that were refused.
#include <gtest/gtest.h>

#include <vector>

#include "heap/private_heap.h"
#include "unit/relief_fixture.h"

namespace clr_host_memory::test {
namespace {

using win32::kCommitmentLimit;
using win32::kNotEnoughMemory;

TEST_F(ReliefTest, ReserveIsCommittedAtOnceAndNotCharged) {
  OpenReserve();
  EXPECT_EQ(os.Committed().InBytes(), kReserve);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(Held(), kReserve);
}

TEST_F(ReliefTest, ReserveRefusedByTheOsIsNotOpened) {
  os.SetCommitLimit({kMiB / 2});
  EXPECT_EQ(engine.OpenReserves(kReserve, {}), kCommitmentLimit);
  EXPECT_EQ(os.Committed(), Pages{});
  EXPECT_EQ(Take(kMiB / 2, Criticality::kProcess).outcome, Outcome::Done());
}

TEST_F(ReliefTest, ReserveSizeIsRoundedUpToWholeSlices) {
  for (const std::uint64_t size : {1ull, 4096ull, 4097ull, 63 * 4096ull, 64 * 4096ull, 65 * 4096ull, 10'000'000ull}) {
    ManagedEngine other;
    ASSERT_EQ(other.engine.OpenReserves({size}, {}), win32::kSuccess);
    const HeadroomPool& reserve = other.engine.headroom_pool();
    EXPECT_GE(reserve.Size().value, size);
    EXPECT_LT(reserve.Size().value, size + size / 32 + 64 * kPageSize);
    EXPECT_EQ(reserve.Held(), reserve.Size());
    EXPECT_EQ(other.os.Committed().InBytes(), reserve.Size());
  }
}

TEST_F(ReliefTest, HeldHeadroomIsDecommittedForProcessCriticalRequestsWithinTheLimit) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Held(), kReserve);
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(Take(kPageSize, Criticality::kAppDomain).outcome, Outcome::OverLimit());
  while (engine.headroom_pool().Given() < kReserve) {
    ASSERT_TRUE(Take(4 * kPageSize, Criticality::kProcess).outcome.ok());
    ASSERT_EQ(os.Committed().InBytes(), kLimits.limit) << "charged and held together are the limit";
  }
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(Charged(), kLimits.limit);
  EXPECT_EQ(engine.headroom_pool().GivenSoFar(), kReserve);
  EXPECT_EQ(engine.headroom_pool().Uses(), 64u);
  EXPECT_EQ(engine.Figures().most_over_bound, Bytes{});
}

TEST_F(ReliefTest, OnlyTheMissingSlicesAreDecommitted) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB - 2 * kPageSize, Criticality::kProcess).outcome.ok());
  ASSERT_TRUE(Take(3 * kPageSize, Criticality::kProcess).outcome.ok());  // one page too many: one slice is decommitted
  EXPECT_EQ(engine.headroom_pool().Given(), Bytes{4 * kPageSize});
  ASSERT_TRUE(Take(3 * kPageSize, Criticality::kProcess).outcome.ok());  // fits in the rest of that slice
  EXPECT_EQ(engine.headroom_pool().Given(), Bytes{4 * kPageSize});
  EXPECT_EQ(Take(64 * kMiB, Criticality::kProcess).outcome, Outcome::OverLimit());  // more than is held: no change
  EXPECT_EQ(engine.headroom_pool().Given(), Bytes{4 * kPageSize});
}

TEST_F(ReliefTest, OsRefusalDecommitsHeadroomAndRetriesAtOnce) {
  OpenReserve();
  os.SetCommitLimit(kReserve + Bytes{kMiB});
  ASSERT_TRUE(Take(kMiB, Criticality::kTask).outcome.ok());
  os.ResetCalls();
  ASSERT_TRUE(Take(16 * kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(os.Calls(OsCall::kAllocate), 2u);
  EXPECT_EQ(engine.headroom_pool().Given(), Bytes{16 * kPageSize});
  EXPECT_TRUE(Exact(Pages{Held().value / kPageSize}));
}

TEST_F(ReliefTest, LowerLevelsGetNothingOfTheCommittedHeadroom) {
  OpenReserve();
  os.SetCommitLimit(kReserve);
  for (const Criticality level : {Criticality::kTask, Criticality::kAppDomain}) {
    EXPECT_EQ(Take(16 * kPageSize, level).outcome, Outcome::OsRefused(kCommitmentLimit));
    EXPECT_EQ(Held(), kReserve);
  }
  AddressOutcome result;
  do {
    result = Take(16 * kPageSize, Criticality::kProcess);
  } while (result.outcome.ok());
  EXPECT_EQ(result.outcome, Outcome::OsRefused(kCommitmentLimit));
  EXPECT_EQ(Held(), Bytes{});
  EXPECT_EQ(Charged(), kReserve);
}

TEST_F(ReliefTest, HeadroomIsClosedToLowerLevelsAtTheirCeilings) {
  OpenReserve();
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(Take(64 * kKiB, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(Held(), kReserve);
}

TEST_F(ReliefTest, StartMayExceedTheLimitOnlyUntilItEnds) {
  OpenReserve();
  engine.BeginStart();
  EXPECT_EQ(engine.Figures().bound, kUnlimited);
  ASSERT_TRUE(Take(17 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_TRUE(engine.EndStart());
  EXPECT_FALSE(engine.EndStart()) << "it has ended";
  // The runtime goes on with what it has, the committed headroom and the headroom.
  EXPECT_EQ(engine.Figures().bound, Bytes{19 * kMiB});
  EXPECT_TRUE(engine.budget().IsBoundRaised());
  ASSERT_TRUE(Decommit(region, 4 * kMiB).ok());
  engine.budget().SettleBound();
  EXPECT_EQ(engine.Figures().bound, kLimits.limit);
}

TEST_F(ReliefTest, StartThatFitsEndsAtTheLimit) {
  engine.BeginStart();
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_TRUE(engine.EndStart());
  EXPECT_EQ(engine.Figures().bound, kLimits.limit);
  EXPECT_FALSE(engine.budget().IsBoundRaised());
  EXPECT_EQ(Take(2 * kMiB + kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
}

TEST_F(ReliefTest, LastResortOpensAfterARefusalAndClosesWhenTheHeadroomIsFree) {
  constexpr std::uint64_t kLastPart = kMiB / 4;
  engine.SetLimits({.limit = {16 * kMiB}, .process_headroom = {2 * kMiB}, .last_resort = {kMiB}});
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  engine.budget().CloseLastResort();
  // The first request is refused, and what follows it is not.
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
  engine.budget().CloseLastResort();
  EXPECT_TRUE(Take(kMiB - kLastPart - kPageSize, Criticality::kProcess).outcome.ok())
      << "it stays open while it is in use";
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit()) << "its last part is closed";
  engine.budget().OpenLastPart();
  EXPECT_TRUE(Take(kLastPart, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{16 * kMiB});
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());

  ASSERT_TRUE(Decommit(region, 2 * kMiB - kPageSize).ok());
  engine.budget().CloseLastResort();
  EXPECT_TRUE(Commit(region, kMiB, Criticality::kProcess).outcome.ok()) << "a page of the headroom is still in use";
  ASSERT_TRUE(Decommit(region, 2 * kMiB).ok());
  engine.budget().CloseLastResort();
  EXPECT_TRUE(Commit(region, kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Commit(region + kMiB, kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(engine.Figures().most_over_bound, Bytes{});
}

TEST_F(ReliefTest, OnlyAProcessCriticalRefusalByTheLimitOpensTheLastResort) {
  engine.SetLimits({.limit = {16 * kMiB}, .process_headroom = {2 * kMiB}, .last_resort = {kMiB}});
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(Take(kPageSize, Criticality::kAppDomain).outcome, Outcome::OverLimit());
  ASSERT_TRUE(Decommit(region, kPageSize).ok());
  os.Fail(OsCall::kAllocate, kNotEnoughMemory);
  EXPECT_EQ(Commit(region, kPageSize, Criticality::kProcess).outcome, Outcome::OsRefused(kNotEnoughMemory));
  EXPECT_TRUE(Commit(region, kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit()) << "the last resort is closed";
}

TEST_F(ReliefTest, SetLimitShrinksTheCommittedHeadroomToTheNewHeadroom) {
  OpenReserve();
  engine.SetLimits({.limit = {8 * kMiB}, .process_headroom = {kMiB / 2}});
  EXPECT_EQ(Held(), Bytes{kMiB / 2});
  EXPECT_EQ(os.Committed().InBytes(), Held());
  EXPECT_TRUE(engine.TakeBackReserves()) << "it is whole";
  ASSERT_TRUE(Take(8 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Held(), Bytes{});
  engine.SetLimits(kLimits);
  EXPECT_TRUE(engine.TakeBackReserves());
  EXPECT_EQ(Held(), kReserve);
  engine.SetLimits({});
  EXPECT_EQ(Held(), kReserve) << "without a limit all of it is kept";
}

TEST_F(ReliefTest, SetLimitThatTheOsKeepsFromShrinkingCountsWhatIsHeld) {
  OpenReserve();
  os.Fail(OsCall::kFree, win32::kInvalidAddress);
  engine.SetLimits({.limit = {8 * kMiB}, .process_headroom = {kMiB / 2}});
  EXPECT_EQ(Held(), kReserve);
  EXPECT_TRUE(Take(7 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(Take(kPageSize, Criticality::kTask).outcome, Outcome::OverLimit());
}

TEST_F(ReliefTest, OtherOsErrorsLeaveTheReserveUntouched) {
  OpenReserve();
  for (const win32::Error error : {win32::kInvalidAddress, win32::kInvalidParameter, win32::kAccessDenied}) {
    os.Fail(OsCall::kAllocate, error);
    EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OsRefused(error));
  }
  // Large pages are never served from the reserve.
  EXPECT_FALSE(Allocate(0, 2 * kMiB, win32::kMemReserve | win32::kMemCommit | win32::kMemLargePages).outcome.ok());
  EXPECT_EQ(Held(), kReserve);
}

TEST_F(ReliefTest, PreferredNodeReachesTheOsInEveryTry) {
  os.SetNumaNodes(3);
  OpenReserve();
  std::vector<std::uint32_t> nodes;
  os.SetObserver([&](const OsCallInfo& info) {
    if (info.call == OsCall::kAllocate && info.moment == Moment::kBefore) nodes.push_back(info.node);
  });
  const auto on_node = [&](Address address, std::uint32_t type, std::uint32_t node) {
    return engine
        .Allocate({.address = address, .size = 64 * kKiB, .type = type, .protect = kPageReadWrite, .node = node},
                  Criticality::kProcess)
        .outcome;
  };
  EXPECT_TRUE(on_node(region, win32::kMemCommit, 2).ok());
  EXPECT_EQ(nodes, (std::vector<std::uint32_t>{2}));
  nodes.clear();
  os.Fail(OsCall::kAllocate, kNotEnoughMemory);
  EXPECT_TRUE(on_node(region + kMiB, win32::kMemCommit, 1).ok()) << "with what the reserve gave up";
  EXPECT_EQ(nodes, (std::vector<std::uint32_t>{1, 1}));
  nodes.clear();
  os.Fail(OsCall::kAllocate, kNotEnoughMemory);
  EXPECT_TRUE(on_node(0, win32::kMemReserve | win32::kMemCommit, 0).ok());
  EXPECT_EQ(nodes, (std::vector<std::uint32_t>{0, 0, 0})) << "a reservation that fails, and both steps of the next try";
  nodes.clear();
  const Bytes charged = Charged();
  EXPECT_EQ(on_node(region + 2 * kMiB, win32::kMemCommit, 3), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(Charged(), charged) << "no such node: nothing was committed";
  os.SetObserver({});
}

TEST_F(ReliefTest, PreferredNodeRequestIsHeldToTheLimit) {
  os.SetNumaNodes(2);
  const auto on_node = [&](Criticality level) {
    return engine
        .Allocate(
            {.address = region, .size = 16 * kMiB, .type = win32::kMemCommit, .protect = kPageReadWrite, .node = 1},
            level)
        .outcome;
  };
  EXPECT_EQ(on_node(Criticality::kTask), Outcome::OverLimit());
  EXPECT_EQ(on_node(Criticality::kAppDomain), Outcome::OverLimit());
  EXPECT_TRUE(on_node(Criticality::kProcess).ok());
  EXPECT_TRUE(Exact());
}

TEST_F(ReliefTest, LargePagesAreChargedAtReservationAndHeldToTheLimit) {
  constexpr std::uint32_t kLarge = win32::kMemReserve | win32::kMemCommit | win32::kMemLargePages;
  EXPECT_EQ(Allocate(0, 2 * kMiB, kLarge).outcome, Outcome::OsRefused(win32::kPrivilegeNotHeld));
  EXPECT_TRUE(Exact());
  os.SetLockMemoryPrivilege(true);
  EXPECT_EQ(Allocate(0, 16 * kMiB, kLarge).outcome, Outcome::OverLimit());
  const AddressOutcome block = Allocate(0, 14 * kMiB, kLarge);
  ASSERT_TRUE(block.outcome.ok());
  EXPECT_EQ(Charged(), Bytes{14 * kMiB}) << "all of it, before anything is touched";
  EXPECT_TRUE(Commit(block.address, 2 * kMiB).outcome.ok()) << "of what is committed already";
  EXPECT_EQ(Charged(), Bytes{14 * kMiB});
  EXPECT_TRUE(Exact());
  ASSERT_TRUE(Release(block.address).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(ReliefTest, ReserveServesHeapBlocks) {
  OpenReserve();
  PrivateHeap heap(engine, 1);
  ASSERT_TRUE(heap.Open(Criticality::kProcess).ok());
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(heap.Allocate(100, Criticality::kTask).outcome, Outcome::OverLimit());
  const BlockOutcome block = heap.Allocate(100, Criticality::kProcess);
  ASSERT_TRUE(block.outcome.ok());
  EXPECT_LT(Held(), kReserve);
  EXPECT_TRUE(heap.Free(block.block).ok());
}

// With a reserve, a request whose OS call was refused once is retried and succeeds, whichever of its calls was
// refused.
TEST(ProcessCritical, RequestIsServedWhenTheOsRefusesAnyOneCall) {
  struct Shape {
    const char* name;
    std::function<Outcome(ManagedEngine&, Address region)> request;
  };
  const std::vector<Shape> shapes = {
      {"a commit", [](ManagedEngine& m, Address r) { return m.Commit(r, kMiB, Criticality::kProcess).outcome; }},
      {"a commit where nothing was before",
       [](ManagedEngine& m, Address r) { return m.Commit(r + 512 * kMiB, kMiB, Criticality::kProcess).outcome; }},
      {"a commit over committed pages",
       [](ManagedEngine& m, Address r) { return m.Commit(r + kMiB, kPageSize, Criticality::kProcess).outcome; }},
      {"reserve and commit",
       [](ManagedEngine& m, Address) {
         return m.Allocate(0, kMiB, win32::kMemReserve | win32::kMemCommit, Criticality::kProcess).outcome;
       }},
      {"a heap", [](ManagedEngine& m, Address) {
         PrivateHeap heap(m.engine, 1);
         const Outcome opened = heap.Open(Criticality::kProcess);
         return opened.ok() ? heap.Allocate(100, Criticality::kProcess).outcome : opened;
       }}};
  for (const Shape& shape : shapes) {
    for (const OsCall call : {OsCall::kAllocate, OsCall::kAllocateMetadata}) {
      for (std::uint64_t position = 0; position < 4; ++position) {
        SCOPED_TRACE(shape.name);
        ManagedEngine manager(kLimits);
        const Address region = manager.Reserve(kGiB).address;
        ASSERT_TRUE(manager.Commit(region + kMiB, kPageSize).outcome.ok());
        ASSERT_EQ(manager.engine.OpenReserves(kReserve, {}), win32::kSuccess);
        manager.os.Fail(call, kNotEnoughMemory, position);
        EXPECT_EQ(shape.request(manager, region), Outcome::Done()) << static_cast<int>(call) << " at " << position;
        manager.os.ClearFaults();
        EXPECT_TRUE(manager.Exact(Pages{manager.engine.headroom_pool().Held().value / kPageSize}));
      }
    }
  }
}

TEST_F(ReliefTest, ImpossibleSizesAreRefusedAtOnceWithoutTheReserve) {
  OpenReserve();
  CountingWaker server;
  ASSERT_TRUE(engine.OpenWaits(&server));
  PrivateHeap heap(engine, 1);
  ASSERT_TRUE(heap.Open(Criticality::kProcess).ok());
  ASSERT_TRUE(Take(kMiB, Criticality::kTask).outcome.ok());
  for (const bool limited : {true, false}) {
    if (!limited) engine.ledger().budget().SetLimits({});
    for (const Criticality level : {Criticality::kTask, Criticality::kAppDomain, Criticality::kProcess}) {
      engine.SetWait(level, Milliseconds{1000});
      for (const std::uint64_t size : {~std::uint64_t{0}, ~std::uint64_t{0} - 16383, std::uint64_t{1} << 63,
                                       std::uint64_t{1} << 48, (std::uint64_t{1} << 47) - kPageSize}) {
        EXPECT_FALSE(Allocate(0, size, win32::kMemReserve | win32::kMemCommit, level).outcome.ok());
        EXPECT_FALSE(Commit(region, size, level).outcome.ok());
        if (const auto block = static_cast<std::size_t>(size); block == size && size >> 47 != 0) {
          EXPECT_FALSE(heap.Allocate(block, level).outcome.ok());
        }
      }
    }
  }
  EXPECT_EQ(Held(), kReserve);
  EXPECT_EQ(Charged(), Bytes{kMiB});
}

TEST_F(ReliefTest, FailedReserveDecommitGivesNothingUp) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  os.Fail(OsCall::kFree, win32::kInvalidAddress);
  EXPECT_EQ(Take(kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(Held(), kReserve);
  EXPECT_EQ(engine.headroom_pool().Uses(), 0u);
  ASSERT_TRUE(Take(kPageSize, Criticality::kProcess).outcome.ok());
}

TEST_F(ReliefTest, ReserveIsTakenBackOnceTheChargeFitsTheLimit) {
  OpenReserve();
  ASSERT_TRUE(Take(15 * kMiB, Criticality::kProcess).outcome.ok());
  ASSERT_TRUE(Take(4 * kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_FALSE(engine.TakeBackReserves());
  ASSERT_TRUE(Decommit(region, 4 * kPageSize).ok());
  os.Fail(OsCall::kAllocate, kCommitmentLimit);  // the OS has no memory yet
  EXPECT_FALSE(engine.TakeBackReserves());
  EXPECT_TRUE(engine.TakeBackReserves());
  EXPECT_EQ(Held(), kReserve);
  EXPECT_EQ(engine.headroom_pool().TakenBackSoFar(), Bytes{4 * kPageSize});
  EXPECT_EQ(Charged() + Held(), kLimits.limit);
  EXPECT_TRUE(Exact(Pages{kReserve.value / kPageSize}));
}

TEST_F(ReliefTest, AlarmWakesForRefusalsAndReserveUse) {
  OpenReserve();
  ASSERT_TRUE(Take(14 * kMiB, Criticality::kTask).outcome.ok());
  EXPECT_EQ(alarm.wakes, 0);
  EXPECT_FALSE(Take(kPageSize, Criticality::kTask).outcome.ok());
  EXPECT_EQ(alarm.wakes, 1);
  ASSERT_TRUE(Take(kMiB + kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(alarm.wakes, 2);
}

TEST_F(ReliefTest, AddressSpaceReserveServesViewsAndIsTakenBack) {
  EXPECT_EQ(engine.MakeRoom(0, kMiB), Outcome::OsRefused(kNotEnoughMemory));
  ASSERT_EQ(engine.OpenReserves({}, {8 * kMiB}), win32::kSuccess);
  const AddressSpaceReserve& reserve = engine.address_space();
  EXPECT_EQ(reserve.Held(), Bytes{8 * kMiB});
  EXPECT_EQ(engine.MakeRoom(0, 9 * kMiB), Outcome::OsRefused(kNotEnoughMemory));             // the reserve is too small
  EXPECT_EQ(engine.MakeRoom(0x4000'0000'0000, kMiB), Outcome::OsRefused(kNotEnoughMemory));  // not inside it
  const Address inside = reserve.Range().Start() + kMiB;
  EXPECT_EQ(engine.MakeRoom(inside, kMiB), Outcome::Done());
  EXPECT_EQ(reserve.Held(), Bytes{});
  EXPECT_NE(os.MapView(inside, kMiB, ViewPages::kReserved).address, 0u);
  EXPECT_EQ(engine.MakeRoom(0, kMiB), Outcome::OsRefused(kNotEnoughMemory));  // the reserve is used up
  EXPECT_TRUE(engine.TakeBackReserves());
  EXPECT_EQ(reserve.Held(), Bytes{8 * kMiB});
  EXPECT_EQ(engine.MakeRoom(0, 0), Outcome::Done());  // 0: a view of a whole section, whose size is unknown
  EXPECT_EQ(reserve.Uses(), 2u);
  engine.Shutdown();
  EXPECT_EQ(engine.MakeRoom(0, kMiB), Outcome::Unavailable());
}

TEST_F(ReliefTest, AddressSpaceReserveServesAReservation) {
  // Only the reserve fits into this range.
  os.SetSearchRange(0x7000'0000, 0x7000'0000 + 16 * kMiB);
  ASSERT_EQ(engine.OpenReserves({}, {16 * kMiB}), win32::kSuccess);
  EXPECT_TRUE(Reserve(4 * kMiB).outcome.ok());
  EXPECT_EQ(engine.address_space().Uses(), 1u);
  EXPECT_TRUE(Reserve(4 * kMiB).outcome.ok());
  EXPECT_FALSE(Reserve(16 * kMiB).outcome.ok());
  EXPECT_FALSE(engine.TakeBackReserves());  // no room for the reserve now
}

TEST_F(ReliefTest, ReservesAreReleasedAtStop) {
  ASSERT_EQ(engine.OpenReserves(kReserve, {8 * kMiB}), win32::kSuccess);
  const std::size_t regions = os.RegionCount();
  engine.Shutdown();
  EXPECT_EQ(engine.stage(), Stage::kDraining);
  EXPECT_EQ(Held(), kReserve);
  engine.NoteStopped();
  EXPECT_EQ(engine.stage(), Stage::kStopped);
  EXPECT_EQ(os.Committed(), Pages{});
  EXPECT_EQ(os.RegionCount(), regions - 1);  // the pool's address space stays, for a GiveUp in progress
}

}  // namespace
}  // namespace clr_host_memory::test
