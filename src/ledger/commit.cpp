#include "ledger/commit.h"

#include <cassert>

#include "ledger/runs.h"

namespace clr_host_memory {

template <typename Visitor>
void CommitInFlight::ForEachWord(Visitor visit) const {
  for (std::uint64_t index = range_.first / 64; index * 64 < range_.end(); ++index) {
    PageWord* word = ledger_.map_.FindWord(index);
    assert(word != nullptr);  // Enter created it
    visit(*word, index, MaskOf(range_, index));
  }
}

CommitInFlight::CommitInFlight(Ledger& ledger, PageRange range)
    : ledger_(ledger), range_(range), missing_(range.count - ledger.ChargedIn(range)) {
  assert(range.count.value != 0 && PageMap::Tracks(range));
}

bool CommitInFlight::Enter() {
  const std::uint64_t first = range_.first / 64;
  for (std::uint64_t index = first; index * 64 < range_.end(); ++index) {
    PageWord* word = ledger_.map_.EnsureWord(index);
    if (word == nullptr) {
      for (std::uint64_t undo = first; undo < index; ++undo) ledger_.Leave(*ledger_.map_.FindWord(undo), undo);
      return false;
    }
    Ledger::Enter(*word);
  }
  entered_ = true;
  return true;
}

CommitInFlight::~CommitInFlight() {
  if (!entered_) return;
  ForEachWord([&](PageWord& word, std::uint64_t index, std::uint64_t) { ledger_.Leave(word, index); });
}

void CommitInFlight::Settle(Pages paid) {
  ForEachWord([&](PageWord& word, std::uint64_t, std::uint64_t mask) { ledger_.Mark(word, mask, &paid); });
  ledger_.FinishMarking(paid);
}

void CommitInFlight::ClaimUncommitted(Pages paid) {
  NoteForeign();
  ledger_.ForEachRun(range_, [&](PageRange pages, const PageRun& run) {
    if (run.committed) return true;
    for (std::uint64_t index = pages.first / 64; index * 64 < pages.end(); ++index) {
      ledger_.Mark(*ledger_.map_.FindWord(index), MaskOf(pages, index), &paid);
    }
    return true;
  });
  ledger_.FinishMarking(paid);
}

}  // namespace clr_host_memory
