// Measures what the manager costs over raw Win32. It measures commit + decommit of 64 KiB through the vtable, with and
// without touching the pages. It also measures reservations of 256 GiB and of 64 KiB. Wine itself takes milliseconds
// for the large reservation, which hides the manager's share. So that share is measured again over an OS that does
// nothing. Argument: the number of rounds (default 101). Each round measures both sides once, in turns. Prints medians.
// Never fails on time: the reader judges the figures on an otherwise idle machine. They should show a ratio <= 1.05,
// and a large reservation that costs no more than a small one.
#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "benchmark/timing.h"
#include "com/host_memory_manager.h"
#include "os/windows/windows_thread_system.h"
#include "support/null_memory_system.h"

namespace {

using namespace clr_host_memory;
using clrhm_test::Median;
using clrhm_test::Now;

constexpr SIZE_T kBlock = 64 * 1024;
constexpr SIZE_T kRegion = 64 * kBlock;
constexpr int kPairsARound = 400;

struct Win32 {
  void* Alloc(void* address, SIZE_T size, DWORD type) const {
    return ::VirtualAlloc(address, size, type, PAGE_READWRITE);
  }
  bool Free(void* address, SIZE_T size, DWORD type) const { return ::VirtualFree(address, size, type) != FALSE; }
};

struct Managed {
  IHostMemoryManager* manager;
  void* Alloc(void* address, SIZE_T size, DWORD type) const {
    void* memory = nullptr;
    manager->VirtualAlloc(address, size, type, PAGE_READWRITE, eTaskCritical, &memory);
    return memory;
  }
  bool Free(void* address, SIZE_T size, DWORD type) const { return manager->VirtualFree(address, size, type) == S_OK; }
};

[[noreturn]] void Fail(const char* what) {
  std::printf("failed: %s, error %lu\n", what, static_cast<unsigned long>(::GetLastError()));
  std::exit(1);
}

// Returns the nanoseconds for one commit and decommit. Successive pairs move through the region.
template <typename Api>
double CommitAndDecommit(const Api& api, char* region, bool touch) {
  const double start = Now();
  for (int i = 0; i < kPairsARound; ++i) {
    char* const block = region + static_cast<SIZE_T>(i) % (kRegion / kBlock) * kBlock;
    if (api.Alloc(block, kBlock, MEM_COMMIT) != block) Fail("commit");
    if (touch) {
      for (SIZE_T page = 0; page < kBlock; page += 4096) block[page] = 1;
    }
    if (!api.Free(block, kBlock, MEM_DECOMMIT)) Fail("decommit");
  }
  return (Now() - start) / kPairsARound;
}

// Returns the nanoseconds for one reservation and its release. `address` is the place, or null for any.
template <typename Api>
double ReserveAndRelease(const Api& api, SIZE_T size, int pairs, void* address = nullptr) {
  const double start = Now();
  for (int i = 0; i < pairs; ++i) {
    void* const memory = api.Alloc(address, size, MEM_RESERVE);
    if (memory == nullptr || !api.Free(memory, 0, MEM_RELEASE)) Fail("reserve and release");
  }
  return (Now() - start) / pairs;
}

// Calls both measurements in turns. Their order alternates from round to round.
template <typename First, typename Second>
void Compare(const char* what, int rounds, First raw, Second managed) {
  std::vector<double> raw_times;
  std::vector<double> managed_times;
  std::vector<double> ratios;
  for (int round = 0; round < rounds + 1; ++round) {
    double raw_time = 0;
    double managed_time = 0;
    if (round % 2 == 0) raw_time = raw();
    managed_time = managed();
    if (round % 2 != 0) raw_time = raw();
    if (round == 0) continue;  // to warm up
    raw_times.push_back(raw_time);
    managed_times.push_back(managed_time);
    ratios.push_back(managed_time / raw_time);
  }
  std::printf("%-42s Win32 %8.0f ns, manager %8.0f ns, own cost %6.0f ns, ratio %.3f (median of rounds %.3f)\n", what,
              Median(raw_times), Median(managed_times), Median(managed_times) - Median(raw_times),
              Median(managed_times) / Median(raw_times), Median(ratios));
}

#ifdef _WIN64
void CompareReservations(const Managed& managed, int rounds) {
  const Win32 win32;
  const auto large = static_cast<SIZE_T>(256_GiB);
  Compare(
      "reserve, release of 64 KiB", rounds, [&] { return ReserveAndRelease(win32, kBlock, kPairsARound); },
      [&] { return ReserveAndRelease(managed, kBlock, kPairsARound); });
  Compare(
      "reserve, release of 256 GiB", rounds, [&] { return ReserveAndRelease(win32, large, 2); },
      [&] { return ReserveAndRelease(managed, large, 2); });

  test::NullMemorySystem no_os;
  const ComReference<HostMemoryManager> over_nothing(new HostMemoryManager(no_os, WindowsThreadSystem(), {}));
  const Managed alone{over_nothing.get()};
  void* const place = reinterpret_cast<void*>(static_cast<std::uintptr_t>(16 * 256_GiB));
  std::vector<double> of_small;
  std::vector<double> of_large;
  for (int round = 0; round < rounds; ++round) {
    of_small.push_back(ReserveAndRelease(alone, kBlock, 10 * kPairsARound, place));
    of_large.push_back(ReserveAndRelease(alone, large, 10 * kPairsARound, place));
  }
  std::printf("%-42s 64 KiB %7.0f ns, 256 GiB %7.0f ns\n", "reserve, release over an OS that does nothing",
              Median(of_small), Median(of_large));
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 101;
  auto made = CreateMemoryManager({.limit = 1_GiB});
  if (!made) Fail(made.error().reason());
  const Win32 win32;
  const Managed managed{made->get()};
  auto* const raw_region = static_cast<char*>(win32.Alloc(nullptr, kRegion, MEM_RESERVE));
  auto* const managed_region = static_cast<char*>(managed.Alloc(nullptr, kRegion, MEM_RESERVE));
  if (raw_region == nullptr || managed_region == nullptr) Fail("reserve");

  std::printf("%d rounds of %d\n", rounds, kPairsARound);
  for (const bool touch : {false, true}) {
    Compare(
        touch ? "commit, touch, decommit of 64 KiB" : "commit, decommit of 64 KiB", rounds,
        [&] { return CommitAndDecommit(win32, raw_region, touch); },
        [&] { return CommitAndDecommit(managed, managed_region, touch); });
  }
#ifdef _WIN64
  CompareReservations(managed, rounds);
#endif
  if (!managed.Free(managed_region, 0, MEM_RELEASE) || !win32.Free(raw_region, 0, MEM_RELEASE)) Fail("release");
  if (made->Audit().mismatch != 0 || made->Statistics().charged != 0) Fail("the ledger is not exact");
  return 0;
}
