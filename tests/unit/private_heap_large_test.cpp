// Private heap: blocks too large for a slab, and the runs that the heap keeps for reuse.
#include <algorithm>
#include <vector>

#include "support/heap_fixture.h"
#include "unit/private_heap_sizes.h"

namespace clr_host_memory::test {
namespace {

TEST_F(PrivateHeapTest, LargeBlockIsChargedByPageAndUnchargedOnFree) {
  for (const std::size_t size : {PrivateHeap::kLargestKeptRun + 1, 512 * kK, 5 * kM}) {
    char* block = Block(size);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(Charged().value, (size + kPageSize - 1) / kPageSize * kPageSize);
    EXPECT_TRUE(heap->Free(block).ok());
    EXPECT_EQ(Charged(), Bytes{}) << size;
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, FreedShortRunIsReusedWithoutTheOs) {
  char* block = Block(65560);
  const Bytes charged = Charged();
  ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), charged);
  EXPECT_EQ(heap->SizeOf(block), 0u);
  EXPECT_EQ(heap->Free(block), Outcome::NotOurs()) << "a kept run is no block";
  EXPECT_EQ(heap->Figures().blocks, 0u);
  EXPECT_EQ(heap->Figures().live, Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
  const std::uint64_t asked = os.AllCalls();
  EXPECT_EQ(Block(60000), block) << "a few pages more are as good";
  EXPECT_EQ(heap->SizeOf(block), charged.value);
  EXPECT_EQ(os.AllCalls(), asked);
  EXPECT_NE(Block(65560), block);
  ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_NE(Block(20000), block) << "many pages more are not";
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, ZeroedRequestNeverReturnsStaleBytes) {
  constexpr std::size_t kSize = 40000;
  for (const PrivateHeap::Fill fill : {PrivateHeap::Fill::kZero, PrivateHeap::Fill::kZeroBeyond}) {
    char* block = Block(kSize + 3 * kPageSize / 2);
    std::memset(block, 0x5A, heap->SizeOf(block));
    ASSERT_TRUE(heap->Free(block).ok());
    const BlockOutcome zero = heap->Allocate(kSize, Criticality::kTask, fill);
    ASSERT_TRUE(zero.outcome.ok());
    EXPECT_EQ(zero.block == block, fill == PrivateHeap::Fill::kZeroBeyond);
    const auto* bytes = static_cast<const char*>(zero.block);
    EXPECT_TRUE(std::all_of(bytes + (fill == PrivateHeap::Fill::kZero ? 0 : kSize), bytes + heap->SizeOf(zero.block),
                            [](char byte) { return byte == 0; }));
    ASSERT_TRUE(heap->Free(zero.block).ok());
    heap->Trim();
  }
}

TEST_F(PrivateHeapTest, FreeOfASealedRunIsRefused) {
  char* block = Block(100000);
  const auto sealed = PageRange::Covering(At(block), 1);
  ASSERT_EQ(engine.Seal(*sealed), SealedRegions::Result::kDone);
  EXPECT_EQ(heap->Free(block), Outcome::NotOwner());
  EXPECT_EQ(heap->Figures().blocks, 1u) << "still the caller's";
  ASSERT_TRUE(engine.Unseal(At(block)));
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(PrivateHeapTest, TrimRetriesARunThatTheOsKept) {
  ASSERT_TRUE(heap->Free(Block(100000)).ok());
  const Bytes kept = Charged();
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  EXPECT_FALSE(heap->Trim());
  EXPECT_EQ(Charged(), kept);
  EXPECT_TRUE(ExactAndTheHeaps());
  EXPECT_TRUE(heap->Trim());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(PrivateHeapTest, KeptRunUnitsServeWithoutFreeAddressSpace) {
  std::vector<char*> blocks;
  for (std::size_t i = 0; i < kArenaSize / PrivateHeap::kLargestKeptRun; ++i) {
    blocks.push_back(Block(PrivateHeap::kLargestKeptRun));
  }
  ASSERT_EQ(heap->Figures().reserved, Bytes{kArenaSize});
  ASSERT_TRUE(heap->Free(blocks.back()).ok());
  os.Fail(OsCall::kAllocate, win32::kNotEnoughMemory);  // the next arena
  EXPECT_NE(Block(20000), nullptr) << "too short for what is kept";
  EXPECT_EQ(heap->Figures().reserved, Bytes{kArenaSize});
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, KeptRunsAreLimitedInNumber) {
  std::vector<char*> blocks;
  for (std::size_t i = 0; i < PrivateHeap::kMostKeptRuns + 2; ++i) blocks.push_back(Block(100000));
  const std::uint64_t each = heap->SizeOf(blocks[0]);
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), Bytes{each} * PrivateHeap::kMostKeptRuns);
  EXPECT_TRUE(ExactAndTheHeaps());
  EXPECT_TRUE(heap->Trim());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, KeptRunsAreGivenUpNearTheLimit) {
  char* block = Block(100000);
  ASSERT_TRUE(heap->Free(block).ok());
  ASSERT_NE(Charged(), Bytes{});
  const Bytes kept = Charged();
  engine.ledger().budget().SetLimits({.limit = kept + Bytes{kPageSize}});
  block = Block(20000);  // fits only if the heap gives up the kept run
  ASSERT_NE(block, nullptr);
  ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
}

}  // namespace
}  // namespace clr_host_memory::test
