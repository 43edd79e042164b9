// Private heap: shutdown, exclusive sections, the end of a heap, and allocation sites.
#include <algorithm>
#include <string>
#include <vector>

#include "support/heap_fixture.h"
#include "unit/private_heap_sizes.h"

namespace clr_host_memory::test {
namespace {

// ---- stages of the manager

TEST_F(PrivateHeapTest, HeapDestructionReturnsAllItsMemory) {
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

TEST_F(PrivateHeapTest, ShutdownRefusesAllocationsAndServesFrees) {
  std::vector<char*> blocks;
  for (const std::size_t size : kSizes) blocks.push_back(Block(size));
  ASSERT_TRUE(heap->Free(Block(65536)).ok());  // a kept run, and it stays kept
  engine.Shutdown();
  for (const std::size_t size : kSizes) {
    EXPECT_EQ(heap->Allocate(size, Criticality::kProcess).outcome, Outcome::Unavailable()) << size;
  }
  EXPECT_EQ(heap->Figures().blocks, blocks.size());
  const Bytes before = Charged();
  char* run = *std::find_if(blocks.begin(), blocks.end(), [&](char* block) { return heap->SizeOf(block) == 65536; });
  for (char* block : blocks) EXPECT_TRUE(heap->Free(block).ok());
  EXPECT_LE(Charged(), before - Bytes{65536}) << "kept although no heap can use it";
  EXPECT_EQ(heap->SizeOf(run), 0u);
  EXPECT_EQ(heap->Figures().blocks, 0u);
  PrivateHeap late(engine, 1);
  EXPECT_EQ(late.Open(Criticality::kProcess), Outcome::Unavailable());
  EXPECT_TRUE(Exact());
}

TEST_F(PrivateHeapTest, LatchRefusesAllocationsAndServesFrees) {
  char* block = Block(100);
  engine.Latch({LatchCause::kOs, 1, 2});
  EXPECT_EQ(heap->Allocate(100, Criticality::kProcess).outcome, Outcome::Unavailable());
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(PrivateHeapTest, ExclusiveSectionElsewhereRefusesAllocationsAndServesFrees) {
  char* block = Block(100);
  ASSERT_TRUE(heap->Free(Block(65536)).ok());  // a kept run, and it stays kept
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

// ---- allocation sites

TEST_F(PrivateHeapTest, SitesCountLiveBlocks) {
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

TEST_F(PrivateHeapTest, ExcessSitesShareOneEntry) {
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

TEST_F(PrivateHeapTest, SiteTableFailureStillServesTheBlock) {
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
