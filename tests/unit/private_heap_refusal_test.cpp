// Private heap: refusals by the limit and by the OS.
#include <algorithm>
#include <thread>
#include <vector>

#include "support/heap_fixture.h"
#include "unit/private_heap_sizes.h"

namespace clr_host_memory::test {
namespace {

TEST_F(PrivateHeapTest, PagesAndBlocksShareOneLimitPerLevel) {
  engine.ledger().budget().SetLimits(
      {.limit = {10 * kUnitSize}, .app_domain_headroom = {kUnitSize}, .process_headroom = {2 * kUnitSize}});
  ASSERT_TRUE(ReserveAndCommit(6 * kUnitSize).outcome.ok());
  ASSERT_NE(Block(100), nullptr);
  EXPECT_EQ(heap->Allocate(200, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(heap->Allocate(20000, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_EQ(heap->Allocate(kM, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_NE(Block(100), nullptr) << "there is a slab for it";
  EXPECT_NE(Block(200, Criticality::kAppDomain), nullptr);
  EXPECT_EQ(heap->Allocate(300, Criticality::kAppDomain).outcome, Outcome::OverLimit());
  EXPECT_NE(Block(300, Criticality::kProcess), nullptr);
  EXPECT_NE(Block(400, Criticality::kProcess), nullptr);
  EXPECT_EQ(heap->Allocate(500, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, KeptMemoryIsGivenUpBeforeARefusal) {
  std::vector<char*> blocks;
  for (int i = 0; i < 40; ++i) blocks.push_back(Block(4000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  const Bytes kept = Charged();
  ASSERT_GT(kept, Bytes{});
  engine.ledger().budget().SetLimits({.limit = kept});
  EXPECT_NE(Block(static_cast<std::size_t>(kept.value)), nullptr);
  EXPECT_EQ(Charged(), kept);
}

TEST_F(PrivateHeapTest, AllocationFallsBackToOtherShardsAtTheLimit) {
  ASSERT_NE(Block(100), nullptr);
  engine.ledger().budget().SetLimits({.limit = Charged()});
  // Whichever shard each thread prefers, the one slab serves it.
  for (std::size_t shard = 0; shard < 16; ++shard) {
    std::thread([&] {
      for (int i = 0; i <= PrivateHeap::kMostBorrowed; ++i) {
        char* block = Block(100);
        ASSERT_NE(block, nullptr);
        EXPECT_TRUE(heap->Free(block).ok());
      }
    }).join();
  }
}

TEST_F(PrivateHeapTest, RefusalOfAnyOsCallLeaksNothing) {
  for (const std::size_t size : kSizes) {
    for (const OsCall call : {OsCall::kAllocate, OsCall::kAllocateMetadata}) {
      for (std::uint64_t position = 0; position < 4; ++position) {
        SCOPED_TRACE(testing::Message() << size << ", call " << static_cast<int>(call) << " at " << position);
        ManagedEngine m;
        {
          PrivateHeap fresh(m.engine, 1);
          m.os.Fail(call, win32::kNotEnoughMemory, position);
          const Outcome opened = fresh.Open(Criticality::kTask);
          const BlockOutcome block = fresh.Allocate(size, Criticality::kTask);
          m.os.ClearFaults();
          EXPECT_TRUE(opened.ok() || opened.verdict == Verdict::kOsRefused || opened.verdict == Verdict::kNoMetadata);
          EXPECT_EQ(block.block == nullptr, !block.outcome.ok());
          EXPECT_TRUE(m.Exact());
          if (!block.outcome.ok()) {
            EXPECT_TRUE(block.outcome.verdict == Verdict::kNoMetadata ||
                        block.outcome == Outcome::OsRefused(win32::kNotEnoughMemory));
            EXPECT_EQ(m.Charged(), Bytes{});
          }
          const BlockOutcome again = fresh.Allocate(size, Criticality::kTask);
          EXPECT_TRUE(again.outcome.ok());
          EXPECT_TRUE(fresh.Free(again.block).ok());
        }
        EXPECT_EQ(m.Charged(), Bytes{});
        EXPECT_EQ(m.engine.ledger().HeapBytes(), Bytes{});
        EXPECT_EQ(m.os.RegionCount(), 0u);
      }
    }
  }
}

TEST_F(PrivateHeapTest, BlockStaysValidWhenTheOsRefusesItsFree) {
  for (const std::size_t size : {256 * kK, 2 * kM}) {
    char* block = Block(size);
    const Bytes charged = Charged();
    os.Fail(OsCall::kFree, win32::kInvalidParameter);
    EXPECT_EQ(heap->Free(block), Outcome::OsRefused(win32::kInvalidParameter));
    EXPECT_EQ(Charged(), charged);
    EXPECT_TRUE(ExactAndTheHeaps());
    EXPECT_TRUE(heap->Free(block).ok());
    EXPECT_EQ(Charged(), Bytes{});
  }
}

TEST_F(PrivateHeapTest, SlabStaysChargedWhenTheOsRefusesItsDecommit) {
  ASSERT_TRUE(heap->Free(Block(100)).ok());
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  heap->Trim();
  EXPECT_EQ(Charged(), Bytes{kUnitSize});
  EXPECT_TRUE(ExactAndTheHeaps());
  ASSERT_NE(Block(100), nullptr);
  EXPECT_EQ(Charged(), Bytes{2 * kUnitSize});
  heap.reset();
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, ImpossibleSizesAreRefused) {
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX - std::size_t{kPageSize}, SIZE_MAX / 2}) {
    EXPECT_EQ(heap->Allocate(size, Criticality::kProcess).outcome, Outcome::OsRefused(win32::kNotEnoughMemory));
  }
  engine.ledger().budget().SetLimits({.limit = {kM}});
  EXPECT_FALSE(heap->Allocate(SIZE_MAX, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
