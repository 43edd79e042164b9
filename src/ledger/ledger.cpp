#include "ledger/ledger.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <thread>

namespace clr_host_memory {
namespace {

[[nodiscard]] Pages CountPages(std::uint64_t bits) { return {static_cast<std::uint64_t>(std::popcount(bits))}; }

constexpr PageRange kEverything{0, {std::uint64_t{1} << (PageMap::kAddressBits - kPageShift)}};

// The bits of `range` in word `index`.
[[nodiscard]] std::uint64_t MaskOf(PageRange range, std::uint64_t index) {
  const std::uint64_t word_first = index * 64;
  const std::uint64_t low = std::max(range.first, word_first) - word_first;
  const std::uint64_t high = std::min(range.end(), word_first + 64) - word_first;
  const std::uint64_t up_to_high = high == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << high) - 1;
  return up_to_high & (~std::uint64_t{0} << low);
}

}  // namespace

bool Ledger::AddRegion(const Region& region) {
  // Nothing of ours can be here any more: what is known of it was freed behind our back, or its end is yet to be told.
  // Its record would hide this one, its bits new commits.
  Pages stale = ClearCharged(region.Range());
  bool healed = stale.value != 0;
  const auto forget = [&](const Region& gone) {
    stale += ClearCharged(gone.Range());
    CountRegion(gone, false);
    healed = true;
  };
  map_.ForEachRegionIn(region.Range(), [&](const Region& other) {
    if (other.base == region.base) return;
    const auto taken = map_.TakeRegion(other.base, other.kind);
    if (!taken) return;
    forget(*taken);
    DropShown(taken->shows);
  });
  std::optional<Region> replaced;
  std::uint64_t shown = 0;
  if (!map_.AddRegion(region, &replaced, &shown)) {
    if (stale.value != 0) budget_.Return(stale.InBytes());
    return false;
  }
  if (replaced) forget(*replaced);
  DropShown(shown);
  stale += ClearCharged(region.Range());
  // Bits found only now need nobody's fault: someone who looked at the record before us may have set them.
  if (healed) healed_.fetch_add(1, std::memory_order_relaxed);
  if (stale.value != 0) budget_.Return(stale.InBytes());
  CountRegion(region, true);
  // They may also be of a commit that was suspended while its own region went, and has acted on this one.
  if (stale.value != 0) AskOsAbout(region.Range());
  return true;
}

std::optional<Region> Ledger::TakeRegion(Address base, Region::Kind kind) {
  auto region = map_.TakeRegion(base, kind);
  if (!region) return region;
  takes_.fetch_add(1);
  CountRegion(*region, false);
  return region;
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

void Ledger::ClearViewThatIsGone(const Region& view) {
  const Pages cleared = ClearCharged(view.Range());
  if (cleared.value != 0) budget_.Return(cleared.InBytes());
  DropShown(view.shows);
  // The OS gave its address back before we were told. Whose record is here by now may have lost bits to us; whoever
  // brings a record later looks for doubts.
  NoteDoubt();
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
  const SectionView shown = SectionView::Unpack(view->shows);
  Sections::Use section(sections_, shown.section);
  const std::uint64_t offset = shown.FirstPage();
  if (!section.ok() || !section.Prepare({range.first - view->Range().first + offset, range.count})) return;
  for (std::uint64_t page = range.first; page < range.end();) {
    const os::PageRun run = os_.Describe(page << kPageShift);
    const std::uint64_t run_end = std::min((run.base + run.size) >> kPageShift, range.end());
    if (run.size == 0 || run_end <= page || run.allocation_base != view->base) return;
    if (run.committed) {
      const Pages marked = section.Mark({page - view->Range().first + offset, {run_end - page}});
      budget_.Charge(marked.InBytes());
    }
    page = run_end;
  }
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

bool Ledger::AnyCommitAtWork() const {
  bool any = false;
  map_.ForEachTouchedWord(kEverything, [&](const PageWord& word, std::uint64_t, std::uint64_t) {
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

Pages Ledger::CommittedByOthers(PageRange range) const {
  Pages committed;
  for (std::uint64_t index = range.first / 64; index * 64 < range.end(); ++index) {
    const Truth truth = AskOs(index);
    const PageWord* word = map_.FindWord(index);
    const std::uint64_t charged = word == nullptr ? 0 : word->charged.load();
    committed += CountPages(truth.other & ~charged & MaskOf(range, index));
  }
  return committed;
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
    // Fails when someone entered meanwhile, even if they are gone again: the version tells.
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
  budget_.Return(paid.InBytes());
  budget_.NotePeak();
}

void Ledger::MarkAll(PageWord& word, std::uint64_t mask, Pages paid) {
  Mark(word, mask, &paid);
  FinishMarking(paid);
}

bool Ledger::Reconcile(PageWord& word, std::uint64_t index, std::uint64_t gate) {
  // Before the OS is asked: bits that a free clears meanwhile are still paid for.
  std::uint64_t charged = word.charged.load();
  const Truth truth = AskOs(index);
  // And the pages of a commit that has entered meanwhile are its own to pay for and to mark.
  if (word.gate.load() != gate) return false;
  const std::uint64_t corrected = truth.ours | (charged & truth.other);
  if (corrected == charged) return true;
  const Bytes added = CountPages(corrected & ~charged).InBytes();
  const Bytes removed = CountPages(charged & ~corrected).InBytes();
  budget_.Charge(added);
  const bool done = word.charged.compare_exchange_strong(charged, corrected);
  budget_.Return(done ? removed : added);
  return done;
}

Ledger::Truth Ledger::AskOs(std::uint64_t index) const {
  Truth truth;
  const PageRange all{index * 64, {64}};
  for (std::uint64_t page = all.first; page < all.end();) {
    const os::PageRun run = os_.Describe(page << kPageShift);
    const std::uint64_t run_end = (run.base + run.size) >> kPageShift;
    if (run.size == 0 || run_end <= page) break;
    if (run.committed) {
      const std::uint64_t mask = MaskOf({page, {std::min(run_end, all.end()) - page}}, index);
      const auto region = map_.RegionAt(run.allocation_base);
      const bool ours = region && region->kind == Region::Kind::kReserved && run.is_private;
      (ours ? truth.ours : truth.other) |= mask;
    }
    page = run_end;
  }
  return truth;
}

void Ledger::JudgeWord(std::uint64_t index, std::uint64_t mask, std::uint64_t committed, LedgerAudit* audit) const {
  // A free clears its bits before the OS acts, and a commit sets them after: while calls run, differences come and go.
  constexpr int kAttempts = 50;
  std::uint64_t charged = 0;
  bool at_work = false;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 10) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const PageWord* word = map_.FindWord(index);
    at_work = word != nullptr && (word->gate.load() & kCountMask) != 0;
    charged = word == nullptr ? 0 : word->charged.load() & mask;
    if (attempt > 0) {
      const Truth truth = AskOs(index);
      committed = (truth.ours | (charged & truth.other)) & mask;
    }
    if (charged == committed) break;
  }
  audit->charged += CountPages(charged);
  audit->committed += CountPages(committed);
  (at_work ? audit->in_flight : audit->mismatch) += CountPages(charged ^ committed);
}

// One question per run of pages: where address space is huge and empty, Wine takes milliseconds to answer.
void Ledger::AuditRegion(const Region& region, LedgerAudit* audit) const {
  const PageRange range = region.Range();
  for (std::uint64_t page = range.first; page < range.end();) {
    const os::PageRun run = os_.Describe(page << kPageShift);
    const std::uint64_t run_end = std::min((run.base + run.size) >> kPageShift, range.end());
    if (run.size == 0 || run_end <= page || run.allocation_base != region.base) return;
    const PageRange pages{page, {run_end - page}};
    if (run.committed) {
      for (std::uint64_t index = page / 64; index * 64 < run_end; ++index) {
        JudgeWord(index, MaskOf(pages, index), MaskOf(pages, index), audit);
      }
    } else {
      map_.ForEachTouchedWord(pages, [&](const PageWord& word, std::uint64_t index, std::uint64_t mask) {
        if ((word.charged.load() & mask) != 0) JudgeWord(index, mask, 0, audit);
      });
    }
    page = run_end;
  }
}

// Pages charged outside of the regions that were reserved through the manager: in views, and in memory of others.
void Ledger::AuditElsewhere(const PageWord& word, std::uint64_t index, LedgerAudit* audit) const {
  constexpr std::uint64_t kPagesPerGranule = kGranuleSize / kPageSize;
  constexpr std::uint64_t kGranuleMask = (std::uint64_t{1} << kPagesPerGranule) - 1;
  std::uint64_t elsewhere = word.charged.load();
  for (std::uint64_t first = 0; first < 64 && elsewhere != 0; first += kPagesPerGranule) {
    if ((elsewhere >> first & kGranuleMask) == 0) continue;
    const auto region = map_.FindRegion((index * 64 + first) << kPageShift);
    if (region && region->kind == Region::Kind::kReserved) elsewhere &= ~(kGranuleMask << first);
  }
  if (elsewhere != 0) JudgeWord(index, elsewhere, AskOs(index).other & elsewhere, audit);
}

// Pages that only one of OS and ledger holds as committed, as far as a view shows what the section has.
Pages Ledger::CompareView(const Region& view, const Sections::Use& section) const {
  const PageRange range = view.Range();
  const SectionView window = SectionView::Unpack(view.shows);
  Pages different;
  for (std::uint64_t page = range.first; page < range.end();) {
    const os::PageRun run = os_.Describe(page << kPageShift);
    const std::uint64_t run_end = std::min((run.base + run.size) >> kPageShift, range.end());
    if (run.size == 0 || run_end <= page || run.allocation_base != view.base) return {};  // unmapped meanwhile
    const PageRange pages{page - range.first + window.FirstPage(), {run_end - page}};
    for (std::uint64_t index = pages.first / 64; index * 64 < pages.end(); ++index) {
      const std::uint64_t charged = section.Charged(index);
      const std::uint64_t mask = MaskOf(pages, index);
      if (run.committed) {
        different += CountPages(~charged & mask);
      } else if (os_.ViewsShareCommits()) {
        different += CountPages(charged & mask);
      }
    }
    page = run_end;
  }
  return different;
}

void Ledger::AuditView(const Region& view, LedgerAudit* audit) const {
  const Sections::Use section(sections_, SectionView::Unpack(view.shows).section);
  if (!section.ok() || section.ChargedAsAWhole()) return;
  constexpr int kAttempts = 50;  // as in JudgeWord: while calls run, differences come and go
  Pages different;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 10) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    different = CompareView(view, section);
    const auto now = map_.RegionAt(view.base);
    if (!now || now->shows != view.shows || now->kind != Region::Kind::kView) return;
    if (different == Pages{}) return;
  }
  (section.OthersAtWork() ? audit->in_flight : audit->mismatch) += different;
}

LedgerAudit Ledger::AuditOnce() const {
  LedgerAudit audit;
  const Bytes charge_before = budget_.Charged();
  map_.ForEachRegion([&](const Region& region) {
    ++audit.regions;
    if (region.kind == Region::Kind::kReserved) AuditRegion(region, &audit);
    if (region.shows != 0) AuditView(region, &audit);
  });
  // Pages of a section that no view shows are there, too; only differences that a view shows can be told.
  const Pages in_sections = sections_.Charged();
  audit.charged += in_sections;
  audit.committed += in_sections;
  map_.ForEachTouchedWord(kEverything, [&](const PageWord& word, std::uint64_t index, std::uint64_t) {
    AuditElsewhere(word, index, &audit);
  });
  // While calls run, the pages were counted at other moments than their charge: that is no mismatch yet.
  const Bytes charge = budget_.Charged();
  const Bytes explained = audit.charged.InBytes();
  const Bytes unexplained = charge > explained ? charge - explained : explained - charge;
  const bool quiet = charge == charge_before && audit.in_flight.value == 0;
  (quiet ? audit.mismatch : audit.in_flight) += Pages{(unexplained.value + kPageSize - 1) >> kPageShift};
  return audit;
}

LedgerAudit Ledger::Audit() const {
  // Charge and pages are read at different moments; only a difference that stays is one. A free that has cleared its bits and
  // is still with the OS leaves no trace but its charge, and may be held up there by the audit's own questions: it gets time.
  constexpr int kQuickAttempts = 5;
  constexpr int kAttempts = 25;
  LedgerAudit audit;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(attempt < kQuickAttempts ? 2 : 20));
    audit = AuditOnce();
    const bool judged = audit.in_flight.value == 0 || attempt + 1 >= kQuickAttempts;
    if (audit.mismatch.value == 0 && judged) break;
  }
  return audit;
}

LedgerFigures Ledger::Figures() const {
  return {.reserved = {reserved_.load(std::memory_order_relaxed)},
          .peak_reserved = {peak_reserved_.load(std::memory_order_relaxed)},
          .mapped = {mapped_.load(std::memory_order_relaxed)},
          .metadata = map_.MetadataBytes() + sections_.MetadataBytes() +
                      Bytes{other_metadata_.load(std::memory_order_relaxed)},
          .regions = regions_.load(std::memory_order_relaxed),
          .healed = healed_.load(std::memory_order_relaxed)};
}

template <typename Visitor>
void CommitInFlight::ForEachWord(Visitor visit) const {
  for (std::uint64_t index = range_.first / 64; index * 64 < range_.end(); ++index) {
    PageWord* word = ledger_.map_.FindWord(index);
    assert(word != nullptr);  // entered
    visit(*word, index, MaskOf(range_, index));
  }
}

CommitInFlight::CommitInFlight(Ledger& ledger, PageRange range) : ledger_(ledger), range_(range) {
  assert(range.count.value != 0 && PageMap::Tracks(range));
  const std::uint64_t first = range.first / 64;
  for (std::uint64_t index = first; index * 64 < range.end(); ++index) {
    PageWord* word = ledger.map_.EnsureWord(index);
    if (word == nullptr) {
      for (std::uint64_t undo = first; undo < index; ++undo) ledger.Leave(*ledger.map_.FindWord(undo), undo);
      return;
    }
    Ledger::Enter(*word);
    missing_ += CountPages(MaskOf(range, index) & ~word->charged.load());
  }
  entered_ = true;
}

CommitInFlight::~CommitInFlight() {
  if (!entered_) return;
  ForEachWord([&](PageWord& word, std::uint64_t index, std::uint64_t) { ledger_.Leave(word, index); });
}

void CommitInFlight::Settle(Pages paid) {
  ForEachWord([&](PageWord& word, std::uint64_t, std::uint64_t mask) {
    ledger_.Mark(word, mask, &paid);
  });
  ledger_.FinishMarking(paid);
}

void CommitInFlight::ClaimUncommitted(Pages paid) {
  ForEachWord([&](PageWord& word, std::uint64_t index, std::uint64_t mask) {
    const Ledger::Truth truth = ledger_.AskOs(index);
    mask &= ~(truth.ours | truth.other);
    ledger_.Mark(word, mask, &paid);
  });
  ledger_.FinishMarking(paid);
}

}  // namespace clr_host_memory
