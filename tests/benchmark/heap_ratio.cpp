// Measures what a block of IHostMalloc costs over one of HeapAlloc, through the vtable and with the pages already
// committed. One case allocates a block and frees it again. The other is a mix of 16 to 1024 bytes with a thousand
// blocks alive, by one thread and by two. Then it measures the mix through the bridge's interface, without and with
// zeroes beyond the requested size.
// Argument: the number of rounds (default 101). Each round measures both sides once, in turns. Prints medians. Never
// fails on time: the reader judges the figures on an otherwise idle machine. They should be at most a few ns above
// HeapAlloc.
#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "benchmark/timing.h"
#include "com/backend.h"

namespace {

using namespace clr_host_memory;
using clrhm_test::Median;
using clrhm_test::Now;

constexpr int kPairs = 20000;
constexpr std::size_t kAlive = 1000;

struct Win32 {
  HANDLE heap;
  void* Alloc(SIZE_T size) const { return ::HeapAlloc(heap, 0, size); }
  bool Free(void* memory) const { return ::HeapFree(heap, 0, memory) != FALSE; }
};

struct Managed {
  IHostMalloc* heap;
  void* Alloc(SIZE_T size) const {
    void* memory = nullptr;
    heap->Alloc(size, eProcessCritical, &memory);
    return memory;
  }
  bool Free(void* memory) const { return heap->Free(memory) == S_OK; }
};

struct Bridged {
  IHeapBackend* heap;
  uint32_t flags;
  void* Alloc(SIZE_T size) const {
    void* memory = nullptr;
    heap->Allocate(size, flags, eProcessCritical, &memory);
    return memory;
  }
  bool Free(void* memory) const { return heap->FreeIfOwned(memory) == S_OK; }
};

[[noreturn]] void Fail(const char* what) {
  std::printf("failed: %s\n", what);
  std::exit(1);
}

// One step of the mix. Both sides use the same sizes and order.
struct Step {
  std::uint16_t slot;
  std::uint16_t size;
};
const std::vector<Step>& Steps() {
  static const std::vector<Step> steps = [] {
    std::minstd_rand random(1);
    std::vector<Step> made;
    for (int i = 0; i < kPairs; ++i) {
      made.push_back({static_cast<std::uint16_t>(random() % kAlive), static_cast<std::uint16_t>(16 + random() % 1009)});
    }
    return made;
  }();
  return steps;
}

// Each of the following functions returns the nanoseconds for one Alloc and one Free.
template <typename Api>
double OneBlock(const Api& api) {
  const double start = Now();
  for (int i = 0; i < kPairs; ++i) {
    void* block = api.Alloc(64);
    if (block == nullptr || !api.Free(block)) Fail("one block");
  }
  return (Now() - start) / kPairs;
}

template <typename Api>
double Mixed(const Api& api) {
  std::array<void*, kAlive> blocks{};
  for (std::size_t i = 0; i < kAlive; ++i) blocks[i] = api.Alloc(16 + i);
  const double start = Now();
  for (const Step step : Steps()) {
    void*& block = blocks[step.slot];
    if (!api.Free(block)) Fail("free");
    block = api.Alloc(step.size);
    if (block == nullptr) Fail("allocate");
  }
  const double nanoseconds = (Now() - start) / kPairs;
  for (void* block : blocks) api.Free(block);
  return nanoseconds;
}

template <typename Api>
double MixedByTwo(const Api& api) {
  double other = 0;
  std::thread thread([&] { other = Mixed(api); });
  const double own = Mixed(api);
  thread.join();
  return (own + other) / 2;
}

template <typename First, typename Second>
void Compare(const char* what, int rounds, First raw, Second managed) {
  std::vector<double> raw_times;
  std::vector<double> managed_times;
  for (int round = 0; round < rounds + 1; ++round) {
    double raw_time = 0;
    if (round % 2 == 0) raw_time = raw();
    const double managed_time = managed();
    if (round % 2 != 0) raw_time = raw();
    if (round == 0) continue;  // to warm up
    raw_times.push_back(raw_time);
    managed_times.push_back(managed_time);
  }
  std::printf("%-40s HeapAlloc %6.1f ns, IHostMalloc %6.1f ns, difference %6.1f ns, ratio %.2f\n", what,
              Median(raw_times), Median(managed_times), Median(managed_times) - Median(raw_times),
              Median(managed_times) / Median(raw_times));
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 101;
  auto made = CreateMemoryManager({.limit = 1_GiB});
  if (!made) Fail(made.error().reason());
  ComReference<IHostMalloc> heap;
  if (made->get()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()) != S_OK) Fail("CreateMalloc");
  ComReference<IHeapBackend> bridged;
  if (heap.get()->QueryInterface(kIidHeapBackend, reinterpret_cast<void**>(bridged.Receive())) != S_OK) Fail("heap");
  const Win32 win32{::HeapCreate(0, 0, 0)};
  const Managed managed{heap.get()};
  std::printf("%d rounds of %d pairs\n", rounds, kPairs);
  Compare("one block of 64 bytes", rounds, [&] { return OneBlock(win32); }, [&] { return OneBlock(managed); });
  Compare("16 to 1024 bytes, 1000 alive", rounds, [&] { return Mixed(win32); }, [&] { return Mixed(managed); });
  Compare("the same by two threads", rounds, [&] { return MixedByTwo(win32); }, [&] { return MixedByTwo(managed); });
  // The bridge's blocks for malloc, without and with the zeroes beyond the size, which _recalloc relies on.
  for (const auto flags : {std::uint32_t{0}, std::uint32_t{kHeapZeroBeyond}}) {
    const Bridged api{bridged.get(), flags};
    Compare(
        flags == 0 ? "the mix, as the bridge has it" : "the same, zero beyond its size", rounds,
        [&] { return Mixed(win32); }, [&] { return Mixed(api); });
    Compare("the same by two threads", rounds, [&] { return MixedByTwo(win32); }, [&] { return MixedByTwo(api); });
  }
  bridged.Reset();
  heap.Reset();
  ::HeapDestroy(win32.heap);
  if (made->Audit().mismatch != 0 || made->Statistics().charged != 0) Fail("the ledger is not exact");
  return 0;
}
