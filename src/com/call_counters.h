// Counts calls and refusals. Relaxed atomics: each counter is exact, together they are of about the same moment.
#ifndef CLRHM_COM_CALL_COUNTERS_H
#define CLRHM_COM_CALL_COUNTERS_H

#include <array>
#include <atomic>
#include <cstdint>

#include "base/outcome.h"
#include "com/result_codes.h"

namespace clr_host_memory {

// Failed allocations by level and code.
using RefusalCounts = std::array<std::array<std::uint64_t, kClrHostMemoryCodeCount>, kCriticalityCount>;

class CallCounters {
 public:
  void Count(ClrHostMemoryMethod method, HRESULT hr) {
    calls_[method][CodeIndexOf(hr)].fetch_add(1, std::memory_order_relaxed);
  }
  void CountRefusal(Criticality level, HRESULT hr, bool over_limit) {
    const auto index = static_cast<std::size_t>(level);
    refusals_[index][CodeIndexOf(hr)].fetch_add(1, std::memory_order_relaxed);
    if (over_limit) limit_refusals_[index].fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] RefusalCounts Refusals() const {
    RefusalCounts counts{};
    for (std::size_t level = 0; level < counts.size(); ++level) {
      for (std::size_t code = 0; code < counts[level].size(); ++code) {
        counts[level][code] = refusals_[level][code].load(std::memory_order_relaxed);
      }
    }
    return counts;
  }
  void CopyTo(ClrHostMemoryStatistics* statistics) const {
    for (std::size_t method = 0; method < calls_.size(); ++method) {
      for (std::size_t code = 0; code < calls_[method].size(); ++code) {
        statistics->calls[method][code] = calls_[method][code].load(std::memory_order_relaxed);
      }
    }
    for (std::size_t level = 0; level < refusals_.size(); ++level) {
      for (std::size_t code = 0; code < refusals_[level].size(); ++code) {
        statistics->refusals[level][code] = refusals_[level][code].load(std::memory_order_relaxed);
      }
      statistics->limit_refusals[level] = limit_refusals_[level].load(std::memory_order_relaxed);
    }
  }

 private:
  using ByCode = std::array<std::atomic<std::uint64_t>, kClrHostMemoryCodeCount>;
  std::array<ByCode, kClrHostMemoryMethodCount> calls_{};
  std::array<ByCode, kCriticalityCount> refusals_{};
  std::array<std::atomic<std::uint64_t>, kCriticalityCount> limit_refusals_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_CALL_COUNTERS_H
