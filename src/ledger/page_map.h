// The page map: for each page whether it is charged, and for each region where it begins and how long it is.
//
// A radix tree over the address space, three levels: root → middle (64 GiB) → leaf (64 MiB). Nodes come straight from the
// OS seam when their part of the address space is first touched, are published with a compare-exchange and live as long
// as the map, so that a reader needs no protection. Cost is in proportion to what was touched, never to what is reserved.
// Threads: every function may run at any time in any number of threads, and a thread may be suspended anywhere: no
// function waits for another.
#ifndef CLRHM_LEDGER_PAGE_MAP_H
#define CLRHM_LEDGER_PAGE_MAP_H

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>

#include "base/units.h"
#include "os/memory_system.h"

namespace clr_host_memory {

// What the manager knows of an address range the OS handed out in one piece.
struct Region {
  enum class Kind : std::uint8_t {
    kNone = 0,
    kReserved = 1,  // by VirtualAlloc through the manager
    kView = 2,      // a mapped view the CLR announced
  };
  Address base = 0;
  Pages pages;
  Kind kind = Kind::kNone;

  [[nodiscard]] constexpr PageRange Range() const { return {base >> kPageShift, pages}; }
};

// 64 pages. `charged` has a bit per page. `gate` tells who is at work on these pages: see Ledger, "Commits in flight".
struct PageWord {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "a thread may be suspended inside any operation");
  static constexpr unsigned kShift = kPageShift + 6;
  std::atomic<std::uint64_t> charged;
  std::atomic<std::uint64_t> gate;
  std::atomic<std::uint64_t> region_base;  // where the region that holds these pages was last seen to begin; a hint
};

class PageMap {
 public:
  static constexpr unsigned kLeafShift = 26;
  static constexpr unsigned kMiddleShift = 36;
  // User space: 47 bits on x64 and ARM64, 32 on x86. Tests on Linux use 64-bit builds.
  static constexpr unsigned kAddressBits = sizeof(void*) == 8 ? 47 : 32;
  static constexpr std::size_t kMiddleCount =
      kAddressBits > kMiddleShift ? std::size_t{1} << (kAddressBits - kMiddleShift) : 1;

  explicit PageMap(os::MemorySystem& os) : os_(os) {}
  ~PageMap();
  PageMap(const PageMap&) = delete;
  PageMap& operator=(const PageMap&) = delete;

  [[nodiscard]] static constexpr bool Tracks(PageRange range) {
    return range.end() <= (std::uint64_t{1} << (kAddressBits - kPageShift));
  }

  // The word that holds a page, or null while that part of the address space is untouched. word = page / 64.
  [[nodiscard]] PageWord* FindWord(std::uint64_t word) const;
  // The same, made when missing and marked as touched; null when the OS has no memory for it.
  [[nodiscard]] PageWord* EnsureWord(std::uint64_t word);

  // Whether EnsureWord was ever called for it.
  [[nodiscard]] bool IsTouched(std::uint64_t word) const;

  // Calls visit(PageWord&, word, mask) for every touched word that shares pages with range; mask selects those pages.
  template <typename Visitor>
  void ForEachTouchedWord(PageRange range, Visitor visit) const;

  // The live region that holds address.
  [[nodiscard]] std::optional<Region> FindRegion(Address address) const;
  // The live region that begins at base.
  [[nodiscard]] std::optional<Region> RegionAt(Address base) const;
  // Makes region findable; replaces, and returns through *replaced, a record at the same base. False: no memory for it.
  [[nodiscard]] bool AddRegion(const Region& region, std::optional<Region>* replaced);
  // Makes the region at base unknown. One caller gets it, any other nothing.
  [[nodiscard]] std::optional<Region> TakeRegion(Address base, Region::Kind kind);
  // Undoes TakeRegion.
  void RestoreRegion(const Region& region);
  // Calls visit(Region) for every live region.
  template <typename Visitor>
  void ForEachRegion(Visitor visit) const;

  // Bytes of the map's own nodes.
  [[nodiscard]] Bytes MetadataBytes() const { return {metadata_.load(std::memory_order_relaxed)}; }

 private:
  static constexpr std::size_t kWordsPerLeaf = std::size_t{1} << (kLeafShift - PageWord::kShift);
  static constexpr std::size_t kGranulesPerLeaf = std::size_t{1} << (kLeafShift - kGranuleShift);
  static constexpr std::size_t kLeavesPerMiddle = std::size_t{1} << (kMiddleShift - kLeafShift);

  template <std::size_t kBits>
  struct Bitmap {
    static constexpr std::size_t kWords = (kBits + 63) / 64;
    std::array<std::atomic<std::uint64_t>, kWords> words{};

    void Set(std::size_t bit) {
      const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
      if ((words[bit / 64].load() & mask) == 0) words[bit / 64].fetch_or(mask);
    }
    [[nodiscard]] bool Test(std::size_t bit) const { return (words[bit / 64].load() >> (bit % 64) & 1) != 0; }
    void Clear(std::size_t bit) { words[bit / 64].fetch_and(~(std::uint64_t{1} << (bit % 64))); }
    // Calls visit(bit) upward for set bits in [first, end).
    template <typename Visitor>
    void ForEach(std::uint64_t from, std::uint64_t to, Visitor visit) const {
      const auto first = static_cast<std::size_t>(from);
      const auto end = static_cast<std::size_t>(to);
      for (std::size_t i = first / 64; i * 64 < end; ++i) {
        std::uint64_t set = words[i].load();
        if (i == first / 64) set &= ~std::uint64_t{0} << (first % 64);
        for (; set != 0; set &= set - 1) {
          const std::size_t bit = i * 64 + static_cast<std::size_t>(std::countr_zero(set));
          if (bit >= end) return;
          visit(bit);
        }
      }
    }
    // Calls visit(bit) downward for set bits in [0, end) until it returns true; whether it did.
    template <typename Visitor>
    bool FindDown(std::size_t end, Visitor visit) const {
      for (std::size_t i = (end + 63) / 64; i-- > 0;) {
        std::uint64_t set = words[i].load();
        if (end - i * 64 < 64) set &= (std::uint64_t{1} << (end - i * 64)) - 1;
        while (set != 0) {
          const auto top = static_cast<std::size_t>(63 - std::countl_zero(set));
          if (visit(i * 64 + top)) return true;
          set &= ~(std::uint64_t{1} << top);
        }
      }
      return false;
    }
  };

  struct Leaf {
    std::array<PageWord, kWordsPerLeaf> pages;
    std::array<std::atomic<std::uint64_t>, kGranulesPerLeaf> regions;  // packed Region of each granule that begins one
    Bitmap<kWordsPerLeaf> touched;
    Bitmap<kGranulesPerLeaf> bases;  // granules that begin a live region
  };
  struct Middle {
    std::array<std::atomic<Leaf*>, kLeavesPerMiddle> leaves;
    Bitmap<kLeavesPerMiddle> present;
    Bitmap<kLeavesPerMiddle> with_bases;  // leaves that ever held the begin of a region
  };

  [[nodiscard]] Leaf* FindLeaf(Address address) const;
  [[nodiscard]] Leaf* EnsureLeaf(Address address);
  void MarkBase(Leaf& leaf, Address base);
  template <typename Node>
  [[nodiscard]] Node* Publish(std::atomic<Node*>& place);
  [[nodiscard]] std::optional<Region> FindRegionBelow(Address address) const;
  [[nodiscard]] static std::optional<Region> LastRegionIn(const Leaf& leaf, std::size_t end_granule, Address leaf_start);
  [[nodiscard]] static std::uint64_t Pack(const Region& region);
  [[nodiscard]] static std::optional<Region> Unpack(std::uint64_t packed, Address base);

  os::MemorySystem& os_;
  std::atomic<std::uint64_t> metadata_ = 0;
  Bitmap<kMiddleCount> present_;
  Bitmap<kMiddleCount> with_bases_;
  std::array<std::atomic<Middle*>, kMiddleCount> middles_{};
};

template <typename Visitor>
void PageMap::ForEachTouchedWord(PageRange range, Visitor visit) const {
  if (range.count.value == 0 || !Tracks(range)) return;
  constexpr std::uint64_t kWordsPerMiddle = kWordsPerLeaf * kLeavesPerMiddle;
  const std::uint64_t first = range.first / 64;
  const std::uint64_t end = (range.end() + 63) / 64;
  const auto visit_word = [&](PageWord& page_word, std::uint64_t word) {
    std::uint64_t mask = ~std::uint64_t{0};
    if (word == first) mask &= ~std::uint64_t{0} << (range.first % 64);
    if (word + 1 == end && range.end() % 64 != 0) mask &= (std::uint64_t{1} << (range.end() % 64)) - 1;
    visit(page_word, word, mask);
  };
  if (first + 1 == end) {  // most requests
    if (PageWord* page_word = FindWord(first); page_word != nullptr) visit_word(*page_word, first);
    return;
  }
  present_.ForEach(first / kWordsPerMiddle, (end - 1) / kWordsPerMiddle + 1, [&](std::size_t m) {
    const Middle& middle = *middles_[m].load();
    const std::uint64_t middle_word = m * kWordsPerMiddle;
    const std::uint64_t low = first > middle_word ? first - middle_word : 0;
    const std::uint64_t high = end - middle_word < kWordsPerMiddle ? end - middle_word : kWordsPerMiddle;
    middle.present.ForEach(low / kWordsPerLeaf, (high - 1) / kWordsPerLeaf + 1, [&](std::size_t l) {
      Leaf& leaf = *middle.leaves[l].load();
      const std::uint64_t leaf_word = middle_word + l * kWordsPerLeaf;
      const std::uint64_t from = first > leaf_word ? first - leaf_word : 0;
      const std::uint64_t to = end - leaf_word < kWordsPerLeaf ? end - leaf_word : kWordsPerLeaf;
      leaf.touched.ForEach(from, to, [&](std::size_t w) { visit_word(leaf.pages[w], leaf_word + w); });
    });
  });
}

template <typename Visitor>
void PageMap::ForEachRegion(Visitor visit) const {
  with_bases_.ForEach(0, kMiddleCount, [&](std::size_t m) {
    const Middle& middle = *middles_[m].load();
    middle.with_bases.ForEach(0, kLeavesPerMiddle, [&](std::size_t l) {
      const Leaf& leaf = *middle.leaves[l].load();
      leaf.bases.ForEach(0, kGranulesPerLeaf, [&](std::size_t g) {
        const Address base = (std::uint64_t{m} << kMiddleShift) + (std::uint64_t{l} << kLeafShift) +
                             (std::uint64_t{g} << kGranuleShift);
        if (const auto region = Unpack(leaf.regions[g].load(), base)) visit(*region);
      });
    });
  });
}

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_PAGE_MAP_H
