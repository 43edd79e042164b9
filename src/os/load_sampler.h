// A cache of the OS's memory figures. It asks the OS at most once per interval.
//
// The GC reads the figures at every collection, on threads that may be suspended anywhere. So the sampler takes no
// lock. The last reading is guarded by a sequence number, which is odd while a thread stores a reading. A thread that
// finds an odd number, or no reading that is recent enough, asks the OS itself instead of waiting.
// Threads: any. No function waits or allocates.
#ifndef CLRHM_OS_LOAD_SAMPLER_H
#define CLRHM_OS_LOAD_SAMPLER_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "base/win32.h"
#include "os/memory_system.h"
#include "os/thread_system.h"

namespace clr_host_memory {

class LoadSampler {
 public:
  // Both outlive the sampler.
  LoadSampler(MemorySystem& memory, ThreadSystem& threads, Milliseconds interval)
      : memory_(memory), threads_(threads), interval_(interval.count()) {}
  LoadSampler(const LoadSampler&) = delete;
  LoadSampler& operator=(const LoadSampler&) = delete;

  // Returns a reading that is younger than the interval: the stored one, or a new one, which it stores for other
  // threads. On failure *load is unchanged.
  [[nodiscard]] win32::Error Read(MemoryLoad* load);
  // Takes a new reading, even if the stored one is young, and stores it for other threads.
  [[nodiscard]] win32::Error Refresh(MemoryLoad* load);

  void SetInterval(Milliseconds interval) { interval_.store(interval.count(), std::memory_order_relaxed); }
  [[nodiscard]] Milliseconds interval() const { return Milliseconds{interval_.load(std::memory_order_relaxed)}; }

 private:
  struct Reading {
    MemoryLoad load;
    Milliseconds taken_at{};
  };
  static constexpr std::size_t kWords = 9;
  using Words = std::array<std::uint64_t, kWords>;
  [[nodiscard]] static Words Pack(const Reading& reading);
  [[nodiscard]] static Reading Unpack(const Words& words);

  [[nodiscard]] std::optional<Reading> Stored(std::uint64_t sequence) const;
  [[nodiscard]] win32::Error Ask(std::uint64_t sequence, MemoryLoad* load);
  void Store(std::uint64_t sequence, const Reading& reading);

  MemorySystem& memory_;
  ThreadSystem& threads_;
  std::atomic<std::int64_t> interval_;
  std::atomic<std::uint64_t> sequence_ = 0;  // 0: nothing stored yet
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_LOAD_SAMPLER_H
