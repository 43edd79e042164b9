// Private heap: blocks on pages that the host has sealed.
#include <algorithm>
#include <vector>

#include "support/heap_fixture.h"

namespace clr_host_memory::test {
namespace {

// Blocks in slabs, a run, and a block with its own region.
constexpr std::size_t kOfEachKind[] = {100, 4096, 100000, 1 << 20};

class SealedHeapTest : public PrivateHeapTest {
 protected:
  void Seal(const void* address, std::uint64_t size = 1) {
    ASSERT_EQ(engine.Seal(*PageRange::Covering(At(address), size)), SealedRegions::Result::kDone);
  }
  void Unseal(const void* address) { ASSERT_TRUE(engine.Unseal(At(address) / kPageSize * kPageSize)); }
  // Seals the whole region of each block. Returns the bases of the sealed regions.
  std::vector<void*> SealRegionsOf(const std::vector<void*>& blocks) {
    std::vector<void*> sealed;
    for (const void* block : blocks) {
      const auto region = engine.ledger().FindRegion(At(block));
      void* const base = reinterpret_cast<void*>(static_cast<std::uintptr_t>(region->base));
      if (std::find(sealed.begin(), sealed.end(), base) != sealed.end()) continue;
      Seal(base, region->pages.InBytes().value);
      sealed.push_back(base);
    }
    return sealed;
  }
  // Takes the slow path of one request. This is enough to free blocks that were discarded while sealed.
  void TakeAndFreeOne() { ASSERT_TRUE(heap->Free(Block(300000)).ok()); }
};

TEST_F(SealedHeapTest, FreeOfABlockOnASealedPageIsRefused) {
  for (const std::size_t size : kOfEachKind) {
    SCOPED_TRACE(size);
    char* const block = Block(size);
    char* const dead = Block(size);
    ASSERT_TRUE(heap->Free(dead).ok());
    Seal(block + heap->SizeOf(block) - 1);  // the block's last page
    const std::uint64_t blocks = heap->Figures().blocks;
    EXPECT_EQ(heap->Free(block), Outcome::NotOwner());
    EXPECT_EQ(heap->Figures().blocks, blocks);
    EXPECT_GE(heap->SizeOf(block), size);
    if (dead + heap->SizeOf(dead) != block) {
      EXPECT_EQ(heap->Free(dead), Outcome::NotOurs());
    }
    EXPECT_TRUE(heap->Free(nullptr).ok());
    Unseal(block + heap->SizeOf(block) - 1);
    EXPECT_TRUE(heap->Free(block).ok());
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(SealedHeapTest, SealedBlockCanShrinkButNotMove) {
  for (const std::size_t size : kOfEachKind) {
    SCOPED_TRACE(size);
    char* const block = Block(size);
    block[0] = 'x';
    Seal(block);
    const Bytes charged = Charged();
    const BlockOutcome larger =
        heap->Reallocate(block, 2 * heap->SizeOf(block), Criticality::kTask, PrivateHeap::Fill::kAnything, false);
    EXPECT_EQ(larger.outcome, Outcome::NotOwner());
    EXPECT_EQ(larger.block, nullptr);
    EXPECT_EQ(Charged(), charged);
    const BlockOutcome smaller = heap->Reallocate(block, 1, Criticality::kTask, PrivateHeap::Fill::kAnything, false);
    EXPECT_EQ(smaller.block, block);
    EXPECT_EQ(block[0], 'x');
    Unseal(block);
    EXPECT_TRUE(heap->Free(block).ok());
  }
}

TEST_F(SealedHeapTest, AllocationAvoidsSealedPages) {
  for (const std::size_t size : {std::size_t{16}, std::size_t{100}, std::size_t{3072}, std::size_t{4096},
                                 std::size_t{16384}, std::size_t{20000}, std::size_t{100000}}) {
    SCOPED_TRACE(size);
    // Seals the free blocks of a partly used slab or a kept run, and all units behind them.
    char* const neighbour = Block(size);
    char* const freed = Block(size);
    ASSERT_TRUE(heap->Free(freed).ok());
    const auto sealed = SealRegionsOf({neighbour});
    std::vector<char*> taken;
    for (int i = 0; i < 40; ++i) {
      char* const block = Block(size);
      ASSERT_NE(block, nullptr);
      ASSERT_FALSE(engine.TouchesSealed(At(block), heap->SizeOf(block))) << i;
      taken.push_back(block);
    }
    for (char* const block : taken) ASSERT_TRUE(heap->Free(block).ok());
    for (void* const base : sealed) Unseal(base);
    EXPECT_TRUE(heap->Free(neighbour).ok());
    EXPECT_TRUE(ExactAndTheHeaps());
  }
  heap->Trim();
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(SealedHeapTest, SealedPageBlocksOnlyItsOwnSlots) {
  char* const first = Block(4096);
  char* const second = Block(4096);
  ASSERT_TRUE(heap->Free(second).ok());
  Seal(second);
  std::vector<char*> taken;
  for (std::uint32_t i = 2; i < kClasses[ClassOf(4096)].slots; ++i) taken.push_back(Block(4096));
  EXPECT_EQ(Charged().value, kClasses[ClassOf(4096)].committed) << "the rest of the slab serves";
  EXPECT_EQ(std::find(taken.begin(), taken.end(), second), taken.end());
  Unseal(second);
  taken.push_back(first);
  for (char* const block : taken) EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(SealedHeapTest, DiscardedSealedBlockIsFreedAfterUnseal) {
  const Bytes before = Charged();
  for (const std::size_t size : kOfEachKind) {
    SCOPED_TRACE(size);
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(Block(size));
    const auto sealed = SealRegionsOf(blocks);
    for (void* const block : blocks) {
      ASSERT_TRUE(heap->Discard(block).ok());
      ASSERT_EQ(heap->SizeOf(block), 0u);
      ASSERT_EQ(heap->Discard(block), Outcome::NotOurs());
    }
    EXPECT_EQ(heap->Figures().blocks, 0u);
    EXPECT_EQ(heap->Figures().live, Bytes{});
    EXPECT_TRUE(ExactAndTheHeaps());
    heap->Trim();
    EXPECT_GT(Charged(), before) << "what is pinned stays committed";
    for (void* const base : sealed) Unseal(base);
    TakeAndFreeOne();
    heap->Trim();
    EXPECT_EQ(Charged(), before);
    EXPECT_TRUE(ExactAndTheHeaps());
  }
}

TEST_F(SealedHeapTest, RepeatedSealingLeavesTheChargeUnchanged) {
  for (const bool discards : {false, true}) {
    Bytes after_first;
    for (int cycle = 0; cycle < 10; ++cycle) {
      std::vector<void*> blocks;
      for (int i = 0; i < 200; ++i) blocks.push_back(Block(4096));
      const auto sealed = SealRegionsOf(blocks);
      for (void* const block : blocks) {
        EXPECT_EQ(discards ? heap->Discard(block) : heap->Free(block),
                  discards ? Outcome::Done() : Outcome::NotOwner());
      }
      for (void* const base : sealed) Unseal(base);
      if (!discards) {
        for (void* const block : blocks) EXPECT_TRUE(heap->Free(block).ok());
      }
      TakeAndFreeOne();  // without a Trim
      if (cycle == 0) after_first = Charged();
      EXPECT_EQ(Charged(), after_first) << cycle;
    }
    // The class keeps a current and a spare slab. The heap keeps one run.
    EXPECT_LE(Charged().value, 2 * kClasses[ClassOf(4096)].committed + 76 * kPageSize);
    EXPECT_TRUE(ExactAndTheHeaps());
  }
}

TEST_F(SealedHeapTest, LastingSealDelaysNoOtherFree) {
  char* const stays = Block(600000);
  Seal(stays);
  char* const run = Block(100000);
  Seal(run);
  ASSERT_TRUE(heap->Discard(run).ok());
  const Bytes with_run = Charged();
  Unseal(run);
  TakeAndFreeOne();
  heap->Trim();
  EXPECT_LT(Charged(), with_run);
  EXPECT_EQ(Charged().value, heap->SizeOf(stays));
  Unseal(stays);
}

TEST_F(SealedHeapTest, HeapDestroyedWhileSealedIsFreedAfterUnseal) {
  std::vector<void*> blocks;
  for (const std::size_t size : kOfEachKind) blocks.push_back(Block(size));
  const auto sealed = SealRegionsOf(blocks);
  heap.reset();
  EXPECT_NE(Charged(), Bytes{});
  // The CLR cannot free the region either.
  for (void* const base : sealed) {
    Unseal(base);
    EXPECT_EQ(engine.Free(At(base), 0, win32::kMemRelease), Outcome::NotOurs());
  }
  PrivateHeap::FreeOrphans(engine);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(os.RegionCount(), 0u);
  EXPECT_TRUE(Exact());
}

}  // namespace
}  // namespace clr_host_memory::test
