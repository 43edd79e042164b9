// Memory that other code frees or unmaps past the manager, and views whose release is reported late: their charge is
// returned.
#include <gtest/gtest.h>

#include <chrono>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

class EngineAndTheGone : public EngineTest {
 protected:
  Address ForeignReservation(std::uint64_t size) {
    return os.RawAllocate({.size = size, .type = win32::kMemReserve, .protect = kPageReadWrite}).address;
  }
  Address AnnouncedView(std::uint64_t size, Address base = 0) {
    const Address view = os.MapView(base, size, ViewPages::kReserved).address;
    EXPECT_TRUE(engine.AcquireView(view, size).ok());
    return view;
  }
  // Commits in a foreign region, which its owner then frees past the manager.
  void CommitInMemoryThatGoes(std::uint64_t size) {
    const Address foreign = ForeignReservation(size);
    ASSERT_TRUE(Commit(foreign, size).outcome.ok());
    ASSERT_EQ(os.RawFree(foreign, 0, win32::kMemRelease), win32::kSuccess);
  }
};

TEST_F(EngineAndTheGone, FreedForeignMemoryIsUncharged) {
  for (int cycle = 0; cycle < 10; ++cycle) {
    CommitInMemoryThatGoes(4 * kMiB);
    EXPECT_EQ(Charged(), Bytes{4 * kMiB});
    EXPECT_TRUE(engine.UnchargeFreedElsewhere());
    EXPECT_EQ(Charged(), Bytes{});
    EXPECT_TRUE(Exact());
  }
  EXPECT_FALSE(engine.UnchargeFreedElsewhere()) << "nothing is left to look for";
}

TEST_F(EngineAndTheGone, LiveForeignMemoryStaysCharged) {
  const Address kept = ForeignReservation(kMiB);
  ASSERT_TRUE(Commit(kept, 100 * kPageSize).outcome.ok());
  CommitInMemoryThatGoes(kMiB);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(ChargedPages(), 100u);
  EXPECT_TRUE(Exact());
  ASSERT_EQ(os.RawFree(kept, 50 * kPageSize, win32::kMemDecommit), win32::kSuccess);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(ChargedPages(), 50u) << "its owner decommitted a part of it";
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndTheGone, ForeignMemoryReservedAgainByItsOwnerIsUncharged) {
  const Address foreign = ForeignReservation(kMiB);
  ASSERT_TRUE(Commit(foreign, kMiB).outcome.ok());
  ASSERT_EQ(os.RawFree(foreign, 0, win32::kMemRelease), win32::kSuccess);
  ASSERT_EQ(os.RawAllocate({foreign, kMiB, win32::kMemReserve, kPageReadWrite}).error, win32::kSuccess);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineAndTheGone, FreedForeignMemoryCausesNoRefusal) {
  engine.ledger().budget().SetLimits({.limit = {3 * kMiB}});
  const Address region = Reserve(8 * kMiB).address;
  for (const Criticality level : {Criticality::kTask, Criticality::kAppDomain, Criticality::kProcess}) {
    threads.Advance(Milliseconds{1000});
    CommitInMemoryThatGoes(kMiB);
    ASSERT_TRUE(Commit(region, 3 * kMiB, level).outcome.ok());
    EXPECT_EQ(Charged(), Bytes{3 * kMiB});
    ASSERT_TRUE(Decommit(region, 3 * kMiB).ok());
  }
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndTheGone, LowerLevelRefusalsSearchAtALimitedRate) {
  engine.ledger().budget().SetLimits({.limit = {3 * kMiB}});
  const Address region = Reserve(8 * kMiB).address;
  const Address kept = ForeignReservation(kMiB);
  ASSERT_TRUE(Commit(kept, kMiB).outcome.ok());
  threads.Advance(Milliseconds{1000});
  EXPECT_EQ(Commit(region, 3 * kMiB).outcome, Outcome::OverLimit());
  os.ResetCalls();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(Commit(region, 3 * kMiB).outcome, Outcome::OverLimit());
  EXPECT_EQ(os.AllCalls(), 0u);
  EXPECT_EQ(Commit(region, 3 * kMiB, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_GT(os.Calls(OsCall::kDescribe), 0u) << "a process-critical one looks always";
}

TEST_F(EngineAndTheGone, ViewUnmappedPastTheManagerIsForgottenWithItsCharge) {
  for (int cycle = 0; cycle < 10; ++cycle) {
    const Address view = AnnouncedView(kMiB);
    ASSERT_TRUE(Commit(view, 100 * kPageSize).outcome.ok());
    ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
    EXPECT_TRUE(engine.UnchargeFreedElsewhere());
    EXPECT_EQ(Charged(), Bytes{});
    EXPECT_EQ(engine.ledger().Figures().mapped, Bytes{});
    EXPECT_EQ(engine.ledger().Figures().regions, 0u);
    EXPECT_TRUE(Exact());
  }
}

TEST_F(EngineAndTheGone, SectionEndsWithLastViewUnmappedPastTheManager) {
  const SectionOutcome section = engine.AddSection(kGiB, false, Criticality::kProcess);
  const std::uint32_t os_section = os.MakeSection();
  const Address view = os.MapSection(os_section, 0, 0, kMiB).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB, section.section).ok());
  ASSERT_TRUE(Commit(view, 100 * kPageSize).outcome.ok());
  ASSERT_TRUE(engine.DropSection(section.section).ok());
  EXPECT_EQ(ChargedPages(), 100u);
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  os.EndSection(os_section);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndTheGone, LateViewReleaseKeepsNewerViewAtSameBase) {
  const Address base = AnnouncedView(kMiB);
  ASSERT_TRUE(Commit(base, kGranuleSize).outcome.ok());
  ASSERT_EQ(os.UnmapView(base), win32::kSuccess);
  ASSERT_EQ(AnnouncedView(kMiB, base), base);
  EXPECT_EQ(Charged(), Bytes{}) << "what was committed in the first view";
  EXPECT_TRUE(engine.ReleaseView(base).ok());
  ASSERT_TRUE(engine.ledger().RegionAt(base));
  ASSERT_TRUE(Commit(base, kGranuleSize).outcome.ok());
  ASSERT_EQ(os.UnmapView(base), win32::kSuccess);
  EXPECT_TRUE(engine.ReleaseView(base).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
  EXPECT_EQ(engine.ledger().Figures().regions, 0u);
}

TEST_F(EngineAndTheGone, ViewReleasedBeforeUnmapIsUnchargedAfterUnmap) {
  const Address base = AnnouncedView(kMiB);
  ASSERT_TRUE(Commit(base, kGranuleSize).outcome.ok());
  EXPECT_TRUE(engine.ReleaseView(base).ok());
  EXPECT_EQ(Charged(), Bytes{kGranuleSize}) << "it is still there";
  EXPECT_TRUE(Exact());
  ASSERT_EQ(os.UnmapView(base), win32::kSuccess);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineAndTheGone, ReleaseOfUnannouncedViewUnchargesItsCommits) {
  const Address view = os.MapView(0, kMiB, ViewPages::kReserved).address;
  ASSERT_TRUE(Commit(view, 20 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 20u);
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  EXPECT_TRUE(engine.ReleaseView(view).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

// A new view may be mapped and announced at the same address between the OS call and the use of its answer. The new
// view stays.
TEST_F(EngineAndTheGone, ViewMappedDuringTheSearchStays) {
  const Address base = AnnouncedView(kMiB);
  ASSERT_TRUE(Commit(base, kGranuleSize).outcome.ok());
  ASSERT_EQ(os.UnmapView(base), win32::kSuccess);
  // The search describes the pages first and the view last, so the second call is the one about the view.
  os.OnNext(OsCall::kDescribe, Moment::kAfter, [&](const OsCallInfo&) {
    os.OnNext(OsCall::kDescribe, Moment::kAfter, [&](const OsCallInfo&) {
      ASSERT_EQ(AnnouncedView(kMiB, base), base);
      ASSERT_TRUE(Commit(base, kPageSize).outcome.ok());
    });
  });
  (void)engine.UnchargeFreedElsewhere();
  EXPECT_TRUE(engine.ledger().RegionAt(base));
  EXPECT_EQ(ChargedPages(), 1u);
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndTheGone, CommitDuringTheSearchStaysCharged) {
  const Address kept = ForeignReservation(kMiB);
  ASSERT_TRUE(Commit(kept, 10 * kPageSize).outcome.ok());
  for (const Moment moment : {Moment::kBefore, Moment::kAfter}) {
    os.OnNext(OsCall::kDescribe, moment,
              [&](const OsCallInfo&) { ASSERT_TRUE(Commit(kept, 20 * kPageSize).outcome.ok()); });
    EXPECT_FALSE(engine.UnchargeFreedElsewhere());
    EXPECT_EQ(ChargedPages(), 20u);
    EXPECT_TRUE(Exact());
    ASSERT_TRUE(Decommit(kept + 10 * kPageSize, 10 * kPageSize).ok());
  }
  ASSERT_EQ(os.RawFree(kept, 0, win32::kMemRelease), win32::kSuccess);
  EXPECT_TRUE(engine.UnchargeFreedElsewhere());
  EXPECT_EQ(Charged(), Bytes{});
}

// ---- the duration of an audit

class AuditOfDifferences : public EngineTest {
 protected:
  static constexpr std::uint64_t kSize = kGiB;
  AuditOfDifferences() : region(ReserveAndCommit(kSize).address) {}
  std::uint64_t QuestionsOfAnAudit() {
    os.ResetCalls();
    audit = engine.ledger().Audit();
    return os.Calls(OsCall::kDescribe);
  }
  Address region;
  LedgerAudit audit;
};

TEST_F(AuditOfDifferences, CleanAuditAsksOncePerRunOfPages) {
  EXPECT_LE(QuestionsOfAnAudit(), 2u);
  EXPECT_EQ(audit.mismatch, Pages{});
}

TEST_F(AuditOfDifferences, LastingDifferencesAreCountedInBoundedTime) {
  using Clock = std::chrono::steady_clock;
  ASSERT_EQ(os.RawFree(region + 100 * kMiB, 64 * kMiB, win32::kMemDecommit), win32::kSuccess);
  const Clock::time_point began = Clock::now();
  EXPECT_LE(QuestionsOfAnAudit(), 256u * 40u) << "of 256 words that differ";
  // The audit's patience is 0.1 s; the rest allows for busy machines.
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(5));
  EXPECT_EQ(audit.mismatch, Pages{64 * kMiB / kPageSize});
  EXPECT_EQ(audit.in_flight, Pages{});
  EXPECT_EQ(audit.charged, Pages{kSize / kPageSize});
  EXPECT_EQ(audit.committed, Pages{(kSize - 64 * kMiB) / kPageSize});
}

TEST_F(AuditOfDifferences, ScatteredDifferencesAreCountedToThePage) {
  constexpr std::uint64_t kWords = kSize / (64 * kPageSize);
  for (std::uint64_t word = 0; word < kWords; ++word) {
    ASSERT_EQ(os.RawFree(region + (word * 64 + word % 60) * kPageSize, 2 * kPageSize, win32::kMemDecommit),
              win32::kSuccess);
  }
  (void)QuestionsOfAnAudit();
  EXPECT_EQ(audit.mismatch, Pages{2 * kWords});
}

TEST_F(AuditOfDifferences, DifferencesAreCountedWithoutMemoryForATable) {
  ASSERT_EQ(os.RawFree(region, 64 * kMiB, win32::kMemDecommit), win32::kSuccess);
  os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory);
  (void)QuestionsOfAnAudit();
  EXPECT_EQ(audit.mismatch, Pages{64 * kMiB / kPageSize});
}

TEST_F(AuditOfDifferences, DifferencesThatEndDuringTheAuditAreNotCounted) {
  // The ledger has pages charged that the OS no longer has committed. The CLR's own decommit of them ends the
  // difference.
  ASSERT_EQ(os.RawFree(region, kMiB, win32::kMemDecommit), win32::kSuccess);
  os.OnNext(OsCall::kDescribe, Moment::kAfter, [&](const OsCallInfo&) { ASSERT_TRUE(Decommit(region, kMiB).ok()); }, 1);
  (void)QuestionsOfAnAudit();
  EXPECT_EQ(audit.mismatch, Pages{});
  EXPECT_EQ(audit.charged, audit.committed);
}

}  // namespace
}  // namespace clr_host_memory::test
