// Plays every pair and triple of operations. Each is suspended at every point before and after the action of the OS.
#include <gtest/gtest.h>

#include <iostream>

#include "interleaving_scenes.h"
#include "support/switcher.h"

namespace clr_host_memory::test {
namespace {

TEST(EngineOsInterleavings, TwoOperationsLeaveTheLedgerExact) {
  std::uint64_t schedules = 0;
  const int preemptions = SwitchingIsCheap() ? 3 : 2;
  const auto operations = RegionOperations();
  for (const Scene& scene : RegionScenes()) {
    for (const Place place : {Place::kOneWord, Place::kTwoWords}) {
      for (std::size_t a = 0; a < operations.size(); ++a) {
        for (std::size_t b = a; b < operations.size(); ++b) {
          if (!ExploreScene(scene, place, {operations[a], operations[b]}, preemptions, &schedules)) return;
        }
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(EngineOsInterleavings, ThreeOperationsLeaveTheLedgerExact) {
  std::uint64_t schedules = 0;
  const int preemptions = SwitchingIsCheap() ? 2 : 1;
  const auto operations = RegionOperations();
  const Scene scene = RegionScenes().back();
  for (std::size_t a = 0; a < operations.size(); ++a) {
    for (std::size_t b = a; b < operations.size(); ++b) {
      for (std::size_t c = b; c < operations.size(); ++c) {
        const std::vector<SceneOperation> three{operations[a], operations[b], operations[c]};
        if (!ExploreScene(scene, Place::kOneWord, three, preemptions, &schedules)) return;
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(EngineOsInterleavings, ViewUnmappedDuringTwoOperationsLeavesTheLedgerExact) {
  std::uint64_t schedules = 0;
  const int preemptions = SwitchingIsCheap() ? 3 : 1;
  const auto operations = ViewOperations();
  const SceneOperation& unmap = operations[operations.size() - 2];
  ASSERT_EQ(unmap.name, "unmap the view and tell");
  for (std::size_t a = 0; a < operations.size(); ++a) {
    for (std::size_t b = a; b < operations.size(); ++b) {
      const std::vector<SceneOperation> three{unmap, operations[a], operations[b]};
      if (!ExploreScene(ViewScene(), Place::kOneWord, three, preemptions, &schedules)) return;
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(EngineOsInterleavings, LateReleaseAndSearchKeepANewerView) {
  std::uint64_t schedules = 0;
  const auto operations = ViewOperations();
  const std::vector<SceneOperation> three{operations[operations.size() - 2], MapAnotherView(), operations.back()};
  EXPECT_TRUE(ExploreScene(ViewScene(), Place::kOneWord, three, SwitchingIsCheap() ? 5 : 3, &schedules));
  std::cout << schedules << " schedules\n";
}

}  // namespace
}  // namespace clr_host_memory::test
