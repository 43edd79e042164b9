// The blocks behind IHostMalloc.
#include <gtest/gtest.h>

#include <memory>

#include "heap/heap_engine.h"
#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

class HeapEngineTest : public EngineTest {
 protected:
  void SetUp() override { ASSERT_TRUE(heap->Create(static_cast<std::uint32_t>(os::HeapKind::kThreadSafe)).ok()); }
  void* Block(std::size_t size) { return heap->Allocate(size, Criticality::kTask).block; }

  std::unique_ptr<HeapEngine> heap = std::make_unique<HeapEngine>(engine);
};

TEST_F(HeapEngineTest, BlocksAreChargedByTheirSizeAndReturnedOnce) {
  void* block = Block(1000);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(Charged(), Bytes{1000});
  EXPECT_EQ(engine.ledger().HeapBytes(), Bytes{1000});
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(heap->Free(block).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(heap->Free(block), Outcome::NotOurs());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(HeapEngineTest, NullIsFreedAndNothingElseThatIsNotABlock) {
  int local = 0;
  HeapEngine other(engine);
  ASSERT_TRUE(other.Create(0).ok());
  void* theirs = other.Allocate(10, Criticality::kTask).block;
  char* block = static_cast<char*>(Block(100));
  EXPECT_TRUE(heap->Free(nullptr).ok());
  EXPECT_EQ(heap->Free(&local), Outcome::NotOurs());
  EXPECT_EQ(heap->Free(theirs), Outcome::NotOurs());
  EXPECT_EQ(heap->Free(block + 8), Outcome::NotOurs());
  EXPECT_EQ(Charged(), Bytes{110});
}

TEST_F(HeapEngineTest, ABlockOfNoBytesIsABlock) {
  void* block = Block(0);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(HeapEngineTest, RefusalsOfEveryKindChargeNothing) {
  os.Fail(OsCall::kHeapAllocate, win32::kNotEnoughMemory);
  EXPECT_EQ(heap->Allocate(10, Criticality::kTask).outcome, Outcome::OsRefused(win32::kNotEnoughMemory));
  EXPECT_EQ(heap->Allocate(SIZE_MAX, Criticality::kTask).outcome.verdict, Verdict::kOsRefused);
  engine.ledger().budget().SetLimits({.limit = {100}});
  EXPECT_EQ(heap->Allocate(101, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(heap->Allocate(SIZE_MAX, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_NE(Block(100), nullptr);
}

TEST_F(HeapEngineTest, PagesAndBlocksShareOneLimit) {
  engine.ledger().budget().SetLimits({.limit = {2 * kPageSize}});
  ASSERT_TRUE(ReserveAndCommit(kPageSize).outcome.ok());
  ASSERT_NE(Block(kPageSize), nullptr);
  EXPECT_EQ(heap->Allocate(1, Criticality::kTask).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Exact());
}

TEST_F(HeapEngineTest, ABlockTheOsWillNotFreeStaysCharged) {
  void* block = Block(10);
  os.Fail(OsCall::kHeapRelease, win32::kInvalidParameter);
  EXPECT_EQ(heap->Free(block), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(Charged(), Bytes{10});
  EXPECT_TRUE(heap->Free(block).ok());
}

TEST_F(HeapEngineTest, TheEndOfTheHeapReturnsWhatIsLeftInIt) {
  ASSERT_NE(Block(10), nullptr);
  ASSERT_NE(Block(20), nullptr);
  heap.reset();
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().HeapBytes(), Bytes{});
  EXPECT_EQ(os.LiveHeaps(), 0u);
}

TEST_F(HeapEngineTest, AfterShutdownBlocksAreFreedAndNoneGiven) {
  void* block = Block(10);
  engine.Shutdown();
  EXPECT_EQ(heap->Allocate(1, Criticality::kProcess).outcome, Outcome::Unavailable());
  EXPECT_TRUE(heap->Free(block).ok());
  HeapEngine late(engine);
  EXPECT_EQ(late.Create(0), Outcome::Unavailable());
}

TEST(HeapEngineCreation, FailsWithTheErrorOfTheOs) {
  ManagedEngine manager;
  HeapEngine heap(manager.engine);
  manager.os.Fail(OsCall::kCreateHeap, win32::kNotEnoughMemory);
  EXPECT_EQ(heap.Create(0), Outcome::OsRefused(win32::kNotEnoughMemory));
  EXPECT_TRUE(heap.Create(0).ok());
}

}  // namespace
}  // namespace clr_host_memory::test
