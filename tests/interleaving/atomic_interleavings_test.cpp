// Suspends every operation at every atomic operation inside the ledger and the engine. Those sources are compiled into
// this program with atomics that yield (support/yielding_atomic.h).
#include "support/yielding_atomic.h"
// Must follow yielding_atomic.h.
#include "interleaving_scenes.h"

#include <iostream>

namespace clr_host_memory::test {
namespace {

TEST(EngineAtomicInterleavings, TwoOperationsInterruptedTwiceLeaveTheLedgerExact) {
  std::uint64_t schedules = 0;
  const auto operations = RegionOperations();
  for (const Scene& scene : RegionScenes()) {
    for (std::size_t a = 0; a < operations.size(); ++a) {
      for (std::size_t b = a; b < operations.size(); ++b) {
        if (!ExploreScene(scene, Place::kOneWord, {operations[a], operations[b]}, 2, &schedules)) return;
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

// A commit finds its pages charged, and then a concurrent free uncharges them. The commit must charge them again
// before it marks them: as soon as pages are marked, another free may uncharge them.
TEST(EngineAtomicInterleavings, ChargeNeverFallsBelowCommittedPages) {
  const auto decommit_twice = [](ManagedEngine& m, Address base) {
    EXPECT_TRUE(m.Decommit(base, 8 * kPageSize).ok());
    EXPECT_TRUE(m.Decommit(base, 8 * kPageSize).ok());
  };
  const auto commit = [](ManagedEngine& m, Address base) { EXPECT_TRUE(m.Commit(base, 8 * kPageSize).outcome.ok()); };
  const Scene scene{"a region with pages 0-7 committed", [&](ManagedEngine& m, Address base) {
                      ASSERT_TRUE(m.Reserve(kSceneSize, base).outcome.ok());
                      commit(m, base);
                    }};
  const std::vector<SceneOperation> operations = {{"decommit twice", decommit_twice}, {"commit", commit}};
  std::uint64_t schedules = 0;
  for (const Place place : {Place::kOneWord, Place::kTwoWords}) {
    if (!ExploreScene(scene, place, operations, 3, &schedules)) return;
  }
}

TEST(EngineAtomicInterleavings, ViewUnmappedDuringAnotherOperationLeavesTheLedgerExact) {
  std::uint64_t schedules = 0;
  const auto operations = ViewOperations();
  for (const SceneOperation& other : operations) {
    if (!ExploreScene(ViewScene(), Place::kOneWord, {operations[operations.size() - 2], other}, 2, &schedules)) return;
  }
  const std::vector<SceneOperation> late{operations[operations.size() - 2], MapAnotherView()};
  if (!ExploreScene(ViewScene(), Place::kOneWord, late, 2, &schedules)) return;
  const std::vector<SceneOperation> gone{operations.back(), MapAnotherView()};
  if (!ExploreScene(ViewScene(), Place::kOneWord, gone, 2, &schedules)) return;
  std::cout << schedules << " schedules\n";
}

// A region is created in a page word that another thread reconciles at that moment. Its pages are already charged, but
// not yet marked. The reconciliation must not charge them a second time.
TEST(EngineAtomicInterleavings, PagesOfAPendingCommitAreChargedOnce) {
  constexpr std::uint64_t kHalf = 16 * kPageSize;
  const Scene scene{"a small region, all committed",
                    [&](ManagedEngine& m, Address base) { ASSERT_TRUE(m.ReserveAndCommit(kHalf, base).outcome.ok()); },
                    // The refused decommit keeps the charge of the pages it cleared until it has marked them again.
                    Bytes{2 * kHalf + 8 * kPageSize}};
  const std::vector<SceneOperation> operations = {
      {"a decommit the OS refuses",
       [](ManagedEngine& m, Address base) {
         m.os.Fail(OsCall::kFree, win32::kInvalidParameter);
         EXPECT_FALSE(m.Decommit(base, 8 * kPageSize).ok());
       }},
      {"reserve and commit its neighbour", [&](ManagedEngine& m, Address base) {
         EXPECT_TRUE(m.ReserveAndCommit(kHalf, base + kGranuleSize).outcome.ok());
       }}};
  std::uint64_t schedules = 0;
  static_cast<void>(ExploreScene(scene, Place::kOneWord, operations, 3, &schedules));
}

// ---- the committed headroom

constexpr std::uint64_t kP = kPageSize;

// A limit of 20 pages, 14 of them in use, and 4 of them committed headroom in 4 slices. In every order of the
// operations, charged plus held pages never exceed the limit. In the end everything is accounted for.
class ReserveWorld final : public InterleavedWorld {
 public:
  using Operation = std::function<void(ReserveWorld&)>;
  explicit ReserveWorld(const std::vector<Operation>& operations) : operations_(operations) {
    EXPECT_EQ(manager_.engine.OpenReserves({kReserve}, {}), win32::kSuccess);
    EXPECT_TRUE(manager_.Reserve(kSceneSize, kSceneBase).outcome.ok());
    EXPECT_TRUE(Take(0, 14));
    manager_.os.SetObserver([this](const OsCallInfo&) {
      Watch();
      InterleavingPoint();
    });
  }
  // Commits pages at process-critical level.
  bool Take(std::uint64_t first, std::uint64_t pages) {
    const bool done = manager_.Commit(kSceneBase + first * kP, pages * kP, Criticality::kProcess).outcome.ok();
    Watch();
    return done;
  }
  void Drop(std::uint64_t first, std::uint64_t pages) {
    EXPECT_TRUE(manager_.Decommit(kSceneBase + first * kP, pages * kP).ok());
  }
  void TakeBack() { static_cast<void>(manager_.engine.TakeBackReserves()); }
  // Sets the limit, and checks the bound that it leaves.
  void SetLimit(std::uint64_t pages, std::uint64_t headroom) {
    manager_.engine.SetLimits({.limit = {pages * kP}, .app_domain_headroom = {}, .process_headroom = {headroom * kP}});
    InterleavingPoint();
    const Bytes bound = manager_.engine.budget().Bound();
    EXPECT_LE(manager_.os.Committed().InBytes(), bound);
  }

  std::vector<std::function<void()>> Operations() override {
    std::vector<std::function<void()>> runs;
    for (const Operation& operation : operations_) runs.emplace_back([this, &operation] { operation(*this); });
    return runs;
  }
  bool Check(const std::string& schedule) override {
    const HeadroomPool& reserve = manager_.engine.headroom_pool();
    EXPECT_LE(most_committed_, kLimit) << schedule;
    EXPECT_TRUE(manager_.Exact(Pages{reserve.Held().value / kP})) << schedule;
    EXPECT_EQ(manager_.engine.budget().Held(), reserve.Held()) << schedule;
    EXPECT_EQ(manager_.engine.budget().MostOverBound(), Bytes{}) << schedule;
    manager_.engine.SetLimits(kLimits);
    Drop(0, 64);
    EXPECT_TRUE(manager_.engine.TakeBackReserves()) << schedule;
    EXPECT_EQ(reserve.Held(), Bytes{kReserve}) << schedule;
    EXPECT_EQ(manager_.Charged(), Bytes{}) << schedule;
    return !testing::Test::HasFailure();
  }

 private:
  static constexpr std::uint64_t kLimit = 20 * kP;
  static constexpr std::uint64_t kReserve = 4 * kP;
  void Watch() { most_committed_ = std::max(most_committed_, manager_.os.Committed().InBytes().value); }

  static constexpr Limits kLimits{.limit = {kLimit}, .app_domain_headroom = {}, .process_headroom = {kReserve}};
  ManagedEngine manager_{kLimits};
  const std::vector<Operation>& operations_;
  std::uint64_t most_committed_ = 0;
};

void ExploreReserve(const std::vector<ReserveWorld::Operation>& operations, int preemptions) {
  const Exploration exploration = Explore([&] { return std::make_unique<ReserveWorld>(operations); }, preemptions);
  EXPECT_TRUE(exploration.complete);
  EXPECT_GT(exploration.schedules, 10u);
  std::cout << exploration.schedules << " schedules\n";
}

TEST(ReserveAtomicInterleavings, ConcurrentRequestsBothReceiveReserveMemory) {
  ExploreReserve({[](ReserveWorld& world) { EXPECT_TRUE(world.Take(20, 3)); },
                  [](ReserveWorld& world) { EXPECT_TRUE(world.Take(24, 3)); }},
                 2);
}

TEST(ReserveAtomicInterleavings, ReserveIsNeverBothUsedAndHeld) {
  ExploreReserve({[](ReserveWorld& world) {
                    EXPECT_TRUE(world.Take(20, 4));
                    world.Drop(20, 4);
                    static_cast<void>(world.Take(24, 6));
                  },
                  [](ReserveWorld& world) { world.TakeBack(); }},
                 2);
}

TEST(ReserveAtomicInterleavings, ReturnAndRequestDuringTakeBackStayExact) {
  ExploreReserve({[](ReserveWorld& world) { static_cast<void>(world.Take(20, 4)); },
                  [](ReserveWorld& world) { world.Drop(0, 3); }, [](ReserveWorld& world) { world.TakeBack(); }},
                 1);
}

TEST(ReserveAtomicInterleavings, LoweredLimitBoundsRequestsInProgress) {
  ExploreReserve({[](ReserveWorld& world) { static_cast<void>(world.Take(20, 3)); },
                  [](ReserveWorld& world) { world.SetLimit(8, 2); }},
                 2);
}

// ---- exclusive sections

// Once a section is entered, no other operation has an allocation in progress until the section is left. This holds
// wherever the other operations were suspended.
class SectionWorld final : public InterleavedWorld {
 public:
  using Operation = std::function<void(SectionWorld&)>;
  explicit SectionWorld(const std::vector<Operation>& operations) : operations_(operations) {
    EXPECT_TRUE(manager.Reserve(2 * kSceneSize, kSceneBase).outcome.ok());
    manager.threads.SetIdentity([] { return 1 + InterleavingOperation(); });
    manager.os.SetObserver([this](const OsCallInfo& info) {
      allocated_inside_ = allocated_inside_ || (inside_ && info.call == OsCall::kAllocate);
      InterleavingPoint();
    });
  }
  // Enters and leaves a section as a host thread. Gives up at once if allocations are in progress.
  void Section() {
    if (!manager.engine.EnterExclusive(Milliseconds{0}).ok()) return;
    inside_ = true;
    const Bytes before = manager.Charged();
    InterleavingPoint();
    EXPECT_LE(manager.Charged().value, before.value);
    inside_ = false;
    EXPECT_TRUE(manager.engine.LeaveExclusive().ok());
  }
  std::vector<std::function<void()>> Operations() override {
    std::vector<std::function<void()>> runs;
    for (const Operation& operation : operations_) runs.emplace_back([this, &operation] { operation(*this); });
    return runs;
  }
  bool Check(const std::string& schedule) override {
    EXPECT_FALSE(allocated_inside_) << schedule;
    EXPECT_TRUE(manager.Exact()) << schedule;
    EXPECT_TRUE(manager.Commit(kSceneBase, kP).outcome.ok()) << "the gate is open again: " << schedule;
    return !testing::Test::HasFailure();
  }

  ManagedEngine manager;

 private:
  const std::vector<Operation>& operations_;
  bool inside_ = false;
  bool allocated_inside_ = false;
};

TEST(ExclusiveSectionInterleavings, StopsCommitsAndReservations) {
  const std::vector<std::pair<const char*, SectionWorld::Operation>> others = {
      {"a commit in one word",
       [](SectionWorld& world) { static_cast<void>(world.manager.Commit(kSceneBase, 4 * kP)); }},
      {"a commit across words",
       [](SectionWorld& world) { static_cast<void>(world.manager.Commit(kSceneBase + 4 * kP, kSceneSize)); }},
      {"a reservation", [](SectionWorld& world) { static_cast<void>(world.manager.ReserveAndCommit(4 * kP)); }},
  };
  for (const auto& [name, other] : others) {
    SCOPED_TRACE(name);
    const std::vector<SectionWorld::Operation> operations = {[](SectionWorld& world) { world.Section(); }, other};
    const Exploration exploration = Explore([&] { return std::make_unique<SectionWorld>(operations); }, 3);
    EXPECT_TRUE(exploration.complete);
    std::cout << exploration.schedules << " schedules\n";
  }
}

}  // namespace
}  // namespace clr_host_memory::test
