// Every operation suspended at every atomic operation inside the ledger and the engine: those sources are compiled into
// this program with atomics that give way (support/yielding_atomic.h).
#include "support/yielding_atomic.h"
// Not before it.
#include "interleaving_scenes.h"

#include <iostream>

namespace clr_host_memory::test {
namespace {

TEST(InterleavedAtEveryAtomic, AnyTwoOperationsInterruptedTwiceLeaveTheLedgerExact) {
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

// A commit that found its pages charged, and lost them to a free meanwhile, has to charge for them before it marks them:
// another free may return their charge as soon as they are marked.
TEST(InterleavedAtEveryAtomic, TheChargeNeverFallsBelowWhatIsCommitted) {
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

TEST(InterleavedAtEveryAtomic, AViewThatGoesWhileAnotherUsesItsAddressLeavesTheLedgerExact) {
  std::uint64_t schedules = 0;
  const auto operations = ViewOperations();
  for (const SceneOperation& other : operations) {
    if (!ExploreScene(ViewScene(), Place::kOneWord, {operations.back(), other}, 2, &schedules)) return;
  }
  std::cout << schedules << " schedules\n";
}

// A region comes into being in a word that someone else reconciles at that moment: its pages are paid for, though not
// marked yet, and must not be paid for a second time.
TEST(InterleavedAtEveryAtomic, PagesOfACommitUnderWayAreNotChargedTwice) {
  constexpr std::uint64_t kHalf = 16 * kPageSize;
  const Scene scene{"a small region, all committed",
                    [&](ManagedEngine& m, Address base) { ASSERT_TRUE(m.ReserveAndCommit(kHalf, base).outcome.ok()); },
                    // The refused decommit holds what it cleared until it has been marked again.
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

}  // namespace
}  // namespace clr_host_memory::test
