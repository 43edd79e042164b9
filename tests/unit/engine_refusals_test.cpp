// Refused and failing requests leave all state unchanged.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

class EngineRefusals : public EngineTest {};

TEST_F(EngineRefusals, RefusedDecommitOfUntouchedPagesLeavesNoCharge) {
  // The region lies across two page words; the refused range is inside the first.
  const Address base = 0x4000'0000 + 48 * kPageSize;
  ASSERT_TRUE(Reserve(64 * kPageSize, base).outcome.ok());
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  EXPECT_EQ(Decommit(base + 2 * kPageSize, 8 * kPageSize), Outcome::OsRefused(win32::kInvalidParameter));
  ASSERT_TRUE(Commit(base, 8 * kPageSize).outcome.ok());
  ASSERT_TRUE(Release(base).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineRefusals, CommitRefusedByTheOsIsRolledBack) {
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, 4 * kPageSize).outcome.ok());
  os.SetCommitLimit({10 * kPageSize});
  struct Case {
    const char* name;
    AddressOutcome outcome;
  };
  const Case cases[] = {
      {"in one word", Commit(base, 11 * kPageSize)},
      {"in several words", Commit(base, 200 * kPageSize)},
      {"with a new region", ReserveAndCommit(7 * kPageSize)},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(c.outcome.outcome, Outcome::OsRefused(win32::kCommitmentLimit)) << c.name;
    EXPECT_EQ(c.outcome.address, 0u) << c.name;
  }
  EXPECT_EQ(ChargedPages(), 4u);
  EXPECT_TRUE(Commit(base, 10 * kPageSize).outcome.ok()) << "what fits is still given";
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusals, ExhaustedAddressSpaceFailsWithNotEnoughMemory) {
  os.SetSearchRange(0x7000'0000, 0x7000'0000 + kMiB);
  EXPECT_EQ(Reserve(2 * kMiB).outcome, Outcome::OsRefused(win32::kNotEnoughMemory));
  const Address base = Reserve(kMiB).address;
  EXPECT_EQ(base, 0x7000'0000u);
  EXPECT_EQ(Reserve(kPageSize).outcome, Outcome::OsRefused(win32::kNotEnoughMemory));
  EXPECT_TRUE(Release(base).ok());
  EXPECT_TRUE(Reserve(kPageSize).outcome.ok());
}

TEST_F(EngineRefusals, OverLimitRequestMakesNoOsCall) {
  engine.ledger().budget().SetLimits({.limit = {32 * kPageSize}, .process_headroom = {8 * kPageSize}});
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, 24 * kPageSize).outcome.ok());
  os.ResetCalls();
  EXPECT_EQ(Commit(base, 25 * kPageSize).outcome, Outcome::OverLimit());
  EXPECT_EQ(Commit(base + 100 * kPageSize, kPageSize).outcome, Outcome::OverLimit());
  EXPECT_EQ(Commit(base, 120 * kPageSize).outcome, Outcome::OverLimit());
  EXPECT_EQ(ReserveAndCommit(kPageSize).outcome, Outcome::OverLimit());
  EXPECT_EQ(os.Calls(OsCall::kAllocate), 0u);
  EXPECT_EQ(ChargedPages(), 24u);
  EXPECT_TRUE(Commit(base, 24 * kPageSize).outcome.ok()) << "what is charged already needs nothing new";
  EXPECT_TRUE(Commit(base, 32 * kPageSize, Criticality::kProcess).outcome.ok());
  EXPECT_EQ(Commit(base, 33 * kPageSize, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Decommit(base, kPageSize).ok());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusals, RefusedDecommitKeepsTheCharge) {
  const Address base = ReserveAndCommit(kMiB).address;
  for (const std::uint64_t pages : {std::uint64_t{8}, std::uint64_t{100}}) {
    os.Fail(OsCall::kFree, win32::kInvalidParameter);
    EXPECT_EQ(Decommit(base, pages * kPageSize), Outcome::OsRefused(win32::kInvalidParameter));
    EXPECT_EQ(ChargedPages(), 256u);
    EXPECT_TRUE(Exact());
  }
}

TEST_F(EngineRefusals, RefusedReleaseKeepsRegionAndCharge) {
  const Address base = ReserveAndCommit(kMiB).address;
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  EXPECT_EQ(Release(base), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(engine.ledger().RegionAt(base));
  EXPECT_EQ(engine.ledger().Figures().reserved, Bytes{kMiB});
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Release(base).ok());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusals, TableAllocationFailureUndoesTheReservation) {
  for (std::uint64_t nth = 0; nth < 2; ++nth) {
    ManagedEngine fresh;
    fresh.os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, nth);
    EXPECT_EQ(fresh.ReserveAndCommit(kMiB).outcome, Outcome::NoMetadata());
    EXPECT_EQ(fresh.os.RegionCount(), 0u) << "what the OS gave was not given back";
    EXPECT_TRUE(fresh.Exact());
    EXPECT_TRUE(fresh.ReserveAndCommit(kMiB).outcome.ok());
  }
}

// 64-bit builds create a region's leaves as its pages are committed, 32-bit builds with the region.
constexpr Address kLeafBorder = 0x4000'0000;

TEST_F(EngineRefusals, CommitWithoutMemoryForItsSecondLeafIsRolledBack) {
  if (PageMap::kLeavesWithRegion) GTEST_SKIP() << "a region has all its leaves here";
  const Address base = Reserve(2 * kMiB, kLeafBorder - kMiB).address;
  os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory);
  EXPECT_EQ(Commit(base + kMiB - kPageSize, 2 * kPageSize).outcome, Outcome::NoMetadata());
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Commit(base + kMiB - kPageSize, 2 * kPageSize).outcome.ok());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusals, ReservationWithoutMemoryForItsSecondLeafIsRolledBack) {
  if (!PageMap::kLeavesWithRegion) GTEST_SKIP() << "a reservation needs its first leaf only here";
  for (std::uint64_t nth = 1; nth < 3; ++nth) {  // after the middle node, or one leaf more
    ManagedEngine fresh;
    fresh.os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, nth);
    EXPECT_EQ(fresh.Reserve(2 * kMiB, kLeafBorder - kMiB).outcome, Outcome::NoMetadata());
    EXPECT_EQ(fresh.os.RegionCount(), 0u);
    EXPECT_TRUE(fresh.Exact());
    const Address base = fresh.Reserve(2 * kMiB, kLeafBorder - kMiB).address;
    // The whole region can be committed without any further memory for tables.
    fresh.os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, 0, 1000);
    EXPECT_TRUE(fresh.Commit(base, 2 * kMiB).outcome.ok());
    EXPECT_TRUE(fresh.Exact());
  }
}

TEST_F(EngineRefusals, ImpossibleOsAnswerBreaksAnInvariant) {
  const Address base = Reserve(kMiB).address;
  os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, base + kGranuleSize);
  EXPECT_EQ(Commit(base, kPageSize).outcome.verdict, Verdict::kInvariantBroken) << "committed elsewhere";
  EXPECT_TRUE(Exact());
  os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, base + 4 * kMiB);
  EXPECT_EQ(engine.Allocate({base + 8 * kMiB, kMiB, win32::kMemReserve, 1}, Criticality::kTask).outcome.verdict,
            Verdict::kInvariantBroken)
      << "reserved elsewhere";
  EXPECT_TRUE(Exact());
}

// Wine accepts such a release if the size wraps around to 0.
TEST_F(EngineRefusals, AcceptedReleaseWithASizeIsReconciled) {
  const Address kept = ReserveAndCommit(kMiB).address;
  os.Fail(OsCall::kFree, win32::kSuccess);
  EXPECT_TRUE(engine.Free(kept, kMiB, win32::kMemRelease).ok());
  EXPECT_EQ(ChargedPages(), 256u) << "nothing was released";
  EXPECT_TRUE(Exact());

  const Address gone = ReserveAndCommit(kMiB).address;
  os.Fail(OsCall::kFree, win32::kSuccess);
  os.OnNext(OsCall::kFree, Moment::kBefore,
            [&](const OsCallInfo&) { EXPECT_EQ(os.RawFree(gone, 0, win32::kMemRelease), win32::kSuccess); });
  EXPECT_TRUE(engine.Free(gone, kMiB, win32::kMemRelease).ok());
  EXPECT_EQ(ChargedPages(), 256u) << "all of it was";
  EXPECT_EQ(Release(gone), Outcome::NotOurs());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusals, AcceptedFreeOfUnknownTypeIsReconciled) {
  const Address base = ReserveAndCommit(kMiB).address;
  os.Fail(OsCall::kFree, win32::kSuccess);
  os.OnNext(OsCall::kFree, Moment::kBefore, [&](const OsCallInfo&) {
    EXPECT_EQ(os.RawFree(base, 8 * kPageSize, win32::kMemDecommit), win32::kSuccess);
  });
  EXPECT_TRUE(engine.Free(base, 0, 0x40).ok());
  EXPECT_EQ(ChargedPages(), 248u);
  EXPECT_TRUE(Exact());
}

// ---- the tables after a refused commit of any size

class EngineRefusalsOfHugeCommits : public EngineTest {
 protected:
  static constexpr std::uint64_t kHuge = sizeof(void*) == 8 ? 255 * kGiB : 256 * kMiB;
  // Returns the bytes of the manager's tables, for the whole process.
  [[nodiscard]] Bytes Tables() const { return engine.ledger().Figures().metadata; }
};

TEST_F(EngineRefusalsOfHugeCommits, LimitRefusalAllocatesNoTables) {
  engine.ledger().budget().SetLimits({.limit = {64 * kMiB}});
  const Address own = Reserve(kHuge).address;
  const Address foreign =
      os.RawAllocate({.size = kHuge, .type = win32::kMemReserve, .protect = kPageReadWrite}).address;
  const SectionOutcome section = engine.AddSection(kHuge, false, Criticality::kProcess);
  const Address view = os.MapSection(os.MakeSection(), 0, 0, kHuge).address;
  ASSERT_TRUE(engine.AcquireView(view, kHuge, section.section).ok());
  for (const Address base : {own, foreign, view}) {
    SCOPED_TRACE(base == own ? "own" : base == foreign ? "foreign" : "view of a section");
    const Bytes before = Tables();
    EXPECT_EQ(Commit(base, kHuge).outcome, Outcome::OverLimit());
    EXPECT_EQ(Tables(), before);
    ASSERT_TRUE(Commit(base, kPageSize).outcome.ok()) << "a small one is granted all the same";
  }
  EXPECT_EQ(ReserveAndCommit(kHuge).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineRefusalsOfHugeCommits, OsRefusalAllocatesNoTables) {
  os.SetCommitLimit({64 * kMiB});
  const Address own = Reserve(2 * kHuge).address;
  ASSERT_TRUE(Commit(own, kPageSize).outcome.ok());
  const Bytes before = Tables();
  EXPECT_EQ(Commit(own, 2 * kHuge).outcome, Outcome::OsRefused(win32::kCommitmentLimit));
  EXPECT_EQ(Tables(), before);
  EXPECT_EQ(ChargedPages(), 1u);
  EXPECT_TRUE(Exact());
}

// ---- commits so wide that their tables are made after the OS has granted them

class EngineWideCommits : public EngineTest {
 public:
  static constexpr std::uint64_t kWide = 2 * kGiB;
  void SetUp() override {
    if (sizeof(void*) != 8) GTEST_SKIP() << "no 32-bit process has room for a commit so wide";
    base = Reserve(kWide).address;
    ASSERT_TRUE(Commit(base + kGiB, 8 * kPageSize).outcome.ok());
  }
  Address base = 0;
};

TEST_F(EngineWideCommits, WideCommitIsChargedToThePage) {
  ASSERT_TRUE(Commit(base, kWide).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{kWide});
  EXPECT_EQ(engine.ledger().budget().Peak(), Bytes{kWide});
  EXPECT_EQ(engine.ledger().budget().Pending(), Bytes{});
  EXPECT_TRUE(Exact());
  ASSERT_TRUE(Decommit(base, 0).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineWideCommits, WideCommitOverlappingAFreeIsExact) {
  using Step = std::function<Outcome(EngineWideCommits&)>;
  const Step frees[] = {
      [](EngineWideCommits& t) { return t.Decommit(t.base + 64 * kMiB, 8 * kPageSize); },
      [](EngineWideCommits& t) { return t.Decommit(t.base + kGiB - kMiB, 2 * kMiB); },
      [](EngineWideCommits& t) { return t.Decommit(t.base, 0); },
      [](EngineWideCommits& t) { return t.Release(t.base); },
  };
  for (const Step& free : frees) {
    for (const Moment moment : {Moment::kBefore, Moment::kAfter}) {
      os.OnNext(OsCall::kAllocate, moment, [&](const OsCallInfo&) { EXPECT_TRUE(free(*this).ok()); });
      (void)Commit(base, kWide);
      EXPECT_TRUE(Exact());
      if (!engine.ledger().RegionAt(base)) {
        ASSERT_TRUE(Reserve(kWide, base).outcome.ok());
      }
      ASSERT_TRUE(Decommit(base, 0).ok());
      EXPECT_EQ(Charged(), Bytes{});
    }
  }
}

TEST_F(EngineWideCommits, TableAllocationFailureUndoesAWideCommit) {
  for (const std::uint64_t nth : {std::uint64_t{0}, std::uint64_t{5}}) {
    os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, nth);
    EXPECT_EQ(Commit(base, kWide).outcome, Outcome::NoMetadata());
    EXPECT_TRUE(Exact());
    EXPECT_EQ(os.CommittedIn({(base + kGiB) >> kPageShift, {8}}), Pages{8}) << "what was committed before stays";
  }
  os.ClearFaults();
  EXPECT_TRUE(Commit(base, kWide).outcome.ok());
  EXPECT_TRUE(Exact());
}

// ---- the peak counts only granted requests

class EnginePeak : public EngineTest {
 protected:
  // Commits one page while the OS handles another request, which it then refuses. Returns the peak.
  Bytes PeakWhileTheOsRefuses(const std::function<AddressOutcome()>& refused) {
    const Address region = Reserve(kMiB).address;
    bool asked = false;
    os.SetObserver([&](const OsCallInfo& info) {
      if (info.call != OsCall::kAllocate || info.moment != Moment::kBefore || std::exchange(asked, true)) return;
      EXPECT_TRUE(Commit(region, kPageSize).outcome.ok());
    });
    EXPECT_FALSE(refused().outcome.ok());
    os.SetObserver({});
    EXPECT_TRUE(asked);
    return engine.ledger().budget().Peak();
  }
};

TEST_F(EnginePeak, RefusedRequestsDoNotRaiseThePeak) {
  os.SetCommitLimit({16 * kMiB});
  const Address own = Reserve(kGiB).address;
  EXPECT_EQ(PeakWhileTheOsRefuses([&] { return Commit(own, kGiB); }), Bytes{kPageSize});
  EXPECT_EQ(PeakWhileTheOsRefuses([&] { return ReserveAndCommit(kGiB); }), Bytes{2 * kPageSize});
  const Address foreign = os.RawAllocate({.size = kGiB, .type = win32::kMemReserve, .protect = kPageReadWrite}).address;
  EXPECT_EQ(PeakWhileTheOsRefuses([&] { return Commit(foreign, kGiB); }), Bytes{3 * kPageSize});
  EXPECT_EQ(engine.ledger().budget().Pending(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(EnginePeak, OccupiedAddressIsNeverCharged) {
  engine.ledger().budget().SetLimits({.limit = {64 * kMiB}});
  const Address taken = os.RawAllocate({.size = kGranuleSize, .type = win32::kMemReserve, .protect = 1}).address;
  os.SetObserver([&](const OsCallInfo&) { EXPECT_EQ(Charged(), Bytes{}); });
  EXPECT_EQ(ReserveAndCommit(60 * kMiB, taken).outcome, Outcome::OsRefused(win32::kInvalidAddress));
  os.SetObserver({});
  EXPECT_EQ(engine.ledger().budget().Peak(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
