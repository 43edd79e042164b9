// The clock and the statistics of the benchmarks.
#ifndef CLRHM_TESTS_BENCHMARK_TIMING_H
#define CLRHM_TESTS_BENCHMARK_TIMING_H

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace clrhm_test {

// Returns the time in nanoseconds, from a monotonic clock.
inline double Now() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Returns the median of at least one value.
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_TIMING_H
