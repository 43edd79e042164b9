// Sections that are mapped more than once. Each committed page is charged once, for as long as its section lives.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kSectionSize = 2048 * kGiB;  // the section size of .NET's W^X

// A section of the fake OS that is registered with the engine.
class SectionTest : public EngineTest {
 protected:
  explicit SectionTest(const Limits& limits = {}) : EngineTest(limits) {
    const SectionOutcome added = engine.AddSection(kSectionSize, false, Criticality::kProcess);
    EXPECT_TRUE(added.outcome.ok());
    name_ = added.section;
    section_ = os.MakeSection();
  }
  Address Map(std::uint64_t offset, std::uint64_t size) {
    const Address view = os.MapSection(section_, offset, 0, size).address;
    EXPECT_TRUE(engine.AcquireView(view, size, name_, offset).ok());
    return view;
  }
  bool Unmap(Address view) {
    return engine.UnmapView(view, [&] { return os.UnmapView(view) == win32::kSuccess; });
  }
  void CloseHandle() { EXPECT_TRUE(engine.DropSection(name_).ok()); }

  SectionName name_ = 0;
  std::uint32_t section_ = 0;
};

TEST_F(SectionTest, SectionIsNotChargedUntilPagesAreCommitted) {
  const Address view = Map(0, kMiB);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().Figures().mapped, Bytes{kMiB});
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Unmap(view));
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, PageMappedSeveralTimesIsChargedOnce) {
  const Address executable = Map(kMiB, kMiB);
  ASSERT_TRUE(Commit(executable + 16 * kPageSize, 8 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 8u);
  // A second view: its pages 0 to 7 are pages 16 to 23 of the first.
  const Address writable = Map(kMiB + 16 * kPageSize, kMiB);
  EXPECT_EQ(ChargedPages(), 8u);
  EXPECT_TRUE(Exact());
  ASSERT_TRUE(Commit(writable, 8 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 8u);
  ASSERT_TRUE(Commit(writable + 4 * kPageSize, 8 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 12u);
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, UnmappingAViewKeepsTheCharge) {
  const Address first = Map(0, kMiB);
  const Address second = Map(0, kMiB);
  ASSERT_TRUE(Commit(first, kMiB).outcome.ok());
  EXPECT_TRUE(Unmap(first));
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(Unmap(second));
  EXPECT_EQ(ChargedPages(), 256u) << "the handle is open, and the pages are there for the next view";
  EXPECT_TRUE(Exact());
  const Address third = Map(0, kMiB);
  ASSERT_TRUE(Commit(third, kMiB).outcome.ok());
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, LastViewOrHandleUnchargesTheSection) {
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, kMiB).outcome.ok());
  CloseHandle();
  EXPECT_EQ(ChargedPages(), 256u) << "mapped still";
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Unmap(view));
  os.EndSection(section_);
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
  EXPECT_EQ(engine.KeepSection(name_), Outcome::NotOurs());
  EXPECT_EQ(engine.DropSection(name_), Outcome::NotOurs());
}

TEST_F(SectionTest, SecondHandleKeepsTheSection) {
  EXPECT_TRUE(engine.KeepSection(name_).ok());
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, kPageSize).outcome.ok());
  CloseHandle();
  EXPECT_TRUE(Unmap(view));
  EXPECT_EQ(ChargedPages(), 1u);
  CloseHandle();
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(SectionTest, DistantPagesOfASectionAreTracked) {
  std::uint64_t pages = 0;
  for (const std::uint64_t offset :
       {std::uint64_t{0}, 128 * kMiB - kMiB / 2, 64 * kGiB - kMiB / 2, kSectionSize - kMiB}) {
    const Address view = Map(offset, kMiB);
    ASSERT_TRUE(Commit(view, kMiB).outcome.ok()) << offset;
    EXPECT_EQ(ChargedPages(), pages += 256);
    EXPECT_TRUE(Unmap(view));
  }
  const Address again = Map(64 * kGiB, kMiB);
  ASSERT_TRUE(Commit(again, kMiB).outcome.ok());
  EXPECT_EQ(ChargedPages(), pages += 128) << "the half beyond was committed before";
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, RefusedUnmapKeepsViewAndCharge) {
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, 16 * kPageSize).outcome.ok());
  EXPECT_FALSE(engine.UnmapView(view, [] { return false; }));
  EXPECT_EQ(ChargedPages(), 16u);
  EXPECT_TRUE(engine.ledger().RegionAt(view));
  CloseHandle();
  EXPECT_EQ(ChargedPages(), 16u) << "the view still refers to it";
  ASSERT_TRUE(Commit(view, 32 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 32u);
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, RefusedUnmapKeepsChargeOfAnUnknownSectionsView) {
  const Address view = os.MapView(0, kMiB, ViewPages::kReserved).address;
  ASSERT_TRUE(engine.AcquireView(view, kMiB).ok());
  ASSERT_TRUE(Commit(view, 16 * kPageSize).outcome.ok());
  EXPECT_FALSE(engine.UnmapView(view, [] { return false; }));
  EXPECT_EQ(ChargedPages(), 16u);
  EXPECT_TRUE(Exact());
  EXPECT_TRUE(Unmap(view));
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, AddressInsideAViewUnmapsIt) {
  const Address view = Map(0, kMiB);
  EXPECT_TRUE(engine.UnmapView(view + 5 * kPageSize, [&] { return os.UnmapView(view) == win32::kSuccess; }));
  EXPECT_FALSE(engine.ledger().RegionAt(view));
  EXPECT_EQ(engine.ledger().Figures().mapped, Bytes{});
}

TEST_F(SectionTest, RegionReservedDuringUnmapKeepsItsPages) {
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, kMiB).outcome.ok());
  EXPECT_TRUE(engine.UnmapView(view, [&] {
    const bool unmapped = os.UnmapView(view) == win32::kSuccess;
    EXPECT_TRUE(ReserveAndCommit(kMiB, view).outcome.ok());
    return unmapped;
  }));
  EXPECT_EQ(ChargedPages(), 512u);
  EXPECT_EQ(engine.ledger().Figures().stale, 0u);
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, ViewUnmappedPastTheManagerDropsItsReference) {
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, kMiB).outcome.ok());
  CloseHandle();
  ASSERT_EQ(os.UnmapView(view), win32::kSuccess);
  os.EndSection(section_);
  ASSERT_TRUE(Reserve(kMiB, view).outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, CommitRefusedByTheOsIsRolledBack) {
  const Address view = Map(0, kMiB);
  os.SetCommitLimit({4 * kPageSize});
  EXPECT_EQ(Commit(view, 8 * kPageSize).outcome, Outcome::OsRefused(win32::kCommitmentLimit));
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, TableAllocationFailureCommitsNothing) {
  const Address view = Map(127 * kMiB, 2 * kMiB);
  for (const std::uint64_t skip : {0u, 1u, 1u}) {  // the node above the leaves, the first leaf, the second leaf
    os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, skip);
    EXPECT_EQ(Commit(view, 2 * kMiB).outcome, Outcome::NoMetadata()) << skip;
    os.ClearFaults();
    EXPECT_EQ(Charged(), Bytes{});
  }
  EXPECT_TRUE(Commit(view, 2 * kMiB).outcome.ok());
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, ViewWithoutARecordHoldsNoReference) {
  const Address view = os.MapSection(section_, 0, 0x5000'0000, kMiB).address;
  os.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory);
  EXPECT_EQ(engine.AcquireView(view, kMiB, name_, 0), Outcome::NoMetadata());
  CloseHandle();
  EXPECT_EQ(engine.KeepSection(name_), Outcome::NotOurs());
}

TEST_F(SectionTest, ImpossibleViewsAreRefusedAndHoldNoReference) {
  const Address view = os.MapSection(section_, 0, 0, kMiB).address;
  const Outcome refused = Outcome::OsRefused(win32::kInvalidParameter);
  EXPECT_EQ(engine.AcquireView(view, kMiB, name_, kPageSize), refused);
  EXPECT_EQ(engine.AcquireView(view, kMiB, name_ + 1, 0), refused) << "no such section";
  EXPECT_EQ(engine.AcquireView(view + kPageSize, kMiB, name_, 0), refused);
  CloseHandle();
  EXPECT_EQ(engine.AcquireView(view, kMiB, name_, 0), refused) << "it has ended";
  EXPECT_EQ(engine.AddSection(0, false, Criticality::kProcess).outcome, refused);
  EXPECT_EQ(engine.AddSection(Sections::kLargest.value + 1, false, Criticality::kProcess).outcome,
            Outcome::NoMetadata());
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, LiveReservationIsRefusedAsAView) {
  const Address region = ReserveAndCommit(kMiB).address;
  const Outcome refused = Outcome::OsRefused(win32::kInvalidParameter);
  EXPECT_EQ(engine.AcquireView(region, kMiB), refused);
  EXPECT_EQ(engine.AcquireView(region + kGranuleSize, kMiB), refused) << "the end of it";
  EXPECT_EQ(engine.AcquireView(region - kGranuleSize, kMiB), refused) << "its beginning";
  EXPECT_EQ(ChargedPages(), 256u);
  EXPECT_TRUE(Exact());
  ASSERT_EQ(os.RawFree(region, 0, win32::kMemRelease), win32::kSuccess);
  ASSERT_EQ(os.MapSection(section_, 0, region, kMiB).address, region);
  EXPECT_TRUE(engine.AcquireView(region, kMiB, name_, 0).ok()) << "freed behind our back";
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_TRUE(Exact());
}

TEST_F(SectionTest, AuditFindsPagesCommittedPastTheManager) {
  const Address view = Map(0, kMiB);
  ASSERT_TRUE(Commit(view, 8 * kPageSize).outcome.ok());
  ASSERT_EQ(os.RawAllocate({.address = view + 16 * kPageSize,
                            .size = 3 * kPageSize,
                            .type = win32::kMemCommit,
                            .protect = kPageReadWrite})
                .error,
            win32::kSuccess);
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 3u) << "committed past the manager";
  ASSERT_TRUE(Commit(view + 16 * kPageSize, 3 * kPageSize).outcome.ok());
  EXPECT_TRUE(Exact());
  engine.ledger().budget().Charge({kPageSize});
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 1u) << "charge that no page explains";
  engine.ledger().budget().Uncharge({kPageSize});
}

TEST_F(SectionTest, AuditChecksUnshownPagesOnlyWhereViewsShareCommits) {
  for (const bool says_so : {true, false}) {
    os.SetViewsShareCommits(false, says_so);
    const Address first = Map(0, kMiB);
    ASSERT_TRUE(Commit(first, 2 * kPageSize).outcome.ok());
    const Address second = Map(0, kMiB);
    EXPECT_EQ(engine.ledger().Audit().mismatch.value, says_so ? 2u : 0u);
    EXPECT_TRUE(Unmap(first));
    EXPECT_TRUE(Unmap(second));
  }
}

TEST_F(SectionTest, CommitLandingInANewViewIsChargedToItsSection) {
  const SectionOutcome other = engine.AddSection(kMiB, false, Criticality::kProcess);
  const std::uint32_t other_section = os.MakeSection();
  const Address view = Map(0, kMiB);
  os.OnNext(OsCall::kAllocate, Moment::kBefore, [&](const OsCallInfo&) {
    EXPECT_TRUE(Unmap(view));
    ASSERT_EQ(os.MapSection(other_section, 0, view, kMiB).address, view);
    ASSERT_TRUE(engine.AcquireView(view, kMiB, other.section, 0).ok());
  });
  ASSERT_TRUE(Commit(view, 8 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 8u);
  EXPECT_TRUE(Exact());
  CloseHandle();
  EXPECT_EQ(ChargedPages(), 8u) << "not the first section's";
  EXPECT_TRUE(Unmap(view));
  EXPECT_TRUE(engine.DropSection(other.section).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(SectionTest, CommitLandingInANewRegionIsChargedToIt) {
  const Address view = Map(0, kMiB);
  os.OnNext(OsCall::kAllocate, Moment::kBefore, [&](const OsCallInfo&) {
    EXPECT_TRUE(Unmap(view));
    ASSERT_TRUE(Reserve(kMiB, view).outcome.ok());
  });
  ASSERT_TRUE(Commit(view, 8 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 8u);
  EXPECT_TRUE(Exact());
  ASSERT_TRUE(Release(view).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

class SectionsUnderLimit : public SectionTest {
 protected:
  SectionsUnderLimit() : SectionTest({.limit = {32 * kPageSize}}) {}
};

TEST_F(SectionsUnderLimit, CommittedPagesAreNotRefused) {
  const Address first = Map(0, kMiB);
  const Address second = Map(0, kMiB);
  ASSERT_TRUE(Commit(first, 32 * kPageSize).outcome.ok());
  EXPECT_TRUE(Commit(second, 32 * kPageSize).outcome.ok());
  EXPECT_EQ(Commit(second, 33 * kPageSize).outcome, Outcome::OverLimit());
  EXPECT_EQ(ChargedPages(), 32u);
  EXPECT_TRUE(Exact());
}

TEST_F(SectionsUnderLimit, FullyCommittedSectionIsChargedAtCreation) {
  EXPECT_EQ(engine.AddSection(33 * kPageSize, true, Criticality::kProcess).outcome, Outcome::OverLimit());
  EXPECT_EQ(Charged(), Bytes{});
  const SectionOutcome added = engine.AddSection(20 * kPageSize - 1, true, Criticality::kProcess);
  ASSERT_TRUE(added.outcome.ok());
  EXPECT_EQ(ChargedPages(), 20u);
  const Address view = os.MapView(0, 20 * kPageSize, ViewPages::kReserved).address;
  ASSERT_TRUE(engine.AcquireView(view, 20 * kPageSize, added.section, 0).ok());
  EXPECT_TRUE(Commit(view, 20 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 20u) << "of what is charged already";
  EXPECT_EQ(engine.ledger().Audit().mismatch.value, 0u);
  EXPECT_TRUE(Unmap(view));
  EXPECT_EQ(ChargedPages(), 20u);
  EXPECT_TRUE(engine.DropSection(added.section).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineTest, SectionTableReusesSlotsUnderNewNames) {
  std::vector<SectionName> names;
  while (true) {
    const SectionOutcome added = engine.AddSection(kMiB, true, Criticality::kTask);
    if (!added.outcome.ok()) break;
    names.push_back(added.section);
  }
  EXPECT_EQ(names.size(), 4096u);
  EXPECT_EQ(ChargedPages(), names.size() * 256);
  const SectionName first = names.front();
  EXPECT_TRUE(engine.DropSection(first).ok());
  const SectionOutcome again = engine.AddSection(kMiB, true, Criticality::kTask);
  ASSERT_TRUE(again.outcome.ok());
  EXPECT_NE(again.section, first) << "the old name must not mean the new section";
  EXPECT_EQ(engine.KeepSection(first), Outcome::NotOurs());
  names.front() = again.section;
  for (const SectionName name : names) EXPECT_TRUE(engine.DropSection(name).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

// Threads map, commit and unmap views of one section, while other threads drop their handles to it.
TEST_F(EngineTest, SectionsStayExactUnderConcurrentUse) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 30;
  for (int round = 0; round < kRounds; ++round) {
    const SectionName name = engine.AddSection(256 * kMiB, false, Criticality::kProcess).section;
    const std::uint32_t section = os.MakeSection();
    std::atomic<int> ready = 0;
    std::vector<std::thread> workers;
    for (int id = 0; id < kThreads; ++id) {
      ASSERT_TRUE(engine.KeepSection(name).ok());
      workers.emplace_back([&, id] {
        std::minstd_rand random(static_cast<unsigned>(round * kThreads + id + 1));
        ready.fetch_add(1);
        while (ready.load() < kThreads) {
        }
        for (int step = 0; step < 20; ++step) {
          const std::uint64_t offset = random() % 8 * (kMiB / 2) + 127 * kMiB;
          const Address view = os.MapSection(section, offset, 0, kMiB).address;
          ASSERT_TRUE(engine.AcquireView(view, kMiB, name, offset).ok());
          const std::uint64_t page = random() % 200;
          ASSERT_TRUE(Commit(view + page * kPageSize, (1 + random() % 50) * kPageSize).outcome.ok());
          ASSERT_TRUE(engine.UnmapView(view, [&] { return os.UnmapView(view) == win32::kSuccess; }));
        }
        ASSERT_TRUE(engine.DropSection(name).ok());
      });
    }
    for (std::thread& worker : workers) worker.join();
    ASSERT_TRUE(Exact());
    ASSERT_TRUE(engine.DropSection(name).ok());
    os.EndSection(section);
    ASSERT_EQ(Charged(), Bytes{});
    ASSERT_TRUE(Exact());
  }
}

}  // namespace
}  // namespace clr_host_memory::test
