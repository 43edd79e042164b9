// The cost of requests without a clock: OS calls and nodes of the page map.
#include <gtest/gtest.h>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kHuge = sizeof(void*) == 8 ? 256 * kGiB : 512 * kMiB;

struct Cost {
  std::uint64_t allocate = 0;
  std::uint64_t free = 0;
  std::uint64_t describe = 0;
  std::uint64_t metadata = 0;
  std::uint64_t all = 0;
  friend bool operator==(const Cost&, const Cost&) = default;
};

class EngineCost : public EngineTest {
 protected:
  [[nodiscard]] Cost CostSoFar() {
    const Cost cost{.allocate = os.Calls(OsCall::kAllocate),
                    .free = os.Calls(OsCall::kFree),
                    .describe = os.Calls(OsCall::kDescribe),
                    .metadata = os.Calls(OsCall::kAllocateMetadata),
                    .all = os.AllCalls()};
    os.ResetCalls();
    return cost;
  }
};

TEST_F(EngineCost, HugeReservationCostsAsMuchAsASmallOne) {
  Cost costs[2];
  std::uint64_t sizes[2] = {kGranuleSize, kHuge};
  for (int i = 0; i < 2; ++i) {
    ManagedEngine fresh;
    const Address base = fresh.Reserve(sizes[i]).address;
    ASSERT_NE(base, 0u);
    ASSERT_TRUE(fresh.Commit(base, kPageSize).outcome.ok());
    ASSERT_TRUE(fresh.Release(base).ok());
    costs[i] = {.allocate = fresh.os.Calls(OsCall::kAllocate),
                .free = fresh.os.Calls(OsCall::kFree),
                .describe = fresh.os.Calls(OsCall::kDescribe),
                .metadata = fresh.os.Calls(OsCall::kAllocateMetadata),
                .all = fresh.os.AllCalls()};
  }
  if (PageMap::kLeavesWithRegion) {
    // The region has all its leaves of 64 MiB, and lies in one more if it crosses a border.
    EXPECT_LE(costs[1].metadata, 1 + kHuge / (64 * kMiB) + 1);
    costs[1].all -= costs[1].metadata - costs[0].metadata;
    costs[1].metadata = costs[0].metadata;
  }
  EXPECT_EQ(costs[0], costs[1]);
  EXPECT_EQ(costs[1].metadata, 2u);
  EXPECT_EQ(costs[1].all, 5u) << "reserve, commit, release, and two nodes";
}

TEST_F(EngineCost, CommitAndDecommitEachTakeOneOsCall) {
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, kPageSize).outcome.ok());
  for (const std::uint64_t pages : {std::uint64_t{16}, std::uint64_t{200}}) {
    static_cast<void>(CostSoFar());
    ASSERT_TRUE(Commit(base, pages * kPageSize).outcome.ok());
    EXPECT_EQ(CostSoFar(), (Cost{.allocate = 1, .all = 1}));
    ASSERT_TRUE(Commit(base, pages * kPageSize).outcome.ok());
    EXPECT_EQ(CostSoFar(), (Cost{.allocate = 1, .all = 1})) << "again";
    ASSERT_TRUE(Decommit(base, pages * kPageSize).ok());
    EXPECT_EQ(CostSoFar(), (Cost{.free = 1, .all = 1}));
  }
}

TEST_F(EngineCost, OnlyOverlappingCallsDescribePages) {
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, kPageSize).outcome.ok());
  os.OnNext(OsCall::kAllocate, Moment::kAfter, [&](const OsCallInfo&) { EXPECT_TRUE(Decommit(base, kPageSize).ok()); });
  ASSERT_TRUE(Commit(base, 4 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 3u);
  EXPECT_GT(CostSoFar().describe, 0u);
  ASSERT_TRUE(Commit(base, 4 * kPageSize).outcome.ok());
  ASSERT_TRUE(Decommit(base, 4 * kPageSize).ok());
  EXPECT_EQ(CostSoFar().describe, 0u);
}

TEST_F(EngineCost, CommitsOverlappingInAWordDescribeNoPages) {
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, kPageSize).outcome.ok());
  static_cast<void>(CostSoFar());
  os.OnNext(OsCall::kAllocate, Moment::kBefore,
            [&](const OsCallInfo&) { EXPECT_TRUE(Commit(base + kPageSize, 2 * kPageSize).outcome.ok()); });
  ASSERT_TRUE(Commit(base, 4 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 4u);
  EXPECT_EQ(CostSoFar().describe, 0u);
}

TEST_F(EngineCost, ReserveWithCommitTakesTwoOsCallsAndReleaseOne) {
  ASSERT_TRUE(ReserveAndCommit(kMiB).outcome.ok());  // all nodes exist from here on
  static_cast<void>(CostSoFar());
  const Address base = ReserveAndCommit(kMiB).address;
  EXPECT_EQ(CostSoFar(), (Cost{.allocate = 2, .all = 2}));
  ASSERT_TRUE(Release(base).ok());
  EXPECT_EQ(CostSoFar(), (Cost{.free = 1, .all = 1}));
  ASSERT_EQ(ReserveAndCommit(kMiB).address, base) << "the same pages once more";
  EXPECT_EQ(CostSoFar(), (Cost{.allocate = 2, .all = 2}));
}

TEST_F(EngineCost, MetadataGrowsWithCommitsNotReservations) {
  const Address base = Reserve(kHuge).address;
  static_cast<void>(CostSoFar());
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Commit(base + static_cast<std::uint64_t>(i) * kMiB, kMiB).outcome.ok());
  EXPECT_LE(CostSoFar().metadata, 1u) << "8 MiB in one place";
  ASSERT_TRUE(Commit(base + kHuge / 2, kMiB).outcome.ok());
  EXPECT_LE(CostSoFar().metadata, 2u) << "a node of each level";
}

TEST_F(EngineCost, HugeWalkVisitsOnlyTouchedWords) {
  FakeMemorySystem fake;
  PageMap map(fake);
  const Address base = kHuge / 2;
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  ASSERT_TRUE(map.AddRegion({base, {kHuge >> kPageShift}, Region::Kind::kReserved}, &replaced, &shown));
  const std::uint64_t first = base >> kPageShift;
  for (const std::uint64_t page : {first, first + 1000, first + (kHuge >> kPageShift) - 1}) {
    ASSERT_NE(map.EnsureWord(page / 64), nullptr);
  }
  int visited = 0;
  map.ForEachTouchedWord({first, {kHuge >> kPageShift}},
                         [&](const PageWord&, std::uint64_t, std::uint64_t) { ++visited; });
  EXPECT_EQ(visited, 3);
}

}  // namespace
}  // namespace clr_host_memory::test
