// The ledger: page map and charge together, exact at page granularity.
//
// The invariant, at every quiet moment: charged pages == pages VirtualQuery shows as committed in the regions reserved
// through the manager, plus the pages the manager committed in views and in memory others reserved. Views of a section
// that the ledger knows have no pages of their own: what is committed in them is the section's (sections.h).
//
// Commits in flight. A commit cannot know before the OS answers, and a free cannot wait for it, since either thread may
// be suspended. So each word of 64 pages has a gate that counts the commits at work on it. A free that finds a commit
// at work, or finds pages charged again, marks the word as overlapped; whoever leaves an overlapped word last asks the
// OS what is true and writes that down. Commits that meet need not ask: each pays for the bits that it sets.
//
// A free clears the pages' bits before the OS frees them (another thread may be given the address at once), returns the
// charge after it, and then looks at the words once more (SweepAfterFree). Who sets a bit has charged for it before:
// the one who clears it may return the charge at once, and the sum must never fall below what is committed, or below 0.
//
// A commit that is refused leaves no tables behind. It is charged for by the words that are there already, and makes
// the others once it is charged; a wide one, which would make many, once the OS has granted it (WideCommit).
//
// Memory that others reserve they may also free without a word. The words of pages that are committed in it are marked
// (NoteForeign), and UnchargeFreedElsewhere asks the OS about them, and about the views that were announced.
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
  Pages charged;    // the ledger says so
  Pages committed;  // the OS says so
  Pages mismatch;   // pages on which they differ, and charge that no page explains
  Pages in_flight;  // pages not judged, since calls on them, or on others, were running all the time
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
  [[nodiscard]] PageSpan Locate(PageRange range) const { return map_.Locate(range); }
  [[nodiscard]] std::optional<Region> FindRegion(Address address) const { return map_.FindRegion(address); }
  [[nodiscard]] std::optional<Region> FindRegion(const PageSpan& span) const { return map_.FindRegion(span); }
  [[nodiscard]] std::optional<Region> RegionAt(Address base) const { return map_.RegionAt(base); }

  // Calls visit(Region) for every known region that shares pages with range.
  template <typename Visitor>
  void ForEachRegionIn(PageRange range, Visitor visit) const {
    map_.ForEachRegionIn(range, visit);
  }

  // After the OS gave the region: makes it known. Whatever the ledger still held for these pages is out of date (the OS
  // would not have given them out) and is returned. False: no memory for the record; nothing is changed.
  [[nodiscard]] bool AddRegion(const Region& added);
  // Before the OS frees it: one caller gets the region, which is unknown from then on.
  [[nodiscard]] std::optional<Region> RemoveRegion(Address base, Region::Kind kind);
  // The same for this very region alone, not for another that has taken its place.
  [[nodiscard]] std::optional<Region> RemoveRegion(const Region& known);
  // When the OS would not free it after all.
  void RestoreRegion(const Region& region);

  // Clears the pages' bits; the charge for the pages returned stays with the caller, to be given to budget().Return.
  [[nodiscard]] Pages ClearCharged(const PageSpan& span) {
    return span.word != nullptr ? ClearIn(*span.word, span.mask, span.range.count) : ClearCharged(span.range);
  }
  [[nodiscard]] Pages ClearCharged(PageRange range);
  // Of a view whose record was taken, after the OS has unmapped it: returns what was charged in it, and drops its
  // section.
  void UnchargeUnmappedView(const Region& view);
  // Marks what the OS holds as committed of range, in a view that is known by now, as charged to its section: when what
  // was committed is known to none of those who saw the view come and go.
  void AskOsAboutView(PageRange range);
  // After the OS freed or decommitted the pages: has words looked at again that commits have overlapped.
  void SweepAfterFree(const PageSpan& span) {
    if (span.word == nullptr) return SweepAfterFree(span.range);
    SweepWord(*span.word, span.range.first / 64, span.mask);
  }
  void SweepAfterFree(PageRange range);
  // When what the OS did with range is not known any more: has it asked for every touched word of it.
  void AskOsAbout(PageRange range);

  // A decommit that found a region may reach the OS when that region is gone and its address is someone else's, and any
  // free may meet a wide commit, which leaves no trace in the words while the OS is asked. Such a free notes a doubt if
  // Takes from before differs afterwards. A thread that is given a region, or commits widely, compares Doubts from
  // before with after, and asks the OS about its pages. So the thread that comes second finds out.
  [[nodiscard]] std::uint64_t RemovalCount() const { return removals_.load(std::memory_order_acquire) & ~kWideCommits; }
  void NoteConflictUnless(std::uint64_t removals_before) {
    if (removals_.load(std::memory_order_acquire) != removals_before) NoteConflict();
  }
  [[nodiscard]] std::uint64_t ConflictCount() const { return conflicts_.load(); }
  void NoteConflict() { conflicts_.fetch_add(1); }

  [[nodiscard]] bool AnyCharged(PageRange range) const;
  [[nodiscard]] Pages ChargedIn(PageRange range) const;
  // Whether tables for all of range would be a waste if the OS refused it.
  [[nodiscard]] bool IsWide(PageRange range) const;
  // Calls visit(pages) for each run of pages of range that are not charged.
  template <typename Visitor>
  void ForEachUncharged(PageRange range, Visitor visit) const;
  // Whether a commit is at work on any page. Looks at every touched word.
  [[nodiscard]] bool AnyCommitInProgress() const;

  // Pages of range, in memory of others, that a commit would have to pay for: not committed, and not charged. Asks the
  // OS.
  [[nodiscard]] Pages CountUncommitted(PageRange range) const;

  // Returns the charge for what others have freed or unmapped without a word. True: there was some. Asks the OS about
  // every view that was announced and every word with pages committed in memory of others: one question each.
  bool UnchargeFreedElsewhere();

  // Compares all of it with the OS: one VirtualQuery per run of pages, and at most kAuditPatience more for differences
  // that may come and go while calls run, which they may.
  [[nodiscard]] LedgerAudit Audit() const;
  static constexpr Milliseconds kAuditPatience{100};
  [[nodiscard]] LedgerFigures Figures() const;

  // ---- regions that a layer above gives out in parts (see PageMap)
  // Never the same twice, and not 0.
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

  // Of the pages that are charged, those of private heaps: a figure beside.
  void AddHeapBytes(Bytes amount) { heap_bytes_.fetch_add(amount.value); }
  void SubtractHeapBytes(Bytes amount) { heap_bytes_.fetch_sub(amount.value); }
  [[nodiscard]] Bytes HeapBytes() const { return {heap_bytes_.load()}; }
  // Tables of the layers above count as the manager's own, too.
  void AddMetadata(Bytes amount) { other_metadata_.fetch_add(amount.value, std::memory_order_relaxed); }
  void SubtractMetadata(Bytes amount) { other_metadata_.fetch_sub(amount.value, std::memory_order_relaxed); }

 private:
  friend class CommitInFlight;
  friend class CommitInWord;
  friend class WideCommit;
  class Auditor;

  // Of removals_: how many wide commits are at work.
  static constexpr std::uint64_t kWideCommits = 0xFFFF;
  static constexpr std::uint64_t kRemoval = kWideCommits + 1;

  struct Truth {
    std::uint64_t ours = 0;   // committed, private, in a region reserved through the manager
    std::uint64_t other = 0;  // committed elsewhere: charged if the manager committed it
  };

  // PageWord::gate: commits at work, whether they overlapped, and a version that every entry changes.
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
  // Clears mask; how many of its pages, `all` at most, were charged.
  static Pages ClearIn(PageWord& word, std::uint64_t mask, Pages all) {
    return CountIn(word.charged.fetch_and(~mask), mask, all);
  }
  void SweepWord(PageWord& word, std::uint64_t index, std::uint64_t mask) {
    // The gate first: a commit that has left by now has set its bits before.
    const bool in_progress = (word.gate.load() & kCountMask) != 0;
    if (!in_progress && (word.charged.load() & mask) == 0) return;
    EnterOverlapped(word);
    LeaveOverlapped(word, index);
  }
  // How many pages of mask, `all` together, are in bits; how many are not. Nearly always it is all of them, and no bits
  // need counting.
  [[nodiscard]] static Pages CountIn(std::uint64_t bits, std::uint64_t mask, Pages all) {
    return (~bits & mask) == 0 ? all : Count(bits & mask);
  }
  [[nodiscard]] static Pages CountMissing(std::uint64_t bits, std::uint64_t mask, Pages all) {
    return (bits & mask) == 0 ? all : Count(~bits & mask);
  }
  [[nodiscard]] static Pages Count(std::uint64_t bits) { return {static_cast<std::uint64_t>(std::popcount(bits))}; }
  // Marks mask as charged. *paid: what the caller has charged for pages that are not marked yet; raised first when it
  // is not enough, and reduced by what was used.
  void Mark(PageWord& word, std::uint64_t mask, Pages* paid);
  // After the last Mark of a commit: gives back what was paid and not used.
  void FinishMarking(Pages paid);
  void MarkAll(PageWord& word, std::uint64_t mask, Pages paid);
  // For the last one at work on the word, who has read `gate`: makes its bits what the OS says. False: someone came, or
  // changed the bits, while the OS was asked.
  [[nodiscard]] bool Reconcile(PageWord& word, std::uint64_t index, std::uint64_t gate);
  [[nodiscard]] Truth AskOs(std::uint64_t index) const;
  // Calls visit(pages, PageRun) → bool for each run of equal pages in range, as the OS has it, until it returns
  // false.
  template <typename Visitor>
  void ForEachRun(PageRange range, Visitor visit) const;
  // Marks the words of range, which are touched: its pages are in memory of others.
  void NoteForeign(PageRange range);
  // Pages on which OS and ledger differ, as far as a view of a section shows; none if it is unmapped. *in_progress:
  // commits are.
  [[nodiscard]] Pages CompareView(const Region& view, bool* in_progress) const;
  Pages ClearPagesOfUnmappedView(PageWord& word, std::uint64_t index, std::uint64_t mask);
  // Of `pages`, bits of word `index`, those in known regions of that kind.
  [[nodiscard]] std::uint64_t PagesInRegions(std::uint64_t pages, std::uint64_t index, Region::Kind kind) const;
  // The charged pages of a word that are in no region reserved through the manager.
  [[nodiscard]] std::uint64_t ForeignPages(const PageWord& word, std::uint64_t index) const;
  void NoteRemoval(const Region& region);
  void CountRegion(const Region& region, bool added);
  void DropSectionOf(std::uint64_t section_view) {
    if (section_view != 0) sections_.Drop(SectionView::Unpack(section_view).section);
  }

  MemorySystem& os_;
  PageMap map_;
  Budget budget_;
  mutable Sections sections_;  // to look at one is to keep it meanwhile
  std::atomic<std::uint64_t> heap_bytes_ = 0;
  std::atomic<std::uint64_t> other_metadata_ = 0;
  std::atomic<std::uint32_t> next_owner_ = 0;
  std::atomic<std::uint64_t> reserved_ = 0;
  std::atomic<std::uint64_t> peak_reserved_ = 0;
  std::atomic<std::uint64_t> mapped_ = 0;
  std::atomic<std::uint64_t> regions_ = 0;
  std::atomic<std::uint64_t> stale_ = 0;
  std::atomic<std::uint64_t> removals_ = 0;  // regions taken, in units of kRemoval, and kWideCommits
  std::atomic<std::uint64_t> conflicts_ = 0;
  std::atomic<std::uint16_t> last_view_ = 0;
  std::atomic<bool> any_foreign_ = false;  // words were marked as foreign, now or before
};

// One commit at work on its pages, from before the OS is asked until the ledger has the result. Leaving the scope
// without Settle leaves the ledger as it was. Two forms of the same thing: most commits lie in one word and are cheap.
class CommitInWord {
 public:
  // span: as LocateOwn gave it.
  CommitInWord(Ledger& ledger, const PageSpan& span)
      : ledger_(ledger), word_(*span.word), mask_(span.mask), range_(span.range) {
    Ledger::Enter(word_);
  }
  ~CommitInWord() { ledger_.Leave(word_, range_.first / 64); }
  CommitInWord(const CommitInWord&) = delete;
  CommitInWord& operator=(const CommitInWord&) = delete;

  // As in CommitInFlight.
  [[nodiscard]] static constexpr bool Enter() { return true; }
  [[nodiscard]] Pages Missing() const { return Ledger::CountMissing(word_.charged.load(), mask_, range_.count); }
  void Settle(Pages paid) {
    std::uint64_t charged = word_.charged.load(std::memory_order_relaxed);
    if ((charged & mask_) == 0 && paid == range_.count &&
        word_.charged.compare_exchange_strong(charged, charged | mask_)) [[likely]] {
      ledger_.budget_.NotePeak();
    } else {
      ledger_.MarkAll(word_, mask_, paid);
    }
  }
  void AskOs() { ledger_.AskOsAbout(range_); }

 private:
  Ledger& ledger_;
  PageWord& word_;
  const std::uint64_t mask_;
  const PageRange range_;
};

class CommitInFlight {
 public:
  // range: not empty, and tracked. Looks only at what the ledger has already.
  CommitInFlight(Ledger& ledger, PageRange range);
  ~CommitInFlight();
  CommitInFlight(const CommitInFlight&) = delete;
  CommitInFlight& operator=(const CommitInFlight&) = delete;

  // Pages of the range that were not charged yet.
  [[nodiscard]] Pages Missing() const { return missing_; }
  // Makes what tracking the range needs, and is at work on it from then on; before the OS is asked. False: no memory.
  [[nodiscard]] bool Enter();
  // The OS has committed the range: marks all of it as charged. paid: pages the caller has charged for it; the charge
  // is made right.
  void Settle(Pages paid);
  // For memory others reserved: the same before the OS is asked, for the pages that it does not hold as committed, and
  // marks them as foreign. If the OS then fails, AskOs undoes it.
  void ClaimUncommitted(Pages paid);
  // Marks them as foreign only.
  void NoteForeign() { ledger_.NoteForeign(range_); }
  // What the OS did is not known: has it asked about every word by whoever leaves it last.
  void AskOs() { ledger_.AskOsAbout(range_); }

 private:
  template <typename Visitor>
  void ForEachWord(Visitor visit) const;

  Ledger& ledger_;
  const PageRange range_;
  Pages missing_;
  bool entered_ = false;
};

// A commit in a region of the manager's that is at work without an entry in its words: the OS is asked first, and
// tables are made when it has granted the pages.
class WideCommit {
 public:
  explicit WideCommit(Ledger& ledger) : ledger_(ledger) {
    ledger_.removals_.fetch_add(1);
    conflicts_ = ledger_.ConflictCount();
  }
  ~WideCommit() { ledger_.removals_.fetch_sub(1); }
  WideCommit(const WideCommit&) = delete;
  WideCommit& operator=(const WideCommit&) = delete;

  // After the pages are marked: whether a free may have met the commit.
  [[nodiscard]] bool HasConflict() const { return ledger_.ConflictCount() != conflicts_; }

 private:
  Ledger& ledger_;
  std::uint64_t conflicts_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_LEDGER_H
