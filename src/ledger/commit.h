// A commit in progress: how the ledger learns of it, before and after the OS is asked. See Ledger, "Commits in flight".
//
// Threads: each object belongs to the thread that commits.
#ifndef CLRHM_LEDGER_COMMIT_H
#define CLRHM_LEDGER_COMMIT_H

#include <cstdint>

#include "ledger/ledger.h"

namespace clr_host_memory {

// One commit in progress on its pages, from before the OS is asked until the ledger has the result. Leaving the scope
// without Settle leaves the ledger as it was. CommitInWord and CommitInFlight do the same. Most commits lie in one
// word, and CommitInWord is cheap.
class CommitInWord {
 public:
  // span: as LocateOwn found it. It outlives the commit.
  CommitInWord(Ledger& ledger, const PageSpan& span) : ledger_(ledger), span_(span) { Ledger::Enter(*span.word); }
  ~CommitInWord() { ledger_.Leave(*span_.word, span_.WordIndex()); }
  CommitInWord(const CommitInWord&) = delete;
  CommitInWord& operator=(const CommitInWord&) = delete;

  // As in CommitInFlight.
  [[nodiscard]] static constexpr bool Enter() { return true; }
  [[nodiscard]] Pages Missing() const {
    return Ledger::CountMissing(span_.word->charged.load(), span_.mask, span_.range.count);
  }
  void Settle(Pages paid) {
    PageWord& word = *span_.word;
    std::uint64_t charged = word.charged.load(std::memory_order_relaxed);
    if ((charged & span_.mask) == 0 && paid == span_.range.count &&
        word.charged.compare_exchange_strong(charged, charged | span_.mask)) [[likely]] {
      ledger_.budget_.NotePeak();
    } else {
      ledger_.MarkAll(word, span_.mask, paid);
    }
  }
  void AskOs() { ledger_.AskOsAbout(span_.range); }

 private:
  Ledger& ledger_;
  const PageSpan& span_;
};

class CommitInFlight {
 public:
  // range: not empty, and tracked. The constructor reads only existing tables.
  CommitInFlight(Ledger& ledger, PageRange range);
  ~CommitInFlight();
  CommitInFlight(const CommitInFlight&) = delete;
  CommitInFlight& operator=(const CommitInFlight&) = delete;

  // Returns how many pages of the range were not charged yet.
  [[nodiscard]] Pages Missing() const { return missing_; }
  // Creates what tracking the range needs. The commit is in progress on it from then on. Call before the OS is asked.
  // False: no memory.
  [[nodiscard]] bool Enter();
  // Marks the whole range as charged. Call when the OS has committed it. paid: pages the caller has charged for it;
  // Settle corrects the charge.
  void Settle(Pages paid);
  // Settles a commit in foreign memory before the OS is asked. Marks the pages that the OS does not hold as committed,
  // and marks their words as foreign. If the OS then fails, AskOs undoes it.
  void ClaimUncommitted(Pages paid);
  // Only marks the words as foreign.
  void NoteForeign() { ledger_.NoteForeign(range_); }
  // Call when the effect of the OS call is not known. The last thread to leave each word then asks the OS about it.
  void AskOs() { ledger_.AskOsAbout(range_); }

 private:
  template <typename Visitor>
  void ForEachWord(Visitor visit) const;

  Ledger& ledger_;
  const PageRange range_;
  Pages missing_;
  bool entered_ = false;
};

// A commit in a region of the manager that is in progress without an entry in its words. The OS is asked first, and
// tables are created once it has granted the pages.
class WideCommit {
 public:
  explicit WideCommit(Ledger& ledger) : ledger_(ledger) {
    ledger_.removals_.fetch_add(1);
    conflicts_ = ledger_.ConflictCount();
  }
  ~WideCommit() { ledger_.removals_.fetch_sub(1); }
  WideCommit(const WideCommit&) = delete;
  WideCommit& operator=(const WideCommit&) = delete;

  // Returns whether a free may have met the commit. Call after the pages are marked.
  [[nodiscard]] bool HasConflict() const { return ledger_.ConflictCount() != conflicts_; }

 private:
  Ledger& ledger_;
  std::uint64_t conflicts_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_COMMIT_H
