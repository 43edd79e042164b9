// Finds where a program begins to pass, for the limit sweep.
#ifndef CLRHM_TESTS_BENCHMARK_EDGE_SEARCH_H
#define CLRHM_TESTS_BENCHMARK_EDGE_SEARCH_H

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace clrhm_test {

struct SearchRange {
  std::uint64_t least;           // the least value to try; at least 1
  std::uint64_t first;           // the value to begin with, expected to pass; at least `least`
  std::uint64_t most;            // the greatest value to try; at least `first`
  std::uint64_t precision = 64;  // the edge is known to 1/precision of its value
};

// Calls passes(value) for values around the edge between those that fail and those that pass. Doubles `first` until it
// passes. Then bisects in ratios, so that a small edge takes no more steps than a large one. Tries
// no value twice. If passes is not monotonic, the search ends at one of several edges.
template <typename Passes>
void SearchEdge(const SearchRange& range, const Passes& passes) {
  std::uint64_t high = range.first;
  std::uint64_t low = 0;  // 0: none has failed
  while (!passes(high)) {
    low = high;
    if (high == range.most) return;
    high = std::min(range.most, 2 * high);
  }
  if (low == 0) {
    if (high == range.least || passes(range.least)) return;
    low = range.least;
  }
  while (high - low > std::max<std::uint64_t>(1, high / range.precision)) {
    const auto ratio_middle =
        static_cast<std::uint64_t>(std::sqrt(static_cast<double>(low) * static_cast<double>(high)));
    const std::uint64_t middle = std::clamp(ratio_middle, low + 1, high - 1);
    (passes(middle) ? high : low) = middle;
  }
}

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_EDGE_SEARCH_H
