// Functions over runs of pages, for the ledger's own files.
#ifndef CLRHM_LEDGER_RUNS_H
#define CLRHM_LEDGER_RUNS_H

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ledger/ledger.h"

namespace clr_host_memory {

[[nodiscard]] inline Pages CountPages(std::uint64_t bits) { return {static_cast<std::uint64_t>(std::popcount(bits))}; }

// Returns the bits of `range` in word `index`.
[[nodiscard]] inline std::uint64_t MaskOf(PageRange range, std::uint64_t index) {
  const std::uint64_t word_first = index * 64;
  const std::uint64_t low = std::max(range.first, word_first) - word_first;
  const std::uint64_t high = std::min(range.end(), word_first + 64) - word_first;
  const std::uint64_t up_to_high = high == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << high) - 1;
  return up_to_high & (~std::uint64_t{0} << low);
}

template <typename Visitor>
void Ledger::ForEachRun(PageRange range, Visitor visit) const {
  for (std::uint64_t page = range.first; page < range.end();) {
    const PageRun run = os_.Describe(page << kPageShift);
    const std::uint64_t end = std::min((run.base + run.size) >> kPageShift, range.end());
    if (run.size == 0 || end <= page) return;
    if (!visit(PageRange{page, {end - page}}, run)) return;
    page = end;
  }
}

template <typename Visitor>
void Ledger::ForEachUncharged(PageRange range, Visitor visit) const {
  std::uint64_t from = range.first;  // start of the current run
  const auto end_at = [&](std::uint64_t page) {
    if (from < page) visit(PageRange{from, {page - from}});
  };
  map_.ForEachTouchedWord(range, [&](const PageWord& word, std::uint64_t index, std::uint64_t mask) {
    for (std::uint64_t charged = word.charged.load() & mask; charged != 0;) {
      const auto first = static_cast<unsigned>(std::countr_zero(charged));
      const auto count = static_cast<unsigned>(std::countr_one(charged >> first));
      end_at(index * 64 + first);
      from = index * 64 + first + count;
      charged &= ~MaskOf({index * 64 + first, {count}}, index);
    }
  });
  end_at(range.end());
}

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_RUNS_H
