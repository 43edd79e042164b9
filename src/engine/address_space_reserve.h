// Reserved address space without memory. It is released when a view or a reservation finds no room, and reserved
// again later. It matters in 32-bit processes. Threads: any, lock-free; Open by one thread, at the start.
#ifndef CLRHM_ENGINE_ADDRESS_SPACE_RESERVE_H
#define CLRHM_ENGINE_ADDRESS_SPACE_RESERVE_H

#include <atomic>
#include <cstdint>

#include "base/units.h"
#include "os/memory_system.h"

namespace clr_host_memory {

class AddressSpaceReserve {
 public:
  explicit AddressSpaceReserve(MemorySystem& os) : os_(os) {}
  ~AddressSpaceReserve() { Close(); }
  AddressSpaceReserve(const AddressSpaceReserve&) = delete;
  AddressSpaceReserve& operator=(const AddressSpaceReserve&) = delete;

  // Reserves `size`, rounded up to granules; once. Returns the OS's error.
  [[nodiscard]] win32::Error Open(Bytes size) {
    size_ = {RoundDownToGranule(size.value + kGranuleSize - 1)};
    return Reserve();
  }
  // Releases it permanently.
  void Close() {
    const Address base = base_.exchange(kClosed);
    if (IsHeld(base)) (void)os_.Free(base, 0, win32::kMemRelease);
  }

  // Releases the reserve to make room for `size` bytes anywhere; 0: any size. False: it is not held, or too small.
  [[nodiscard]] bool GiveUp(Bytes size) {
    Address base = base_.load();
    if (size > size_ || !IsHeld(base) || !base_.compare_exchange_strong(base, kAtWork)) return false;
    const bool released = os_.Free(base, 0, win32::kMemRelease) == win32::kSuccess;
    Address in_progress = kAtWork;
    base_.compare_exchange_strong(in_progress, released ? 0 : base);  // fails if it was closed meanwhile
    if (released) uses_.fetch_add(1, std::memory_order_relaxed);
    return released;
  }
  // Reserves it again, possibly at another address. True: it is held.
  [[nodiscard]] bool TakeBack() {
    if (size_ == Bytes{} || IsHeld(base_.load())) return true;
    return Reserve() == win32::kSuccess;
  }

  [[nodiscard]] Bytes Size() const { return size_; }
  [[nodiscard]] Bytes Held() const { return IsHeld(base_.load()) ? size_ : Bytes{}; }
  // Returns an empty range while it is not held.
  [[nodiscard]] PageRange Range() const {
    const Address base = base_.load();
    return IsHeld(base) ? PageRange{base >> kPageShift, {size_.value >> kPageShift}} : PageRange{};
  }
  [[nodiscard]] std::uint64_t Uses() const { return uses_.load(std::memory_order_relaxed); }

 private:
  // Values of base_ that are no granule address. 0: not held.
  static constexpr Address kAtWork = 1;
  static constexpr Address kClosed = 2;
  [[nodiscard]] static bool IsHeld(Address base) { return base > kClosed; }

  [[nodiscard]] win32::Error Reserve() {
    Address none = 0;
    if (size_ == Bytes{} || !base_.compare_exchange_strong(none, kAtWork)) return win32::kSuccess;
    const AllocateResult result =
        os_.Allocate({.size = size_.value, .type = win32::kMemReserve, .protect = win32::kPageNoAccess});
    const bool done = result.error == win32::kSuccess;
    Address in_progress = kAtWork;
    if (!base_.compare_exchange_strong(in_progress, done ? result.address : 0) && done) {
      (void)os_.Free(result.address, 0, win32::kMemRelease);
    }
    return result.error;
  }

  MemorySystem& os_;
  Bytes size_;
  std::atomic<Address> base_ = 0;
  std::atomic<std::uint64_t> uses_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_ADDRESS_SPACE_RESERVE_H
