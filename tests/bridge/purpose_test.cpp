#include "bridge/thunks/purpose.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "com/backend.h"
namespace clr_host_memory {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

BackendRegion Reserved(std::uint64_t size, std::uint32_t as) { return {nullptr, size, 0, as}; }
BackendRegion View(std::uint64_t size) { return {nullptr, size, 1, 0}; }

// The reservations of .NET 8.0.33 and 10.0.14.
TEST(Purpose, MatchesTheTable) {
  const struct {
    const char* what;
    BackendRegion region;
    DWORD protect;
    std::uint64_t largest;
    Purpose purpose;
  } table[] = {
      {"the range of .NET 8's regions", Reserved(256 * kGiB, PAGE_READWRITE), PAGE_READWRITE, 256 * kGiB,
       kClrHostMemoryGcHeap},
      {"its tables", Reserved(0x94b27000, PAGE_READWRITE), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryGcBookkeeping},
      {"the range of .NET 10's regions", Reserved(0xbc531e000, PAGE_READWRITE), PAGE_READWRITE, 0xbc531e000,
       kClrHostMemoryGcHeap},
      {"its tables", Reserved(0x1b567000, PAGE_READWRITE), PAGE_READWRITE, 0xbc531e000, kClrHostMemoryGcBookkeeping},
      {"the segments of clrgc.dll", Reserved(512 * kMiB, PAGE_READWRITE), PAGE_READWRITE, 512 * kMiB,
       kClrHostMemoryGcHeap},
      {"their tables", Reserved(0x4a1000, PAGE_READWRITE), PAGE_READWRITE, 512 * kMiB, kClrHostMemoryGcBookkeeping},
      {"one more segment", Reserved(128 * kMiB, PAGE_READWRITE), PAGE_READWRITE, 512 * kMiB, kClrHostMemoryGcHeap},
      {"a segment for one large object", Reserved(4 * kGiB, PAGE_READWRITE), PAGE_READWRITE, 4 * kGiB,
       kClrHostMemoryGcHeap},
      {"a segment beside it", Reserved(128 * kMiB, PAGE_READWRITE), PAGE_READWRITE, 4 * kGiB, kClrHostMemoryGcHeap},
      {"the least heap there is", Reserved(16 * kMiB, PAGE_READWRITE), PAGE_READWRITE, 16 * kMiB, kClrHostMemoryGcHeap},
      {"less than that", Reserved(16 * kMiB - 4096, PAGE_READWRITE), PAGE_READWRITE, 16 * kMiB,
       kClrHostMemoryGcBookkeeping},
      {"just above the factor", Reserved(kGiB + 4096, PAGE_READWRITE), PAGE_READWRITE, 64 * kGiB, kClrHostMemoryGcHeap},
      {"just at the factor", Reserved(kGiB, PAGE_READWRITE), PAGE_READWRITE, 64 * kGiB, kClrHostMemoryGcBookkeeping},
      {"handle tables", Reserved(64 * 1024, PAGE_READWRITE), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryGcBookkeeping},
      {"frozen objects", Reserved(4 * kMiB, PAGE_READWRITE), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryGcBookkeeping},
      {"a loader heap", Reserved(64 * 1024, PAGE_NOACCESS), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryLoaderHeap},
      {"a large loader heap", Reserved(64 * kMiB, PAGE_NOACCESS), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryLoaderHeap},
      {"jitted code", Reserved(512 * 1024, PAGE_NOACCESS), PAGE_EXECUTE_READWRITE, 256 * kGiB, kClrHostMemoryCodeHeap},
      {"the tables of a code heap reserved for execution", Reserved(64 * 1024, PAGE_EXECUTE_READWRITE), PAGE_READWRITE,
       256 * kGiB, kClrHostMemoryLoaderHeap},
      {"a loader heap with W^X", View(64 * 1024), PAGE_READWRITE, 256 * kGiB, kClrHostMemoryLoaderHeap},
      {"jitted code with W^X", View(256 * 1024), PAGE_EXECUTE_READ, 256 * kGiB, kClrHostMemoryCodeHeap},
      {"an IHostMalloc's heap", Reserved(kMiB, PAGE_READWRITE | kRegionOfHeap), PAGE_READWRITE, 256 * kGiB,
       kClrHostMemoryNativeHeap},
      {"one for code", Reserved(64 * kMiB, PAGE_EXECUTE_READWRITE | kRegionOfHeap), PAGE_EXECUTE_READWRITE, 256 * kGiB,
       kClrHostMemoryNativeHeap},
      {"a block that was committed when reserved", Reserved(32 * kMiB, PAGE_READWRITE | kRegionCommittedAtOnce),
       PAGE_READWRITE, 0, kClrHostMemoryUnknownPurpose},
  };
  for (const auto& row : table) EXPECT_EQ(PurposeIn(row.region, row.protect, row.largest), row.purpose) << row.what;
}

TEST(Purpose, IgnoresRegionIfRequestReservesItsOwn) {
  const BackendRegion heap = Reserved(kGiB, PAGE_READWRITE);
  EXPECT_EQ(PurposeOf(MEM_COMMIT, PAGE_READWRITE, &heap, kGiB, false), kClrHostMemoryGcHeap);
  EXPECT_EQ(PurposeOf(MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE, &heap, kGiB, false), kClrHostMemoryGcHeap);
  EXPECT_EQ(PurposeOf(MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE, &heap, kGiB, false), kClrHostMemoryUnknownPurpose);
  EXPECT_EQ(PurposeOf(MEM_COMMIT, PAGE_READWRITE, nullptr, kGiB, false), kClrHostMemoryUnknownPurpose);
  EXPECT_EQ(PurposeOf(MEM_COMMIT, PAGE_EXECUTE_READWRITE, nullptr, kGiB, false), kClrHostMemoryCodeHeap);
  EXPECT_EQ(PurposeOf(MEM_COMMIT, PAGE_READWRITE, nullptr, kGiB, true), kClrHostMemoryStack);
}

TEST(Purpose, OnlyPlainWritableReservationsAreTheGcs) {
  EXPECT_TRUE(IsGcReservation(MEM_RESERVE, PAGE_READWRITE));
  EXPECT_TRUE(IsGcReservation(MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE));
  EXPECT_FALSE(IsGcReservation(MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  EXPECT_FALSE(IsGcReservation(MEM_COMMIT, PAGE_READWRITE));
  EXPECT_FALSE(IsGcReservation(MEM_RESERVE, PAGE_NOACCESS));
  EXPECT_FALSE(IsGcReservation(MEM_RESERVE, PAGE_EXECUTE_READWRITE));
}

TEST(Purpose, OnlyGcHeapIsRefusableAndOnlyAfterStart) {
  for (int purpose = 0; purpose < kClrHostMemoryPurposeCount; ++purpose) {
    EXPECT_EQ(LevelOf(static_cast<Purpose>(purpose), false), eProcessCritical) << purpose;
    EXPECT_EQ(LevelOf(static_cast<Purpose>(purpose), true),
              purpose == kClrHostMemoryGcHeap ? eTaskCritical : eProcessCritical)
        << purpose;
  }
}

}  // namespace
}  // namespace clr_host_memory
