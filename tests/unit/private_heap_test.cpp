// The blocks behind IHostMalloc: size classes, slabs, validation, fills and reallocation.
#include <algorithm>
#include <latch>
#include <thread>
#include <vector>

#include "support/heap_fixture.h"
#include "unit/private_heap_sizes.h"

namespace clr_host_memory::test {
namespace {

[[nodiscard]] void* ToPointer(Address address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

// ---- size classes, without a heap

TEST(SizeClasses, EachSizeMapsToTheSmallestClassThatFits) {
  for (std::size_t size = 1; size <= kLargestSmall; ++size) {
    const std::size_t index = ClassOf(size);
    ASSERT_LT(index, kClassCount);
    ASSERT_GE(kClasses[index].size, size);
    if (index != 0) {
      ASSERT_LT(kClasses[index - 1].size, size);
    }
    ASSERT_LE(kClasses[index].size - size, std::max<std::size_t>(15, kClasses[index].size / 5)) << size;
  }
}

TEST(SizeClasses, SlabsWasteLittle) {
  for (const SizeClass& sizes : kClasses) {
    EXPECT_EQ(sizes.size % kBlockAlignment, 0u);
    EXPECT_LE(sizes.slots * sizes.size, sizes.committed);
    EXPECT_LE(sizes.committed, sizes.units * kUnitSize);
    EXPECT_LE(sizes.committed - sizes.slots * sizes.size, sizes.committed / 8) << sizes.size;
    EXPECT_GE(sizes.slots, 4u);
    EXPECT_LE(sizes.slots, kMostSlots);
    for (std::uint32_t offset = 0; offset < sizes.units * kUnitSize; ++offset) {
      ASSERT_EQ(sizes.SlotAt(offset), offset / sizes.size) << sizes.size << " at " << offset;
    }
    std::uint32_t free = 0;
    for (std::uint32_t word = 0; word < sizes.words; ++word) {
      free += static_cast<std::uint32_t>(std::popcount(sizes.AllFree(word)));
    }
    EXPECT_EQ(free, sizes.slots);
  }
}

// ---- blocks

TEST_F(PrivateHeapTest, BlocksOfEverySizeAreAlignedDisjointAndCharged) {
  std::vector<std::pair<char*, std::size_t>> blocks;
  for (const std::size_t size : kSizes) {
    for (int i = 0; i < 3; ++i) {
      char* block = Block(size);
      ASSERT_NE(block, nullptr) << size;
      EXPECT_EQ(At(block) % kBlockAlignment, 0u);
      const std::size_t usable = heap->SizeOf(block);
      EXPECT_GE(usable, std::max<std::size_t>(size, 1));
      EXPECT_LE(usable, size + std::max<std::size_t>(size / 4, kPageSize));
      std::memset(block, static_cast<int>(blocks.size()), usable);
      blocks.emplace_back(block, usable);
    }
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t at = 0; at < blocks[i].second; ++at) {
      ASSERT_EQ(static_cast<unsigned char>(blocks[i].first[at]), i) << "block " << i << " at " << at;
    }
  }
  const HeapFigures figures = heap->Figures();
  EXPECT_EQ(figures.blocks, blocks.size());
  EXPECT_LE(figures.live, figures.committed);
  EXPECT_TRUE(ExactAndTheHeaps());
  for (const auto& [block, size] : blocks) EXPECT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(heap->Figures().blocks, 0u);
  EXPECT_TRUE(heap->Trim());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, SmallHeapCommitsOneSlabPerClassInUse) {
  ASSERT_NE(Block(24), nullptr);
  EXPECT_EQ(Charged(), Bytes{kUnitSize});
  EXPECT_EQ(heap->Figures().reserved, Bytes{kArenaSize});
  ASSERT_NE(Block(30), nullptr);
  EXPECT_EQ(Charged(), Bytes{kUnitSize});
  ASSERT_NE(Block(24 + 32), nullptr);
  EXPECT_EQ(Charged(), Bytes{2 * kUnitSize});
}

TEST_F(PrivateHeapTest, ManySlabsGiveOutEachBlockOnceAndReturnAllMemory) {
  for (const std::size_t size : {std::size_t{16}, std::size_t{48}, std::size_t{700}, std::size_t{5000}}) {
    const SizeClass& sizes = kClasses[ClassOf(size)];
    std::vector<char*> blocks;
    for (std::uint32_t i = 0; i < sizes.slots * 5; ++i) blocks.push_back(Block(size));
    EXPECT_EQ(Charged(), Bytes{std::uint64_t{sizes.committed} * 5}) << "no slab more than it takes";
    std::sort(blocks.begin(), blocks.end());
    for (std::size_t i = 1; i < blocks.size(); ++i)
      ASSERT_GE(blocks[i] - blocks[i - 1], static_cast<std::ptrdiff_t>(sizes.size));
    for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
    EXPECT_LE(Charged().value, std::uint64_t{sizes.committed} * 2) << "the current slab and the one that emptied last";
    heap->Trim();
    EXPECT_EQ(Charged(), Bytes{});
  }
}

TEST_F(PrivateHeapTest, FreedBlocksAreReusedBeforeNewSlabs) {
  const SizeClass& sizes = kClasses[ClassOf(256)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots * 8; ++i) blocks.push_back(Block(256));
  const Bytes charged = Charged();
  // Frees one block of each slab, then allocates as many again.
  for (std::size_t i = 0; i < blocks.size(); i += sizes.slots) ASSERT_TRUE(heap->Free(blocks[i]).ok());
  for (std::size_t i = 0; i < blocks.size(); i += sizes.slots) ASSERT_NE(Block(256), nullptr);
  EXPECT_EQ(Charged(), charged);
}

TEST_F(PrivateHeapTest, RetiredSlabUnitsServeOtherSizes) {
  std::vector<char*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(Block(16000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  heap->Trim();
  const Bytes reserved = heap->Figures().reserved;
  for (int i = 0; i < 2000; ++i) ASSERT_NE(Block(200), nullptr);
  EXPECT_LE(heap->Figures().reserved, reserved);
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, EmptyArenasAreReleasedExceptOne) {
  std::vector<char*> blocks;
  for (int i = 0; i < 20; ++i) blocks.push_back(Block(500 * kK));
  EXPECT_EQ(heap->Figures().reserved, Bytes{10 * kArenaSize});
  const std::uint64_t metadata = os.LiveMetadata();
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(heap->Figures().reserved, Bytes{kArenaSize});
  for (int i = 0; i < 20; ++i) ASSERT_NE(Block(500 * kK), nullptr);
  EXPECT_EQ(os.LiveMetadata(), metadata) << "the same descriptors again";
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, BlocksInASlabNeedNoOsCalls) {
  ASSERT_NE(Block(64), nullptr);
  os.ResetCalls();
  for (int i = 0; i < 200; ++i) {
    char* block = Block(64);
    if (i % 3 == 0) {
      EXPECT_TRUE(heap->Free(block).ok());
    }
  }
  EXPECT_EQ(os.AllCalls(), 0u);
}

TEST_F(PrivateHeapTest, AlternatingAtASlabBorderNeedsNoOsCalls) {
  const SizeClass& sizes = kClasses[ClassOf(4096)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots; ++i) blocks.push_back(Block(4096));
  ASSERT_TRUE(heap->Free(Block(4096)).ok());
  os.ResetCalls();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(heap->Free(Block(4096)).ok());
  EXPECT_EQ(os.AllCalls(), 0u);
}

TEST_F(PrivateHeapTest, ExecutableHeapIsExecutableInAllSizes) {
  for (const std::uint32_t kind : {1u, 3u, 2u, 0u}) {
    Renew(kind);
    for (const std::size_t size : {std::size_t{100}, std::size_t{100000}, 2 * kM}) {
      RawMemoryInformation info{};
      std::size_t written = 0;
      ASSERT_EQ(os.Query(At(Block(size)), &info, sizeof(info), &written), win32::kSuccess);
      EXPECT_EQ(info.protect, (kind & 2) != 0 ? kPageExecuteReadWrite : kPageReadWrite);
    }
  }
}

// ---- validation of blocks

TEST_F(PrivateHeapTest, FreeAcceptsNullAndRejectsForeignPointers) {
  int local = 0;
  PrivateHeap other(engine, 1);
  ASSERT_TRUE(other.Open(Criticality::kTask).ok());
  const Address region = ReserveAndCommit(kM).address;
  EXPECT_TRUE(heap->Free(nullptr).ok());
  for (const std::size_t size : kSizes) {
    char* block = Block(size);
    void* theirs = other.Allocate(size, Criticality::kTask).block;
    const std::size_t usable = heap->SizeOf(block);
    const HeapFigures before = heap->Figures();
    for (void* foreign : std::initializer_list<void*>{
             theirs, static_cast<void*>(&local), block + 1, block + 8, block + usable - 1, block - 1,
             reinterpret_cast<void*>(std::uintptr_t{1}), reinterpret_cast<void*>(~std::uintptr_t{7}), ToPointer(region),
             ToPointer(region + kPageSize), heap.get(), ToPointer(At(block) & ~Address{0xFFFF})}) {
      if (foreign == block) continue;
      EXPECT_EQ(heap->Free(foreign), Outcome::NotOurs()) << foreign << " at a block of " << size << " at " << block;
      EXPECT_EQ(heap->SizeOf(foreign), 0u);
    }
    EXPECT_EQ(heap->Figures().blocks, before.blocks);
    EXPECT_EQ(other.SizeOf(block), 0u);
    EXPECT_TRUE(heap->Free(block).ok());
    EXPECT_EQ(heap->Free(block), Outcome::NotOurs()) << "freed already, of " << size;
    EXPECT_EQ(heap->SizeOf(block), 0u);
    EXPECT_TRUE(other.Free(theirs).ok());
  }
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, DoubleFreeIsRejectedAfterAnySlabChange) {
  const SizeClass& sizes = kClasses[ClassOf(1000)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots * 4; ++i) blocks.push_back(Block(1000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  for (char* block : blocks) EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
  heap->Trim();
  for (char* block : blocks) EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
  // The units now belong to slabs of another size.
  for (int i = 0; i < 3; ++i) ASSERT_NE(Block(3000), nullptr);
  const std::uint64_t live = heap->Figures().blocks;
  for (char* block : blocks) {
    if (heap->SizeOf(block) == 0) {
      EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
    }
  }
  EXPECT_EQ(heap->Figures().blocks, live);
}

TEST_F(PrivateHeapTest, VirtualFreeOfHeapMemoryIsRejected) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{100000}, 2 * kM}) {
    char* block = Block(size);
    const Bytes charged = Charged();
    for (const Address address : {At(block), At(block) & ~Address{0xFFFF}, At(block) + kPageSize}) {
      EXPECT_EQ(engine.Free(address, 0, win32::kMemRelease), Outcome::NotOurs()) << size;
      EXPECT_EQ(engine.Free(address, kPageSize, win32::kMemDecommit), Outcome::NotOurs()) << size;
    }
    EXPECT_EQ(Charged(), charged);
    EXPECT_TRUE(heap->Free(block).ok());
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

// ---- fills and reallocation

TEST_F(PrivateHeapTest, BlocksAreZeroedAsRequested) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{4000},
                                 std::size_t{16384}, std::size_t{16385}, std::size_t{200000}, 2 * kM}) {
    for (const auto fill : {PrivateHeap::Fill::kZero, PrivateHeap::Fill::kZeroBeyond}) {
      char* dirty = Block(size);
      std::memset(dirty, 0x5A, heap->SizeOf(dirty));
      ASSERT_TRUE(heap->Free(dirty).ok());
      char* block = static_cast<char*>(heap->Allocate(size, Criticality::kTask, fill).block);
      ASSERT_NE(block, nullptr);
      const std::size_t from = fill == PrivateHeap::Fill::kZero ? 0 : size;
      EXPECT_TRUE(std::all_of(block + from, block + heap->SizeOf(block), [](char c) { return c == 0; })) << size;
      ASSERT_TRUE(heap->Free(block).ok());
    }
  }
}

TEST_F(PrivateHeapTest, ReallocationKeepsBytesAndZeroesTheRest) {
  for (const std::size_t from : {std::size_t{1}, std::size_t{100}, std::size_t{10000}, std::size_t{100000}, kM}) {
    for (const std::size_t to : {std::size_t{0}, std::size_t{2}, std::size_t{120}, std::size_t{9000},
                                 std::size_t{12000}, std::size_t{50000}, std::size_t{400000}, 3 * kM}) {
      char* dirty = Block(to);
      std::memset(dirty, 0x5A, heap->SizeOf(dirty));
      ASSERT_TRUE(heap->Free(dirty).ok());
      const BlockOutcome old = heap->Allocate(from, Criticality::kTask, PrivateHeap::Fill::kZeroBeyond);
      std::memset(old.block, 0x33, from);
      const BlockOutcome moved = heap->Reallocate(old.block, to, Criticality::kTask, PrivateHeap::Fill::kZero, false);
      ASSERT_TRUE(moved.outcome.ok());
      const char* bytes = static_cast<const char*>(moved.block);
      const std::size_t kept = std::min(from, to);
      EXPECT_TRUE(std::all_of(bytes, bytes + kept, [](char c) { return c == 0x33; })) << from << " to " << to;
      EXPECT_TRUE(std::all_of(bytes + kept, bytes + heap->SizeOf(moved.block), [](char c) { return c == 0; }))
          << from << " to " << to;
      EXPECT_EQ(heap->Figures().blocks, 1u);
      ASSERT_TRUE(heap->Free(moved.block).ok());
    }
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, InPlaceReallocationKeepsAddressAndRefusalKeepsTheBlock) {
  constexpr auto kAny = PrivateHeap::Fill::kAnything;
  char* block = Block(100);
  std::memset(block, 0x11, 100);
  const std::size_t usable = heap->SizeOf(block);
  EXPECT_EQ(heap->Reallocate(block, usable, Criticality::kTask, kAny, true).block, block);
  EXPECT_EQ(heap->Reallocate(block, 1, Criticality::kTask, kAny, true).block, block);
  EXPECT_EQ(heap->Reallocate(block, usable + 1, Criticality::kTask, kAny, true).outcome,
            Outcome::OsRefused(win32::kNotEnoughMemory));
  engine.ledger().budget().SetLimits({.limit = Charged()});
  EXPECT_EQ(heap->Reallocate(block, kM, Criticality::kTask, kAny, false).outcome, Outcome::OverLimit());
  EXPECT_EQ(block[99], 0x11);
  EXPECT_TRUE(heap->Reallocate(block, 1, Criticality::kTask, kAny, false).outcome.ok()) << "smaller always works";
  int local = 0;
  EXPECT_EQ(heap->Reallocate(&local, 1, Criticality::kTask, kAny, false).outcome, Outcome::NotOurs());
}

TEST_F(PrivateHeapTest, ThreadThatNeedsFewBlocksOfASizeBorrowsThem) {
  ASSERT_NE(Block(100), nullptr);
  const Bytes one_slab = Charged();
  constexpr int kThreads = 16;
  // Each of the threads takes that many blocks. Their stacks are apart while they all live, so not all of them use the
  // shard of this thread.
  const auto take = [this](int blocks) {
    std::latch all(kThreads);
    std::vector<std::thread> takers;
    for (int taker = 0; taker < kThreads; ++taker) {
      takers.emplace_back([&] {
        all.arrive_and_wait();
        for (int i = 0; i < blocks; ++i) {
          char* block = Block(100);
          ASSERT_NE(block, nullptr);
          EXPECT_TRUE(heap->Free(block).ok());
        }
      });
    }
    for (std::thread& taker : takers) taker.join();
  };
  take(PrivateHeap::kMostBorrowed / kThreads);
  EXPECT_EQ(Charged(), one_slab);
  take(PrivateHeap::kMostBorrowed + 1);
  EXPECT_GT(Charged(), one_slab) << "a thread that needs more has a slab of its own";
  EXPECT_TRUE(Exact());
}

}  // namespace
}  // namespace clr_host_memory::test
