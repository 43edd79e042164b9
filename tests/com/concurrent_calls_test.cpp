// Tests concurrent calls over real Windows memory: separate regions, shared pages, reused addresses, heaps.
#include <array>
#include <atomic>
#include <functional>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

constexpr unsigned kThreads = 6;
constexpr int kRounds = 1500;

class ConcurrentCalls : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(LedgerIsExact(host()));
    EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().charged);
    EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().regions);
    if (!races_with_release_) {
      EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().stale_regions);
    }
  }
  [[nodiscard]] IHostMemoryManager* host() const { return manager_.get(); }

  // Runs body(thread number, random numbers) in all threads concurrently.
  void InThreads(const std::function<void(unsigned, std::minstd_rand&)>& body) {
    std::vector<std::thread> threads;
    std::atomic<unsigned> ready = 0;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        std::minstd_rand random(i + 1);
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        body(i, random);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Allocates like Allocate, but without EXPECT in the threads. Counts failures.
  void* Try(void* address, SIZE_T size, DWORD type, DWORD protect = PAGE_READWRITE) {
    void* memory = nullptr;
    if (host()->VirtualAlloc(address, size, type, protect, eProcessCritical, &memory) != S_OK) ++failures_;
    return memory;
  }
  void Must(HRESULT hr) {
    if (hr != S_OK) ++failures_;
  }

  MemoryManager manager_ = MakeManager();
  std::atomic<int> failures_ = 0;
  bool races_with_release_ = false;  // if so, marks may outlive their region until the address is reserved again
};

TEST_F(ConcurrentCalls, SucceedOnSeparateRegions) {
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds; ++round) {
      const SIZE_T pages = 1 + random() % 200;
      void* const region = Try(nullptr, pages * kPage, MEM_RESERVE);
      const SIZE_T first = random() % pages;
      const SIZE_T count = 1 + random() % (pages - first);
      void* const memory = Try(At(region, first * kPage), count * kPage, MEM_COMMIT);
      *At(memory, (count - 1) * kPage) = 1;
      DWORD old = 0;
      Must(host()->VirtualProtect(memory, kPage, PAGE_READONLY, &old));
      if (random() % 2 == 0) Must(host()->VirtualFree(memory, (1 + random() % count) * kPage, MEM_DECOMMIT));
      Must(host()->VirtualFree(region, 0, MEM_RELEASE));
    }
  });
  EXPECT_EQ(0, failures_.load());
}

TEST_F(ConcurrentCalls, CommitsOfSharedPagesAreChargedOnce) {
  constexpr SIZE_T kPages = 200;
  void* const shared = Try(nullptr, kPages * kPage, MEM_RESERVE);
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds; ++round) {
      const SIZE_T first = random() % kPages;
      const SIZE_T count = 1 + random() % (kPages - first);
      void* const start = At(shared, first * kPage);
      if (random() % 2 == 0) {
        if (Try(start, count * kPage, MEM_COMMIT) != start) ++failures_;
      } else {
        Must(host()->VirtualFree(start, count * kPage, MEM_DECOMMIT));
      }
    }
  });
  EXPECT_EQ(0, failures_.load());
  EXPECT_TRUE(LedgerIsExact(host()));
  EXPECT_LE(manager_.Statistics().charged, kPages * kPage);
  EXPECT_LE(manager_.Statistics().peak_charged, kThreads * kPages * kPage);
  void* const all = Try(shared, kPages * kPage, MEM_COMMIT);
  EXPECT_EQ(shared, all);
  EXPECT_EQ(kPages * kPage, manager_.Statistics().charged);
  EXPECT_HR(S_OK, host()->VirtualFree(shared, 0, MEM_RELEASE));
}

// Every thread reserves, uses and releases the same few addresses. One thread wins each reservation, so an address
// changes its owner repeatedly. Only the winner touches the memory.
TEST_F(ConcurrentCalls, ReusedAddressesAreChargedExactly) {
  constexpr SIZE_T kSize = 96 * kPage;
  std::array<void*, 3> places{};
  for (void*& place : places) place = Try(nullptr, kSize, MEM_RESERVE);
  for (void* place : places) Must(host()->VirtualFree(place, 0, MEM_RELEASE));
  std::atomic<int> won = 0;
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds; ++round) {
      void* const place = places[random() % places.size()];
      const SIZE_T size = random() % 2 == 0 ? kSize : kSize / 2;
      const DWORD type = random() % 2 == 0 ? MEM_RESERVE : MEM_RESERVE | MEM_COMMIT;
      void* memory = Poison();
      const HRESULT hr = host()->VirtualAlloc(place, size, type, PAGE_READWRITE, eTaskCritical, &memory);
      if (hr != S_OK) {
        if (hr != E_OUTOFMEMORY || memory != nullptr || ::GetLastError() != ERROR_INVALID_ADDRESS) ++failures_;
        std::this_thread::yield();
        continue;
      }
      ++won;
      void* const inside = At(place, (random() % (size / kPage)) * kPage);
      if (Try(inside, kPage, MEM_COMMIT) != inside) ++failures_;
      *At(inside, 0) = 1;
      if (random() % 3 == 0) Must(host()->VirtualFree(inside, kPage, MEM_DECOMMIT));
      Must(host()->VirtualFree(place, 0, MEM_RELEASE));
    }
  });
  EXPECT_EQ(0, failures_.load());
  EXPECT_GT(won.load(), 100) << "the places hardly ever changed hands, so little was shown";
}

// A thread must not commit in a region that another thread is releasing. A CLR with that bug gets failures, but the
// ledger must stay exact for the rest of the process.
TEST_F(ConcurrentCalls, LedgerStaysExactWhenCommitsRaceWithRelease) {
  races_with_release_ = true;
  constexpr SIZE_T kSize = 32 * kPage;
  std::atomic<void*> current = nullptr;
  std::atomic<bool> stop = false;
  InThreads([&](unsigned thread, std::minstd_rand& random) {
    if (thread == 0) {
      for (int round = 0; round < kRounds; ++round) {
        void* const region = Try(nullptr, kSize, MEM_RESERVE);
        current.store(region);
        for (auto spins = random() % 5000; spins > 0; --spins) std::atomic_signal_fence(std::memory_order_seq_cst);
        Must(host()->VirtualFree(region, 0, MEM_RELEASE));
      }
      stop.store(true);
      return;
    }
    while (!stop.load()) {
      void* const region = current.load();
      if (region == nullptr) continue;
      void* memory = Poison();
      void* const inside = At(region, (random() % 32) * kPage);
      static_cast<void>(host()->VirtualAlloc(inside, kPage, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &memory));
    }
  });
  EXPECT_EQ(0, failures_.load());
}

TEST_F(ConcurrentCalls, OneHeapServesSeveralThreads) {
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, host()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  InThreads([&](unsigned thread, std::minstd_rand& random) {
    std::array<void*, 32> blocks{};
    for (int round = 0; round < kRounds * 4; ++round) {
      void*& block = blocks[random() % blocks.size()];
      if (block != nullptr && *static_cast<unsigned char*>(block) != thread) ++failures_;
      Must(heap->Free(block));
      block = nullptr;
      const HRESULT hr = round % 2 == 0 ? heap->Alloc(1 + random() % 3000, eTaskCritical, &block)
                                        : heap->DebugAlloc(1 + random() % 3000, eTaskCritical, nullptr, 0, &block);
      Must(hr);
      if (hr == S_OK) *static_cast<unsigned char*>(block) = static_cast<unsigned char>(thread);
    }
    for (void* block : blocks) Must(heap->Free(block));
  });
  EXPECT_EQ(0, failures_.load());
  // Every call was counted, although each thread counts in its own shard.
  const ClrHostMemoryStatistics statistics = manager_.Statistics();
  const auto served = [&](ClrHostMemoryMethod method) { return statistics.calls[method][kClrHostMemoryOk]; };
  EXPECT_EQ(std::uint64_t{kThreads} * kRounds * 4,
            served(kClrHostMemoryMallocAlloc) + served(kClrHostMemoryMallocDebugAlloc));
  EXPECT_EQ(std::uint64_t{kThreads} * (kRounds * 4 + 32), served(kClrHostMemoryMallocFree));
  heap.Reset();
  EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().heap_bytes);
}

TEST_F(ConcurrentCalls, NeverExceedTheLimitTogether) {
  constexpr std::uint64_t kLimit = 64 * kPage;
  ASSERT_TRUE(manager_.SetLimit(kLimit, 0, 0));
  std::atomic<int> refused = 0;
  std::atomic<std::uint64_t> held = 0;
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds; ++round) {
      const SIZE_T size = (1 + random() % 32) * kPage;
      void* memory = nullptr;
      const HRESULT hr = host()->VirtualAlloc(nullptr, size, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory);
      if (hr != S_OK) {
        if (hr != E_OUTOFMEMORY || memory != nullptr) ++failures_;
        ++refused;
        continue;
      }
      if (held.fetch_add(size) + size > kLimit) ++failures_;
      std::this_thread::yield();
      held.fetch_sub(size);
      Must(host()->VirtualFree(memory, 0, MEM_RELEASE));
    }
  });
  EXPECT_EQ(0, failures_.load());
  EXPECT_GT(refused.load(), 0) << "the limit was never reached, so nothing was shown";
  EXPECT_LE(manager_.Statistics().peak_charged, kLimit);
}

TEST_F(ConcurrentCalls, AuditMayRunDuringCalls) {
  std::atomic<bool> stop = false;
  std::atomic<int> unjudged = 0;
  std::thread auditor([&] {
    while (!stop.load()) {
      ClrHostMemoryAudit audit{};
      audit.size = sizeof(audit);
      if (manager_.control()->Audit(&audit) != S_OK) ++failures_;
      if (audit.mismatch != 0) ++unjudged;
    }
  });
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds / 4; ++round) {
      void* const memory = Try(nullptr, (1 + random() % 100) * kPage, MEM_COMMIT);
      Must(host()->VirtualFree(memory, 0, MEM_RELEASE));
    }
  });
  stop.store(true);
  auditor.join();
  EXPECT_EQ(0, failures_.load());
  RecordProperty("audits that met a difference", unjudged.load());
}

void STDMETHODCALLTYPE CountEnd(const char* line, void* count) {
  if (std::string_view(line) == "end of report") ++*static_cast<int*>(count);
}

TEST_F(ConcurrentCalls, ReportMayBeWrittenDuringCalls) {
  std::atomic<bool> stop = false;
  int ends = 0;
  int reports = 0;
  std::thread reporter([&] {
    do {
      ++reports;
      if (manager_.control()->WriteReport(&CountEnd, &ends) != S_OK) ++failures_;
    } while (!stop.load());
  });
  InThreads([&](unsigned, std::minstd_rand& random) {
    for (int round = 0; round < kRounds / 4; ++round) {
      void* const memory = Try(nullptr, (1 + random() % 100) * kPage, MEM_COMMIT);
      Must(host()->VirtualFree(memory, 0, MEM_RELEASE));
    }
  });
  stop.store(true);
  reporter.join();
  EXPECT_EQ(0, failures_.load());
  EXPECT_EQ(reports, ends);
}

}  // namespace
}  // namespace clr_host_memory::test
