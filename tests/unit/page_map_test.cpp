// The page map alone: every border of its tree, regions of any size, and failing node allocations.
#include <gtest/gtest.h>

#include <algorithm>
#include <ios>
#include <vector>

#include "ledger/page_map.h"
#include "support/fake_memory_system.h"

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kWord = 64;                        // in pages, as are all constants below
constexpr std::uint64_t kLeaf = std::uint64_t{1} << 14;    // 64 MiB
constexpr std::uint64_t kMiddle = std::uint64_t{1} << 24;  // 64 GiB
constexpr std::uint64_t kEnd = std::uint64_t{1} << (PageMap::kAddressBits - kPageShift);
constexpr std::uint64_t kPagesPerGranule = kGranuleSize / kPageSize;

class PageMapTest : public testing::Test {
 protected:
  void Touch(std::uint64_t page) {
    PageWord* word = map.EnsureWord(page / 64);
    ASSERT_NE(word, nullptr);
    word->gate.store(2);  // the value after a finished commit: bits above the count
  }
  [[nodiscard]] std::vector<std::uint64_t> Visited(PageRange range) const {
    std::vector<std::uint64_t> pages;
    map.ForEachTouchedWord(range, [&](const PageWord&, std::uint64_t word, std::uint64_t mask) {
      for (std::uint64_t bit = 0; bit < 64; ++bit) {
        if ((mask >> bit & 1) != 0) pages.push_back(word * 64 + bit);
      }
    });
    return pages;
  }
  [[nodiscard]] bool Add(Address base, std::uint64_t pages) {
    std::optional<Region> replaced;
    std::uint64_t shown = 0;
    return map.AddRegion({base, {pages}, Region::Kind::kReserved}, &replaced, &shown) && !replaced;
  }
  [[nodiscard]] Address Found(Address address) const {
    const auto region = map.FindRegion(address);
    return region ? region->base : 0;
  }

  FakeMemorySystem os;
  PageMap map{os};
};

struct Border {
  const char* name;
  std::uint64_t page;
};
std::vector<Border> Borders() {
  std::vector<Border> borders{{"word", kWord * 5}, {"leaf", kLeaf * 3}};
  if (kEnd > kMiddle) {
    borders.push_back({"middle", kMiddle * 2});
    borders.push_back({"last middle", kEnd - kMiddle});
  }
  return borders;
}

TEST_F(PageMapTest, WalkIsClippedExactlyAtEveryNodeBorder) {
  for (const Border& border : Borders()) {
    Touch(border.page - 1);
    Touch(border.page);
    for (std::uint64_t before = 0; before <= 66; ++before) {
      for (std::uint64_t after = before == 0 ? 1 : 0; after <= 65; after += 5) {
        const PageRange range{border.page - before, {before + after}};
        std::vector<std::uint64_t> expected;
        for (std::uint64_t page = range.first; page < range.end(); ++page) {
          if (map.IsTouched(page / 64)) expected.push_back(page);
        }
        ASSERT_EQ(Visited(range), expected) << border.name << ": " << before << " before, " << after << " after";
      }
    }
  }
}

TEST_F(PageMapTest, FullWalkVisitsOnlyTouchedWordsInOrder) {
  const std::vector<std::uint64_t> touched{0, kLeaf - 1, kLeaf, kEnd / 2, kEnd - 1};
  for (const std::uint64_t page : touched) Touch(page);
  std::vector<std::uint64_t> words;
  map.ForEachTouchedWord({0, {kEnd}}, [&](const PageWord&, std::uint64_t word, std::uint64_t mask) {
    EXPECT_EQ(mask, ~std::uint64_t{0});
    words.push_back(word * 64);
  });
  std::vector<std::uint64_t> expected;
  for (const std::uint64_t page : touched) expected.push_back(page / 64 * 64);
  EXPECT_EQ(words, expected);
}

TEST_F(PageMapTest, AddressesBeyondUserSpaceAreUntracked) {
  EXPECT_TRUE(PageMap::Tracks({kEnd - 1, {1}}));
  EXPECT_FALSE(PageMap::Tracks({kEnd - 1, {2}}));
  EXPECT_EQ(map.FindWord(kEnd / 64), nullptr);
  EXPECT_EQ(map.EnsureWord(kEnd / 64), nullptr);
  EXPECT_TRUE(Visited({kEnd - 1, {2}}).empty());
  EXPECT_TRUE(Visited({5, {0}}).empty());
  EXPECT_FALSE(map.FindRegion(~Address{0}));
  EXPECT_FALSE(map.RegionAt(kEnd << kPageShift));
}

TEST_F(PageMapTest, TouchingAPageAllocatesOnlyItsNodesOnce) {
  EXPECT_EQ(map.FindWord(7), nullptr);
  PageWord* word = map.EnsureWord(7);
  ASSERT_NE(word, nullptr);
  EXPECT_EQ(map.FindWord(7), word);
  EXPECT_TRUE(map.IsTouched(7));
  EXPECT_FALSE(map.IsTouched(8));
  EXPECT_EQ(os.LiveMetadata(), 2u);  // a middle node and a leaf
  EXPECT_NE(map.EnsureWord(8), nullptr);
  EXPECT_EQ(os.LiveMetadata(), 2u);
  EXPECT_NE(map.EnsureWord(kLeaf / 64), nullptr);
  EXPECT_EQ(os.LiveMetadata(), 3u);
  EXPECT_GT(map.MetadataBytes(), Bytes{});
}

TEST_F(PageMapTest, RegionIsFoundFromFirstToLastByteOnly) {
  struct Case {
    Address base;
    std::uint64_t pages;
  };
  std::vector<Case> cases{{kGranuleSize, 1},
                          {kLeaf * kPageSize - kGranuleSize, kPagesPerGranule},  // the last granule of a leaf
                          {kLeaf * kPageSize, kPagesPerGranule},                 // the first granule of the next leaf
                          {5 * kLeaf * kPageSize - kGranuleSize, 3 * kPagesPerGranule}};  // across the border
  if (kEnd > kMiddle) {
    cases.push_back({3 * kMiddle * kPageSize - kGranuleSize, kMiddle * 4 + 3});  // more than 256 GiB
    cases.push_back({(kEnd - kPagesPerGranule) * kPageSize, kPagesPerGranule});  // the end of user space
  }
  for (const Case& c : cases) ASSERT_TRUE(Add(c.base, c.pages));
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << std::hex << c.base);
    const Address end = c.base + c.pages * kPageSize;
    EXPECT_EQ(Found(c.base), c.base);
    EXPECT_EQ(Found(end - 1), c.base);
    EXPECT_EQ(Found(c.base + (end - c.base) / 2), c.base);
    EXPECT_NE(Found(c.base - 1), c.base);
    EXPECT_NE(Found(end), c.base);
    const auto region = map.RegionAt(c.base);
    ASSERT_TRUE(region);
    EXPECT_EQ(region->pages.value, c.pages);
    EXPECT_FALSE(map.RegionAt(c.base + kPageSize));
  }
  std::vector<Address> walked;
  map.ForEachRegion([&](const Region& region) { walked.push_back(region.base); });
  EXPECT_EQ(walked.size(), cases.size());
  EXPECT_TRUE(std::is_sorted(walked.begin(), walked.end()));
}

TEST_F(PageMapTest, RegionWalkFindsOnlyRegionsThatShareAPage) {
  const Address middle = kEnd > kMiddle ? 2 * kMiddle * kPageSize : 4 * kLeaf * kPageSize;
  const std::uint64_t first = middle >> kPageShift;
  // The first region ends and the second begins at the border between nodes. The second and the third end one page
  // into a granule.
  ASSERT_TRUE(Add(middle - 2 * kGranuleSize, 2 * kPagesPerGranule));
  ASSERT_TRUE(Add(middle, kPagesPerGranule + 1));
  ASSERT_TRUE(Add(middle + 2 * kGranuleSize, 1));
  struct Case {
    std::uint64_t from;  // pages, counted from 3 granules before the border
    std::uint64_t count;
    std::vector<std::uint64_t> found;  // granules, counted from 2 before the border
  };
  const std::uint64_t border = 3 * kPagesPerGranule;
  const Case cases[] = {
      {0, kPagesPerGranule, {}},
      {0, kPagesPerGranule + 1, {0}},
      {border - 1, 1, {0}},
      {border - 1, 2, {0, 2}},
      {border, 1, {2}},
      {border + kPagesPerGranule, 1, {2}},
      {border + kPagesPerGranule + 1, kPagesPerGranule - 1, {}},
      {border + 2 * kPagesPerGranule, 1, {4}},
      {border + 2 * kPagesPerGranule + 1, 100, {}},
      {0, 1000, {0, 2, 4}},
  };
  for (const Case& c : cases) {
    std::vector<std::uint64_t> found;
    map.ForEachRegionIn({first - border + c.from, {c.count}}, [&](const Region& region) {
      found.push_back((region.base - (middle - 2 * kGranuleSize)) >> kGranuleShift);
    });
    EXPECT_EQ(found, c.found) << c.from << ", " << c.count;
  }
}

TEST_F(PageMapTest, RemovedRegionIsUnknownUntilRestored) {
  const Address base = 0x4000'0000;
  ASSERT_TRUE(Add(base, 100));
  Touch((base >> kPageShift) + 50);
  EXPECT_EQ(Found(base + 50 * kPageSize), base);  // the word caches the region from here on
  EXPECT_FALSE(map.RemoveRegion(base, Region::Kind::kView));
  EXPECT_FALSE(map.RemoveRegion(base + kGranuleSize, Region::Kind::kReserved));
  const auto taken = map.RemoveRegion(base, Region::Kind::kReserved);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->pages.value, 100u);
  EXPECT_EQ(Found(base + 50 * kPageSize), 0u);
  EXPECT_FALSE(map.RemoveRegion(base, Region::Kind::kReserved));
  map.RestoreRegion(*taken);
  EXPECT_EQ(Found(base + 50 * kPageSize), base);
}

TEST_F(PageMapTest, ReservedAsIsKeptForRegionsOfEverySize) {
  const Address base = kLeaf * kPageSize * 3;
  for (const std::uint64_t pages : {std::uint64_t{1}, kLeaf, kEnd - kLeaf * 3}) {
    const Region region{base, {pages}, Region::Kind::kReserved, 0xFFFF};
    std::optional<Region> replaced;
    std::uint64_t shown = 0;
    ASSERT_TRUE(map.AddRegion(region, &replaced, &shown));
    for (const Address address : {base, base + (pages - 1) * kPageSize}) {
      const auto found = map.FindRegion(address);
      ASSERT_TRUE(found) << pages;
      EXPECT_EQ(found->reserved_as, 0xFFFF);
      EXPECT_EQ(found->pages.value, pages);
      EXPECT_EQ(found->kind, Region::Kind::kReserved);
    }
    EXPECT_FALSE(map.FindRegion(base + pages * kPageSize)) << "the first page behind it";
    const auto taken = map.RemoveRegion(base, Region::Kind::kReserved);
    ASSERT_TRUE(taken);
    map.RestoreRegion(*taken);
    EXPECT_EQ(map.RegionAt(base)->reserved_as, 0xFFFF);
    ASSERT_TRUE(map.RemoveRegion(base, Region::Kind::kReserved));
  }
}

TEST_F(PageMapTest, SectionViewGoesToExactlyOneRemoverOrReplacer) {
  const Address base = 0x4000'0000;
  const Region view{base, {16}, Region::Kind::kView, 0, 77};
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  ASSERT_TRUE(map.AddRegion(view, &replaced, &shown));
  EXPECT_EQ(shown, 0u);
  EXPECT_EQ(map.RegionAt(base)->section_view, 77u);
  const auto taken = map.RemoveRegion(base, Region::Kind::kView);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->section_view, 77u);
  ASSERT_TRUE(map.AddRegion({base, {16}, Region::Kind::kReserved}, &replaced, &shown));
  EXPECT_EQ(shown, 0u) << "the call that removed the region received it";
  ASSERT_TRUE(map.RemoveRegion(base, Region::Kind::kReserved));
  map.RestoreRegion(*taken);
  ASSERT_TRUE(map.AddRegion({base, {16}, Region::Kind::kReserved}, &replaced, &shown));
  EXPECT_EQ(shown, 77u);
  EXPECT_EQ(map.RemoveRegion(base, Region::Kind::kReserved)->section_view, 0u);
}

TEST_F(PageMapTest, SpanEndsWithItsRegion) {
  const Address base = kLeaf * kPageSize * 3;
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  ASSERT_TRUE(map.AddRegion({base, {16}, Region::Kind::kReserved, 0xFFFF}, &replaced, &shown));
  Touch(kLeaf * 3);
  ASSERT_TRUE(map.FindRegion(base));  // the word caches it
  EXPECT_NE(map.LocateOwn(base + 15 * kPageSize, kPageSize).word, nullptr);
  EXPECT_EQ(map.LocateOwn(base + 16 * kPageSize, kPageSize).word, nullptr);
  EXPECT_EQ(map.LocateOwn(base + 15 * kPageSize, 2 * kPageSize).word, nullptr);
}

TEST_F(PageMapTest, CachedRegionIsDroppedWhenAnotherRegionOwnsThePages) {
  const Address base = 0x4000'0000;
  ASSERT_TRUE(Add(base, 64));
  Touch((base >> kPageShift) + 20);
  ASSERT_EQ(Found(base + 20 * kPageSize), base);
  ASSERT_TRUE(map.RemoveRegion(base, Region::Kind::kReserved));
  ASSERT_TRUE(Add(base, kPagesPerGranule));  // shorter, at the same base
  ASSERT_TRUE(Add(base + kGranuleSize, 48));
  EXPECT_EQ(Found(base + 20 * kPageSize), base + kGranuleSize);
  EXPECT_EQ(Found(base), base);
}

TEST_F(PageMapTest, SecondRegionAtTheSameBaseReplacesTheFirst) {
  const Address base = 0x4000'0000;
  ASSERT_TRUE(Add(base, 64));
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  ASSERT_TRUE(map.AddRegion({base, {16}, Region::Kind::kView}, &replaced, &shown));
  ASSERT_TRUE(replaced);
  EXPECT_EQ(replaced->pages.value, 64u);
  EXPECT_EQ(replaced->kind, Region::Kind::kReserved);
  EXPECT_EQ(Found(base + 15 * kPageSize), base);
  EXPECT_EQ(Found(base + 16 * kPageSize), 0u);
}

TEST_F(PageMapTest, SpanIsLocatedOnlyInsideOneTouchedWordOfOneRegion) {
  const Address base = 0x4000'0000;  // begins a page word
  ASSERT_TRUE(Add(base, 96));
  EXPECT_EQ(map.LocateOwn(base, kPageSize).word, nullptr) << "never touched";
  Touch(base >> kPageShift);
  Touch((base >> kPageShift) + 64);
  ASSERT_EQ(Found(base), base);
  ASSERT_EQ(Found(base + 64 * kPageSize), base);
  struct Case {
    std::uint64_t offset;
    std::uint64_t size;
    std::uint64_t mask;  // 0: no span
  };
  constexpr Case kCases[] = {
      {0, 1, 1},
      {0, kPageSize + 1, 3},
      {0, 64 * kPageSize, ~std::uint64_t{0}},
      {0, 64 * kPageSize + 1, 0},
      {63 * kPageSize, kPageSize, std::uint64_t{1} << 63},
      {63 * kPageSize, kPageSize + 1, 0},
      {kPageSize - 1, 2, 3},
      {64 * kPageSize, 32 * kPageSize, 0xFFFF'FFFF},
      {64 * kPageSize, 32 * kPageSize + 1, 0},  // beyond the region
      {95 * kPageSize, kPageSize, std::uint64_t{1} << 31},
      {96 * kPageSize, 1, 0},
      {0, 0, 0},
      {0, ~std::uint64_t{0}, 0},
  };
  for (const Case& c : kCases) {
    const PageSpan span = map.LocateOwn(base + c.offset, c.size);
    SCOPED_TRACE(testing::Message() << "offset " << c.offset << ", size " << c.size);
    EXPECT_EQ(span.word != nullptr, c.mask != 0);
    if (span.word == nullptr) continue;
    EXPECT_EQ(span.mask, c.mask);
    EXPECT_EQ(span.range.first, (base + c.offset) >> kPageShift);
  }
  ASSERT_TRUE(map.RemoveRegion(base, Region::Kind::kReserved));
  EXPECT_EQ(map.LocateOwn(base, kPageSize).word, nullptr);
}

TEST_F(PageMapTest, NodeAllocationFailureChangesNothing) {
  for (std::uint64_t nth = 0; nth < 2; ++nth) {  // the middle node, then the leaf
    FakeMemorySystem fake;
    {
      PageMap fresh(fake);
      fake.Fail(OsCall::kAllocateMetadata, win32::kNotEnoughMemory, nth);
      std::optional<Region> replaced;
      std::uint64_t shown = 0;
      EXPECT_FALSE(fresh.AddRegion({0x10000, {1}, Region::Kind::kReserved}, &replaced, &shown));
      EXPECT_FALSE(fresh.FindRegion(0x10000));
      fresh.ForEachRegion([](const Region&) { ADD_FAILURE() << "a region that was never added"; });
      fresh.ForEachTouchedWord({0, {kEnd}}, [](const PageWord&, std::uint64_t, std::uint64_t) {
        ADD_FAILURE() << "a word that was never touched";
      });
      EXPECT_TRUE(fresh.AddRegion({0x10000, {1}, Region::Kind::kReserved}, &replaced, &shown));
      EXPECT_TRUE(fresh.FindRegion(0x10000));
    }
    EXPECT_EQ(fake.LiveMetadata(), 0u);
  }
}

TEST(PageMapNodes, DestructorFreesAllNodes) {
  FakeMemorySystem os;
  {
    PageMap map(os);
    for (std::uint64_t page = 0; page < kEnd; page += kEnd / 64) ASSERT_NE(map.EnsureWord(page / 64), nullptr);
    EXPECT_GE(os.LiveMetadata(), 65u);
  }
  EXPECT_EQ(os.LiveMetadata(), 0u);
}

TEST(PageMapNodes, LosingAPublishRaceFreesTheOwnNode) {
  FakeMemorySystem os;
  {
    PageMap map(os);
    PageWord* theirs = nullptr;
    os.OnNext(OsCall::kAllocateMetadata, Moment::kAfter, [&](const OsCallInfo&) { theirs = map.EnsureWord(3); });
    PageWord* ours = map.EnsureWord(3);
    EXPECT_EQ(ours, theirs);
    EXPECT_NE(ours, nullptr);
    EXPECT_EQ(os.LiveMetadata(), 2u);
  }
  EXPECT_EQ(os.LiveMetadata(), 0u);
}

}  // namespace
}  // namespace clr_host_memory::test
