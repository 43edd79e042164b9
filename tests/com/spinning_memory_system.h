// A seam that delays: it spins for a random time before and after it passes a call on. A thread suspended at random
// therefore often stands between the manager's bookkeeping and the OS call. The seam records where each thread is.
// Threads: any. They share no data, so a suspended thread blocks no other thread here.
#ifndef CLRHM_TESTS_COM_SPINNING_MEMORY_SYSTEM_H
#define CLRHM_TESTS_COM_SPINNING_MEMORY_SYSTEM_H

#include <atomic>
#include <cstdint>

#include "os/memory_system.h"

namespace clr_host_memory::test {

// The current place of a thread. Other threads read it while this thread is suspended.
struct ThreadPlace {
  std::atomic<bool> in_manager = false;  // set by the thread's own code around its calls
  std::atomic<bool> in_os = false;       // the real call, without the spins around it
  std::uint32_t random = 1;
};

class SpinningMemorySystem final : public MemorySystem {
  // One call to the OS and back. Defined before the methods, which deduce the return type of Call.
  class Passage {
   public:
    explicit Passage(std::uint32_t most_spins) : most_spins_(most_spins) { Spin(); }
    ~Passage() { Spin(); }
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

    template <typename Function>
    auto Call(Function function) const {
      place_.in_os.store(true);
      auto result = function();
      place_.in_os.store(false);
      return result;
    }

    void Spin() const {
      std::uint32_t random = place_.random;
      random ^= random << 13;
      random ^= random >> 17;
      random ^= random << 5;
      place_.random = random;
      for (std::uint32_t left = random % most_spins_; left > 0; --left) {
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
    }
    const std::uint32_t most_spins_;
    ThreadPlace& place_ = PlaceOfThisThread();
  };

 public:
  // beneath outlives the object. Each spin takes 0 to most_spins - 1 steps of about a nanosecond.
  SpinningMemorySystem(MemorySystem& beneath, std::uint32_t most_spins) : beneath_(beneath), most_spins_(most_spins) {}

  [[nodiscard]] static ThreadPlace& PlaceOfThisThread() {
    static std::atomic<std::uint32_t> seeds = 0;
    static thread_local ThreadPlace place;
    if (place.random == 1) place.random = (seeds.fetch_add(1) + 2) * 2654435761u | 1u;
    return place;
  }

  AllocateResult Allocate(const AllocateRequest& request) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.Allocate(request); });
  }
  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.Free(address, size, type); });
  }
  win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.Query(address, buffer, length, written); });
  }
  win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.Protect(address, size, protect, old); });
  }
  PageRun Describe(Address address) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.Describe(address); });
  }
  void* AllocateMetadata(std::size_t size) override {
    const Passage passage(most_spins_);
    return passage.Call([&] { return beneath_.AllocateMetadata(size); });
  }
  void FreeMetadata(void* memory, std::size_t size) override { beneath_.FreeMetadata(memory, size); }
  win32::Error Load(MemoryLoad* load) override { return beneath_.Load(load); }

 private:
  MemorySystem& beneath_;
  const std::uint32_t most_spins_;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_SPINNING_MEMORY_SYSTEM_H
