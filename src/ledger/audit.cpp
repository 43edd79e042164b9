// The audit: compares the ledger with what the OS reports for the same memory.
//
// One walk asks the OS about each run of pages once. A difference may not be a mistake: a free clears its bits before
// the OS acts, and a commit sets them after it. So pages that differ are only suspects. The audit asks about them
// again until they agree or patience ends. It never asks again about pages that agree. So the cost of a lasting
// difference is in proportion to its size.
#include <algorithm>
#include <array>
#include <chrono>
#include <new>
#include <thread>

#include "ledger/runs.h"

namespace clr_host_memory {

class Ledger::Auditor {
 public:
  explicit Auditor(const Ledger& ledger) : ledger_(ledger) {}
  ~Auditor() {
    if (tables_ != nullptr) ledger_.os_.FreeMetadata(tables_, sizeof(Tables));
  }
  Auditor(const Auditor&) = delete;
  Auditor& operator=(const Auditor&) = delete;

  LedgerAudit Run();

 private:
  using Clock = std::chrono::steady_clock;

  // A bounded list of suspects: pages whose bits differ from their state in the OS.
  template <typename Entry, std::size_t kMost>
  struct Suspects {
    std::size_t count = 0;
    std::array<Entry, kMost> entries;

    [[nodiscard]] bool Add(const Entry& entry) {
      if (count == kMost) return false;
      entries[count++] = entry;
      return true;
    }
  };
  using Ranges = Suspects<PageRange, 4096>;
  using Views = Suspects<Region, 512>;
  struct Tables {
    std::array<Ranges, 2> ranges;
    std::array<Views, 2> views;
  };
  struct Judgement {
    Pages charged;
    Pages committed;
    Pages uncharged;  // committed, and not charged
    Pages different;
    bool in_progress = false;
  };

  void Walk();
  void WalkRegion(const Region& region);
  void WalkWord(std::uint64_t index, std::uint64_t mask, std::uint64_t committed);
  void WalkElsewhere(const PageWord& word, std::uint64_t index);
  void AskAgain(Clock::time_point deadline);
  [[nodiscard]] Judgement Judge(std::uint64_t index, std::uint64_t mask) const;
  void Settle(const Judgement& judgement);
  // Counts the differences that remain at the end.
  void SettleSuspects();
  // Returns the bytes of charge that no page explains, or of marked pages that lack a charge.
  [[nodiscard]] Bytes Unexplained();
  // Returns whether frees in progress in the OS would explain the differences: such frees still hold their charge.
  [[nodiscard]] bool MayBeFrees() const { return uncharged_ != Pages{} && surplus_ >= uncharged_.InBytes(); }
  [[nodiscard]] bool AnySuspect() const { return ranges().count != 0 || views().count != 0; }

  [[nodiscard]] Ranges& ranges() const { return tables_->ranges[turn_]; }
  [[nodiscard]] Views& views() const { return tables_->views[turn_]; }
  void AddRange(PageRange range, const Judgement& judgement);
  void AddView(const Region& view, Pages different, bool in_progress);

  const Ledger& ledger_;
  Tables* tables_ = nullptr;
  std::size_t turn_ = 0;
  LedgerAudit audit_;
  Pages uncharged_;  // of the suspects: committed, and not charged
  Bytes surplus_;    // charge that no page explains
};

void Ledger::Auditor::Settle(const Judgement& judgement) {
  audit_.charged += judgement.charged;
  audit_.committed += judgement.committed;
  (judgement.in_progress ? audit_.in_flight : audit_.mismatch) += judgement.different;
}

Ledger::Auditor::Judgement Ledger::Auditor::Judge(std::uint64_t index, std::uint64_t mask) const {
  const PageWord* word = ledger_.map_.FindWord(index);
  Judgement judgement{.in_progress = word != nullptr && (word->gate.load() & kCountMask) != 0};
  const std::uint64_t charged = word == nullptr ? 0 : word->charged.load() & mask;
  const Truth truth = ledger_.AskOs(index);
  const std::uint64_t committed = (truth.ours | (charged & truth.other)) & mask;
  judgement.charged = CountPages(charged);
  judgement.committed = CountPages(committed);
  judgement.uncharged = CountPages(committed & ~charged);
  judgement.different = CountPages(charged ^ committed);
  return judgement;
}

// range: in one word. If the table has no room for it, it is settled in its present state.
void Ledger::Auditor::AddRange(PageRange range, const Judgement& judgement) {
  uncharged_ += judgement.uncharged;
  if (tables_ != nullptr) {
    Ranges& suspects = ranges();
    PageRange* last = suspects.count == 0 ? nullptr : &suspects.entries[suspects.count - 1];
    if (last != nullptr && last->end() == range.first) {
      last->count += range.count;
      return;
    }
    if (suspects.Add(range)) return;
  }
  Settle(Judge(range.first / 64, MaskOf(range, range.first / 64)));
}

void Ledger::Auditor::AddView(const Region& view, Pages different, bool in_progress) {
  if (tables_ != nullptr && views().Add(view)) return;
  Settle({.different = different, .in_progress = in_progress});
}

// committed: what the OS has just reported for the pages of mask.
void Ledger::Auditor::WalkWord(std::uint64_t index, std::uint64_t mask, std::uint64_t committed) {
  const PageWord* word = ledger_.map_.FindWord(index);
  const std::uint64_t charged = word == nullptr ? 0 : word->charged.load() & mask;
  if (charged == committed) {
    Settle({.charged = CountPages(charged), .committed = CountPages(charged)});
    return;
  }
  const Judgement now = Judge(index, mask);
  if (now.different == Pages{}) return Settle(now);
  // A mask may have gaps: each run of its pages becomes a suspect.
  for (std::uint64_t rest = mask; rest != 0;) {
    const auto first = static_cast<unsigned>(std::countr_zero(rest));
    const auto count = static_cast<unsigned>(std::countr_one(rest >> first));
    const PageRange run{index * 64 + first, {count}};
    const bool whole = MaskOf(run, index) == mask;
    AddRange(run, whole ? now : Judge(index, MaskOf(run, index)));
    rest &= ~MaskOf(run, index);
  }
}

// Asks one question per run of pages: where the address space is huge and empty, Wine takes milliseconds to answer.
void Ledger::Auditor::WalkRegion(const Region& region) {
  ledger_.ForEachRun(region.Range(), [&](PageRange pages, const PageRun& run) {
    // Outside of the region's own allocation the region is gone: pages still charged there are a difference.
    if (run.committed && run.allocation_base == region.base) {
      for (std::uint64_t index = pages.first / 64; index * 64 < pages.end(); ++index) {
        WalkWord(index, MaskOf(pages, index), MaskOf(pages, index));
      }
    } else {
      ledger_.map_.ForEachTouchedWord(pages, [&](const PageWord& word, std::uint64_t index, std::uint64_t mask) {
        if ((word.charged.load() & mask) != 0) WalkWord(index, mask, 0);
      });
    }
    return true;
  });
}

// Visits pages charged outside of the regions reserved through the manager: in views, and in foreign memory.
void Ledger::Auditor::WalkElsewhere(const PageWord& word, std::uint64_t index) {
  const std::uint64_t foreign = ledger_.ForeignPages(word, index);
  if (foreign != 0) WalkWord(index, foreign, ledger_.AskOs(index).other & foreign);
}

void Ledger::Auditor::Walk() {
  ledger_.map_.ForEachRegion([&](const Region& region) {
    ++audit_.regions;
    if (region.kind == Region::Kind::kReserved) WalkRegion(region);
    if (region.section_view == 0) return;
    bool in_progress = false;
    if (const Pages different = ledger_.CompareView(region, &in_progress); different != Pages{}) {
      AddView(region, different, in_progress);
    }
  });
  ledger_.map_.ForEachTouchedWord(PageMap::kEverything, [&](const PageWord& word, std::uint64_t index, std::uint64_t) {
    WalkElsewhere(word, index);
  });
}

// Keeps the suspects that still differ. At the deadline the rest remain suspects.
void Ledger::Auditor::AskAgain(Clock::time_point deadline) {
  Tables& tables = *tables_;
  const std::size_t before = turn_;
  turn_ = 1 - turn_;
  ranges().count = 0;
  views().count = 0;
  uncharged_ = {};
  bool late = false;
  for (std::size_t i = 0; i < tables.ranges[before].count; ++i) {
    const PageRange range = tables.ranges[before].entries[i];
    for (std::uint64_t index = range.first / 64; index * 64 < range.end(); ++index) {
      const std::uint64_t mask = MaskOf(range, index);
      late = late || Clock::now() >= deadline;
      const Judgement now = late ? Judgement{} : Judge(index, mask);
      const std::uint64_t first = std::max(range.first, index * 64);
      const PageRange part{first, {std::min(range.end(), index * 64 + 64) - first}};
      if (late || now.different != Pages{}) {
        AddRange(part, now);
      } else {
        Settle(now);
      }
    }
  }
  for (std::size_t i = 0; i < tables.views[before].count; ++i) {
    const Region& view = tables.views[before].entries[i];
    bool in_progress = false;
    const Pages different = ledger_.CompareView(view, &in_progress);
    if (different != Pages{}) AddView(view, different, in_progress);
  }
}

void Ledger::Auditor::SettleSuspects() {
  if (tables_ == nullptr) return;
  for (std::size_t i = 0; i < ranges().count; ++i) {
    const PageRange range = ranges().entries[i];
    for (std::uint64_t index = range.first / 64; index * 64 < range.end(); ++index) {
      Settle(Judge(index, MaskOf(range, index)));
    }
  }
  for (std::size_t i = 0; i < views().count; ++i) {
    bool in_progress = false;
    const Pages different = ledger_.CompareView(views().entries[i], &in_progress);
    Settle({.different = different, .in_progress = in_progress});
  }
}

Bytes Ledger::Auditor::Unexplained() {
  Pages pages = ledger_.sections_.Charged();
  ledger_.map_.ForEachTouchedWord(PageMap::kEverything, [&](const PageWord& word, std::uint64_t, std::uint64_t) {
    pages += CountPages(word.charged.load());
  });
  const Bytes charge = ledger_.budget_.Charged();
  const Bytes explained = pages.InBytes();
  surplus_ = charge > explained ? charge - explained : Bytes{};
  return charge > explained ? surplus_ : explained - charge;
}

LedgerAudit Ledger::Auditor::Run() {
  // The audit's own questions may delay frees that are in progress in the OS. Such frees get more time.
  constexpr Milliseconds kPatienceWithFrees{500};
  constexpr std::array<int, 8> kPauses{1, 1, 2, 2, 4, 8, 16, 20};
  if (void* memory = ledger_.os_.AllocateMetadata(sizeof(Tables)); memory != nullptr) tables_ = new (memory) Tables;
  // While calls run, pages are counted at other moments than their charge. A rest that both counts leave unexplained
  // is a mismatch only if neither count has changed for a while.
  const Bytes charge_at_first = ledger_.budget_.Charged();
  Walk();
  Bytes unexplained = Unexplained();
  bool steady = charge_at_first == ledger_.budget_.Charged();
  const Clock::time_point walked = Clock::now();
  const Clock::time_point deadline = walked + kAuditPatience - Milliseconds{kPauses.back()};
  for (std::size_t pass = 0; tables_ != nullptr && (AnySuspect() || unexplained != Bytes{}); ++pass) {
    const Clock::time_point end = MayBeFrees() ? walked + kPatienceWithFrees : deadline;
    if (Clock::now() >= end) break;
    const Bytes charge_before = ledger_.budget_.Charged();
    const Bytes unexplained_before = unexplained;
    std::this_thread::sleep_for(Milliseconds{kPauses[std::min(pass, kPauses.size() - 1)]});
    AskAgain(end);
    unexplained = Unexplained();
    steady = unexplained == unexplained_before && charge_before == ledger_.budget_.Charged();
  }
  SettleSuspects();
  const bool quiet = steady && audit_.in_flight == Pages{};
  (quiet ? audit_.mismatch : audit_.in_flight) += Pages{(unexplained.value + kPageSize - 1) >> kPageShift};
  // Section pages that no view shows exist, too. Only differences that a view shows can be detected.
  const Pages in_sections = ledger_.sections_.Charged();
  audit_.charged += in_sections;
  audit_.committed += in_sections;
  return audit_;
}

// Compares a view with its section: returns the pages that only OS or ledger holds as committed, as far as the view
// shows.
Pages Ledger::CompareView(const Region& view, bool* in_progress) const {
  const SectionView window = SectionView::Unpack(view.section_view);
  const Sections::Use section(sections_, window.section);
  if (!section.ok() || section.ChargedAsAWhole()) return {};
  *in_progress = section.OthersInProgress();
  Pages different;
  bool unmapped = false;
  ForEachRun(view.Range(), [&](PageRange run_pages, const PageRun& run) {
    unmapped = run.allocation_base != view.base;
    if (unmapped) return false;
    const PageRange pages{run_pages.first - view.Range().first + window.FirstPage(), run_pages.count};
    for (std::uint64_t index = pages.first / 64; index * 64 < pages.end(); ++index) {
      const std::uint64_t charged = section.Charged(index);
      const std::uint64_t mask = MaskOf(pages, index);
      if (run.committed) {
        different += CountPages(~charged & mask);
      } else if (os_.ViewsShareCommits()) {
        different += CountPages(charged & mask);
      }
    }
    return true;
  });
  const auto now = map_.RegionAt(view.base);
  const bool same = now && now->section_view == view.section_view && now->kind == Region::Kind::kView;
  return unmapped || !same ? Pages{} : different;
}

LedgerAudit Ledger::Audit() const { return Auditor(*this).Run(); }

}  // namespace clr_host_memory
