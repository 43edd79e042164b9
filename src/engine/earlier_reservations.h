// What GCs had reserved before their runtime was put under the manager. To the ledger this is foreign memory.
#ifndef CLRHM_ENGINE_EARLIER_RESERVATIONS_H
#define CLRHM_ENGINE_EARLIER_RESERVATIONS_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/units.h"

namespace clr_host_memory {

// Find and Committed may be called at any time; Add by one thread at a time. A reservation that was added stays.
class EarlierReservations {
 public:
  // committed: of the range, by now. False: it is known already, or there is no place.
  bool Add(PageRange range, Bytes committed) {
    const std::size_t count = count_.load();
    if (count == ranges_.size() || Find(range.Start())) return false;
    ranges_[count] = range;
    committed_.fetch_add(committed.value);
    count_.store(count + 1, std::memory_order_release);
    return true;
  }

  [[nodiscard]] std::optional<PageRange> Find(Address address) const {
    const std::uint64_t page = address >> kPageShift;
    for (std::size_t i = 0; i < count_.load(std::memory_order_acquire); ++i) {
      if (page - ranges_[i].first < ranges_[i].count.value) return ranges_[i];
    }
    return std::nullopt;
  }

  // Returns what was committed in them when they were added. It is not charged.
  [[nodiscard]] Bytes Committed() const { return {committed_.load()}; }

  template <typename Visitor>
  void ForEach(Visitor visit) const {
    for (std::size_t i = 0; i < count_.load(std::memory_order_acquire); ++i) visit(ranges_[i]);
  }

 private:
  std::array<PageRange, 32> ranges_{};
  std::atomic<std::size_t> count_ = 0;
  std::atomic<std::uint64_t> committed_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_EARLIER_RESERVATIONS_H
