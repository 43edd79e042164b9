// A std::atomic whose every operation is a point at which another thread may continue (see interleaver.h).
//
// This header is included before the sources of the ledger and the engine, which are compiled once more for this
// purpose. It first includes everything that those sources include from elsewhere, with the real std::atomic. From
// here on the word `atomic` means YieldingAtomic. The exploration covers every order of the operations. It does not
// cover the additional effects of a weaker memory model.
#ifndef CLRHM_TESTS_SUPPORT_YIELDING_ATOMIC_H
#define CLRHM_TESTS_SUPPORT_YIELDING_ATOMIC_H

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <gsl/gsl>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"
#include "support/interleaver.h"

namespace clr_host_memory::test {

template <typename T>
class YieldingAtomic {
 public:
  static constexpr bool is_always_lock_free = std::atomic<T>::is_always_lock_free;

  constexpr YieldingAtomic() noexcept = default;
  constexpr YieldingAtomic(T value) noexcept : value_(value) {}  // NOLINT: as std::atomic
  YieldingAtomic(const YieldingAtomic&) = delete;
  YieldingAtomic& operator=(const YieldingAtomic&) = delete;

  T load(std::memory_order = {}) const { return InterleavingPoint(), value_.load(); }
  void store(T value, std::memory_order = {}) { InterleavingPoint(), value_.store(value); }
  T exchange(T value, std::memory_order = {}) { return InterleavingPoint(), value_.exchange(value); }
  T fetch_add(T value, std::memory_order = {}) { return InterleavingPoint(), value_.fetch_add(value); }
  T fetch_sub(T value, std::memory_order = {}) { return InterleavingPoint(), value_.fetch_sub(value); }
  T fetch_or(T value, std::memory_order = {}) { return InterleavingPoint(), value_.fetch_or(value); }
  T fetch_and(T value, std::memory_order = {}) { return InterleavingPoint(), value_.fetch_and(value); }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order = {}, std::memory_order = {}) {
    return InterleavingPoint(), value_.compare_exchange_strong(expected, desired);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order = {}, std::memory_order = {}) {
    return InterleavingPoint(), value_.compare_exchange_strong(expected, desired);
  }

 private:
  std::atomic<T> value_{};
};

}  // namespace clr_host_memory::test

namespace std {
using clr_host_memory::test::YieldingAtomic;
}
#define atomic YieldingAtomic

#endif  // CLRHM_TESTS_SUPPORT_YIELDING_ATOMIC_H
