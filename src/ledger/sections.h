// Sections backed by the paging file. A CLR may map one any number of times (W^X maps its code twice). A page
// committed in one view is committed in all views, and stays committed until the section ends. It is charged to the
// section, once.
//
// A section lives while something refers to it: handles, views, and calls in progress on it. Its pages are bits that
// are only ever set, so commits need not see each other. Cost is in proportion to the pages committed, not to the
// section's size (W^X creates one of 2 TiB).
//
// Threads: every function may run at any time in any number of threads. None waits for another, and a thread may be
// suspended anywhere.
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

// Identifies a section; 0: none. In the same place, a name is reused only after 2^20 sections.
using SectionName = std::uint32_t;

// The part of a section that a view shows, in one word. 0 for a view of anything else.
struct SectionView {
  SectionName section = 0;
  std::uint32_t first_granule = 0;  // in the section: where the view begins

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
  // A larger section cannot be tracked page by page.
  static constexpr Bytes kLargest{std::uint64_t{1} << 42};

  // os and budget outlive the table.
  Sections(MemorySystem& os, Budget& budget) : os_(os), budget_(budget) {}
  ~Sections();
  Sections(const Sections&) = delete;
  Sections& operator=(const Sections&) = delete;

  // Creates a section with one reference. charged: pages already charged for it, which are all it can have; 0: its
  // pages are committed one by one. Returns 0 if there is no memory, if it is too large, or if kMost sections are
  // alive.
  [[nodiscard]] SectionName Add(Pages size, Pages charged);
  // Adds a reference. False: that section has ended.
  [[nodiscard]] bool Keep(SectionName name);
  // Removes a reference. Removing the last one uncharges the section.
  void Drop(SectionName name);

  // A call in progress on the pages of a section. It keeps the section alive.
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
    // Makes room to mark range. False: no memory, or range is not in this section.
    [[nodiscard]] bool Prepare(PageRange range) { return sections_.Prepare(*section_, range); }
    // Returns how many pages of range are not charged yet.
    [[nodiscard]] Pages Missing(PageRange range) const;
    // Marks all of range, which was prepared, as charged. Returns how many pages were not charged before.
    Pages Mark(PageRange range);
    // Returns the bits of the 64 pages from 64 * word on.
    [[nodiscard]] std::uint64_t Charged(std::uint64_t word) const;
    [[nodiscard]] bool ChargedAsAWhole() const { return section_->whole; }
    // Returns whether another call is in progress on the section.
    [[nodiscard]] bool OthersInProgress() const { return section_->in_progress.load() > 1; }

   private:
    Sections& sections_;
    const SectionName name_;
    Section* const section_;
  };

  // Returns the pages charged to all sections.
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
    // Bits 32 to 51: how often the record was used. Below them: the number of references. kFree: the record is unused.
    // If there are no references and kFree is not set, the section is being ended.
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
