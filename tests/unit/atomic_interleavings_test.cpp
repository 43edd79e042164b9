// Every operation suspended at every atomic operation inside the ledger and the engine: those sources are compiled into
// this program with atomics that give way (support/yielding_atomic.h).
#include "support/yielding_atomic.h"
// Not before it.
#include "interleaving_scenes.h"

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
  RecordProperty("schedules", std::to_string(schedules));
}

}  // namespace
}  // namespace clr_host_memory::test
