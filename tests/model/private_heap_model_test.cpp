// Compares random requests with a std::map of the live blocks. The OS refuses some calls, pages are sealed and
// unsealed, and the ledger is audited throughout. Then several threads run at once, for ThreadSanitizer.
#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "support/heap_fixture.h"
#include "support/std_thread_system.h"

namespace clr_host_memory::test {
namespace {

constexpr std::size_t kK = 1024;
constexpr std::size_t kM = 1024 * kK;

// A typical distribution of sizes: most are small, some are large.
template <typename Below>
std::size_t AnySize(Below below) {
  switch (below(20)) {
    case 0: return below(512 * kK);
    case 1: return below(2) == 0 ? below(4 * kM) : below(64 * kK);
    case 2:
    case 3:
    case 4: return below(16 * kK);
    default: return below(below(2) == 0 ? 128 : 2000);
  }
}

class HeapModel : public PrivateHeapTest {
 protected:
  void Play(unsigned seed, int steps, bool seals = false);

 private:
  // Seals some or all pages of a live block's region, or unseals one sealed range.
  template <typename Below>
  void SealOrUnseal(Below below, Address about) {
    if (about == 0 || sealed_.size() > 4 || (!sealed_.empty() && below(2) == 0)) {
      if (!sealed_.empty()) UnsealOne(below(sealed_.size()));
      return;
    }
    const auto region = engine.ledger().FindRegion(about);
    ASSERT_TRUE(region);
    const Address start = below(3) == 0 ? region->base : about / kPageSize * kPageSize;
    const Address end = region->base + region->pages.InBytes().value;
    const std::uint64_t size = start == region->base ? end - start : std::min(end - start, kPageSize * (1 + below(8)));
    const auto range = PageRange::Covering(start, size);
    if (engine.Seal(*range) == SealedRegions::Result::kDone) sealed_.push_back(start);
  }
  void UnsealOne(std::size_t i) {
    ASSERT_TRUE(engine.Unseal(sealed_[i]));
    sealed_.erase(sealed_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  struct Block {
    std::size_t size = 0;  // as requested
    std::size_t usable = 0;
    unsigned char pattern = 0;
    int line = 0;  // 0: not allocated by DebugAlloc
  };
  void Add(void* block, std::size_t size, unsigned char pattern, int line, bool resized = false) {
    const std::size_t usable = heap->SizeOf(block);
    ASSERT_GE(usable, std::max<std::size_t>(size, 1));
    ASSERT_TRUE(resized || !engine.TouchesSealed(At(block), usable));
    const auto next = live_.lower_bound(At(block));
    if (next != live_.end()) {
      ASSERT_LE(At(block) + usable, next->first);
    }
    if (next != live_.begin()) {
      ASSERT_LE(std::prev(next)->first + std::prev(next)->second.usable, At(block));
    }
    // Patterns at both ends are enough to detect that another block overlaps this one.
    char* bytes = static_cast<char*>(block);
    bytes[0] = static_cast<char>(pattern);
    bytes[usable - 1] = static_cast<char>(pattern);
    live_[At(block)] = {size, usable, pattern, line};
  }
  void CheckPattern(Address address, const Block& block) {
    const char* bytes = reinterpret_cast<const char*>(static_cast<std::uintptr_t>(address));
    ASSERT_EQ(static_cast<unsigned char>(bytes[0]), block.pattern);
    ASSERT_EQ(static_cast<unsigned char>(bytes[block.usable - 1]), block.pattern);
  }
  void CheckAll() {
    ASSERT_TRUE(ExactAndTheHeaps());
    ASSERT_EQ(heap->Figures().blocks, live_.size());
    Bytes live;
    std::uint64_t of_sites = 0;
    for (const auto& [address, block] : live_) {
      CheckPattern(address, block);
      live = live + Bytes{block.usable};
      if (block.line != 0) ++of_sites;
    }
    ASSERT_EQ(heap->Figures().live, live);
    SiteFigures figures;
    for (std::size_t i = 0; heap->sites().Read(i, &figures); ++i) of_sites -= figures.blocks;
    ASSERT_EQ(of_sites, 0u);
  }

  std::map<Address, Block> live_;
  std::vector<Address> sealed_;
};

void HeapModel::Play(unsigned seed, int steps, bool seals) {
  std::minstd_rand random(seed);
  const auto below = [&](std::uint64_t n) { return static_cast<std::size_t>(random() % n); };
  Address freed = 0;
  for (int step = 0; step < steps; ++step) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << " step " << step);
    // The heap grows and shrinks in turns, so that slabs and arenas are created and retired.
    const bool grow = step / 2000 % 2 == 0;
    const auto pick = [&] {
      auto it = live_.lower_bound(live_.begin()->first + random() % (64 * kM));
      return it == live_.end() ? live_.begin() : it;
    };
    const std::size_t choice = below(20);
    if (choice == 0) {
      os.Fail(below(2) == 0 ? OsCall::kAllocate : OsCall::kAllocateMetadata, win32::kNotEnoughMemory, below(3));
    } else if (choice == 1) {
      engine.ledger().budget().SetLimits(below(2) == 0 ? Limits{} : Limits{.limit = {1 + below(8 * kM)}});
    } else if (choice == 2) {
      if (freed != 0 && live_.count(freed) == 0) {
        EXPECT_EQ(heap->Free(reinterpret_cast<void*>(static_cast<std::uintptr_t>(freed))), Outcome::NotOurs());
      }
    } else if (choice == 3 && below(20) == 0) {
      heap->Trim();
    } else if (choice == 3 && seals && below(20) == 0) {
      SealOrUnseal(below, live_.empty() ? 0 : pick()->first);
    } else if (choice == 4 && !live_.empty()) {
      const auto it = pick();
      const Block block = it->second;
      const std::size_t size = AnySize(below);
      const BlockOutcome moved = heap->Reallocate(reinterpret_cast<void*>(static_cast<std::uintptr_t>(it->first)), size,
                                                  Criticality::kTask, PrivateHeap::Fill::kAnything, below(4) == 0);
      if (moved.outcome.verdict == Verdict::kNotOwner) {
        ASSERT_TRUE(engine.TouchesSealed(it->first, block.usable));
      }
      if (moved.outcome.ok()) {
        const bool same = At(moved.block) == it->first;
        if (size != 0) {
          ASSERT_EQ(static_cast<unsigned char>(*static_cast<char*>(moved.block)), block.pattern);
        }
        live_.erase(it);
        Add(moved.block, size, block.pattern, same ? block.line : 0, same);
      }
    } else if (choice < (grow ? 14u : 7u)) {
      const std::size_t size = AnySize(below);
      const int line = below(10) == 0 ? static_cast<int>(1 + below(50)) : 0;
      const BlockOutcome made = line == 0 ? heap->Allocate(size, Criticality::kTask)
                                          : heap->AllocateAt(size, Criticality::kTask, "model.cpp", line);
      if (made.outcome.ok()) {
        // If there was no memory for the site, the block has no site. Only the figures show this to the model.
        SiteFigures figures;
        std::uint64_t known = 0;
        for (std::size_t i = 0; line != 0 && heap->sites().Read(i, &figures); ++i) known += figures.blocks;
        std::uint64_t expected = 0;
        for (const auto& [address, block] : live_) expected += line != 0 && block.line != 0;
        Add(made.block, size, static_cast<unsigned char>(random()), known > expected ? line : 0);
      } else {
        const Verdict verdict = made.outcome.verdict;
        ASSERT_TRUE(verdict == Verdict::kOverLimit || verdict == Verdict::kOsRefused ||
                    verdict == Verdict::kNoMetadata);
      }
    } else if (!live_.empty()) {
      const auto it = pick();
      CheckPattern(it->first, it->second);
      freed = it->first;
      void* const block = reinterpret_cast<void*>(static_cast<std::uintptr_t>(it->first));
      const bool sealed = engine.TouchesSealed(it->first, it->second.usable);
      if (!sealed || below(2) == 0) {
        const Outcome outcome = heap->Free(block);
        ASSERT_EQ(outcome, sealed ? Outcome::NotOwner() : Outcome::Done());
        if (outcome.ok()) live_.erase(it);
      } else {
        ASSERT_TRUE(heap->Discard(block).ok());
        live_.erase(it);
      }
    }
    if (HasFatalFailure()) return;
    if (step % 500 == 0) CheckAll();
    if (HasFatalFailure()) return;
  }
  os.ClearFaults();
  while (!sealed_.empty()) UnsealOne(0);
  for (const auto& [address, block] : live_) {
    ASSERT_TRUE(heap->Free(reinterpret_cast<void*>(static_cast<std::uintptr_t>(address))).ok());
  }
  live_.clear();
  heap->Trim();
  CheckAll();
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(HeapModel, AgreesWithAMapOfLiveBlocks) {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    Renew();
    Play(seed, 20000);
    if (HasFatalFailure()) return;
  }
}

TEST_F(HeapModel, AgreesWithTheMapWhilePagesAreSealedAndUnsealed) {
  for (unsigned seed = 101; seed <= 108; ++seed) {
    Renew();
    Play(seed, 20000, true);
    if (HasFatalFailure()) return;
  }
}

// ---- threads

class HeapThreads : public PrivateHeapTest {
 protected:
  template <typename Work>
  static void InThreads(Work work) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&work, t] {
        std::minstd_rand random(t + 1);
        work(t, [&random](std::uint64_t n) { return static_cast<std::size_t>(random() % n); });
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_F(HeapThreads, BlocksAreUniqueAndFreedAcrossThreads) {
  constexpr int kRounds = 30000;
  // Blocks pass from thread to thread through the slots.
  std::array<std::atomic<std::uint64_t*>, 256> slots{};
  for (const bool one_size : {true, false}) {
    InThreads([&](unsigned t, auto below) {
      for (int round = 0; round < kRounds; ++round) {
        const std::size_t size = one_size ? 4096 : std::max<std::size_t>(16, AnySize(below));
        auto* block = static_cast<std::uint64_t*>(heap->Allocate(size, Criticality::kTask).block);
        if (block != nullptr) {
          block[0] = At(block);
          block[1] = t;
        }
        std::uint64_t* other = slots[below(slots.size())].exchange(block);
        if (other != nullptr) {
          EXPECT_EQ(other[0], At(other));
          EXPECT_TRUE(heap->Free(other).ok());
        }
        if (below(1000) == 0) heap->Trim();
      }
    });
    for (auto& slot : slots) EXPECT_TRUE(heap->Free(slot.exchange(nullptr)).ok());
    EXPECT_EQ(heap->Figures().blocks, 0u);
    EXPECT_TRUE(ExactAndTheHeaps());
    heap->Trim();
    EXPECT_EQ(Charged(), Bytes{}) << "every empty slab is given up when that is asked for";
  }
}

TEST_F(HeapThreads, ConcurrentDoubleFreeSucceedsOnce) {
  for (const std::size_t size : {std::size_t{100}, std::size_t{20000}, 600 * kK}) {
    for (int round = 0; round < 200; ++round) {
      // A second block in the slab prevents its retirement.
      char* neighbour = Block(size);
      char* block = Block(size);
      std::atomic<int> freed = 0;
      InThreads([&](unsigned, auto) { freed += heap->Free(block).ok() ? 1 : 0; });
      ASSERT_EQ(freed.load(), 1);
      ASSERT_TRUE(heap->Free(neighbour).ok());
    }
  }
  EXPECT_TRUE(ExactAndTheHeaps());
}

TEST_F(HeapThreads, SealingConcurrentlyLosesNothing) {
  constexpr int kRounds = 20000;
  std::atomic<bool> stop = false;
  std::thread host([&] {
    // A block that this thread holds identifies the region to seal.
    std::minstd_rand random(77);
    while (!stop.load()) {
      void* const block = heap->Allocate(1 + random() % 200000, Criticality::kProcess).block;
      if (block == nullptr) continue;
      const auto region = engine.ledger().FindRegion(At(block));
      if (engine.Seal(region->Range()) == SealedRegions::Result::kDone) {
        std::this_thread::yield();
        EXPECT_TRUE(engine.Unseal(region->base));
      }
      EXPECT_TRUE(heap->Discard(block).ok());
    }
  });
  InThreads([&](unsigned, auto below) {
    std::vector<void*> own;
    for (int round = 0; round < kRounds; ++round) {
      if (void* const block = heap->Allocate(AnySize(below), Criticality::kTask).block; block != nullptr) {
        own.push_back(block);
      }
      if (own.size() < 100 && below(2) == 0) continue;
      const std::size_t i = below(own.size());
      void* const block = std::exchange(own[i], own.back());
      own.pop_back();
      EXPECT_TRUE((below(2) == 0 && heap->Free(block).ok()) || heap->Discard(block).ok());
    }
    for (void* const block : own) EXPECT_TRUE(heap->Discard(block).ok());
  });
  stop.store(true);
  host.join();
  EXPECT_EQ(heap->Figures().blocks, 0u);
  EXPECT_TRUE(ExactAndTheHeaps());
  heap->Trim();
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(HeapThreads, ConcurrentAllocationsStayWithinTheLimit) {
  constexpr std::uint64_t kLimit = 2 * kMiB;
  engine.ledger().budget().SetLimits({.limit = {kLimit}});
  InThreads([&](unsigned, auto below) {
    std::vector<void*> own;
    for (int round = 0; round < 20000; ++round) {
      const BlockOutcome made = heap->Allocate(AnySize(below), Criticality::kTask);
      if (made.outcome.ok()) own.push_back(made.block);
      // Checks the pages that the OS has committed, not the charge. If a commit and a free meet in a page word, the
      // ledger charges the pages it finds committed. It uncharges them a moment later.
      ASSERT_LE(os.Committed().InBytes().value, kLimit);
      while (!own.empty() && (!made.outcome.ok() || own.size() > 200)) {
        const std::size_t i = below(own.size());
        ASSERT_TRUE(heap->Free(std::exchange(own[i], own.back())).ok());
        own.pop_back();
        if (below(3) == 0) break;
      }
    }
    for (void* block : own) ASSERT_TRUE(heap->Free(block).ok());
  });
  heap->Trim();
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(ExactAndTheHeaps());
}

}  // namespace
}  // namespace clr_host_memory::test
