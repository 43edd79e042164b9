// The engine's main paths: every flag, every shape of request, and the charge after each.
#include <gtest/gtest.h>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

using namespace win32;  // NOLINT: these tests consist of flags and errors

TEST_F(EngineTest, ReservingIsNotCharged) {
  const AddressOutcome region = Reserve(256 * kMiB);
  ASSERT_TRUE(region.outcome.ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_EQ(engine.ledger().Figures().reserved, Bytes{256 * kMiB});
  EXPECT_TRUE(Release(region.address).ok());
  EXPECT_EQ(engine.ledger().Figures().reserved, Bytes{});
  EXPECT_EQ(engine.ledger().Figures().peak_reserved, Bytes{256 * kMiB});
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, RecommittingIsChargedOnce) {
  const Address base = Reserve(kMiB).address;
  ASSERT_TRUE(Commit(base, 16 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 16u);
  ASSERT_TRUE(Commit(base, 16 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 16u);
  ASSERT_TRUE(Commit(base + 8 * kPageSize, 16 * kPageSize).outcome.ok());
  EXPECT_EQ(ChargedPages(), 24u);
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, DecommittingHalfUnchargesHalf) {
  const Address base = ReserveAndCommit(32 * kPageSize).address;
  ASSERT_TRUE(Decommit(base, 16 * kPageSize).ok());
  EXPECT_EQ(ChargedPages(), 16u);
  ASSERT_TRUE(Decommit(base, 16 * kPageSize).ok()) << "decommitting twice is legal";
  EXPECT_EQ(ChargedPages(), 16u);
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, DecommitWithSizeZeroUnchargesTheWholeRegion) {
  const Address base = Reserve(100 * kMiB).address;
  ASSERT_TRUE(Commit(base, kPageSize).outcome.ok());
  ASSERT_TRUE(Commit(base + 90 * kMiB, kPageSize).outcome.ok());
  EXPECT_EQ(Decommit(base + kPageSize, 0), Outcome::OsRefused(kInvalidAddress));
  EXPECT_EQ(ChargedPages(), 2u);
  ASSERT_TRUE(Decommit(base + 17, 0).ok()) << "Win32 rounds the address down to a page";
  EXPECT_EQ(ChargedPages(), 0u);
  EXPECT_TRUE(engine.ledger().RegionAt(base));
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, ReleaseUnchargesEverythingAndForgetsTheRegion) {
  const Address base = Reserve(200 * kMiB).address;
  for (std::uint64_t offset = 0; offset < 200 * kMiB; offset += 7 * kMiB) {
    ASSERT_TRUE(Commit(base + offset, 3 * kPageSize).outcome.ok());
  }
  ASSERT_TRUE(Exact());
  ASSERT_TRUE(Release(base).ok());
  EXPECT_EQ(Charged(), Bytes{});
  EXPECT_FALSE(engine.ledger().FindRegion(base + kMiB));
  EXPECT_EQ(Release(base), Outcome::NotOurs());
  EXPECT_TRUE(Exact());
}

struct ShapeCase {
  const char* name;
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t pages;
};

TEST_F(EngineTest, SizesAndAddressesAreRoundedAsInWin32) {
  constexpr ShapeCase kCases[] = {
      {"one byte", 0, 1, 1},
      {"one byte at the end of a page", kPageSize - 1, 1, 1},
      {"two bytes across pages", kPageSize - 1, 2, 2},
      {"a page and a byte", 0, kPageSize + 1, 2},
      {"a page from its middle", 100, kPageSize, 2},
      {"across two words", 60 * kPageSize + 5, 8 * kPageSize, 9},
      {"one word", 64 * kPageSize, 64 * kPageSize, 64},
      {"several words", 10 * kPageSize, 200 * kPageSize, 200},
  };
  for (const ShapeCase& c : kCases) {
    SCOPED_TRACE(c.name);
    const Address base = Reserve(kMiB).address;
    const AddressOutcome commit = Commit(base + c.offset, c.size);
    ASSERT_TRUE(commit.outcome.ok());
    EXPECT_EQ(commit.address, RoundDownToPage(base + c.offset));
    EXPECT_EQ(ChargedPages(), c.pages);
    EXPECT_TRUE(Exact());
    ASSERT_TRUE(Decommit(base + c.offset, c.size).ok());
    EXPECT_EQ(ChargedPages(), 0u);
    EXPECT_TRUE(Exact());
    ASSERT_TRUE(Release(base).ok());
  }
}

TEST_F(EngineTest, CommitWithNullAddressReservesToo) {
  const AddressOutcome block = Allocate(0, 5 * kPageSize + 1, kMemCommit);
  ASSERT_TRUE(block.outcome.ok());
  EXPECT_TRUE(IsGranuleAligned(block.address));
  EXPECT_EQ(ChargedPages(), 6u);
  ASSERT_TRUE(Release(block.address).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

TEST_F(EngineTest, RequestedAddressIsRoundedDownToItsGranule) {
  const Address wanted = 0x7000'0000 + 3 * kPageSize;
  const AddressOutcome region = ReserveAndCommit(2 * kPageSize, wanted);
  ASSERT_TRUE(region.outcome.ok());
  EXPECT_EQ(region.address, 0x7000'0000u);
  EXPECT_EQ(ChargedPages(), 5u);
  EXPECT_TRUE(Exact());
}

struct FlagCase {
  const char* name;
  std::uint32_t type;
  std::uint64_t pages;
};

TEST_F(EngineTest, EveryFlagReachesTheOsAndOnlyCommitsAreCharged) {
  os.SetLockMemoryPrivilege(true);
  constexpr FlagCase kCases[] = {
      {"reserve", kMemReserve, 0},
      {"reserve top down", kMemReserve | kMemTopDown, 0},
      {"reserve with write watch", kMemReserve | kMemWriteWatch, 0},
      {"reserve and commit", kMemReserve | kMemCommit, 512},
      {"commit top down", kMemCommit | kMemTopDown, 512},
      {"large pages", kMemReserve | kMemCommit | kMemLargePages, 512},
      {"all of it", kMemReserve | kMemCommit | kMemTopDown | kMemWriteWatch, 512},
  };
  for (const FlagCase& c : kCases) {
    SCOPED_TRACE(c.name);
    // The engine reserves a region first and then commits it. Large pages take one step.
    std::uint32_t seen = 0;
    os.SetObserver([&](const OsCallInfo& info) { seen |= info.call == OsCall::kAllocate ? info.type : 0; });
    const AddressOutcome block = Allocate(0, 2 * kMiB, c.type);
    os.SetObserver({});
    ASSERT_TRUE(block.outcome.ok());
    EXPECT_EQ(seen, c.type | kMemReserve);
    EXPECT_EQ(ChargedPages(), c.pages);
    EXPECT_TRUE(Exact());
    ASSERT_TRUE(Release(block.address).ok());
  }
}

TEST_F(EngineTest, ResetPassesThroughUncharged) {
  const Address base = ReserveAndCommit(16 * kPageSize).address;
  for (const std::uint32_t type : {kMemReset, kMemResetUndo}) {
    const AddressOutcome reset = Allocate(base, 8 * kPageSize, type);
    EXPECT_TRUE(reset.outcome.ok());
    EXPECT_EQ(reset.address, base);
    EXPECT_EQ(ChargedPages(), 16u);
  }
  EXPECT_EQ(Allocate(base, kPageSize, kMemReset | kMemCommit).outcome, Outcome::OsRefused(kInvalidParameter));
  EXPECT_TRUE(Exact());
}

struct RefusalCase {
  const char* name;
  Address address;
  std::uint64_t size;
  std::uint32_t type;
  Error error;
};

TEST_F(EngineTest, InvalidAllocationsFailWithTheWin32Error) {
  const Address base = Reserve(kMiB, 0x7000'0000).address;
  const RefusalCase cases[] = {
      {"size 0", 0, 0, kMemReserve, kInvalidParameter},
      {"commit of size 0", base, 0, kMemCommit, kInvalidParameter},
      {"no type", 0, kPageSize, 0, kInvalidParameter},
      {"an unknown flag", 0, kPageSize, kMemReserve | 0x40, kInvalidParameter},
      {"write watch without reserve", base, kPageSize, kMemCommit | kMemWriteWatch, kInvalidParameter},
      {"commit where nothing is reserved", 0x6000'0000, kPageSize, kMemCommit, kInvalidAddress},
      {"commit beyond the region", base + kMiB - kPageSize, 2 * kPageSize, kMemCommit, kInvalidAddress},
      {"reserve where something is", base, kPageSize, kMemReserve, kInvalidAddress},
      {"reserve and commit where something is", base, kPageSize, kMemReserve | kMemCommit, kInvalidAddress},
      {"below the first granule", 0x1000, kPageSize, kMemCommit, kInvalidParameter},
      {"beyond user space", ~Address{0} - 0xFFFF, kPageSize, kMemReserve, kInvalidParameter},
      {"a size that wraps", base, ~std::uint64_t{0}, kMemCommit, kInvalidParameter},
      {"more than there are addresses", 0, std::uint64_t{1} << 50, kMemReserve, kNotEnoughMemory},
      {"large pages without the privilege", 0, 2 * kMiB, kMemReserve | kMemCommit | kMemLargePages, kPrivilegeNotHeld},
  };
  for (const RefusalCase& c : cases) {
    const AddressOutcome refused = Allocate(c.address, c.size, c.type);
    EXPECT_EQ(refused.outcome, Outcome::OsRefused(c.error)) << c.name;
    EXPECT_EQ(refused.address, 0u) << c.name;
    EXPECT_EQ(Charged(), Bytes{}) << c.name;
    EXPECT_TRUE(Exact()) << c.name;
  }
}

TEST_F(EngineTest, InvalidFreesFailWithTheWin32Error) {
  const Address base = ReserveAndCommit(kMiB, 0x7000'0000).address;
  struct Case {
    const char* name;
    Address address;
    std::uint64_t size;
    std::uint32_t type;
    Outcome outcome;
  };
  const Case cases[] = {
      {"no type", base, 0, 0, Outcome::OsRefused(kInvalidParameter)},
      {"both types", base, 0, kMemRelease | kMemDecommit, Outcome::OsRefused(kInvalidParameter)},
      {"release with a size", base, kMiB, kMemRelease, Outcome::OsRefused(kInvalidParameter)},
      {"release not at the base", base + kPageSize, 0, kMemRelease, Outcome::OsRefused(kInvalidAddress)},
      {"decommit beyond the region", base, kMiB + 1, kMemDecommit, Outcome::OsRefused(kInvalidParameter)},
      {"release of nothing", 0x6000'0000, 0, kMemRelease, Outcome::NotOurs()},
      {"decommit of nothing", 0x6000'0000, kPageSize, kMemDecommit, Outcome::NotOurs()},
      {"release of null", 0, 0, kMemRelease, Outcome::NotOurs()},
      {"decommit beyond user space", ~Address{0}, 1, kMemDecommit, Outcome::NotOurs()},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(engine.Free(c.address, c.size, c.type), c.outcome) << c.name;
    EXPECT_EQ(ChargedPages(), 256u) << c.name;
    EXPECT_TRUE(Exact()) << c.name;
  }
  EXPECT_TRUE(Release(base + 5).ok()) << "Win32 rounds the address down to a page";
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, QueryAndProtectWorkOnAnyMemory) {
  const Address own = ReserveAndCommit(2 * kPageSize).address;
  const Address foreign = os.RawAllocate({.size = kGranuleSize, .type = kMemReserve, .protect = kPageReadOnly}).address;
  struct Case {
    Address address;
    std::uint32_t state;
  };
  for (const Case& c : {Case{own, kMemCommit}, Case{foreign, kMemReserve}, Case{0x6000'0000'000, kMemFree}}) {
    if (c.address > kUserSpaceEnd) continue;
    RawMemoryInformation info{};
    std::size_t written = 0;
    EXPECT_TRUE(engine.Query(c.address, &info, sizeof(info), &written).ok());
    EXPECT_EQ(written, sizeof(info));
    EXPECT_EQ(info.state, c.state);
  }
  std::uint32_t old_protect = 0;
  EXPECT_TRUE(engine.Protect(own, kPageSize, kPageReadOnly, &old_protect).ok());
  EXPECT_EQ(old_protect, kPageReadWrite);
  EXPECT_EQ(engine.Protect(foreign, kPageSize, kPageReadOnly, &old_protect), Outcome::OsRefused(kInvalidAddress));
  EXPECT_TRUE(Exact());
}

TEST_F(EngineTest, StatusIsTheTighterOfMachineAndLimit) {
  os.SetLoad({.percent_in_use = 40, .available_physical = {6 * kGiB}, .total_physical = {10 * kGiB}});
  MemoryStatus status = engine.Status().status;
  EXPECT_EQ(status.percent_in_use, 40u);
  EXPECT_EQ(status.available_physical, Bytes{6 * kGiB});

  // Charge and limit count at once. The machine is sampled again after the sampling interval.
  engine.ledger().budget().SetLimits({.limit = {100 * kMiB}});
  ASSERT_TRUE(ReserveAndCommit(75 * kMiB).outcome.ok());
  status = engine.Status().status;
  EXPECT_EQ(status.percent_in_use, 75u);
  EXPECT_EQ(status.available_physical, Bytes{25 * kMiB});
  EXPECT_EQ(status.total_physical, Bytes{100 * kMiB});

  os.SetLoad({.percent_in_use = 90, .available_physical = {kMiB}, .total_physical = {10 * kGiB}});
  EXPECT_EQ(engine.Status().status.percent_in_use, 75u);
  threads.Advance(Engine::kDefaultSampling);
  status = engine.Status().status;
  EXPECT_EQ(status.percent_in_use, 90u);
  EXPECT_EQ(status.available_physical, Bytes{kMiB});

  os.Fail(OsCall::kLoad, kAccessDenied);
  threads.Advance(Engine::kDefaultSampling);
  EXPECT_EQ(engine.Status().outcome, Outcome::OsRefused(kAccessDenied));
}

TEST_F(EngineTest, ShutdownRefusesRequestsAndServesFrees) {
  const Address block = ReserveAndCommit(kMiB).address;
  const Address other = ReserveAndCommit(kMiB).address;
  engine.Shutdown();
  std::size_t written = 0;
  RawMemoryInformation info{};
  std::uint32_t old_protect = 0;
  EXPECT_EQ(Reserve(kMiB).outcome, Outcome::Unavailable());
  EXPECT_EQ(Commit(block, kPageSize).outcome, Outcome::Unavailable());
  EXPECT_EQ(engine.Query(block, &info, sizeof(info), &written), Outcome::Unavailable());
  EXPECT_EQ(engine.Protect(block, kPageSize, kPageReadOnly, &old_protect), Outcome::Unavailable());
  EXPECT_EQ(engine.Status().outcome, Outcome::Unavailable());
  EXPECT_EQ(engine.AcquireView(0x7000'0000, kMiB), Outcome::Unavailable());
  EXPECT_TRUE(Decommit(block, kPageSize).ok());
  EXPECT_EQ(ChargedPages(), 511u);
  EXPECT_TRUE(Release(block).ok());
  EXPECT_TRUE(Release(other).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
