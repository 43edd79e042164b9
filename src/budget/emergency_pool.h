// The emergency reserve: memory committed at the start. It is decommitted in two cases: when the OS has no more
// memory, or when the limit would refuse a process-critical request. It is in addition to the limit: charged + held <=
// limit + reserve at any time. So the most that the CLR can take is known beforehand.
//
// It has up to 64 slices. Each is decommitted and recommitted by itself. A thread that takes a slice out of `held_`
// decommits it. If that thread is suspended meanwhile, it delays no other slice.
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
  // Both outlive the pool. budget: process-critical requests may charge what was decommitted above the limit.
  EmergencyPool(MemorySystem& os, Budget& budget) : os_(os), budget_(budget) {}
  ~EmergencyPool();
  EmergencyPool(const EmergencyPool&) = delete;
  EmergencyPool& operator=(const EmergencyPool&) = delete;

  // Commits the pool, rounded up to whole slices. Call once. Returns the OS's error if the OS has too little memory.
  [[nodiscard]] win32::Error Open(Bytes size);
  // Decommits the whole pool permanently. Its address space stays until destruction: a thread may be suspended in
  // GiveUp.
  void Close();

  // Decommits slices of `bytes` together, unless less than `leave` would remain. False: nothing was decommitted, or
  // less than `bytes`, since the OS refused to decommit all of it.
  [[nodiscard]] bool GiveUp(Bytes bytes, Bytes leave);
  // Recommits what was decommitted, slice by slice, as far as the charge fits without it and the OS has the memory.
  // True: the pool is whole.
  [[nodiscard]] bool TakeBack();

  [[nodiscard]] Bytes Size() const { return slice_.InBytes() * slices_; }
  [[nodiscard]] Bytes Held() const { return slice_.InBytes() * Count(held_.load()); }
  [[nodiscard]] Bytes Given() const { return Size() - Held(); }
  [[nodiscard]] PageRange Range() const { return {base_ >> kPageShift, {slice_.value * slices_}}; }

  // Totals so far: each decommit and each recommit counts.
  [[nodiscard]] Bytes GivenSoFar() const { return {given_so_far_.load(std::memory_order_relaxed)}; }
  [[nodiscard]] Bytes TakenBackSoFar() const { return {taken_back_so_far_.load(std::memory_order_relaxed)}; }
  [[nodiscard]] std::uint64_t Uses() const { return uses_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t kMostSlices = 64;
  [[nodiscard]] static std::uint64_t Count(std::uint64_t bits) {
    return static_cast<std::uint64_t>(std::popcount(bits));
  }
  // Calls act(address, size) for each run of slices in *mask. False: act has failed for a run, and *mask has the
  // slices that are left.
  template <typename Act>
  bool ForEachRun(std::uint64_t* mask, Act act) const;

  MemorySystem& os_;
  Budget& budget_;
  Address base_ = 0;
  Pages slice_;
  std::uint64_t slices_ = 0;
  std::atomic<std::uint64_t> held_ = 0;   // slices committed, and not in transition
  std::atomic<std::uint64_t> given_ = 0;  // slices decommitted, and not in transition
  std::atomic<std::uint64_t> uses_ = 0;
  std::atomic<std::uint64_t> given_so_far_ = 0;
  std::atomic<std::uint64_t> taken_back_so_far_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_EMERGENCY_POOL_H
