// The blocks behind IHostMalloc: sizes, what is charged for them, what each answer comes from.
#include <algorithm>
#include <vector>

#include "support/heap_fixture.h"

namespace clr_host_memory::test {
namespace {

constexpr std::size_t kK = 1024;
constexpr std::size_t kM = 1024 * kK;

[[nodiscard]] void* ToPointer(Address address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

constexpr std::size_t kSizes[] = {0,    1,     16,    17,    128,    129,      1000,         1024, 1025,  4096,
                                  4097, 16384, 16385, 65536, 100000, 512 * kK, 512 * kK + 1, kM,   3 * kM};

// ---- sizes, without a heap

TEST(SizeClasses, EachSizeGetsTheSmallestThatHoldsIt) {
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

TEST(SizeClasses, SlabsHoldTheirBlocksWithLittleLeft) {
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

TEST_F(PrivateHeapTest, BlocksOfEverySizeAreAlignedApartAndCharged) {
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

TEST_F(PrivateHeapTest, WhatIsLargeIsChargedByThePageAndReturnedAtOnce) {
  for (const std::size_t size : {PrivateHeap::kLargestKeptRun + 1, 512 * kK, 5 * kM}) {
    char* block = Block(size);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(Charged().value, (size + kPageSize - 1) / kPageSize * kPageSize);
    EXPECT_TRUE(heap->Free(block).ok());
    EXPECT_EQ(Charged(), Bytes{}) << size;
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, AShortRunThatCameBackIsKeptAndGivenOutAgainWithoutTheOs) {
  char* block = Block(65560);
  const Bytes charged = Charged();
  ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), charged);
  EXPECT_EQ(heap->SizeOf(block), 0u);
  EXPECT_EQ(heap->Free(block), Outcome::NotOurs()) << "kept, it is nobody's block";
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

TEST_F(PrivateHeapTest, WhatIsToBeZeroIsNotWhatWasKept) {
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

TEST_F(PrivateHeapTest, ARunThatTheHostPinsIsNotKept) {
  char* block = Block(100000);
  const auto sealed = PageRange::Covering(At(block), 1);
  ASSERT_EQ(engine.Seal(*sealed), SealedRegions::Result::kDone);
  EXPECT_EQ(heap->Free(block), Outcome::NotOwner());
  EXPECT_EQ(heap->Figures().blocks, 1u) << "still the caller's";
  ASSERT_TRUE(engine.Unseal(At(block)));
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(PrivateHeapTest, AKeptRunThatTheOsWillNotTakeBackNowIsGivenUpLater) {
  ASSERT_TRUE(heap->Free(Block(100000)).ok());
  const Bytes kept = Charged();
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  EXPECT_FALSE(heap->Trim());
  EXPECT_EQ(Charged(), kept);
  EXPECT_TRUE(ExactAndTheHeaps());
  EXPECT_TRUE(heap->Trim());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(PrivateHeapTest, UnitsOfKeptRunsServeWhenThereIsNoAddressSpaceForMore) {
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

TEST_F(PrivateHeapTest, NoMoreRunsAreKeptThanFewAndTheOldestGoes) {
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

TEST_F(PrivateHeapTest, NoRunIsKeptNearTheLimitAndWhatIsKeptMakesRoom) {
  char* block = Block(100000);
  ASSERT_TRUE(heap->Free(block).ok());
  ASSERT_NE(Charged(), Bytes{});
  const Bytes kept = Charged();
  engine.ledger().budget().SetLimits({.limit = kept + Bytes{kPageSize}});
  block = Block(20000);  // fits only when what was kept is given up
  ASSERT_NE(block, nullptr);
  ASSERT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, ASmallHeapCommitsOneSlabForEachSizeInUse) {
  ASSERT_NE(Block(24), nullptr);
  EXPECT_EQ(Charged(), Bytes{kUnitSize});
  EXPECT_EQ(heap->Figures().reserved, Bytes{kArenaSize});
  ASSERT_NE(Block(30), nullptr);
  EXPECT_EQ(Charged(), Bytes{kUnitSize});
  ASSERT_NE(Block(24 + 32), nullptr);
  EXPECT_EQ(Charged(), Bytes{2 * kUnitSize});
}

TEST_F(PrivateHeapTest, EveryBlockOfManySlabsIsGivenOutOnceAndAllOfItComesBack) {
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

TEST_F(PrivateHeapTest, WhatCameBackIsUsedBeforeNewPagesAre) {
  const SizeClass& sizes = kClasses[ClassOf(256)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots * 8; ++i) blocks.push_back(Block(256));
  const Bytes charged = Charged();
  // One block of each slab, then as many again.
  for (std::size_t i = 0; i < blocks.size(); i += sizes.slots) ASSERT_TRUE(heap->Free(blocks[i]).ok());
  for (std::size_t i = 0; i < blocks.size(); i += sizes.slots) ASSERT_NE(Block(256), nullptr);
  EXPECT_EQ(Charged(), charged);
}

TEST_F(PrivateHeapTest, UnitsOfARetiredSlabServeOtherSizes) {
  std::vector<char*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(Block(16000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  heap->Trim();
  const Bytes reserved = heap->Figures().reserved;
  for (int i = 0; i < 2000; ++i) ASSERT_NE(Block(200), nullptr);
  EXPECT_LE(heap->Figures().reserved, reserved);
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(PrivateHeapTest, EmptyArenasAreGivenBackButForOne) {
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

TEST_F(PrivateHeapTest, TheOsIsAskedOnceForASlabAndNeverForABlockInOne) {
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

TEST_F(PrivateHeapTest, AHeapThatSwingsAboutTheBorderOfASlabDoesNotCommitEachTime) {
  const SizeClass& sizes = kClasses[ClassOf(4096)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots; ++i) blocks.push_back(Block(4096));
  ASSERT_TRUE(heap->Free(Block(4096)).ok());
  os.ResetCalls();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(heap->Free(Block(4096)).ok());
  EXPECT_EQ(os.AllCalls(), 0u);
}

TEST_F(PrivateHeapTest, AnExecutableHeapIsExecutableInAllItsParts) {
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

// ---- what is a block

TEST_F(PrivateHeapTest, NullIsFreedAndNothingElseThatIsNotABlock) {
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

TEST_F(PrivateHeapTest, ADoubleFreeIsToldWhateverBecameOfTheSlab) {
  const SizeClass& sizes = kClasses[ClassOf(1000)];
  std::vector<char*> blocks;
  for (std::uint32_t i = 0; i < sizes.slots * 4; ++i) blocks.push_back(Block(1000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  for (char* block : blocks) EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
  heap->Trim();
  for (char* block : blocks) EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
  // Of another size now.
  for (int i = 0; i < 3; ++i) ASSERT_NE(Block(3000), nullptr);
  const std::uint64_t live = heap->Figures().blocks;
  for (char* block : blocks) {
    if (heap->SizeOf(block) == 0) {
      EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
    }
  }
  EXPECT_EQ(heap->Figures().blocks, live);
}

TEST_F(PrivateHeapTest, TheClrCannotFreeItsMemoryBehindItsBack) {
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

// ---- zero, and other sizes

TEST_F(PrivateHeapTest, BlocksAreZeroAsFarAsItWasAskedFor) {
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

TEST_F(PrivateHeapTest, ReallocatedBlocksKeepTheirBytesAndTheRestIsZero) {
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

TEST_F(PrivateHeapTest, ReallocatingInPlaceDoesNotMoveAndARefusalLeavesTheBlock) {
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

// ---- refusals

TEST_F(PrivateHeapTest, PagesAndBlocksShareOneLimitByTheirLevel) {
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

TEST_F(PrivateHeapTest, WhatIsKeptIsGivenUpBeforeARequestIsRefused) {
  std::vector<char*> blocks;
  for (int i = 0; i < 40; ++i) blocks.push_back(Block(4000));
  for (char* block : blocks) ASSERT_TRUE(heap->Free(block).ok());
  const Bytes kept = Charged();
  ASSERT_GT(kept, Bytes{});
  engine.ledger().budget().SetLimits({.limit = kept});
  EXPECT_NE(Block(static_cast<std::size_t>(kept.value)), nullptr);
  EXPECT_EQ(Charged(), kept);
}

TEST_F(PrivateHeapTest, ABlockInAnotherThreadsSlabIsBetterThanNone) {
  ASSERT_NE(Block(100), nullptr);
  engine.ledger().budget().SetLimits({.limit = Charged()});
  // Whichever slab each thread would like to have.
  for (std::size_t shard = 0; shard < 16; ++shard) {
    std::thread([&] { EXPECT_NE(Block(100), nullptr); }).join();
  }
}

TEST_F(PrivateHeapTest, TheOsMayRefuseAnyOneOfItsCallsAndNothingIsLostOrLeft) {
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

TEST_F(PrivateHeapTest, ABlockTheOsWillNotFreeStaysABlockAndCharged) {
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

TEST_F(PrivateHeapTest, ASlabTheOsWillNotTakeBackStaysChargedUntilTheHeapEnds) {
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

TEST_F(PrivateHeapTest, SizesThatNothingHasAreRefused) {
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX - std::size_t{kPageSize}, SIZE_MAX / 2}) {
    EXPECT_EQ(heap->Allocate(size, Criticality::kProcess).outcome, Outcome::OsRefused(win32::kNotEnoughMemory));
  }
  engine.ledger().budget().SetLimits({.limit = {kM}});
  EXPECT_FALSE(heap->Allocate(SIZE_MAX, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
}

// ---- pinned pages

// Small, a run, and a region of its own.
constexpr std::size_t kOfEachKind[] = {100, 4096, 100000, 1 << 20};

class PinnedHeapTest : public PrivateHeapTest {
 protected:
  void Seal(const void* address, std::uint64_t size = 1) {
    ASSERT_EQ(engine.Seal(*PageRange::Covering(At(address), size)), SealedRegions::Result::kDone);
  }
  void Unseal(const void* address) { ASSERT_TRUE(engine.Unseal(At(address) / kPageSize * kPageSize)); }
  // Pins the regions of the blocks, whole, and returns where they begin.
  std::vector<void*> PinRegionsOf(const std::vector<void*>& blocks) {
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
  // The next slow way of any request is enough.
  void TakeAndFreeOne() { ASSERT_TRUE(heap->Free(Block(300000)).ok()); }
};

TEST_F(PinnedHeapTest, ABlockThatTouchesAPinnedPageIsNotFreedAndStays) {
  for (const std::size_t size : kOfEachKind) {
    SCOPED_TRACE(size);
    char* const block = Block(size);
    char* const dead = Block(size);
    ASSERT_TRUE(heap->Free(dead).ok());
    Seal(block + heap->SizeOf(block) - 1);  // its last page
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

TEST_F(PinnedHeapTest, ABlockThatTouchesAPinnedPageIsNotMovedButMayBeMadeSmaller) {
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

TEST_F(PinnedHeapTest, NoBlockThatTouchesAPinnedPageIsGivenOut) {
  for (const std::size_t size : {std::size_t{16}, std::size_t{100}, std::size_t{3072}, std::size_t{4096},
                                 std::size_t{16384}, std::size_t{20000}, std::size_t{100000}}) {
    SCOPED_TRACE(size);
    // Free blocks of a partly used slab, or a kept run, and all units behind them.
    char* const neighbour = Block(size);
    char* const freed = Block(size);
    ASSERT_TRUE(heap->Free(freed).ok());
    const auto sealed = PinRegionsOf({neighbour});
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

TEST_F(PinnedHeapTest, OnePinnedPageOfASlabTakesNoMoreThanItsBlocksAway) {
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

TEST_F(PinnedHeapTest, WhatIsDiscardedWhilePinnedIsGoneAtOnceAndGivenBackOnceUnpinned) {
  const Bytes before = Charged();
  for (const std::size_t size : kOfEachKind) {
    SCOPED_TRACE(size);
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(Block(size));
    const auto sealed = PinRegionsOf(blocks);
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

TEST_F(PinnedHeapTest, CyclesOfPinningLeaveTheChargeWhereItWas) {
  for (const bool discards : {false, true}) {
    Bytes after_first;
    for (int cycle = 0; cycle < 10; ++cycle) {
      std::vector<void*> blocks;
      for (int i = 0; i < 200; ++i) blocks.push_back(Block(4096));
      const auto sealed = PinRegionsOf(blocks);
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
    // A current and a spare slab of the class, and the run that was kept.
    EXPECT_LE(Charged().value, 2 * kClasses[ClassOf(4096)].committed + 76 * kPageSize);
    EXPECT_TRUE(ExactAndTheHeaps());
  }
}

TEST_F(PinnedHeapTest, APinThatStaysKeepsNothingElseBack) {
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

TEST_F(PinnedHeapTest, AHeapThatEndsWhilePinnedLeavesNothingForEver) {
  std::vector<void*> blocks;
  for (const std::size_t size : kOfEachKind) blocks.push_back(Block(size));
  const auto sealed = PinRegionsOf(blocks);
  heap.reset();
  EXPECT_NE(Charged(), Bytes{});
  // Nor is it the CLR's to free.
  for (void* const base : sealed) {
    Unseal(base);
    EXPECT_EQ(engine.Free(At(base), 0, win32::kMemRelease), Outcome::NotOurs());
  }
  PrivateHeap::FreeOrphans(engine);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(os.RegionCount(), 0u);
  EXPECT_TRUE(Exact());
}

// ---- the life of the manager

TEST_F(PrivateHeapTest, TheEndOfTheHeapReturnsAllThatIsLeftInIt) {
  const std::uint64_t regions = os.RegionCount() - 1;
  const std::uint64_t metadata = os.LiveMetadata();
  for (const std::size_t size : kSizes) ASSERT_NE(Block(size), nullptr);
  ASSERT_NE(heap->AllocateAt(10, Criticality::kTask, "a.cpp", 1).block, nullptr);
  heap.reset();
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().HeapBytes(), Bytes{});
  EXPECT_EQ(os.RegionCount(), regions);
  EXPECT_LE(os.LiveMetadata(), metadata) << "the page map's nodes stay, the heap's tables do not";
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, AfterShutdownBlocksAreFreedAndNoneGiven) {
  std::vector<char*> blocks;
  for (const std::size_t size : kSizes) blocks.push_back(Block(size));
  ASSERT_TRUE(heap->Free(Block(65536)).ok());  // is kept, and stays so
  engine.Shutdown();
  for (const std::size_t size : kSizes) {
    EXPECT_EQ(heap->Allocate(size, Criticality::kProcess).outcome, Outcome::Unavailable()) << size;
  }
  EXPECT_EQ(heap->Figures().blocks, blocks.size());
  const Bytes before = Charged();
  char* run = *std::find_if(blocks.begin(), blocks.end(), [&](char* block) { return heap->SizeOf(block) == 65536; });
  for (char* block : blocks) EXPECT_TRUE(heap->Free(block).ok());
  EXPECT_LE(Charged(), before - Bytes{65536}) << "kept for nobody";
  EXPECT_EQ(heap->SizeOf(run), 0u);
  EXPECT_EQ(heap->Figures().blocks, 0u);
  PrivateHeap late(engine, 1);
  EXPECT_EQ(late.Open(Criticality::kProcess), Outcome::Unavailable());
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, AfterALatchItIsTheSame) {
  char* block = Block(100);
  engine.Latch({LatchCause::kOs, 1, 2});
  EXPECT_EQ(heap->Allocate(100, Criticality::kProcess).outcome, Outcome::Unavailable());
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(PrivateHeapTest, WhileAnotherThreadHoldsTheManagerStillNothingIsGivenOutAndAllCanBeFreed) {
  char* block = Block(100);
  ASSERT_TRUE(heap->Free(Block(65536)).ok());  // is kept, and stays so
  const auto as = [&](std::uint64_t thread, auto run) {
    const std::uint64_t before = threads.CurrentThread();
    threads.SetCurrentThread(thread);
    run();
    threads.SetCurrentThread(before);
  };
  as(77, [&] { ASSERT_TRUE(engine.EnterExclusive(Milliseconds{0}).ok()); });
  const HeapFigures before = heap->Figures();
  for (const std::size_t size : kSizes) {
    EXPECT_EQ(heap->Allocate(size, Criticality::kProcess).outcome, Outcome::ExclusiveElsewhere()) << size;
  }
  EXPECT_EQ(heap->Figures().blocks, before.blocks);
  EXPECT_TRUE(heap->Free(block).ok());
  as(77, [&] { EXPECT_NE(Block(100), nullptr) << "the owner's own are served"; });
  as(77, [&] { ASSERT_TRUE(engine.LeaveExclusive().ok()); });
  EXPECT_NE(Block(100), nullptr);
}

// ---- where blocks come from

TEST_F(PrivateHeapTest, SitesSayWhatIsStillHeldOfThem) {
  char* small = static_cast<char*>(heap->AllocateAt(100, Criticality::kTask, "small.cpp", 10).block);
  char* same = static_cast<char*>(heap->AllocateAt(60, Criticality::kTask, "small.cpp", 10).block);
  char* run = static_cast<char*>(heap->AllocateAt(100000, Criticality::kTask, "run.cpp", 20).block);
  char* large = static_cast<char*>(heap->AllocateAt(2 * kM, Criticality::kTask, nullptr, 0).block);
  char* unnamed = Block(100);
  const auto held = [&](int line) {
    SiteFigures figures;
    for (std::size_t i = 0; heap->sites().Read(i, &figures); ++i) {
      if (figures.line == line) return figures;
    }
    return SiteFigures{};
  };
  EXPECT_STREQ(held(10).file, "small.cpp");
  EXPECT_EQ(held(10).blocks, 2u);
  EXPECT_EQ(held(10).bytes, heap->SizeOf(small) + heap->SizeOf(same));
  EXPECT_EQ(held(20).bytes, heap->SizeOf(run));
  EXPECT_EQ(held(0).bytes, 2 * kM);
  EXPECT_TRUE(heap->Free(small).ok());
  EXPECT_EQ(heap->Free(small), Outcome::NotOurs());
  EXPECT_EQ(held(10).blocks, 1u);
  for (char* block : {same, run, large, unnamed}) EXPECT_TRUE(heap->Free(block).ok());
  for (const int line : {10, 20, 0}) {
    EXPECT_EQ(held(line).blocks, 0u);
    EXPECT_EQ(held(line).bytes, 0u);
  }
}

TEST_F(PrivateHeapTest, MoreSitesThanThereIsRoomForAreOneAndAreFreedAllTheSame) {
  std::vector<void*> blocks;
  for (int line = 1; line <= 2000; ++line) {
    blocks.push_back(heap->AllocateAt(16, Criticality::kTask, std::string(300, 'x').c_str(), line).block);
  }
  SiteFigures figures;
  std::size_t sites = 0;
  std::uint64_t held = 0;
  for (; heap->sites().Read(sites, &figures); ++sites) held += figures.blocks;
  EXPECT_EQ(sites, AllocationSites::kMost);
  EXPECT_EQ(held, 2000u);
  for (void* block : blocks) EXPECT_TRUE(heap->Free(block).ok());
  for (std::size_t i = 0; heap->sites().Read(i, &figures); ++i) EXPECT_EQ(figures.blocks, 0u);
}

TEST_F(PrivateHeapTest, ABlockIsServedThoughThereIsNoMemoryToKeepItsSite) {
  ASSERT_NE(Block(100), nullptr);
  for (std::uint64_t position = 0; position < 2; ++position) {
    os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, position);
    const BlockOutcome block = heap->AllocateAt(100, Criticality::kTask, "a.cpp", 1);
    os.ClearFaults();
    EXPECT_TRUE(block.outcome.ok());
    EXPECT_TRUE(heap->Free(block.block).ok());
  }
}

}  // namespace
}  // namespace clr_host_memory::test
