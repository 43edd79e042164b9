// Memory that the manager did not allocate: views, foreign regions, and regions freed past the manager.
#include <gtest/gtest.h>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

class EngineAndOthers : public EngineTest {
 protected:
  Address ForeignReservation(std::uint64_t size) {
    return os.RawAllocate({.size = size, .type = win32::kMemReserve, .protect = kPageReadWrite}).address;
  }
  void RawCommit(Address address, std::uint64_t size) {
    const auto result =
        os.RawAllocate({.address = address, .size = size, .type = win32::kMemCommit, .protect = kPageReadWrite});
    ASSERT_EQ(result.error, win32::kSuccess);
  }
};

TEST_F(EngineAndOthers, CommitsInAnAnnouncedViewAreChargedUntilItsRelease) {
  const Address view = os.MapView(0, kMiB, ViewPages::kReserved).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().Figures().mapped, Bytes{kMiB});
  ASSERT_TRUE(Commit(view, 8 * kPageSize).outcome.ok());
  ASSERT_TRUE(Commit(view + 4 * kPageSize, 100 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 104u);
  EXPECT_TRUE(Exact());
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  ASSERT_TRUE(engine.ReleaseView(view).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().Figures().mapped, Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, FileViewIsNeverCharged) {
  const Address view = os.MapView(0, kMiB, ViewPages::kCommitted).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
  EXPECT_TRUE(Exact({256}));
  EXPECT_EQ(Commit(view, kPageSize).outcome, Outcome::OsRefused(win32::kAccessDenied));
  EXPECT_TRUE(Exact({256}));
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  ASSERT_TRUE(engine.ReleaseView(view).ok());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, ViewAndRegionCannotBeReleasedAsEachOther) {
  const Address view = os.MapView(0, kMiB, ViewPages::kReserved).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
  const Address region = ReserveAndCommit(kMiB).address;
  EXPECT_EQ(Release(view), Outcome::NotOurs());
  EXPECT_TRUE(engine.ReleaseView(region).ok());
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(engine.ledger().RegionAt(region));
  EXPECT_TRUE(engine.ReleaseView(0x6000'0000).ok()) << "one mapped before the manager was there";
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, ImpossibleViewIsRefused) {
  EXPECT_EQ(engine.AcquireView(0, kMiB), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(engine.AcquireView(0x7000'1000, kMiB), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(engine.AcquireView(0x7000'0000, 0), Outcome::OsRefused(win32::kInvalidParameter));
  EXPECT_EQ(engine.AcquireView(~Address{0xFFFF}, kMiB), Outcome::OsRefused(win32::kInvalidParameter));
}

TEST_F(EngineAndOthers, ForeignRegionIsChargedOnlyForTheManagersCommits) {
  const Address foreign = ForeignReservation(kMiB);
  RawCommit(foreign, 4 * kPageSize);
  ASSERT_TRUE(Commit(foreign, 10 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 6u);
  ASSERT_TRUE(Commit(foreign, 100 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 96u);
  EXPECT_TRUE(Exact({4}));
  ASSERT_TRUE(Decommit(foreign + 50 * kPageSize, 50 * kPageSize).ok());
  EXPECT_EQ(ChargedPages(), 46u);
  EXPECT_TRUE(Exact({4}));
  EXPECT_EQ(Release(foreign), Outcome::NotOurs());
  EXPECT_TRUE(Exact({4}));
}

TEST_F(EngineAndOthers, WhatAGcReservedBeforeCountsAsTheGcs) {
  const Address heap = ForeignReservation(64 * kMiB);
  RawCommit(heap, 2 * kMiB);
  const PageRange range = *PageRange::Covering(heap, 64 * kMiB);
  ASSERT_TRUE(Commit(heap + 2 * kMiB, kMiB).outcome.ok());
  EXPECT_EQ(engine.GcCharged(), Bytes{}) << "nobody has said that it is a GC's";
  EXPECT_TRUE(engine.earlier_reservations().Add(range, Bytes{2 * kMiB}));
  EXPECT_FALSE(engine.earlier_reservations().Add(range, Bytes{2 * kMiB})) << "it is known";
  EXPECT_EQ(engine.GcCharged(), Bytes{kMiB});
  EXPECT_EQ(engine.earlier_reservations().Committed(), Bytes{2 * kMiB});
  ASSERT_TRUE(Commit(heap + 3 * kMiB, kMiB).outcome.ok());
  EXPECT_EQ(engine.GcCharged(), Bytes{2 * kMiB});
  EXPECT_TRUE(engine.earlier_reservations().Find(heap + 64 * kMiB - 1));
  EXPECT_FALSE(engine.earlier_reservations().Find(heap + 64 * kMiB));
  EXPECT_FALSE(engine.earlier_reservations().Find(heap - 1));
}

TEST_F(EngineAndOthers, ForeignPagesCannotBeFreedThroughTheManager) {
  const Address foreign = ForeignReservation(kMiB);
  RawCommit(foreign, kMiB);
  EXPECT_EQ(Decommit(foreign, kPageSize), Outcome::NotOurs());
  EXPECT_EQ(Release(foreign), Outcome::NotOurs());
  EXPECT_EQ(os.Committed(), Pages{256});
}

TEST_F(EngineAndOthers, FailedCommitInAForeignRegionIsRolledBack) {
  const Address foreign = ForeignReservation(kMiB);
  os.SetCommitLimit({4 * kPageSize});
  EXPECT_EQ(Commit(foreign, 10 * kPageSize).outcome, Outcome::OsRefused(win32::kCommitmentLimit));
  EXPECT_TRUE(Exact());
  engine.ledger().budget().SetLimits({.limit = {2 * kPageSize}});
  EXPECT_EQ(Commit(foreign, 3 * kPageSize).outcome, Outcome::OverLimit());
  EXPECT_TRUE(Exact());
  os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory);
  engine.ledger().budget().SetLimits({});
  const Address distant =
      os.RawAllocate({.address = 0x7000'0000, .size = kMiB, .type = win32::kMemReserve, .protect = kPageReadWrite})
          .address;
  EXPECT_EQ(Commit(distant, kPageSize).outcome, Outcome::NoMetadata());
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, ReusedAddressReplacesARegionFreedPastTheManager) {
  const Address base = ReserveAndCommit(kMiB).address;
  ASSERT_EQ(os.RawFree(base, 0, win32::kMemRelease), win32::kSuccess);
  ASSERT_TRUE(ReserveAndCommit(kMiB / 2, base).outcome.ok());
  EXPECT_EQ(ChargedPages(), 128u);
  EXPECT_EQ(engine.ledger().Figures().stale, 1u);
  EXPECT_EQ(engine.ledger().Figures().regions, 1u);
  EXPECT_EQ(engine.ledger().Figures().reserved, Bytes{kMiB / 2});
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, ReusedAddressUnchargesForeignPagesFreedPastTheManager) {
  const Address foreign = ForeignReservation(kMiB);
  ASSERT_TRUE(Commit(foreign, 16 * kPageSize).outcome.ok());
  ASSERT_EQ(os.RawFree(foreign, 0, win32::kMemRelease), win32::kSuccess);
  ASSERT_TRUE(Reserve(kMiB, foreign).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
  ASSERT_TRUE(Commit(foreign, 16 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 16u) << "old marks would hide a new commit";
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, ReusedAddressReplacesAViewUnmappedPastTheManager) {
  const Address view = os.MapView(0, kMiB, ViewPages::kReserved).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
  ASSERT_TRUE(Commit(view, 16 * kPageSize).outcome.ok());
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  ASSERT_TRUE(Reserve(kMiB, view).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(engine.ReleaseView(view).ok()) << "told late: it is known as something else by now";
  EXPECT_TRUE(engine.ledger().RegionAt(view));
  EXPECT_TRUE(Exact());
}

TEST_F(EngineAndOthers, LateViewReleaseKeepsTheNewRegion) {
  // The new region begins before the old view, at its base, or inside it.
  const Address view = 0x7000'0000;
  for (const Address base : {view - kMiB, view, view + kGranuleSize}) {
    SCOPED_TRACE(testing::Message() << std::hex << base);
    ASSERT_EQ(os.MapView(view, kMiB, ViewPages::kReserved).error, win32::kSuccess);
    ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
    ASSERT_TRUE(Commit(view, 16 * kPageSize).outcome.ok());
    ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
    ASSERT_TRUE(ReserveAndCommit(2 * kMiB, base).outcome.ok());
    EXPECT_TRUE(engine.ReleaseView(view).ok());
    EXPECT_EQ(ChargedPages(), 512u);
    EXPECT_TRUE(Exact());
    EXPECT_TRUE(Decommit(base + kMiB, kPageSize).ok()) << "all of the region is known as one";
    ASSERT_TRUE(Release(base).ok());
    EXPECT_EQ(Charged(), Bytes{});
    EXPECT_EQ(engine.ledger().Figures().regions, 0u);
  }
}

TEST_F(EngineAndOthers, RegionOverAStaleOneIsFoundFromAllItsPages) {
  const Address base = 0x7000'0000;
  ASSERT_TRUE(ReserveAndCommit(kGranuleSize, base + 4 * kGranuleSize).outcome.ok());
  ASSERT_EQ(os.RawFree(base + 4 * kGranuleSize, 0, win32::kMemRelease), win32::kSuccess);
  ASSERT_TRUE(Reserve(kMiB, base).outcome.ok());
  EXPECT_EQ(engine.ledger().Figures().regions, 1u);
  for (const std::uint64_t granule : {std::uint64_t{0}, std::uint64_t{4}, std::uint64_t{5}, std::uint64_t{15}}) {
    const auto region = engine.ledger().FindRegion(base + granule * kGranuleSize);
    ASSERT_TRUE(region) << granule;
    EXPECT_EQ(region->base, base);
  }
}

TEST_F(EngineAndOthers, AuditFindsARegionFreedPastTheManager) {
  const Address base = ReserveAndCommit(kMiB).address;
  ASSERT_EQ(os.RawFree(base, 0, win32::kMemRelease), win32::kSuccess);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 256u);
  ASSERT_NE(os.RawAllocate({.address = base, .size = kMiB, .type = win32::kMemReserve, .protect = 4}).address, 0u);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 256u) << "and is someone else's by now";
}

TEST_F(EngineAndOthers, AuditFindsEveryMismatch) {
  const Address base = ReserveAndCommit(16 * kPageSize).address;
  ASSERT_EQ(os.RawFree(base, 4 * kPageSize, win32::kMemDecommit), win32::kSuccess);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 4u);
  RawCommit(base, 4 * kPageSize);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 0u);
  const Address untouched = Reserve(kMiB).address;
  RawCommit(untouched + 70 * kPageSize, 3 * kPageSize);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 3u);
  ASSERT_EQ(os.RawFree(untouched, 0, win32::kMemDecommit), win32::kSuccess);
  engine.ledger().budget().Charge({kPageSize});
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 1u) << "charge that no page explains";
}

}  // namespace
}  // namespace clr_host_memory::test
