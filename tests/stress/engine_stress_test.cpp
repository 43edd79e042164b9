// Several threads at once, for ThreadSanitizer and for the audit at the end.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 8000;

class EngineStress : public EngineTest {
 protected:
  template <typename Work>
  static void InThreads(Work work) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&work, t] {
        std::minstd_rand random(static_cast<unsigned>(t + 1));
        work(t, [&random](std::uint64_t n) { return random() % n; });
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

TEST_F(EngineStress, ThreadsOnSeparatePagesStayExactWithinTheLimit) {
  constexpr std::uint64_t kLimit = 300;  // pages: less than all threads together want
  engine.ledger().budget().SetLimits({.limit = {kLimit * kPageSize}});
  // Each thread owns a quarter of every page word: all threads work in the same words, on different pages.
  const Address shared = Reserve(kMiB).address;
  InThreads([&](int t, auto below) {
    const std::uint64_t own = static_cast<std::uint64_t>(t) * 16;
    for (int round = 0; round < kRounds; ++round) {
      const Address word = shared + below(4) * 64 * kPageSize;
      const Address first = word + (own + below(8)) * kPageSize;
      const std::uint64_t size = (1 + below(8)) * kPageSize;
      const AddressOutcome commit = Commit(first, size);
      EXPECT_TRUE(commit.outcome.ok() || commit.outcome.verdict == Verdict::kOverLimit);
      EXPECT_LE(ChargedPages(), kLimit);
      if (below(2) == 0) {
        EXPECT_TRUE(Decommit(first, size).ok());
      }
      const AddressOutcome block = ReserveAndCommit((1 + below(20)) * kPageSize);
      EXPECT_LE(ChargedPages(), kLimit);
      if (block.outcome.ok()) {
        EXPECT_TRUE(Release(block.address).ok());
      }
    }
  });
  EXPECT_TRUE(Exact());
  EXPECT_LE(engine.ledger().budget().Peak(), Bytes{kLimit * kPageSize});
  EXPECT_TRUE(Release(shared).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineStress, ThreadsOnSharedPagesEndExact) {
  const Address shared = Reserve(kMiB).address;
  InThreads([&](int, auto below) {
    for (int round = 0; round < kRounds; ++round) {
      const Address first = shared + below(100) * kPageSize;
      const std::uint64_t size = (1 + below(below(8) == 0 ? 100 : 8)) * kPageSize;
      if (below(2) == 0) {
        EXPECT_TRUE(Commit(first, size).outcome.ok());
      } else {
        EXPECT_TRUE(Decommit(first, size).ok());
      }
    }
  });
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Release(shared).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineStress, ThreadsReleasingEachOthersRegionsLeakNothing) {
  constexpr std::uint64_t kSlots = 3;
  const auto slot = [](std::uint64_t i) { return Address{0x4000'0000} + i * 4 * kGranuleSize; };
  InThreads([&](int, auto below) {
    for (int round = 0; round < kRounds; ++round) {
      const Address base = slot(below(kSlots));
      const Address page = base + below(60) * kPageSize;
      const std::uint64_t size = (1 + below(8)) * kPageSize;
      Outcome outcome;
      switch (below(6)) {
        case 0: outcome = Reserve(4 * kGranuleSize, base).outcome; break;
        case 1: outcome = ReserveAndCommit((1 + below(60)) * kPageSize, base).outcome; break;
        case 2: outcome = Release(base); break;
        case 3: outcome = Decommit(page, size); break;
        default: outcome = Commit(page, size).outcome; break;
      }
      EXPECT_NE(outcome.verdict, Verdict::kInvariantBroken);
      EXPECT_NE(outcome.verdict, Verdict::kNoMetadata);
    }
  });
  EXPECT_TRUE(Exact());
  for (std::uint64_t i = 0; i < kSlots; ++i) static_cast<void>(Release(slot(i)));
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(os.RegionCount(), 0u);
  EXPECT_EQ(engine.ledger().Figures().regions, 0u);
}

TEST_F(EngineStress, AuditRunsDuringConcurrentCommits) {
  const Address shared = Reserve(kMiB).address;
  std::atomic<bool> stop = false;
  std::thread auditor([&] {
    while (!stop.load()) static_cast<void>(engine.ledger().Audit());
  });
  InThreads([&](int t, auto below) {
    const Address own = shared + static_cast<std::uint64_t>(t) * 16 * kPageSize;
    for (int round = 0; round < kRounds / 8; ++round) {
      const std::uint64_t size = (1 + below(16)) * kPageSize;
      EXPECT_TRUE(Commit(own, size).outcome.ok());
      EXPECT_TRUE(Decommit(own, size).ok());
    }
  });
  stop.store(true);
  auditor.join();
  EXPECT_TRUE(Exact());
  EXPECT_EQ(Charged(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
