// Address ranges the host has sealed: the CLR may not free, reprotect or commit in them. Threads: Touches, Count and
// ForEach from any, lock-free; Seal and Unseal from one at a time.
#ifndef CLRHM_ENGINE_SEALED_REGIONS_H
#define CLRHM_ENGINE_SEALED_REGIONS_H

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace clr_host_memory {

class SealedRegions {
 public:
  static constexpr std::size_t kMost = 64;
  // A range is one word: 36 bits of page number, 28 bits of page count. So a reader sees it whole or not at all.
  static constexpr unsigned kCountBits = 28;
  static constexpr std::uint64_t kMostPages = (std::uint64_t{1} << kCountBits) - 1;

  enum class Result : std::uint8_t { kDone, kTooLong, kOverlaps, kFull };

  Result Seal(PageRange range) {
    if (range.count.value > kMostPages || range.end() >> (64 - kCountBits) != 0) return Result::kTooLong;
    if (Touches(range)) return Result::kOverlaps;
    const auto slot = std::find_if(slots_.begin(), slots_.end(), [](const auto& s) { return s.load() == 0; });
    if (slot == slots_.end()) return Result::kFull;
    slot->store(range.first << kCountBits | range.count.value);
    count_.fetch_add(1);
    return Result::kDone;
  }
  // Returns false if no sealed range begins there.
  bool Unseal(std::uint64_t first_page) {
    for (auto& slot : slots_) {
      const std::uint64_t packed = slot.load();
      if (packed == 0 || packed >> kCountBits != first_page) continue;
      slot.store(0);
      count_.fetch_sub(1);
      return true;
    }
    return false;
  }

  [[nodiscard]] std::uint64_t Count() const { return count_.load(std::memory_order_relaxed); }
  // Calls visit(PageRange) for every sealed range.
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    for (const auto& slot : slots_) {
      if (const std::uint64_t packed = slot.load(); packed != 0) visit(Unpack(packed));
    }
  }
  [[nodiscard]] bool Touches(PageRange range) const {
    if (Count() == 0) return false;
    return std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) {
      const std::uint64_t packed = slot.load();
      const PageRange sealed = Unpack(packed);
      return packed != 0 && sealed.first < range.end() && range.first < sealed.end();
    });
  }

 private:
  [[nodiscard]] static PageRange Unpack(std::uint64_t packed) { return {packed >> kCountBits, {packed & kMostPages}}; }

  std::array<std::atomic<std::uint64_t>, kMost> slots_{};
  std::atomic<std::uint64_t> count_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_SEALED_REGIONS_H
