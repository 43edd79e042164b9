// Tests the seams over Windows itself, which the fakes replace elsewhere.
#include <gtest/gtest.h>
#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "notify/worker.h"
#include "os/load_sampler.h"
#include "os/windows/windows_memory_system.h"
#include "os/windows/windows_thread_system.h"

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

MemoryLoad Load() {
  MemoryLoad load;
  EXPECT_EQ(WindowsMemorySystem().Load(&load), win32::kSuccess);
  return load;
}

ThreadSystem& Threads() { return WindowsThreadSystem(); }

// Returns the highest of 64 new handles. Handle values rise in steps of 4; closed handles leave gaps that are reused.
// (Wine 8 does not implement GetProcessHandleCount.)
std::uintptr_t HighHandle() {
  std::array<HANDLE, 64> made{};
  for (HANDLE& handle : made) handle = ::CreateEventW(nullptr, FALSE, FALSE, nullptr);
  for (const HANDLE handle : made) ::CloseHandle(handle);
  return reinterpret_cast<std::uintptr_t>(*std::max_element(made.begin(), made.end()));
}

void WaitUntil(const std::function<bool()>& done) {
  while (!done()) ::Sleep(1);
}

TEST(WindowsLoad, ReportsPlausibleMachineFigures) {
  const MemoryLoad load = Load();
  EXPECT_LE(load.percent_in_use, 100U);
  EXPECT_GT(load.total_physical, Bytes{});
  EXPECT_LE(load.available_physical, load.total_physical);
  EXPECT_GT(load.total_commit, Bytes{});
  EXPECT_LE(load.available_commit, load.total_commit);
  EXPECT_LE(load.available_in_job, load.total_in_job);
  EXPECT_FALSE(load.low_signalled && load.high_signalled);
}

TEST(WindowsLoad, TouchedCommitsCountAsProcessPrivate) {
  constexpr SIZE_T kSize = 64 * kMiB;
  const Bytes before = Load().process_private;
  EXPECT_GT(before, Bytes{});
  auto* const memory = static_cast<char*>(::VirtualAlloc(nullptr, kSize, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  ASSERT_NE(memory, nullptr);
  for (SIZE_T at = 0; at < kSize; at += kPageSize) memory[at] = 1;
  const Bytes with = Load().process_private;
  ASSERT_TRUE(::VirtualFree(memory, 0, MEM_RELEASE));
  const Bytes after = Load().process_private;
  EXPECT_GE(with, before + Bytes{60 * kMiB});
  EXPECT_LE(with, before + Bytes{68 * kMiB});
  EXPECT_LE(after, before + Bytes{4 * kMiB});
}

TEST(WindowsLoad, KeepsTheLastError) {
  ::SetLastError(1234);
  Load();
  EXPECT_EQ(::GetLastError(), 1234U);
}

TEST(WindowsLoad, ConcurrentCallsLeakNoHandles) {
  Load();
  const std::uintptr_t before = HighHandle();
  {
    std::vector<std::thread> askers;
    for (int i = 0; i < 4; ++i) {
      askers.emplace_back([] {
        for (int round = 0; round < 200; ++round) Load();
      });
    }
    for (std::thread& asker : askers) asker.join();
  }
  EXPECT_LE(HighHandle(), before + 4 * 100);
}

// The last of the load tests, because the process cannot leave the job.
TEST(WindowsLoad, ReportsTheTightestJobLimit) {
  const HANDLE job = ::CreateJobObjectW(nullptr, nullptr);
  ASSERT_NE(job, nullptr);
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY | JOB_OBJECT_LIMIT_JOB_MEMORY;
  limits.ProcessMemoryLimit = 900 * kMiB;
  limits.JobMemoryLimit = 1000 * kMiB;
  ASSERT_TRUE(::SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits)));
  const BOOL assigned = ::AssignProcessToJobObject(job, ::GetCurrentProcess());
  ::CloseHandle(job);
  if (!assigned) GTEST_SKIP() << "this process may not join a job; run it outside of one";
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION told{};
  if (!::QueryInformationJobObject(nullptr, JobObjectExtendedLimitInformation, &told, sizeof(told), nullptr) ||
      told.ProcessMemoryLimit == 0) {
    GTEST_SKIP() << "this system does not tell a job's limits (Wine 8 does not); Windows does";
  }
  const MemoryLoad load = Load();
  EXPECT_EQ(load.total_in_job, Bytes{900 * kMiB});
  EXPECT_EQ(load.available_in_job, Bytes{900 * kMiB} - load.process_private);
}

TEST(WindowsThreads, ClockAdvancesAtTheRightRate) {
  const auto before = std::chrono::steady_clock::now();
  const Milliseconds begin = Threads().Now();
  Threads().Sleep(Milliseconds{60});
  const Milliseconds end = Threads().Now();
  const auto other_clock = std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - before);
  EXPECT_GE(end - begin, Milliseconds{40});  // the clock ticks in steps of up to 16 ms
  EXPECT_LE(end - begin, other_clock + Milliseconds{40});
}

TEST(WindowsThreads, EventReleasesOneWaiterOnce) {
  const EventHandle event = Threads().MakeEvent();
  ASSERT_NE(event, nullptr);
  EXPECT_FALSE(Threads().WaitFor(event, Milliseconds{0}));
  EXPECT_FALSE(Threads().WaitFor(event, Milliseconds{-5}));
  Threads().Signal(event);
  Threads().Signal(event);
  EXPECT_TRUE(Threads().WaitFor(event, kForever));
  const Milliseconds begin = Threads().Now();
  EXPECT_FALSE(Threads().WaitFor(event, Milliseconds{50}));
  EXPECT_GE(Threads().Now() - begin, Milliseconds{30});
  Threads().CloseEvent(event);
}

TEST(WindowsThreads, EventsKeepTheLastError) {
  const EventHandle event = Threads().MakeEvent();
  ::SetLastError(1234);
  Threads().Signal(event);
  (void)Threads().WaitFor(event, kForever);
  (void)Threads().WaitFor(event, Milliseconds{1});
  Threads().CloseEvent(event);
  Threads().Signal(nullptr);  // fails
  EXPECT_EQ(::GetLastError(), 1234U);
}

TEST(WindowsThreads, ThreadRunsOnceAndJoinWaits) {
  struct Work {
    std::atomic<int> runs = 0;
    std::uint64_t thread = 0;
  } work;
  const ThreadHandle thread = Threads().Start(
      [](void* context) {
        ::Sleep(20);
        static_cast<Work*>(context)->thread = Threads().CurrentThread();
        ++static_cast<Work*>(context)->runs;
      },
      &work);
  ASSERT_NE(thread, nullptr);
  Threads().Join(thread);
  EXPECT_EQ(work.runs, 1);
  EXPECT_NE(work.thread, 0U);
  EXPECT_NE(work.thread, Threads().CurrentThread());
}

TEST(WindowsThreads, DetachedThreadKeepsRunning) {
  std::atomic<bool> go = false;
  static std::atomic<bool> done;
  done = false;
  const ThreadHandle thread = Threads().Start(
      [](void* context) {
        while (!static_cast<std::atomic<bool>*>(context)->load()) ::Sleep(1);
        done = true;
      },
      &go);
  ASSERT_NE(thread, nullptr);
  Threads().Detach(thread);
  go = true;
  WaitUntil([] { return done.load(); });
}

TEST(WindowsThreads, ThreadsAndEventsLeakNoHandles) {
  const std::uintptr_t before = HighHandle();
  for (int round = 0; round < 400; ++round) {
    const EventHandle event = Threads().MakeEvent();
    Threads().Join(Threads().Start([](void* it) { Threads().Signal(it); }, event));
    EXPECT_TRUE(Threads().WaitFor(event, Milliseconds{0}));
    Threads().CloseEvent(event);
  }
  EXPECT_LE(HighHandle(), before + 4 * 100);
}

TEST(WindowsThreads, ModuleStaysLoadedWhileItsThreadRuns) {
  const HANDLE event = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
  const HMODULE module = ::LoadLibraryW(L"threaded_module.dll");
  ASSERT_NE(module, nullptr);
  const auto start =
      reinterpret_cast<BOOL (*)(HANDLE)>(reinterpret_cast<void*>(::GetProcAddress(module, "StartThread")));
  ASSERT_NE(start, nullptr);
  ASSERT_TRUE(start(event));
  ASSERT_TRUE(::FreeLibrary(module));
  ::Sleep(20);
  EXPECT_NE(::GetModuleHandleW(L"threaded_module.dll"), nullptr);
  ::SetEvent(event);
  WaitUntil([] { return ::GetModuleHandleW(L"threaded_module.dll") == nullptr; });
  ::CloseHandle(event);
}

class Counting final : public Worker::Step {
 public:
  Milliseconds Run(Milliseconds) override {
    seen.store(wanted.load());
    return kForever;
  }
  std::atomic<int> wanted = 0;
  std::atomic<int> seen = 0;
};

TEST(WorkerOnWindows, EveryWakeIsFollowedByAStep) {
  Counting step;
  Worker worker(Threads(), step);
  ASSERT_TRUE(worker.Start());
  for (int round = 1; round <= 2000; ++round) {
    step.wanted.store(round);
    worker.Wake();
    while (step.seen.load() != round) std::this_thread::yield();
  }
  worker.Stop();
}

struct Owner final : Worker::Step {
  Milliseconds Run(Milliseconds) override {
    while (!go.load()) ::Sleep(0);
    worker.StopAndThen([](void* it) { const std::unique_ptr<Owner> owned(static_cast<Owner*>(it)); }, this);
    return kForever;
  }
  explicit Owner(std::atomic<int>& count) : alive(count) { ++alive; }
  ~Owner() { --alive; }

  std::atomic<int>& alive;
  std::atomic<bool> go = false;
  Worker worker{Threads(), *this};
};

TEST(WorkerOnWindows, StopAndThenMayDestroyTheOwner) {
  std::atomic<int> alive = 0;
  for (int round = 0; round < 100; ++round) {
    auto owner = std::make_unique<Owner>(alive);
    ASSERT_TRUE(owner->worker.Start());
    owner.release()->go.store(true);
  }
  WaitUntil([&] { return alive.load() == 0; });
}

TEST(SamplerOnWindows, ReturnsTheOsFigures) {
  LoadSampler sampler(WindowsMemorySystem(), Threads(), Milliseconds{10'000});
  MemoryLoad first;
  MemoryLoad second;
  ASSERT_EQ(sampler.Read(&first), win32::kSuccess);
  ASSERT_EQ(sampler.Read(&second), win32::kSuccess);
  EXPECT_EQ(first.total_physical, Load().total_physical);
  EXPECT_EQ(first.available_physical, second.available_physical);
}

}  // namespace
}  // namespace clr_host_memory::test
