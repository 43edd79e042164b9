#include "ledger/ledger.h"

#include <algorithm>
#include <cassert>

#include "ledger/runs.h"

namespace clr_host_memory {

bool Ledger::AddRegion(const Region& added) {
  Region region = added;
  if (region.kind == Region::Kind::kView) region.serial = last_view_.fetch_add(1, std::memory_order_relaxed);
  // No older region can exist here any more. Anything recorded here was freed without the manager's knowledge, or its
  // end is yet to be reported. Its record would hide the new region; its bits would hide new commits.
  Pages stale = ClearCharged(region.Range());
  bool found_stale = stale.value != 0;
  const auto forget = [&](const Region& gone) {
    stale += ClearCharged(gone.Range());
    CountRegion(gone, false);
    found_stale = true;
  };
  map_.ForEachRegionIn(region.Range(), [&](const Region& other) {
    if (other.base == region.base) return;
    const auto taken = map_.RemoveRegion(other.base, other.kind);
    if (!taken) return;
    forget(*taken);
    DropSectionOf(taken->section_view);
  });
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  if (!map_.AddRegion(region, &replaced, &shown)) {
    if (stale.value != 0) budget_.Uncharge(stale.InBytes());
    return false;
  }
  if (replaced) forget(*replaced);
  DropSectionOf(shown);
  stale += ClearCharged(region.Range());
  // Bits found only now are no sign of a stale record: a thread that read the record before this step may have set
  // them.
  if (found_stale) stale_.fetch_add(1, std::memory_order_relaxed);
  if (stale.value != 0) budget_.Uncharge(stale.InBytes());
  CountRegion(region, true);
  // The bits may also be of a commit that was suspended while its own region was removed, and that then acted on this
  // one.
  if (stale.value != 0) AskOsAbout(region.Range());
  return true;
}

std::optional<Region> Ledger::RemoveRegion(Address base, Region::Kind kind) {
  const auto region = map_.RemoveRegion(base, kind);
  if (region) NoteRemoval(*region);
  return region;
}

std::optional<Region> Ledger::RemoveRegion(const Region& known) {
  const auto region = map_.RemoveRegion(known);
  if (region) NoteRemoval(*region);
  return region;
}

void Ledger::NoteRemoval(const Region& region) {
  removals_.fetch_add(kRemoval);
  CountRegion(region, false);
}

void Ledger::RestoreRegion(const Region& region) {
  map_.RestoreRegion(region);
  CountRegion(region, true);
}

void Ledger::CountRegion(const Region& region, bool added) {
  const std::uint64_t size = region.pages.InBytes().value;
  std::atomic<std::uint64_t>& counter = region.kind == Region::Kind::kView ? mapped_ : reserved_;
  if (!added) {
    counter.fetch_sub(size, std::memory_order_relaxed);
    regions_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  const std::uint64_t now = counter.fetch_add(size, std::memory_order_relaxed) + size;
  regions_.fetch_add(1, std::memory_order_relaxed);
  if (region.kind == Region::Kind::kView) return;
  std::uint64_t peak = peak_reserved_.load(std::memory_order_relaxed);
  while (now > peak && !peak_reserved_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

Pages Ledger::ClearCharged(PageRange range) {
  Pages cleared;
  map_.ForEachTouchedWord(range, [&](PageWord& word, std::uint64_t, std::uint64_t mask) {
    if ((word.charged.load() & mask) != 0) cleared += ClearIn(word, mask, CountPages(mask));
  });
  return cleared;
}

// Clears mask. A newer view may be known at its pages by now, and may have committed some of them. When it was added,
// the bits there before were cleared. So cleared pages that the OS holds as committed belong to the newer view, and
// are marked again.
Pages Ledger::ClearPagesOfUnmappedView(PageWord& word, std::uint64_t index, std::uint64_t mask) {
  const std::uint64_t cleared = word.charged.fetch_and(~mask) & mask;
  Pages paid = CountPages(cleared);
  const std::uint64_t newer = PagesInRegions(cleared, index, Region::Kind::kView);
  if (newer != 0) Mark(word, newer & AskOs(index).other, &paid);
  return paid;
}

void Ledger::UnchargeUnmappedView(const Region& view) {
  Pages cleared;
  map_.ForEachTouchedWord(view.Range(), [&](PageWord& word, std::uint64_t index, std::uint64_t mask) {
    if ((word.charged.load() & mask) != 0) cleared += ClearPagesOfUnmappedView(word, index, mask);
  });
  if (cleared.value != 0) budget_.Uncharge(cleared.InBytes());
  DropSectionOf(view.section_view);
  // The OS freed the view's address before the ledger was notified. A region recorded here by now may have lost bits
  // to this call. A thread that records a region later compares ConflictCount.
  NoteConflict();
  bool others = false;
  map_.ForEachRegionIn(view.Range(), [&](const Region&) { others = true; });
  if (others) {
    AskOsAbout(view.Range());
  } else {
    SweepAfterFree(view.Range());
  }
}

void Ledger::AskOsAboutView(PageRange range) {
  const auto view = map_.FindRegion(range.Start());
  if (!view || !view->Range().Contains(range)) return;
  const SectionView shown = SectionView::Unpack(view->section_view);
  Sections::Use section(sections_, shown.section);
  const std::uint64_t offset = shown.FirstPage();
  if (!section.ok() || !section.Prepare({range.first - view->Range().first + offset, range.count})) return;
  ForEachRun(range, [&](PageRange pages, const PageRun& run) {
    if (run.allocation_base != view->base) return false;
    if (run.committed) {
      const Pages marked = section.Mark({pages.first - view->Range().first + offset, pages.count});
      budget_.Charge(marked.InBytes());
    }
    return true;
  });
  budget_.NotePeak();
}

bool Ledger::AnyCharged(PageRange range) const {
  bool any = false;
  map_.ForEachTouchedWord(range, [&](const PageWord& word, std::uint64_t, std::uint64_t mask) {
    any = any || (word.charged.load() & mask) != 0;
  });
  return any;
}

Pages Ledger::ChargedIn(PageRange range) const {
  Pages charged;
  map_.ForEachTouchedWord(range, [&](const PageWord& word, std::uint64_t, std::uint64_t mask) {
    charged += CountPages(word.charged.load() & mask);
  });
  return charged;
}

bool Ledger::AnyCommitInProgress() const {
  bool any = false;
  map_.ForEachTouchedWord(PageMap::kEverything, [&](const PageWord& word, std::uint64_t, std::uint64_t) {
    any = any || (word.gate.load() & kCountMask) != 0;
  });
  return any;
}

void Ledger::SweepAfterFree(PageRange range) {
  map_.ForEachTouchedWord(
      range, [&](PageWord& word, std::uint64_t index, std::uint64_t mask) { SweepWord(word, index, mask); });
}

void Ledger::AskOsAbout(PageRange range) {
  map_.ForEachTouchedWord(range, [&](PageWord& word, std::uint64_t index, std::uint64_t) {
    EnterOverlapped(word);
    LeaveOverlapped(word, index);
  });
}

bool Ledger::IsWide(PageRange range) const {
  constexpr std::uint64_t kMostLeavesAhead = 16;  // 1 GiB
  return map_.MissingLeaves(range) > kMostLeavesAhead;
}

Pages Ledger::CountUncommitted(PageRange range) const {
  Pages uncommitted;
  ForEachRun(range, [&](PageRange pages, const PageRun& run) {
    if (!run.committed) uncommitted += pages.count - ChargedIn(pages);
    return true;
  });
  return uncommitted;
}

void Ledger::NoteForeign(PageRange range) {
  any_foreign_.store(true);
  for (std::uint64_t index = range.first / 64; index * 64 < range.end(); ++index) map_.MarkForeign(index);
}

std::uint64_t Ledger::PagesInRegions(std::uint64_t pages, std::uint64_t index, Region::Kind kind) const {
  constexpr std::uint64_t kPagesPerGranule = kGranuleSize / kPageSize;
  constexpr std::uint64_t kGranuleMask = (std::uint64_t{1} << kPagesPerGranule) - 1;
  std::uint64_t found = 0;
  for (std::uint64_t first = 0; first < 64; first += kPagesPerGranule) {
    const std::uint64_t granule = pages & kGranuleMask << first;
    if (granule == 0) continue;
    const auto region = map_.FindRegion((index * 64 + first) << kPageShift);
    if (region && region->kind == kind) found |= granule;
  }
  return found;
}

std::uint64_t Ledger::ForeignPages(const PageWord& word, std::uint64_t index) const {
  const std::uint64_t charged = word.charged.load();
  return charged & ~PagesInRegions(charged, index, Region::Kind::kReserved);
}

bool Ledger::UnchargeFreedElsewhere() {
  bool any = false;
  if (any_foreign_.load()) {
    map_.ForEachForeignWord([&](PageWord& word, std::uint64_t index) {
      // A commit enters the word, marks it as foreign, and then sets its bits. So if this step removes a commit's
      // mark, the checks below see that commit: by its bits, or by its entry in the gate.
      map_.UnmarkForeign(index);
      const std::uint64_t before = ForeignPages(word, index);
      if (before != 0) {
        EnterOverlapped(word);
        LeaveOverlapped(word, index);
      }
      const std::uint64_t after = ForeignPages(word, index);
      if (after != 0 || (word.gate.load() & kCountMask) != 0) map_.MarkForeign(index);
      any = any || (before & ~after) != 0;
    });
  }
  if (mapped_.load() == 0) return any;
  map_.ForEachRegion([&](const Region& region) {
    if (region.kind != Region::Kind::kView) return;
    const PageRun run = os_.Describe(region.base);
    if (!run.is_private && run.allocation_base == region.base) return;
    // Remove exactly this view: another view may have been mapped and announced there meanwhile.
    if (const auto gone = RemoveRegion(region)) {
      UnchargeUnmappedView(*gone);
      any = true;
    }
  });
  return any;
}

void Ledger::EnterOverlapped(PageWord& word) {
  std::uint64_t gate = word.gate.load();
  while (!word.gate.compare_exchange_weak(gate, (gate + kVersionUnit + 1) | kOverlapped)) {
  }
}

void Ledger::LeaveOverlapped(PageWord& word, std::uint64_t index) {
  std::uint64_t gate = word.gate.load();
  while (true) {
    std::uint64_t left = gate - 1;
    if ((gate & kCountMask) == 1 && (gate & kOverlapped) != 0) {
      if (!Reconcile(word, index, gate)) {
        gate = word.gate.load();
        continue;
      }
      left &= ~kOverlapped;
    }
    // Fails if another thread entered meanwhile, even if it has left again: the version differs.
    if (word.gate.compare_exchange_weak(gate, left)) return;
  }
}

void Ledger::Mark(PageWord& word, std::uint64_t mask, Pages* paid) {
  std::uint64_t charged = word.charged.load();
  Pages missing;
  do {
    missing = CountPages(mask & ~charged);
    if (missing > *paid) {
      budget_.Charge((missing - *paid).InBytes());
      *paid = missing;
    }
  } while (!word.charged.compare_exchange_weak(charged, charged | mask));
  *paid = *paid - missing;
}

void Ledger::FinishMarking(Pages paid) {
  budget_.Uncharge(paid.InBytes());
  budget_.NotePeak();
}

void Ledger::MarkAll(PageWord& word, std::uint64_t mask, Pages paid) {
  Mark(word, mask, &paid);
  FinishMarking(paid);
}

bool Ledger::Reconcile(PageWord& word, std::uint64_t index, std::uint64_t gate) {
  // Read the bits before asking the OS: bits that a free clears meanwhile are still paid for.
  std::uint64_t charged = word.charged.load();
  const Truth truth = AskOs(index);
  // A commit that entered meanwhile pays for its pages and marks them itself.
  if (word.gate.load() != gate) return false;
  const std::uint64_t corrected = truth.ours | (charged & truth.other);
  if (corrected == charged) return true;
  const Bytes added = CountPages(corrected & ~charged).InBytes();
  const Bytes removed = CountPages(charged & ~corrected).InBytes();
  budget_.Charge(added);
  const bool done = word.charged.compare_exchange_strong(charged, corrected);
  budget_.Uncharge(done ? removed : added);
  return done;
}

Ledger::Truth Ledger::AskOs(std::uint64_t index) const {
  Truth truth;
  ForEachRun({index * 64, {64}}, [&](PageRange pages, const PageRun& run) {
    if (!run.committed) return true;
    const auto region = map_.RegionAt(run.allocation_base);
    const bool ours = region && region->kind == Region::Kind::kReserved && run.is_private;
    (ours ? truth.ours : truth.other) |= MaskOf(pages, index);
    return true;
  });
  return truth;
}

LedgerFigures Ledger::Figures() const {
  return {.reserved = {reserved_.load(std::memory_order_relaxed)},
          .peak_reserved = {peak_reserved_.load(std::memory_order_relaxed)},
          .mapped = {mapped_.load(std::memory_order_relaxed)},
          .metadata =
              map_.MetadataBytes() + sections_.MetadataBytes() + Bytes{other_metadata_.load(std::memory_order_relaxed)},
          .regions = regions_.load(std::memory_order_relaxed),
          .stale = stale_.load(std::memory_order_relaxed)};
}

}  // namespace clr_host_memory
