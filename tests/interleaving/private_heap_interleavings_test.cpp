// Blocks are allocated and freed while other threads use the same slab, or while the slab is retired and its units are
// reused. Every thread is suspended at every atomic operation of the heap, the ledger and the engine. Those sources
// are compiled into this program with atomics that yield (support/yielding_atomic.h).
#include "support/yielding_atomic.h"
// Must follow yielding_atomic.h.
#include <iostream>
#include <set>

#include "heap/private_heap.h"
#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

constexpr std::size_t kSize = 4096;  // eight blocks per slab, all in one word
constexpr std::uint32_t kSlots = kClasses[ClassOf(kSize)].slots;

class HeapWorld;
using HeapOperation = std::function<void(HeapWorld&)>;

struct HeapScene {
  std::vector<std::size_t> taken;  // the sizes of the blocks that are allocated before the operations begin
  std::vector<HeapOperation> operations;
  HeapOperation prepare = [](HeapWorld&) {};  // runs before the operations, and settle after them
  HeapOperation settle = [](HeapWorld&) {};
};

class HeapWorld final : public InterleavedWorld {
 public:
  explicit HeapWorld(const HeapScene& scene) : scene_(scene) {
    EXPECT_TRUE(heap_->Open(Criticality::kProcess).ok());
    for (const std::size_t size : scene_.taken) first_.push_back(Take(size));
    scene_.prepare(*this);
  }
  void* Take(std::size_t size) {
    const BlockOutcome made = heap_->Allocate(size, Criticality::kTask);
    EXPECT_TRUE(made.outcome.ok());
    EXPECT_TRUE(live_.insert(made.block).second) << "given to two";
    EXPECT_GE(heap_->SizeOf(made.block), size);
    return made.block;
  }
  void Free(void* block) {
    EXPECT_EQ(live_.erase(block), 1u);
    EXPECT_TRUE(heap_->Free(block).ok());
  }
  void FreeFirst(std::size_t i) { Free(first_[i]); }
  // Frees a block that two operations free. At most one of the two may succeed.
  void FreeAgain(std::size_t i) {
    if (heap_->Free(first_[i]).ok()) ++freed_again_;
  }
  void Trim() { (void)heap_->Trim(); }
  // Frees as the bridge does: the host may have sealed the block's pages.
  void DiscardFirst(std::size_t i) {
    EXPECT_EQ(live_.erase(first_[i]), 1u);
    EXPECT_TRUE(heap_->Discard(first_[i]).ok());
  }
  void SealFirst(std::size_t i) {
    const auto pages = PageRange::Covering(AddressOfFirst(i), heap_->SizeOf(first_[i]));
    EXPECT_EQ(manager_.engine.Seal(*pages), SealedRegions::Result::kDone);
  }
  void UnsealFirst(std::size_t i) { EXPECT_TRUE(manager_.engine.Unseal(AddressOfFirst(i))); }
  [[nodiscard]] Bytes Charged() const { return manager_.Charged(); }
  // Seals the whole region of the first block, and unseals it at once.
  void PinAndUnpin() {
    const auto region = manager_.engine.ledger().FindRegion(AddressOfFirst(0));
    EXPECT_EQ(manager_.engine.Seal(region->Range()), SealedRegions::Result::kDone);
    EXPECT_TRUE(manager_.engine.Unseal(region->base));
  }

  std::vector<std::function<void()>> Operations() override {
    std::vector<std::function<void()>> runs;
    for (const HeapOperation& operation : scene_.operations)
      runs.emplace_back([this, &operation] { operation(*this); });
    return runs;
  }
  bool Check(const std::string& schedule) override {
    SCOPED_TRACE(schedule);
    scene_.settle(*this);
    EXPECT_LE(freed_again_, 1);
    if (freed_again_ != 0) live_.erase(first_[0]);
    EXPECT_EQ(heap_->Figures().blocks, live_.size());
    EXPECT_TRUE(manager_.Exact());
    EXPECT_EQ(manager_.Charged(), manager_.engine.ledger().HeapBytes());
    // Nothing is lost: all blocks can be freed, and the heap can then allocate every slot of two slabs.
    for (void* block : std::set<void*>(live_)) Free(block);
    (void)heap_->Trim();
    EXPECT_EQ(heap_->Figures().blocks, 0u);
    EXPECT_EQ(manager_.Charged(), Bytes{});
    for (std::uint32_t i = 0; i < 2 * kSlots; ++i) Take(kSize);
    EXPECT_EQ(manager_.Charged(), Bytes{2 * kSlots * kSize});
    heap_.reset();
    EXPECT_EQ(manager_.Charged(), Bytes{});
    return !testing::Test::HasFailure();
  }

 private:
  [[nodiscard]] Address AddressOfFirst(std::size_t i) const { return reinterpret_cast<std::uintptr_t>(first_[i]); }

  const HeapScene& scene_;
  ManagedEngine manager_;
  // One shard: its threads contend for the same slab. Further shards would only add empty slots for Trim to visit.
  std::unique_ptr<PrivateHeap> heap_ = std::make_unique<PrivateHeap>(manager_.engine, 1, 1);
  std::vector<void*> first_;
  std::set<void*> live_;
  int freed_again_ = 0;
};

// Where pairs of operations conflict most, two preemptions are played. The first operation is suspended at any step,
// and the second at any step after that. Then the first continues in a state that the second has half changed. With
// one preemption, as for triples, the other operations run to their ends while the first is suspended.
bool ExploreHeap(const HeapScene& scene, int preemptions, std::uint64_t* schedules) {
  const Exploration exploration = Explore([&] { return std::make_unique<HeapWorld>(scene); }, preemptions);
  *schedules += exploration.schedules;
  EXPECT_TRUE(exploration.complete);
  return exploration.passed;
}
// `taken` blocks of kSize are allocated before the operations begin.
bool ExploreHeap(std::uint32_t taken, std::vector<HeapOperation> operations, int preemptions,
                 std::uint64_t* schedules) {
  return ExploreHeap({std::vector<std::size_t>(taken, kSize), std::move(operations)}, preemptions, schedules);
}

struct Named {
  const char* name;
  HeapOperation run;
};

TEST(PrivateHeapInterleavings, TwoOperationsReceiveDistinctBlocks) {
  const std::vector<Named> operations = {{"take", [](HeapWorld& w) { w.Take(kSize); }},
                                         {"take and free", [](HeapWorld& w) { w.Free(w.Take(kSize)); }},
                                         {"take another size and free", [](HeapWorld& w) { w.Free(w.Take(2000)); }},
                                         {"trim", [](HeapWorld& w) { w.Trim(); }},
                                         {"take two", [](HeapWorld& w) {
                                            void* block = w.Take(kSize);
                                            w.Take(kSize);
                                            w.Free(block);
                                          }}};
  std::uint64_t schedules = 0;
  for (const std::uint32_t taken : {0u, 1u, kSlots - 1, kSlots}) {
    for (std::size_t a = 0; a < operations.size(); ++a) {
      for (std::size_t b = a; b < operations.size(); ++b) {
        SCOPED_TRACE(testing::Message() << taken << " taken; " << operations[a].name << ", " << operations[b].name);
        // The most conflicts occur with no blocks taken, or with a full slab.
        const int preemptions = taken == 0 || taken == kSlots ? 2 : 1;
        if (!ExploreHeap(taken, {operations[a].run, operations[b].run}, preemptions, &schedules)) return;
      }
    }
  }
  std::cout << schedules << " schedules\n";
}

// A freed run is kept and reused by exactly one caller, even if other threads allocate, free and trim meanwhile.
TEST(PrivateHeapInterleavings, KeptRunIsReusedByOneThread) {
  constexpr std::size_t kRun = 20000;
  constexpr std::size_t kLonger = 24000;  // a request for kRun may reuse a kept run of this size, but not the reverse
  const std::vector<Named> operations = {{"take", [](HeapWorld& w) { w.Take(kRun); }},
                                         {"take and free", [](HeapWorld& w) { w.Free(w.Take(kRun)); }},
                                         {"take a longer one and free", [](HeapWorld& w) { w.Free(w.Take(kLonger)); }},
                                         {"take two and free them",
                                          [](HeapWorld& w) {
                                            void* one = w.Take(kRun);
                                            w.Free(w.Take(kLonger));
                                            w.Free(one);
                                          }},
                                         {"trim", [](HeapWorld& w) { w.Trim(); }}};
  const HeapOperation keeps_one = [](HeapWorld& w) { w.Free(w.Take(kRun)); };
  std::uint64_t schedules = 0;
  for (std::size_t a = 0; a < operations.size(); ++a) {
    for (std::size_t b = a; b < operations.size(); ++b) {
      SCOPED_TRACE(testing::Message() << operations[a].name << ", " << operations[b].name);
      if (!ExploreHeap(0, {operations[a].run, operations[b].run}, 2, &schedules)) return;
      if (!ExploreHeap(0, {keeps_one, operations[a].run, operations[b].run}, 1, &schedules)) return;
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(PrivateHeapInterleavings, LastBlocksOfASlabCanBeFreedInAnyOrder) {
  std::uint64_t schedules = 0;
  const std::vector<HeapOperation> frees = {
      [](HeapWorld& w) { w.FreeFirst(0); },
      [](HeapWorld& w) { w.FreeFirst(1); },
  };
  // The blocks are in the current slab, or (with kSlots + 1 taken) in a slab that is no longer current.
  for (const std::uint32_t taken : {2u, kSlots, kSlots + 1}) {
    SCOPED_TRACE(taken);
    if (!ExploreHeap(taken, frees, 2, &schedules)) return;
    if (!ExploreHeap(taken, {frees[0], [](HeapWorld& w) { w.Trim(); }}, 2, &schedules)) return;
    if (!ExploreHeap(taken, {frees[0], [](HeapWorld& w) { w.Take(kSize); }}, 2, &schedules)) return;
    if (!ExploreHeap(taken, {frees[0], frees[1], [](HeapWorld& w) { w.Trim(); }}, 1, &schedules)) return;
    if (!ExploreHeap(taken, {frees[0], [](HeapWorld& w) { w.Take(2000); }, [](HeapWorld& w) { w.Trim(); }}, 1,
                     &schedules)) {
      return;
    }
  }
  std::cout << schedules << " schedules\n";
}

TEST(PrivateHeapInterleavings, BlocksFreedWhileSealedAreNotLost) {
  std::uint64_t schedules = 0;
  const HeapOperation seal = [](HeapWorld& w) { w.PinAndUnpin(); };
  const HeapOperation discard = [](HeapWorld& w) { w.DiscardFirst(1); };
  // With kSlots + 2 blocks the second slab is current, and the first is retired when it becomes empty.
  for (const std::uint32_t taken : {2u, kSlots + 2}) {
    SCOPED_TRACE(taken);
    if (!ExploreHeap(taken, {seal, discard}, 2, &schedules)) return;
    if (!ExploreHeap(taken, {seal, [](HeapWorld& w) { w.Trim(); }}, 2, &schedules)) return;
    if (!ExploreHeap(taken, {seal, [](HeapWorld& w) { w.Take(20000); }}, 2, &schedules)) return;
    if (!ExploreHeap(taken, {seal, [](HeapWorld& w) { w.Take(kSize); }}, 2, &schedules)) return;
  }
  std::cout << schedules << " schedules\n";
}

// A thread finds a run or a large block sealed and is suspended before it parks it. Meanwhile the block is unsealed,
// and other memory is parked that stays sealed.
TEST(PrivateHeapInterleavings, BlockParkedAfterItsUnsealIsGivenBack) {
  constexpr std::size_t kRun = 20000;
  constexpr std::size_t kLarge = PrivateHeap::kLargestRun + kPageSize;
  std::uint64_t schedules = 0;
  for (const std::size_t size : {kRun, kLarge}) {
    SCOPED_TRACE(size);
    const HeapScene scene = {{size, kLarge},
                             {[](HeapWorld& w) { w.DiscardFirst(0); },
                              [](HeapWorld& w) {
                                w.UnsealFirst(0);
                                w.DiscardFirst(1);
                                w.Trim();
                              }},
                             [](HeapWorld& w) {
                               w.SealFirst(0);
                               w.SealFirst(1);
                             },
                             [](HeapWorld& w) {
                               w.Trim();
                               EXPECT_EQ(w.Charged(), Bytes{kLarge}) << "only what is still sealed";
                               w.UnsealFirst(1);
                             }};
    // The second preemption suspends the thread that gives parked memory back, too. That part is the same for both.
    if (!ExploreHeap(scene, size == kRun ? 2 : 1, &schedules)) return;
  }
  std::cout << schedules << " schedules\n";
}

TEST(PrivateHeapInterleavings, ConcurrentDoubleFreeSucceedsOnce) {
  std::uint64_t schedules = 0;
  const HeapOperation free = [](HeapWorld& w) { w.FreeAgain(0); };
  static_cast<void>(ExploreHeap(3, {free, free}, 3, &schedules));
}

}  // namespace
}  // namespace clr_host_memory::test
