// The ledger: page map and charge together, exact at page granularity.
//
// The invariant holds whenever no call is in progress. Charged pages equal the sum of two sets. One is the pages
// VirtualQuery shows as committed in the regions reserved through the manager. The other is the pages the manager
// committed in views and in foreign memory. Foreign memory was reserved by other code in the process. A view of a
// known section has no pages itself: its committed pages are charged to the section (sections.h).
//
// Commits in flight. A commit cannot know the result before the OS answers. A free cannot wait for the commit, since
// either thread may be suspended. So each page word (64 pages) has a gate that counts the commits in progress on it. A
// free marks the word as overlapped if it finds a commit in progress, or finds pages charged again. The last thread to
// leave an overlapped word asks the OS for the state of its pages and records it. Commits that meet need not ask: each
// pays for the bits that it sets.
//
// The order of a free. It clears the pages' bits before the OS frees them, since another thread may get the address at
// once. It uncharges the pages after the OS has freed them. Then it checks the words once more (SweepAfterFree). A
// thread that sets a bit has charged for it before. So a thread that clears the bit may uncharge the page at once. The
// sum must never fall below the committed pages, or below 0.
//
// A refused commit leaves no tables behind. A commit is charged for by the words that exist already, and creates the
// missing ones once it is charged. A wide commit would create many: it creates them once the OS has granted the pages
// (WideCommit).
//
// Foreign memory may be freed without the manager's knowledge. The ledger marks the words of pages that are committed
// in it (NoteForeign). UnchargeFreedElsewhere asks the OS about these words, and about the announced views.
#ifndef CLRHM_LEDGER_LEDGER_H
#define CLRHM_LEDGER_LEDGER_H

#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "base/units.h"
#include "budget/budget.h"
#include "ledger/page_map.h"
#include "ledger/sections.h"
#include "os/memory_system.h"

namespace clr_host_memory {

struct LedgerAudit {
  Pages charged;    // according to the ledger
  Pages committed;  // according to the OS
  Pages mismatch;   // pages on which they differ, and charge that no page explains
  Pages in_flight;  // pages not judged: calls on them, or on other pages, were always in progress
  std::uint64_t regions = 0;
};

struct LedgerFigures {
  Bytes reserved;
  Bytes peak_reserved;
  Bytes mapped;
  Bytes metadata;
  std::uint64_t regions = 0;
  std::uint64_t stale = 0;
};

class Ledger {
 public:
  Ledger(MemorySystem& os, const Limits& limits) : os_(os), map_(os), budget_(limits), sections_(os, budget_) {}

  [[nodiscard]] Budget& budget() { return budget_; }
  [[nodiscard]] const Budget& budget() const { return budget_; }
  [[nodiscard]] Sections& sections() { return sections_; }

  [[nodiscard]] PageSpan LocateOwn(Address address, std::uint64_t size) const { return map_.LocateOwn(address, size); }
  [[nodiscard]] std::optional<Region> FindRegion(Address address) const { return map_.FindRegion(address); }
  [[nodiscard]] std::optional<Region> RegionAt(Address base) const { return map_.RegionAt(base); }

  // Calls visit(Region) for every known region that shares pages with range.
  template <typename Visitor>
  void ForEachRegionIn(PageRange range, Visitor visit) const {
    map_.ForEachRegionIn(range, visit);
  }

  // Records a region. Call after the OS gave it. Charge that the ledger still held for these pages is out of date (the
  // OS would not have given them out), and is uncharged. False: no memory for the record; the region is not recorded.
  [[nodiscard]] bool AddRegion(const Region& added);
  // Removes a region's record. Call before the OS frees it. One caller gets the region, which is unknown from then on.
  [[nodiscard]] std::optional<Region> RemoveRegion(Address base, Region::Kind kind);
  // Removes the record of exactly this region, not of another region that has taken its place.
  [[nodiscard]] std::optional<Region> RemoveRegion(const Region& known);
  // Restores a region's record. Call when the OS refused to free it.
  void RestoreRegion(const Region& region);

  // Clears the pages' bits. The charge for the returned pages stays with the caller, which passes it to
  // budget().Uncharge. span: as LocateOwn found it.
  [[nodiscard]] Pages ClearCharged(const PageSpan& span) { return ClearIn(*span.word, span.mask, span.range.count); }
  [[nodiscard]] Pages ClearCharged(PageRange range);
  // Uncharges a view, and drops its section. Call with a record that was removed, after the OS has unmapped it.
  void UnchargeUnmappedView(const Region& view);
  // Asks the OS which pages of range are committed, and charges them to the section of the view that is known there by
  // now. Call when a commit reached another view than it had found: no other thread knows of that commit.
  void AskOsAboutView(PageRange range);
  // Checks the words again that commits have overlapped. Call after the OS freed or decommitted the pages.
  void SweepAfterFree(const PageSpan& span) { SweepWord(*span.word, span.WordIndex(), span.mask); }
  void SweepAfterFree(PageRange range);
  // Has the OS asked about every touched word of range. Call when the effect of an OS call on range is not known any
  // more.
  void AskOsAbout(PageRange range);
  void AskOsAbout(const PageSpan& span) { AskOsAbout(span.range); }

  // Conflicts. A decommit finds a region, and may reach the OS only after that region is gone and its address is part
  // of another region. Any free may meet a wide commit, which leaves no trace in the words while the OS is asked. The
  // decommit or free reads RemovalCount before it acts. If the count differs afterwards, it notes a conflict. A thread
  // that is given a region, or that commits widely, reads ConflictCount before it acts. If the count differs
  // afterwards, the thread asks the OS about its pages. So the thread that comes second detects the conflict.
  [[nodiscard]] std::uint64_t RemovalCount() const { return removals_.load(std::memory_order_acquire) & ~kWideCommits; }
  void NoteConflictUnless(std::uint64_t removals_before) {
    if (removals_.load(std::memory_order_acquire) != removals_before) NoteConflict();
  }
  [[nodiscard]] std::uint64_t ConflictCount() const { return conflicts_.load(); }
  void NoteConflict() { conflicts_.fetch_add(1); }

  [[nodiscard]] bool AnyCharged(PageRange range) const;
  [[nodiscard]] Pages ChargedIn(PageRange range) const;
  // Returns whether tables for all of range would be wasted if the OS refused it.
  [[nodiscard]] bool IsWide(PageRange range) const;
  // Calls visit(pages) for each run of pages of range that are not charged.
  template <typename Visitor>
  void ForEachUncharged(PageRange range, Visitor visit) const;
  // Returns whether a commit is in progress on any page. Looks at every touched word.
  [[nodiscard]] bool AnyCommitInProgress() const;

  // Returns how many pages of range, in foreign memory, a commit would have to pay for: those neither committed nor
  // charged. Asks the OS.
  [[nodiscard]] Pages CountUncommitted(PageRange range) const;

  // Uncharges memory that was freed or unmapped without the manager's knowledge. True: there was some. Asks the OS one
  // question for every announced view, and one for every word with pages committed in foreign memory.
  bool UnchargeFreedElsewhere();

  // Compares the whole ledger with the OS. Calls may run meanwhile. Costs one VirtualQuery per run of pages, and at
  // most kAuditPatience more for differences that may appear and vanish while calls run.
  [[nodiscard]] LedgerAudit Audit() const;
  static constexpr Milliseconds kAuditPatience{100};
  [[nodiscard]] LedgerFigures Figures() const;

  // ---- regions that a layer above gives out in parts (see PageMap)
  // Returns a new owner number: never the same twice, and never 0.
  [[nodiscard]] std::uint32_t NewOwner() { return next_owner_.fetch_add(1) + 1; }
  [[nodiscard]] OwnedRegion OwnedAt(Address address) const { return map_.OwnedAt(address); }
  bool ChangeOwner(Address base, std::uint64_t from, std::uint64_t owner) {
    return map_.ChangeOwner(base, from, owner);
  }
  [[nodiscard]] bool IsOwned(const Region& region) const { return map_.OwnerOfRegionAt(region.base) != 0; }
  // Calls visit(OwnedRegion) for every region with an owner.
  template <typename Visitor>
  void ForEachOwned(Visitor visit) const {
    map_.ForEachRegion([&](const Region& region) {
      if (const std::uint64_t owner = map_.OwnerOfRegionAt(region.base); owner != 0) {
        visit(OwnedRegion{region.base, region.pages, owner});
      }
    });
  }

  // Counts the bytes of charged pages that belong to private heaps. A separate figure: it does not change the charge.
  void AddHeapBytes(Bytes amount) { heap_bytes_.fetch_add(amount.value); }
  void SubtractHeapBytes(Bytes amount) { heap_bytes_.fetch_sub(amount.value); }
  [[nodiscard]] Bytes HeapBytes() const { return {heap_bytes_.load()}; }
  // Adds tables of the layers above to the manager's own metadata.
  void AddMetadata(Bytes amount) { other_metadata_.fetch_add(amount.value, std::memory_order_relaxed); }
  void SubtractMetadata(Bytes amount) { other_metadata_.fetch_sub(amount.value, std::memory_order_relaxed); }

 private:
  friend class CommitInFlight;
  friend class CommitInWord;
  friend class WideCommit;
  class Auditor;

  // The bits of removals_ that count the wide commits in progress.
  static constexpr std::uint64_t kWideCommits = 0xFFFF;
  static constexpr std::uint64_t kRemoval = kWideCommits + 1;

  struct Truth {
    std::uint64_t ours = 0;   // committed, private, in a region reserved through the manager
    std::uint64_t other = 0;  // committed elsewhere: charged if the manager committed it
  };

  // PageWord::gate: the commits in progress, an overlap flag, and a version that every entry changes.
  static constexpr std::uint64_t kCountMask = 0xFFFF;
  static constexpr std::uint64_t kOverlapped = 0x10000;
  static constexpr std::uint64_t kVersionUnit = 0x20000;

  static void Enter(PageWord& word) { word.gate.fetch_add(kVersionUnit + 1); }
  static void EnterOverlapped(PageWord& word);
  void Leave(PageWord& word, std::uint64_t index) {
    std::uint64_t gate = word.gate.load(std::memory_order_relaxed);
    if ((gate & kOverlapped) == 0 && word.gate.compare_exchange_strong(gate, gate - 1)) return;
    LeaveOverlapped(word, index);
  }
  void LeaveOverlapped(PageWord& word, std::uint64_t index);
  // Clears mask. Returns how many of its pages were charged. all: the number of pages in mask.
  static Pages ClearIn(PageWord& word, std::uint64_t mask, Pages all) {
    return CountIn(word.charged.fetch_and(~mask), mask, all);
  }
  void SweepWord(PageWord& word, std::uint64_t index, std::uint64_t mask) {
    // Read the gate first: a commit that has left by now has set its bits before.
    const bool in_progress = (word.gate.load() & kCountMask) != 0;
    if (!in_progress && (word.charged.load() & mask) == 0) return;
    EnterOverlapped(word);
    LeaveOverlapped(word, index);
  }
  // CountIn: how many pages of mask are in bits. CountMissing: how many are not. all: the pages of mask. The result
  // nearly always is all of them, and then no bits need counting.
  [[nodiscard]] static Pages CountIn(std::uint64_t bits, std::uint64_t mask, Pages all) {
    return (~bits & mask) == 0 ? all : Count(bits & mask);
  }
  [[nodiscard]] static Pages CountMissing(std::uint64_t bits, std::uint64_t mask, Pages all) {
    return (bits & mask) == 0 ? all : Count(~bits & mask);
  }
  [[nodiscard]] static Pages Count(std::uint64_t bits) { return {static_cast<std::uint64_t>(std::popcount(bits))}; }
  // Marks mask as charged. *paid: what the caller has charged for pages that are not marked yet. If it is not enough,
  // Mark raises it first, and charges the difference. Mark then reduces it by what was used.
  void Mark(PageWord& word, std::uint64_t mask, Pages* paid);
  // Uncharges what was paid and not used. Call after the last Mark of a commit.
  void FinishMarking(Pages paid);
  void MarkAll(PageWord& word, std::uint64_t mask, Pages paid);
  // Sets the word's bits to what the OS reports. For the last thread in progress on the word, which has read `gate`.
  // False: another thread entered, or changed the bits, while the OS was asked.
  [[nodiscard]] bool Reconcile(PageWord& word, std::uint64_t index, std::uint64_t gate);
  [[nodiscard]] Truth AskOs(std::uint64_t index) const;
  // Calls visit(pages, PageRun) → bool for each run of pages in range with equal state in the OS, until it returns
  // false.
  template <typename Visitor>
  void ForEachRun(PageRange range, Visitor visit) const;
  // Marks the words of range, which are touched: its pages are in foreign memory.
  void NoteForeign(PageRange range);
  // Returns the pages on which OS and ledger differ, as far as a view of a section shows them; none if it is unmapped.
  // *in_progress: whether commits are in progress.
  [[nodiscard]] Pages CompareView(const Region& view, bool* in_progress) const;
  Pages ClearPagesOfUnmappedView(PageWord& word, std::uint64_t index, std::uint64_t mask);
  // Returns the bits of `pages`, in word `index`, that are in known regions of that kind.
  [[nodiscard]] std::uint64_t PagesInRegions(std::uint64_t pages, std::uint64_t index, Region::Kind kind) const;
  // Returns the charged pages of a word that are in no region reserved through the manager.
  [[nodiscard]] std::uint64_t ForeignPages(const PageWord& word, std::uint64_t index) const;
  void NoteRemoval(const Region& region);
  void CountRegion(const Region& region, bool added);
  void DropSectionOf(std::uint64_t section_view) {
    if (section_view != 0) sections_.Drop(SectionView::Unpack(section_view).section);
  }

  MemorySystem& os_;
  PageMap map_;
  Budget budget_;
  mutable Sections sections_;  // mutable: Sections::Use takes a reference even to read
  std::atomic<std::uint64_t> heap_bytes_ = 0;
  std::atomic<std::uint64_t> other_metadata_ = 0;
  std::atomic<std::uint32_t> next_owner_ = 0;
  std::atomic<std::uint64_t> reserved_ = 0;
  std::atomic<std::uint64_t> peak_reserved_ = 0;
  std::atomic<std::uint64_t> mapped_ = 0;
  std::atomic<std::uint64_t> regions_ = 0;
  std::atomic<std::uint64_t> stale_ = 0;
  std::atomic<std::uint64_t> removals_ = 0;  // regions removed, in units of kRemoval, and kWideCommits
  std::atomic<std::uint64_t> conflicts_ = 0;
  std::atomic<std::uint16_t> last_view_ = 0;
  std::atomic<bool> any_foreign_ = false;  // words were marked as foreign, now or before
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_LEDGER_H
