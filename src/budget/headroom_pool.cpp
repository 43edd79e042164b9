#include "budget/headroom_pool.h"

#include <algorithm>

namespace clr_host_memory {

HeadroomPool::~HeadroomPool() {
  if (slices_ != 0) (void)os_.Free(base_, 0, win32::kMemRelease);
}

template <typename Act>
bool HeadroomPool::ForEachRun(std::uint64_t* mask, Act act) const {
  while (*mask != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(*mask));
    const auto length = static_cast<unsigned>(std::countr_one(*mask >> first));
    const std::uint64_t run = (length == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << length) - 1) << first;
    const std::uint64_t slice = slice_.InBytes().value;
    if (!act(base_ + first * slice, length * slice)) return false;
    *mask &= ~run;
  }
  return true;
}

win32::Error HeadroomPool::Open(Bytes size) {
  if (size == Bytes{}) return win32::kSuccess;
  const Pages slice = SliceFor(size);
  const std::uint64_t slices = SlicesFor(size);
  const AllocateResult result = os_.Allocate({.size = (slice.InBytes() * slices).value,
                                              .type = win32::kMemReserve | win32::kMemCommit,
                                              .protect = win32::kPageReadWrite});
  if (result.error != win32::kSuccess) return result.error;
  base_ = result.address;
  slice_ = slice;
  slices_ = slices;
  held_.store(slices == kMostSlices ? ~std::uint64_t{0} : (std::uint64_t{1} << slices) - 1);
  (void)budget_.TryRaiseHeld(Size());  // nothing is charged yet, and the limits provide for it
  return win32::kSuccess;
}

void HeadroomPool::Close() {
  std::uint64_t held = held_.exchange(0);
  budget_.LowerHeld(slice_.InBytes() * Count(held));
  (void)ForEachRun(&held, [&](Address address, std::uint64_t size) {
    return os_.Free(address, size, win32::kMemDecommit) == win32::kSuccess;
  });
}

bool HeadroomPool::GiveUp(Bytes bytes) {
  const std::uint64_t slice = slice_.InBytes().value;
  if (slices_ == 0 || bytes == Bytes{} || bytes > Size()) return false;
  const std::uint64_t wanted = (bytes.value + slice - 1) / slice;
  std::uint64_t held = held_.load();
  std::uint64_t taken = 0;
  do {
    if (Count(held) < wanted) return false;
    taken = held;
    for (std::uint64_t spare = Count(held) - wanted; spare != 0; --spare) taken &= taken - 1;  // the lowest slices stay
  } while (!held_.compare_exchange_weak(held, held & ~taken));

  std::uint64_t left = taken;
  const bool done = ForEachRun(&left, [&](Address address, std::uint64_t size) {
    return os_.Free(address, size, win32::kMemDecommit) == win32::kSuccess;
  });
  given_.fetch_or(taken & ~left);
  held_.fetch_or(left);
  const std::uint64_t given = Count(taken & ~left) * slice;
  if (given != 0) uses_.fetch_add(1, std::memory_order_relaxed);
  given_so_far_.fetch_add(given, std::memory_order_relaxed);
  budget_.LowerHeld({given});
  return done;
}

bool HeadroomPool::ShrinkTo(Bytes most) { return Held() <= most || GiveUp(Held() - most); }

bool HeadroomPool::TakeBack() {
  const Bytes slice = slice_.InBytes();
  for (std::uint64_t given = given_.load(); given != 0; given &= given - 1) {
    const std::uint64_t bit = given & (~given + 1);
    if (!budget_.TryRaiseHeld(slice)) break;
    const Address address = base_ + static_cast<std::uint64_t>(std::countr_zero(bit)) * slice.value;
    const AllocateResult result = os_.Allocate(
        {.address = address, .size = slice.value, .type = win32::kMemCommit, .protect = win32::kPageReadWrite});
    if (result.error != win32::kSuccess) {
      budget_.LowerHeld(slice);
      break;
    }
    given_.fetch_and(~bit);
    held_.fetch_or(bit);
    taken_back_so_far_.fetch_add(slice.value, std::memory_order_relaxed);
  }
  return slices_ == 0 || budget_.Held() + slice > budget_.CommittedHeadroom();
}

}  // namespace clr_host_memory
