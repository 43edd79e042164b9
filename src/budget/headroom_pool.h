// The committed headroom: a part of the process headroom that the host has committed ahead. It counts against the limit
// while it is held (Budget::Held). It is decommitted for a process-critical request in two cases: when the OS has no
// more memory, or when the limit would refuse the request.
//
// It has up to 64 slices. Each is decommitted and recommitted by itself. A thread that takes a slice out of `held_`
// decommits it. If that thread is suspended meanwhile, it delays no other slice.
// Threads: any, lock-free; Open, ShrinkTo and TakeBack by one thread at a time.
#ifndef CLRHM_BUDGET_HEADROOM_POOL_H
#define CLRHM_BUDGET_HEADROOM_POOL_H

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/units.h"
#include "budget/budget.h"
#include "os/memory_system.h"

namespace clr_host_memory {

class HeadroomPool {
 public:
  // Both outlive the pool. budget: counts what is held.
  HeadroomPool(MemorySystem& os, Budget& budget) : os_(os), budget_(budget) {}
  ~HeadroomPool();
  HeadroomPool(const HeadroomPool&) = delete;
  HeadroomPool& operator=(const HeadroomPool&) = delete;

  // Commits the pool: `size` rounded up to whole slices (SizeFor). Call once, before any request, with limits whose
  // committed_headroom is that much. Returns the OS's error if the OS has too little memory.
  [[nodiscard]] win32::Error Open(Bytes size);
  // Decommits the whole pool permanently. Its address space stays until destruction: a thread may be suspended in
  // GiveUp.
  void Close();

  // Decommits slices of `bytes` together. False: nothing was decommitted, or less than `bytes`, since the OS refused to
  // decommit all of it.
  [[nodiscard]] bool GiveUp(Bytes bytes);
  // Decommits slices until at most `most` bytes are held. False: more are held.
  bool ShrinkTo(Bytes most);
  // Recommits what was decommitted, slice by slice. Stops where the limits provide for no more, the charge does not
  // fit, or the OS has no memory. True: all that the limits provide for is held.
  [[nodiscard]] bool TakeBack();

  // Returns the size of a pool of at least `wanted` bytes: whole slices.
  [[nodiscard]] static constexpr Bytes SizeFor(Bytes wanted) { return SliceFor(wanted).InBytes() * SlicesFor(wanted); }
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
  // The pages of one slice of a pool of `size` bytes, and the number of its slices.
  [[nodiscard]] static constexpr Pages SliceFor(Bytes size) {
    const std::uint64_t pages = (size.value >> kPageShift) + ((size.value & (kPageSize - 1)) != 0 ? 1 : 0);
    return {(pages + kMostSlices - 1) / kMostSlices};
  }
  [[nodiscard]] static constexpr std::uint64_t SlicesFor(Bytes size) {
    const std::uint64_t slice = SliceFor(size).InBytes().value;
    return slice == 0 ? 0 : (size.value + slice - 1) / slice;
  }
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

#endif  // CLRHM_BUDGET_HEADROOM_POOL_H
