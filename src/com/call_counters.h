// Counts calls and refusals with relaxed atomics. Each counter is exact; a set of counters is read at about one moment.
// A heap serves thousands of times as many calls as the rest. Its S_OK calls are counted in shards, so that threads
// rarely contend for a counter.
#ifndef CLRHM_COM_CALL_COUNTERS_H
#define CLRHM_COM_CALL_COUNTERS_H

#include <array>
#include <atomic>
#include <cstdint>

#include "base/outcome.h"
#include "base/stack_shard.h"
#include "com/result_codes.h"

namespace clr_host_memory {

// Failed allocations by level and code.
using RefusalCounts = std::array<std::array<std::uint64_t, kClrHostMemoryCodeCount>, kCriticalityCount>;

class CallCounters {
 public:
  void Count(ClrHostMemoryMethod method, HRESULT hr) {
    if (hr == S_OK && method >= kClrHostMemoryMallocAlloc) {
      of_heap_[StackShard()].served[static_cast<std::size_t>(method) - kFirstOfHeap].fetch_add(
          1, std::memory_order_relaxed);
    } else {
      calls_[method][CodeIndexOf(hr)].fetch_add(1, std::memory_order_relaxed);
    }
  }
  void CountRefusal(Criticality level, HRESULT hr, bool over_limit) {
    const auto index = static_cast<std::size_t>(level);
    refusals_[index][CodeIndexOf(hr)].fetch_add(1, std::memory_order_relaxed);
    if (over_limit) limit_refusals_[index].fetch_add(1, std::memory_order_relaxed);
  }
  // Counts a reservation without memory, or a release of a region (ThrashCounts).
  void CountWithoutGain() { without_gain_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t WithoutGain() const { return without_gain_.load(std::memory_order_relaxed); }
  void CountPlacementRefusal() { placement_refusals_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t PlacementRefusals() const { return placement_refusals_.load(std::memory_order_relaxed); }
  [[nodiscard]] RefusalCounts Refusals() const {
    RefusalCounts counts{};
    for (std::size_t level = 0; level < counts.size(); ++level) {
      for (std::size_t code = 0; code < counts[level].size(); ++code) {
        counts[level][code] = refusals_[level][code].load(std::memory_order_relaxed);
      }
    }
    return counts;
  }
  [[nodiscard]] std::uint64_t Calls(ClrHostMemoryMethod method, ClrHostMemoryCode code) const {
    return calls_[method][code].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t LimitRefusals(Criticality level) const {
    return limit_refusals_[static_cast<std::size_t>(level)].load(std::memory_order_relaxed);
  }
  void CopyTo(ClrHostMemoryStatistics* statistics) const {
    for (std::size_t method = 0; method < calls_.size(); ++method) {
      for (std::size_t code = 0; code < calls_[method].size(); ++code) {
        statistics->calls[method][code] = calls_[method][code].load(std::memory_order_relaxed);
      }
    }
    for (const HeapShard& shard : of_heap_) {
      for (std::size_t i = 0; i < shard.served.size(); ++i) {
        statistics->calls[kFirstOfHeap + i][kClrHostMemoryOk] += shard.served[i].load(std::memory_order_relaxed);
      }
    }
    statistics->placement_refusals = PlacementRefusals();
    for (std::size_t level = 0; level < refusals_.size(); ++level) {
      for (std::size_t code = 0; code < refusals_[level].size(); ++code) {
        statistics->refusals[level][code] = refusals_[level][code].load(std::memory_order_relaxed);
      }
      statistics->limit_refusals[level] = limit_refusals_[level].load(std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::size_t kFirstOfHeap = kClrHostMemoryMallocAlloc;  // IHostMalloc's methods are the last ones
  struct alignas(64) HeapShard {
    std::array<std::atomic<std::uint64_t>, kClrHostMemoryMethodCount - kFirstOfHeap> served{};
  };
  using ByCode = std::array<std::atomic<std::uint64_t>, kClrHostMemoryCodeCount>;
  std::array<ByCode, kClrHostMemoryMethodCount> calls_{};
  std::array<HeapShard, kStackShards> of_heap_{};
  std::array<ByCode, kCriticalityCount> refusals_{};
  std::array<std::atomic<std::uint64_t>, kCriticalityCount> limit_refusals_{};
  std::atomic<std::uint64_t> placement_refusals_ = 0;
  std::atomic<std::uint64_t> without_gain_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_CALL_COUNTERS_H
