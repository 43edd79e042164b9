// Memory the host committed at the start, to be given up at the worst moment: when the OS has no more, or when the
// limit is in the way of a process-critical request. Beside the limit: charged + held <= limit + reserve at any time,
// so that the most the CLR can take is known beforehand.
//
// In up to 64 slices, each given up and taken back by itself: whoever takes a slice out of `held_` decommits it, and a
// thread that is suspended meanwhile holds back no other slice.
// Threads: any, lock-free; Open and TakeBack by one thread at a time.
#ifndef CLRHM_BUDGET_EMERGENCY_POOL_H
#define CLRHM_BUDGET_EMERGENCY_POOL_H

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/units.h"
#include "budget/budget.h"
#include "os/memory_system.h"

namespace clr_host_memory {

class EmergencyPool {
 public:
  // Both outlive the reserve. budget: what is given up may be charged above the limit by process-critical requests.
  EmergencyPool(MemorySystem& os, Budget& budget) : os_(os), budget_(budget) {}
  ~EmergencyPool();
  EmergencyPool(const EmergencyPool&) = delete;
  EmergencyPool& operator=(const EmergencyPool&) = delete;

  // Commits it, rounded up to whole slices; once. The error of the OS when it has not that much.
  [[nodiscard]] win32::Error Open(Bytes size);
  // Decommits all of it, for good. Its address space stays until the end, since a GiveUp may be suspended on its way.
  void Close();

  // Decommits slices of `bytes` together, unless less than `leave` would be left. False: nothing was given up, or less
  // than that, since the OS would not decommit all of it.
  [[nodiscard]] bool GiveUp(Bytes bytes, Bytes leave);
  // Commits again what was given up, slice by slice, as far as what is charged fits without it and the OS has it. True:
  // it is whole.
  [[nodiscard]] bool TakeBack();

  [[nodiscard]] Bytes Size() const { return slice_.InBytes() * slices_; }
  [[nodiscard]] Bytes Held() const { return slice_.InBytes() * Count(held_.load()); }
  [[nodiscard]] Bytes Given() const { return Size() - Held(); }
  [[nodiscard]] PageRange Range() const { return {base_ >> kPageShift, {slice_.value * slices_}}; }

  // So far, each time counted.
  [[nodiscard]] Bytes GivenSoFar() const { return {given_so_far_.load(std::memory_order_relaxed)}; }
  [[nodiscard]] Bytes TakenBackSoFar() const { return {taken_back_so_far_.load(std::memory_order_relaxed)}; }
  [[nodiscard]] std::uint64_t Uses() const { return uses_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t kMostSlices = 64;
  [[nodiscard]] static std::uint64_t Count(std::uint64_t bits) {
    return static_cast<std::uint64_t>(std::popcount(bits));
  }
  // Calls act(address, size) for each run of slices; false: act has failed for one, and *mask has those that are left.
  template <typename Act>
  bool ForEachRun(std::uint64_t* mask, Act act) const;

  MemorySystem& os_;
  Budget& budget_;
  Address base_ = 0;
  Pages slice_;
  std::uint64_t slices_ = 0;
  std::atomic<std::uint64_t> held_ = 0;   // committed, and nobody is at work on it
  std::atomic<std::uint64_t> given_ = 0;  // decommitted, and nobody is at work on it
  std::atomic<std::uint64_t> uses_ = 0;
  std::atomic<std::uint64_t> given_so_far_ = 0;
  std::atomic<std::uint64_t> taken_back_so_far_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_EMERGENCY_POOL_H
