// The page map: for each page whether it is charged, and for each region its base and its length.
//
// It is a radix tree over the address space with three levels: root → middle (64 GiB) → leaf (64 MiB). Nodes are
// allocated from the OS seam when their part of the address space is first touched. They are published with a
// compare-exchange and live as long as the map, so a reader needs no protection. Cost is in proportion to what was
// touched, never to the reserved size.
//
// In 32-bit processes the address space may be full, and a commit in a region must succeed all the same. So AddRegion
// creates all leaves of the region there. There are 64 at most.
//
// Threads: every function may run at any time in any number of threads. A thread may be suspended anywhere, and no
// function waits for another.
#ifndef CLRHM_LEDGER_PAGE_MAP_H
#define CLRHM_LEDGER_PAGE_MAP_H

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/units.h"
#include "os/memory_system.h"

namespace clr_host_memory {

// The manager's record of an address range that the OS handed out in one piece.
struct Region {
  enum class Kind : std::uint8_t {
    kNone = 0,
    kReserved = 1,  // by VirtualAlloc through the manager
    kView = 2,      // a mapped view that the CLR announced
  };
  Address base = 0;
  Pages pages;
  Kind kind = Kind::kNone;
  // How it was reserved: the request's PAGE_* without modifiers, and kCommittedAtOnce. 0 for a view. The purpose of
  // the memory can be derived from it (bridge/purpose.h).
  std::uint16_t reserved_as = 0;
  std::uint64_t section_view = 0;  // for a view: a SectionView in one word
  std::uint16_t serial = 0;        // for a view: tells it from earlier and later views at the same base

  static constexpr std::uint16_t kCommittedAtOnce = 0x100;

  [[nodiscard]] constexpr PageRange Range() const { return {base >> kPageShift, pages}; }
};

// The record of a region that begins at page `first`. It is one word, so it changes in one step. The upper part is the
// number of its pages: negative for a view, 0 if there is no region. The lower part tells how it was reserved, or
// holds a view's serial. So one comparison tells whether a page above `first` lies in a region reserved through the
// manager.
struct RegionSlot {
  static constexpr unsigned kCountShift = 16;
  std::uint64_t first = 0;
  std::atomic<std::int64_t> packed = 0;
  std::atomic<std::uint64_t> section_view = 0;  // for a view: stored before packed, removed after it
  std::atomic<std::uint64_t> owner = 0;         // set by a layer above that gives out parts of the region; 0: none

  [[nodiscard]] static constexpr std::int64_t Pack(const Region& region) {
    const auto pages = static_cast<std::int64_t>(region.pages.value);
    const bool is_view = region.kind == Region::Kind::kView;
    return (is_view ? -pages : pages) * (std::int64_t{1} << kCountShift) +
           (is_view ? region.serial : region.reserved_as);
  }
  // Negative for a view.
  [[nodiscard]] static constexpr std::int64_t CountIn(std::int64_t value) { return value >> kCountShift; }
  [[nodiscard]] std::optional<Region> Unpack(std::int64_t value) const {
    const std::int64_t count = CountIn(value);
    if (count == 0) return std::nullopt;
    const auto low = static_cast<std::uint16_t>(value);
    if (count > 0)
      return Region{first << kPageShift, {static_cast<std::uint64_t>(count)}, Region::Kind::kReserved, low};
    return Region{
        first << kPageShift, {static_cast<std::uint64_t>(-count)}, Region::Kind::kView, 0, section_view.load(), low};
  }
  [[nodiscard]] std::optional<Region> Read() const { return Unpack(packed.load()); }
};

// A region with an owner. owner 0: there is none.
struct OwnedRegion {
  Address base = 0;
  Pages pages;
  std::uint64_t owner = 0;
};

// A page word: 64 pages. `charged` has a bit per page. `gate` counts the commits in progress on these pages: see
// Ledger, "Commits in flight".
struct PageWord {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "a thread may be suspended inside any operation");
  static constexpr unsigned kShift = kPageShift + 6;
  std::atomic<std::uint64_t> charged;
  std::atomic<std::uint64_t> gate;  // not 0 once a thread has entered the word
  // The region these pages were last seen in: a hint, to be verified. Null until a thread has entered the word.
  std::atomic<const RegionSlot*> region;
};

// The pages of one request that lie in one touched word, as most do: found once, used at every step.
struct PageSpan {
  PageWord* word = nullptr;  // null: LocateOwn found no such word, and the other members say nothing
  std::uint64_t mask = 0;    // of the pages in *word
  PageRange range;
  const RegionSlot* region = nullptr;

  [[nodiscard]] std::uint64_t WordIndex() const { return range.first / 64; }
  // Returns the owner of the region; 0: none.
  [[nodiscard]] std::uint64_t Owner() const { return region->owner.load(std::memory_order_relaxed); }
};

class PageMap {
 public:
  // User space: 47 bits on x64 and ARM64, 32 on x86. Tests on Linux use 64-bit builds.
  static constexpr unsigned kAddressBits = sizeof(void*) == 8 ? 47 : 32;
  static constexpr unsigned kLeafShift = 26;
  static constexpr unsigned kMiddleShift = kAddressBits > 36 ? 36 : kAddressBits;
  static constexpr std::size_t kMiddleCount = std::size_t{1} << (kAddressBits - kMiddleShift);
  // Whether AddRegion creates all leaves of the region, not only the first.
  static constexpr bool kLeavesWithRegion = kAddressBits == 32;

  static constexpr PageRange kEverything{0, {std::uint64_t{1} << (kAddressBits - kPageShift)}};

  explicit PageMap(MemorySystem& os) : os_(os) {}
  ~PageMap();
  PageMap(const PageMap&) = delete;
  PageMap& operator=(const PageMap&) = delete;

  [[nodiscard]] static constexpr bool Tracks(PageRange range) {
    return range.end() <= (std::uint64_t{1} << (kAddressBits - kPageShift));
  }

  // Returns the word that holds a page, or null while that part of the address space is untouched. word = page / 64.
  [[nodiscard]] PageWord* FindWord(std::uint64_t word) const { return FindWordOf(word << PageWord::kShift); }
  [[nodiscard]] PageWord* FindWordOf(Address address) const {
    Leaf* leaf = FindLeaf(address);
    return leaf == nullptr ? nullptr : WordIn(*leaf, address);
  }
  // Returns the word as FindWord does, creates it if missing, and marks it as touched. Null: the OS has no memory for
  // it.
  [[nodiscard]] PageWord* EnsureWord(std::uint64_t word) {
    PageWord* found = FindWord(word);
    return found != nullptr && found->gate.load(std::memory_order_relaxed) != 0 ? found : TouchWord(word);
  }

  // Answers in one step what nearly every request asks. The pages of [address, address + size) must lie in one touched
  // word. They must also lie in one live region reserved through the manager, which the word remembers. If any of this
  // does not hold, word is null.
  [[nodiscard]] PageSpan LocateOwn(Address address, std::uint64_t size) const {
    const std::uint64_t first = address >> kPageShift;
    const std::uint64_t last = (address + size - 1) >> kPageShift;
    if (size - 1 >= kPageSize * 64 || first / 64 != last / 64) return {};
    // An address above the address space meets another address's word here, and fails the test of its page below.
    Leaf* leaf = FindLeafIn(middles_[static_cast<std::size_t>(address >> kMiddleShift) % kMiddleCount], address);
    if (leaf == nullptr) return {};
    PageWord* word = WordIn(*leaf, address);
    const RegionSlot* slot = word->region.load(std::memory_order_relaxed);
    if (slot == nullptr) return {};
    const std::int64_t count = RegionSlot::CountIn(slot->packed.load());
    if (first < slot->first || static_cast<std::int64_t>(last - slot->first) >= count) return {};
    const std::uint64_t mask = ~std::uint64_t{0} >> (63 - (last - first)) << (first % 64);
    return {word, mask, {first, {last - first + 1}}, slot};
  }

  // Returns whether EnsureWord was ever called for the word.
  [[nodiscard]] bool IsTouched(std::uint64_t word) const;

  // Calls visit(PageWord&, word, mask) for every touched word that shares pages with range; mask selects those pages.
  template <typename Visitor>
  void ForEachTouchedWord(PageRange range, Visitor visit) const {
    ForEachMarkedWord(range, &Leaf::touched, visit);
  }

  // Marks a touched word as foreign: it may hold pages that were committed in foreign memory.
  void MarkForeign(std::uint64_t word) { LeafOfWord(word).foreign.Set(word % kWordsPerLeaf); }
  void UnmarkForeign(std::uint64_t word) { LeafOfWord(word).foreign.Clear(word % kWordsPerLeaf); }
  // Calls visit(PageWord&, word) for every word marked as foreign.
  template <typename Visitor>
  void ForEachForeignWord(Visitor visit) const {
    ForEachMarkedWord(kEverything, &Leaf::foreign,
                      [&](PageWord& page_word, std::uint64_t word, std::uint64_t) { visit(page_word, word); });
  }

  // Returns how many leaves EnsureWord would still have to create for all of range, which is tracked.
  [[nodiscard]] std::uint64_t MissingLeaves(PageRange range) const {
    constexpr unsigned kShift = kLeafShift - kPageShift;
    std::uint64_t missing = 0;
    for (std::uint64_t leaf = range.first >> kShift; leaf <= (range.end() - 1) >> kShift; ++leaf) {
      if (FindLeaf(leaf << kLeafShift) == nullptr) ++missing;
    }
    return missing;
  }

  // Returns the live region that holds address.
  [[nodiscard]] std::optional<Region> FindRegion(Address address) const {
    return FindRegion(address >> kPageShift, FindWordOf(address));
  }
  // Returns the live region that begins at base.
  [[nodiscard]] std::optional<Region> RegionAt(Address base) const;
  // Returns the owned region that holds address, for any value. Reliable for addresses in pages that were ever
  // committed through the manager. For the rest of a region it may report no owner. Constant time for every address
  // outside such pages.
  [[nodiscard]] OwnedRegion OwnedAt(Address address) const {
    PageWord* word = FindWordOf(address);
    if (word == nullptr) return {};
    const std::uint64_t page = address >> kPageShift;
    if (const RegionSlot* slot = word->region.load(std::memory_order_relaxed); slot != nullptr) [[likely]] {
      const std::int64_t pages = RegionSlot::CountIn(slot->packed.load());
      if (page >= slot->first && static_cast<std::int64_t>(page - slot->first) < pages) [[likely]] {
        return {slot->first << kPageShift, {static_cast<std::uint64_t>(pages)}, slot->owner.load()};
      }
    }
    // The word remembers another region, or none yet. Other threads may make it remember their region at any time.
    if (word->gate.load(std::memory_order_relaxed) == 0) return {};
    const auto region = FindRegion(page, word);
    if (!region) return {};
    return {region->base, region->pages, OwnerOfRegionAt(region->base)};
  }
  // Changes the owner of the region that begins at base. The region must be the caller's. owner 0: none. False: `from`
  // does not own it.
  bool ChangeOwner(Address base, std::uint64_t from, std::uint64_t owner) {
    return FindLeaf(base)->regions[GranuleInLeaf(base)].owner.compare_exchange_strong(from, owner);
  }
  [[nodiscard]] std::uint64_t OwnerOfRegionAt(Address base) const {
    const Leaf* leaf = FindLeaf(base);
    return leaf == nullptr ? 0 : leaf->regions[GranuleInLeaf(base)].owner.load();
  }
  // Makes region findable, without an owner. Replaces a record at the same base, and returns it through *replaced.
  // *shown: the SectionView of a view there until now; the caller drops its section. False: no memory for the record,
  // or for the region's leaves where they are created with it (kLeavesWithRegion).
  [[nodiscard]] bool AddRegion(const Region& region, std::optional<Region>* replaced, std::uint64_t* shown);
  // Makes the region at base unknown. One caller gets it, with its section_view. Any other caller gets nothing.
  [[nodiscard]] std::optional<Region> RemoveRegion(Address base, Region::Kind kind);
  // Removes exactly this region, not another region that has taken its place.
  [[nodiscard]] std::optional<Region> RemoveRegion(const Region& known);
  // Undoes RemoveRegion.
  void RestoreRegion(const Region& region);
  // Calls visit(Region) for every live region.
  template <typename Visitor>
  void ForEachRegion(Visitor visit) const {
    ForEachBaseIn(kEverything, visit);
  }
  // Calls visit(Region) for every live region that shares pages with range, which is tracked.
  template <typename Visitor>
  void ForEachRegionIn(PageRange range, Visitor visit) const {
    if (const auto region = FindRegion(range.Start()); region && region->Range().first < range.first) visit(*region);
    ForEachBaseIn(range, visit);
  }

  // Returns the bytes of the map's own nodes.
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
    // Calls visit(bit) downward for set bits in [0, end) until it returns true. Returns whether it did.
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
    explicit Leaf(Address start) {
      for (RegionSlot& slot : regions) slot.first = std::exchange(start, start + kGranuleSize) >> kPageShift;
    }
    std::array<PageWord, kWordsPerLeaf> pages;
    std::array<RegionSlot, kGranulesPerLeaf> regions;
    Bitmap<kWordsPerLeaf> touched;
    Bitmap<kWordsPerLeaf> foreign;   // words marked by MarkForeign
    Bitmap<kGranulesPerLeaf> bases;  // granules where a live region begins
  };
  struct Middle {
    explicit Middle(Address) {}
    std::array<std::atomic<Leaf*>, kLeavesPerMiddle> leaves;
    Bitmap<kLeavesPerMiddle> present;
    Bitmap<kLeavesPerMiddle> with_bases;  // leaves that ever held the beginning of a region
  };

  [[nodiscard]] std::optional<Region> FindRegion(std::uint64_t page, PageWord* word) const {
    if (word != nullptr) {
      if (const RegionSlot* slot = word->region.load(std::memory_order_relaxed); slot != nullptr) {
        // A live region that reaches this page is the right one: regions do not overlap. If its base is above the
        // page, the difference wraps around, and the test fails.
        const auto region = slot->Read();
        if (region && page - region->Range().first < region->pages.value) return region;
      }
    }
    return FindRegionBelow(page << kPageShift, word);
  }
  template <typename Marks, typename Visitor>
  void ForEachMarkedWord(PageRange range, Marks Leaf::* marks, Visitor visit) const;
  [[nodiscard]] std::optional<Region> Take(RegionSlot& slot, Leaf& leaf, std::int64_t packed);
  // Returns the leaf of a touched word.
  [[nodiscard]] Leaf& LeafOfWord(std::uint64_t word) const { return *FindLeaf(word << PageWord::kShift); }
  [[nodiscard]] Leaf* FindLeaf(Address address) const {
    const auto m = static_cast<std::size_t>(address >> kMiddleShift);
    return m < kMiddleCount ? FindLeafIn(middles_[m], address) : nullptr;
  }
  [[nodiscard]] static Leaf* FindLeafIn(const std::atomic<Middle*>& published, Address address) {
    const Middle* middle = published.load();
    if (middle == nullptr) return nullptr;
    return middle->leaves[static_cast<std::size_t>(address >> kLeafShift) % kLeavesPerMiddle].load();
  }
  [[nodiscard]] static PageWord* WordIn(Leaf& leaf, Address address) {
    return &leaf.pages[static_cast<std::size_t>(address >> PageWord::kShift) % kWordsPerLeaf];
  }
  // Calls visit(Region) for every live region that begins in range.
  template <typename Visitor>
  void ForEachBaseIn(PageRange range, Visitor visit) const;
  [[nodiscard]] Leaf* EnsureLeaf(Address address);
  void MarkBase(Leaf& leaf, Address base);
  [[nodiscard]] PageWord* TouchWord(std::uint64_t word);
  [[nodiscard]] static std::size_t GranuleInLeaf(Address address) {
    return static_cast<std::size_t>(address >> kGranuleShift) % kGranulesPerLeaf;
  }
  // Searches downward from address. Remembers the region that it found in word, which may be null.
  [[nodiscard]] std::optional<Region> FindRegionBelow(Address address, PageWord* word) const;
  [[nodiscard]] static const RegionSlot* LastSlotIn(const Leaf& leaf, std::size_t end_granule);

  MemorySystem& os_;
  std::atomic<std::uint64_t> metadata_ = 0;
  Bitmap<kMiddleCount> present_;
  Bitmap<kMiddleCount> with_bases_;
  std::array<std::atomic<Middle*>, kMiddleCount> middles_{};
};

template <typename Marks, typename Visitor>
void PageMap::ForEachMarkedWord(PageRange range, Marks Leaf::* marks, Visitor visit) const {
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
  if (first + 1 == end && marks == &Leaf::touched) {  // most requests
    PageWord* page_word = FindWord(first);
    if (page_word != nullptr && page_word->gate.load() != 0) visit_word(*page_word, first);
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
      (leaf.*marks).ForEach(from, to, [&](std::size_t w) { visit_word(leaf.pages[w], leaf_word + w); });
    });
  });
}

template <typename Visitor>
void PageMap::ForEachBaseIn(PageRange range, Visitor visit) const {
  // first and end count granules. In the callbacks they count from the start of the node. A region begins at a
  // granule.
  constexpr std::uint64_t kPerGranule = kGranuleSize / kPageSize;
  constexpr std::uint64_t kGranulesPerMiddle = kGranulesPerLeaf * kLeavesPerMiddle;
  const std::uint64_t first = (range.first + kPerGranule - 1) / kPerGranule;
  const std::uint64_t end = (range.end() + kPerGranule - 1) / kPerGranule;
  if (first >= end) return;
  with_bases_.ForEach(first / kGranulesPerMiddle, (end - 1) / kGranulesPerMiddle + 1, [&](std::size_t m) {
    const Middle& middle = *middles_[m].load();
    const std::uint64_t middle_start = m * kGranulesPerMiddle;
    const std::uint64_t low = first > middle_start ? first - middle_start : 0;
    const std::uint64_t high = end - middle_start < kGranulesPerMiddle ? end - middle_start : kGranulesPerMiddle;
    middle.with_bases.ForEach(low / kGranulesPerLeaf, (high - 1) / kGranulesPerLeaf + 1, [&](std::size_t l) {
      const Leaf& leaf = *middle.leaves[l].load();
      const std::uint64_t leaf_start = middle_start + l * kGranulesPerLeaf;
      const std::uint64_t from = first > leaf_start ? first - leaf_start : 0;
      const std::uint64_t to = end - leaf_start < kGranulesPerLeaf ? end - leaf_start : kGranulesPerLeaf;
      leaf.bases.ForEach(from, to, [&](std::size_t g) {
        if (const auto region = leaf.regions[g].Read()) visit(*region);
      });
    });
  });
}

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_PAGE_MAP_H
