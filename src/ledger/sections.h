// Sections backed by the paging file, which a CLR maps as often as it likes (W^X maps its code twice). A page committed
// in one view is committed in all of them, and stays so until the section ends; it is charged to the section, once.
//
// A section lives while something refers to it: handles, views, and calls at work on it. Its pages are bits that are
// only ever set, so that commits need not see each other. Cost is in proportion to the pages committed, not to the
// section's size (W^X makes one of 2 TiB). Threads: every function at any time in any number of threads; none waits for
// another, and a thread may be suspended anywhere.
#ifndef CLRHM_LEDGER_SECTIONS_H
#define CLRHM_LEDGER_SECTIONS_H

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "base/units.h"
#include "budget/budget.h"
#include "os/memory_system.h"

namespace clr_host_memory {

// Which section; 0: none. A name is not used again for 2^20 sections in the same place.
using SectionName = std::uint32_t;

// What a view shows of a section, in one word: 0 for a view of anything else.
struct SectionView {
  SectionName section = 0;
  std::uint32_t first_granule = 0;  // of the section, where the view begins

  [[nodiscard]] constexpr std::uint64_t Pack() const { return std::uint64_t{section} << 32 | first_granule; }
  [[nodiscard]] static constexpr SectionView Unpack(std::uint64_t word) {
    return {static_cast<SectionName>(word >> 32), static_cast<std::uint32_t>(word)};
  }
  [[nodiscard]] constexpr std::uint64_t FirstPage() const {
    return std::uint64_t{first_granule} << (kGranuleShift - kPageShift);
  }
};

class Sections {
  struct Section;

 public:
  // Larger sections cannot be tracked page by page.
  static constexpr Bytes kLargest{std::uint64_t{1} << 42};

  // os and budget outlive the table.
  Sections(MemorySystem& os, Budget& budget) : os_(os), budget_(budget) {}
  ~Sections();
  Sections(const Sections&) = delete;
  Sections& operator=(const Sections&) = delete;

  // A new section with one reference; charged: pages charged for it already, which are all it can have (0: its pages
  // are committed one by one). 0: no memory, too large, or kMost are alive.
  [[nodiscard]] SectionName Add(Pages size, Pages charged);
  // One more reference. False: that section has ended.
  [[nodiscard]] bool Keep(SectionName name);
  // With the last one the section's charge is returned.
  void Drop(SectionName name);

  // A call that works on the pages of a section, which lives as long.
  class Use {
   public:
    Use(Sections& sections, SectionName name)
        : sections_(sections), name_(name), section_(sections.Keep(name) ? sections.Find(name) : nullptr) {
      if (section_ != nullptr) section_->in_progress.fetch_add(1);
    }
    ~Use() {
      if (section_ == nullptr) return;
      section_->in_progress.fetch_sub(1);
      sections_.Drop(name_);
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    [[nodiscard]] bool ok() const { return section_ != nullptr; }
    // Makes room to mark range. False: no memory, or it is not of this section.
    [[nodiscard]] bool Prepare(PageRange range) { return sections_.Prepare(*section_, range); }
    // Pages of range that are not charged yet.
    [[nodiscard]] Pages Missing(PageRange range) const;
    // Marks all of range, which was prepared, as charged; how many were not.
    Pages Mark(PageRange range);
    // Bits of the 64 pages from 64 * word on.
    [[nodiscard]] std::uint64_t Charged(std::uint64_t word) const;
    [[nodiscard]] bool ChargedAsAWhole() const { return section_->whole; }
    // Whether anybody else works on it.
    [[nodiscard]] bool OthersInProgress() const { return section_->in_progress.load() > 1; }

   private:
    Sections& sections_;
    const SectionName name_;
    Section* const section_;
  };

  // Pages charged to all sections.
  [[nodiscard]] Pages Charged() const { return {charged_.load()}; }
  [[nodiscard]] Bytes MetadataBytes() const { return {metadata_.load(std::memory_order_relaxed)}; }

 private:
  static constexpr unsigned kWordsPerLeafShift = 9;     // a leaf is 4 KiB: 128 MiB of a section
  static constexpr unsigned kLeavesPerMiddleShift = 9;  // 64 GiB
  static constexpr std::size_t kMiddles = 64;           // 4 TiB
  static constexpr unsigned kIndexBits = 12;
  static constexpr std::size_t kPerChunk = 16;
  static constexpr std::size_t kMost = std::size_t{1} << kIndexBits;
  static_assert(kLargest.value == std::uint64_t{kMiddles}
                                      << (kLeavesPerMiddleShift + kWordsPerLeafShift + 6 + kPageShift));

  struct Leaf {
    std::array<std::atomic<std::uint64_t>, std::size_t{1} << kWordsPerLeafShift> words;
  };
  struct Middle {
    std::array<std::atomic<Leaf*>, std::size_t{1} << kLeavesPerMiddleShift> leaves;
  };
  struct Section {
    // How often it was used, 20 bits from 32 on, and below them how many refer to it. kFree: nobody's; no references
    // and not kFree: it is being ended.
    std::atomic<std::uint64_t> state = kFree;
    std::atomic<std::uint64_t> charged = 0;  // pages
    std::atomic<std::uint32_t> in_progress = 0;
    Pages size;
    bool whole = false;  // charged as a whole; no bits
    std::array<std::atomic<Middle*>, kMiddles> middles{};
  };
  struct Chunk {
    std::array<Section, kPerChunk> sections{};
  };
  static constexpr std::uint64_t kFree = std::uint64_t{1} << 31;
  static constexpr std::uint64_t kReferences = kFree - 1;
  [[nodiscard]] static constexpr std::uint64_t UseOf(std::uint64_t state) { return state >> 32; }
  [[nodiscard]] static constexpr std::uint64_t UseOf(SectionName name) { return name >> kIndexBits; }
  static constexpr std::uint64_t kUses = std::uint64_t{1} << (32 - kIndexBits);

  [[nodiscard]] Section* Find(SectionName name) const;
  [[nodiscard]] bool Prepare(Section& section, PageRange range);
  [[nodiscard]] static std::atomic<std::uint64_t>* FindWord(const Section& section, std::uint64_t word);
  void End(Section& section);
  // Calls visit(word or null, mask of range's pages in it) for every 64 pages that range touches.
  template <typename Visitor>
  static void ForEachWord(const Section& section, PageRange range, Visitor visit);
  template <typename Node>
  void Free(Node* node);

  MemorySystem& os_;
  Budget& budget_;
  std::atomic<std::uint64_t> charged_ = 0;
  std::atomic<std::uint64_t> metadata_ = 0;
  std::array<std::atomic<Chunk*>, kMost / kPerChunk> chunks_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_SECTIONS_H
