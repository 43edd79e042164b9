// Every pair and triple of operations, each suspended at every point before and after the OS acts for it.
#include <gtest/gtest.h>

#include <iostream>

#include "interleaving_scenes.h"

namespace clr_host_memory::test {
namespace {

TEST(InterleavedAtTheOs, AnyTwoOperationsLeaveTheLedgerExact) {
  std::uint64_t schedules = 0;
  const auto operations = RegionOperations();
  for (const Scene& scene : RegionScenes()) {
    for (const Place place : {Place::kOneWord, Place::kTwoWords}) {
      for (std::size_t a = 0; a < operations.size(); ++a) {
        for (std::size_t b = a; b < operations.size(); ++b) {
          if (!ExploreScene(scene, place, {operations[a], operations[b]}, 3, &schedules)) return;
        }
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(InterleavedAtTheOs, AnyThreeOperationsLeaveTheLedgerExact) {
  std::uint64_t schedules = 0;
  const auto operations = RegionOperations();
  const Scene scene = RegionScenes().back();
  for (std::size_t a = 0; a < operations.size(); ++a) {
    for (std::size_t b = a; b < operations.size(); ++b) {
      for (std::size_t c = b; c < operations.size(); ++c) {
        if (!ExploreScene(scene, Place::kOneWord, {operations[a], operations[b], operations[c]}, 2, &schedules)) return;
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

}  // namespace
}  // namespace clr_host_memory::test
