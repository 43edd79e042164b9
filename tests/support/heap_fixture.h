// A private heap over the fake OS, with real memory behind its pages, so that tests can write to blocks. Committed
// pages are zero at first, as on Windows.
#ifndef CLRHM_TESTS_SUPPORT_HEAP_FIXTURE_H
#define CLRHM_TESTS_SUPPORT_HEAP_FIXTURE_H

#include <cstring>
#include <memory>
#include <new>

#include "heap/private_heap.h"
#include "support/engine_fixture.h"

namespace clr_host_memory::test {

class BackedEngine : public ManagedEngine {
 public:
  explicit BackedEngine(const Limits& limits = {}, std::uint64_t size = 64 * kMiB)
      : ManagedEngine(limits), size_(size),
        memory_(::operator new(static_cast<std::size_t>(size), std::align_val_t{kGranuleSize})) {
    const Address low = reinterpret_cast<std::uintptr_t>(memory_);
    os.SetSearchRange(low, low + size);
    os.SetObserver([this](const OsCallInfo& info) { Zero(info); });
  }
  ~BackedEngine() { ::operator delete(memory_, std::align_val_t{kGranuleSize}); }
  BackedEngine(const BackedEngine&) = delete;
  BackedEngine& operator=(const BackedEngine&) = delete;

 private:
  // Zeroes decommitted pages before the OS call: another thread may receive the pages immediately after it. Zeroes
  // released pages when a later reservation returns them.
  void Zero(const OsCallInfo& info) {
    const Address low = reinterpret_cast<std::uintptr_t>(memory_);
    const auto clear = [&](Address address, std::uint64_t size) {
      if (address >= low && address - low < size_) {
        std::memset(static_cast<char*>(memory_) + (address - low), 0, static_cast<std::size_t>(size));
      }
    };
    if (info.call == OsCall::kFree && info.moment == Moment::kBefore && info.type == win32::kMemDecommit) {
      clear(info.address, info.size);
    } else if (info.call == OsCall::kAllocate && info.moment == Moment::kAfter && info.error == win32::kSuccess &&
               (info.type & win32::kMemReserve) != 0) {
      clear(info.result, info.size);
    }
  }

  std::uint64_t size_;
  void* memory_;
};

class PrivateHeapTest : public testing::Test, public BackedEngine {
 protected:
  void SetUp() override { Renew(); }
  void Renew(std::uint32_t kind = 1) {
    heap = std::make_unique<PrivateHeap>(engine, kind);
    ASSERT_TRUE(heap->Open(Criticality::kProcess).ok());
  }
  [[nodiscard]] char* Block(std::size_t size, Criticality level = Criticality::kTask) {
    return static_cast<char*>(heap->Allocate(size, level).block);
  }
  [[nodiscard]] static Address At(const void* block) { return reinterpret_cast<std::uintptr_t>(block); }
  // Expects an exact ledger in which this heap's committed pages are the whole charge.
  [[nodiscard]] testing::AssertionResult ExactAndTheHeaps() const {
    if (Charged() != engine.ledger().HeapBytes() || Charged() != heap->Figures().committed) {
      return testing::AssertionFailure() << "charged " << Charged().value << ", of heaps "
                                         << engine.ledger().HeapBytes().value << ", of this one "
                                         << heap->Figures().committed.value;
    }
    return Exact();
  }

  std::unique_ptr<PrivateHeap> heap;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_HEAP_FIXTURE_H
