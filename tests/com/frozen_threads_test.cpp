// Tests that a thread suspended by SuspendThread anywhere inside the manager blocks no other thread. A CLR that
// suspends threads for a GC depends on this rule.
//
// Workers call VirtualAlloc, VirtualFree, VirtualQuery and VirtualProtect on their own regions and on shared pages.
// The test's own thread suspends one worker at a random moment. While that worker is frozen, the test's thread must
// complete a full round of calls, including calls on the pages the frozen worker was changing. The other worker runs
// all the time and must make progress, too.
//
// A thread frozen inside the OS might hold a lock of the OS. All threads would then wait for it, with or without the
// manager. Windows delays a suspension while the kernel has the address space locked. Wine blocks the signal that it
// suspends threads with. So no such stall is expected, but it depends on the OS. The test therefore has two variants:
// - Over a seam without locks, the other threads must survive every freeze, wherever the thread stands.
// - Over Windows itself, the watchdog lifts a freeze that stalls the other threads. It counts against the manager
//   unless the thread stood inside an OS function, which the seam records.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "com/host_memory_manager.h"
#include "lock_free_memory_system.h"
#include "manager_client.h"
#include "os/windows/windows_memory_system.h"
#include "os/windows/windows_thread_system.h"
#include "spinning_memory_system.h"

namespace clr_host_memory::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr SIZE_T kSharedSize = 256 * kPage;  // four words of 64 pages
constexpr SIZE_T kOwnSize = 64 * kPage;

// The repeated calls of one thread. They are direct calls: a frozen thread must hold only locks of the manager, none
// of a test library.
class Rounds {
 public:
  Rounds(HostMemoryManager& manager, void* shared, unsigned seed) : manager_(manager), shared_(shared), random_(seed) {}

  // Reserves, commits in its own and in the shared memory, queries, protects, decommits, releases.
  void Run(ThreadPlace& place) {
    place_ = &place;
    void* own = Alloc(nullptr, kOwnSize, MEM_RESERVE, PAGE_NOACCESS);
    if (own == nullptr) return Fail("reserve");
    void* const mine = At(own, (random_() % 32) * kPage);
    if (Alloc(mine, (1 + random_() % 32) * kPage, MEM_COMMIT, PAGE_READWRITE) != mine) Fail("commit");
    void* const shared = At(shared_, (random_() % 200) * kPage);
    const SIZE_T size = (1 + random_() % 56) * kPage;
    if (Alloc(shared, size, MEM_COMMIT, PAGE_READWRITE) != shared) Fail("shared commit");
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T written = 0;
    DWORD old = 0;
    Check("query", [&] { return manager_.VirtualQuery(mine, &info, sizeof(info), &written); });
    Check("protect", [&] { return manager_.VirtualProtect(mine, kPage, PAGE_READONLY, &old); });
    if (random_() % 4 != 0) Check("shared decommit", [&] { return manager_.VirtualFree(shared, size, MEM_DECOMMIT); });
    if (random_() % 2 == 0) Check("decommit", [&] { return manager_.VirtualFree(own, kOwnSize, MEM_DECOMMIT); });
    Check("release", [&] { return manager_.VirtualFree(own, 0, MEM_RELEASE); });
    done_.fetch_add(1);
  }
  [[nodiscard]] std::uint64_t done() const { return done_.load(); }
  [[nodiscard]] const char* failure() const { return failure_.load(); }

 private:
  void Fail(const char* what) { failure_.store(what); }
  template <typename Call>
  HRESULT Enter(Call call) {
    place_->in_manager.store(true);
    const HRESULT hr = call();
    place_->in_manager.store(false);
    return hr;
  }
  template <typename Call>
  void Check(const char* what, Call call) {
    if (Enter(call) != S_OK) Fail(what);
  }
  void* Alloc(void* address, SIZE_T size, DWORD type, DWORD protect) {
    void* memory = nullptr;
    Enter([&] { return manager_.VirtualAlloc(address, size, type, protect, eTaskCritical, &memory); });
    return memory;
  }

  HostMemoryManager& manager_;
  void* const shared_;
  std::minstd_rand random_;
  ThreadPlace* place_ = nullptr;
  std::atomic<std::uint64_t> done_ = 0;
  std::atomic<const char*> failure_ = nullptr;
};

struct Worker {
  std::unique_ptr<Rounds> rounds;
  std::atomic<ThreadPlace*> place = nullptr;
  std::thread thread;
};

struct Tally {
  std::uint64_t freezes = 0;
  std::uint64_t in_manager = 0;  // stood in the manager's code, or between it and the OS
  std::uint64_t in_os = 0;
  std::uint64_t stalls_by_os = 0;
  std::uint64_t stalls_by_manager = 0;
};

// Lifts a freeze that blocks the helper, so that a failure gives a message instead of a hang.
class Watchdog {
 public:
  explicit Watchdog(Clock::duration patience) : patience_(patience), thread_([this] { Run(); }) {}
  ~Watchdog() {
    end_.store(true);
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void Watch(HANDLE frozen) {
    lifted_.store(false);
    since_.store(Clock::now());
    frozen_.store(frozen);
  }
  // Returns true if the watched freeze ended in time. Otherwise the watchdog has already resumed the thread.
  bool Leave() {
    if (frozen_.exchange(nullptr) != nullptr) return true;
    while (!lifted_.load()) std::this_thread::yield();
    return false;
  }

 private:
  void Run() {
    while (!end_.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (frozen_.load() == nullptr || Clock::now() - since_.load() < patience_) continue;
      const HANDLE frozen = frozen_.exchange(nullptr);
      if (frozen == nullptr) continue;
      ::ResumeThread(frozen);
      lifted_.store(true);
    }
  }

  const Clock::duration patience_;
  std::atomic<HANDLE> frozen_ = nullptr;
  std::atomic<Clock::time_point> since_ = Clock::now();
  std::atomic<bool> lifted_ = false;
  std::atomic<bool> end_ = false;
  std::thread thread_;
};

class FrozenThreads : public ::testing::Test {
 protected:
  static constexpr unsigned kWorkers = 2;

  void Start(MemorySystem& beneath, std::uint32_t most_spins) {
    os_ = std::make_unique<SpinningMemorySystem>(beneath, most_spins);
    manager_ = ComReference<HostMemoryManager>(new HostMemoryManager(*os_, WindowsThreadSystem(), {}));
    shared_ = Allocate(manager_.get(), nullptr, kSharedSize, MEM_RESERVE, PAGE_NOACCESS);
    ASSERT_NE(nullptr, shared_);
    helper_ = std::make_unique<Rounds>(*manager_.get(), shared_, 99);
    for (unsigned i = 0; i < kWorkers; ++i) {
      workers_.push_back(std::make_unique<Worker>());
      Worker& worker = *workers_.back();
      worker.rounds = std::make_unique<Rounds>(*manager_.get(), shared_, i + 1);
      worker.thread = std::thread([this, &worker] {
        ThreadPlace& place = SpinningMemorySystem::PlaceOfThisThread();
        worker.place.store(&place);
        while (!stop_.load()) worker.rounds->Run(place);
      });
    }
    for (const auto& worker : workers_) {
      while (worker->place.load() == nullptr) std::this_thread::yield();
    }
  }

  void FreezeOnce(Tally& tally, Watchdog& watchdog) {
    const std::size_t chosen = random_() % kWorkers;
    Worker& worker = *workers_[chosen];
    const HANDLE thread = NativeHandle(worker.thread);
    for (auto spins = random_() % 20000; spins > 0; --spins) std::atomic_signal_fence(std::memory_order_seq_cst);
    ASSERT_NE(static_cast<DWORD>(-1), ::SuspendThread(thread));
    CONTEXT context{};
    context.ContextFlags = CONTEXT_CONTROL;
    ASSERT_TRUE(::GetThreadContext(thread, &context)) << "waits until the thread stands";
    const ThreadPlace& place = *worker.place.load();
    const bool in_os = place.in_os.load();
    const bool in_manager = place.in_manager.load() && !in_os;
    const std::uint64_t before = worker.rounds->done();

    watchdog.Watch(thread);
    helper_->Run(SpinningMemorySystem::PlaceOfThisThread());
    // In every 50th freeze the other worker must progress as well: it must begin a round after the thread was frozen.
    if (tally.freezes % 50 == 0) WaitForARound(*workers_[(chosen + 1) % kWorkers]);
    const std::uint64_t charged = manager_->engine().ledger().budget().Charged().value;
    EXPECT_LE(charged, (kWorkers + 1) * (kSharedSize + kOwnSize)) << "more than all of them could hold together";
    const std::uint64_t after = worker.rounds->done();
    const bool through = watchdog.Leave();
    if (through) {
      EXPECT_EQ(before, after) << "the thread went on though it was suspended";
      ASSERT_NE(static_cast<DWORD>(-1), ::ResumeThread(thread));
    }
    ++tally.freezes;
    if (in_manager) ++tally.in_manager;
    if (in_os) ++tally.in_os;
    if (!through) ++(in_os ? tally.stalls_by_os : tally.stalls_by_manager);
  }

  // Freezes until `times` freezes have met the manager's own code, but at most 20 * `times` times.
  Tally FreezeManyTimes(std::uint64_t times, Clock::duration patience) {
    Tally tally;
    {
      Watchdog watchdog(patience);
      while (tally.in_manager < times && tally.freezes < 20 * times && !HasFailure() && tally.stalls_by_manager == 0) {
        FreezeOnce(tally, watchdog);
      }
    }
    stop_.store(true);
    std::uint64_t rounds = helper_->done();
    EXPECT_EQ(nullptr, helper_->failure()) << helper_->failure();
    for (const auto& worker : workers_) {
      worker->thread.join();
      rounds += worker->rounds->done();
      EXPECT_EQ(nullptr, worker->rounds->failure()) << worker->rounds->failure();
    }
    std::printf("%llu freezes: %llu inside the manager, %llu inside the OS (%llu stalled others); %llu rounds\n",
                static_cast<unsigned long long>(tally.freezes), static_cast<unsigned long long>(tally.in_manager),
                static_cast<unsigned long long>(tally.in_os), static_cast<unsigned long long>(tally.stalls_by_os),
                static_cast<unsigned long long>(rounds));
    return tally;
  }

  void ExpectExactAndEmptyAfterwards() {
    EXPECT_TRUE(LedgerIsExact(Unknown()));
    EXPECT_LE(StatisticsOf(Unknown()).peak_charged, (kWorkers + 1) * (kSharedSize + kOwnSize));
    EXPECT_HR(S_OK, manager_->VirtualFree(shared_, kSharedSize, MEM_DECOMMIT));
    EXPECT_EQ(std::uint64_t{0}, StatisticsOf(Unknown()).charged);
    EXPECT_HR(S_OK, manager_->VirtualFree(shared_, 0, MEM_RELEASE));
    EXPECT_EQ(std::uint64_t{0}, StatisticsOf(Unknown()).regions);
    EXPECT_TRUE(LedgerIsExact(Unknown()));
  }

  LockFreeMemorySystem lock_free_os_;  // outlives the manager

 private:
  [[nodiscard]] IHostMemoryManager* Unknown() const { return manager_.get(); }

  static void WaitForARound(const Worker& worker) {
    const std::uint64_t wanted = worker.rounds->done() + 2;  // the current round began earlier
    while (worker.rounds->done() < wanted) ::SwitchToThread();
  }

  static HANDLE NativeHandle(std::thread& thread) {
#if defined(__MINGW32__)
    return static_cast<HANDLE>(::pthread_gethandle(thread.native_handle()));
#else
    return static_cast<HANDLE>(thread.native_handle());
#endif
  }

  std::unique_ptr<SpinningMemorySystem> os_;
  ComReference<HostMemoryManager> manager_;
  void* shared_ = nullptr;
  std::unique_ptr<Rounds> helper_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stop_ = false;
  std::minstd_rand random_{12345};
};

TEST_F(FrozenThreads, NeverBlockOtherThreadsOverALockFreeOs) {
  constexpr std::uint64_t kFreezes = 10'000;
  ASSERT_NO_FATAL_FAILURE(Start(lock_free_os_, 400));
  const Tally tally = FreezeManyTimes(kFreezes, std::chrono::seconds(20));
  EXPECT_EQ(kFreezes, tally.in_manager) << "too few of " << tally.freezes << " freezes met the manager's own code";
  EXPECT_EQ(std::uint64_t{0}, tally.stalls_by_manager) << "a frozen thread held up others";
  EXPECT_EQ(std::uint64_t{0}, tally.stalls_by_os) << "this OS cannot stall";
  ExpectExactAndEmptyAfterwards();
}

TEST_F(FrozenThreads, NeverBlockOtherThreadsOverWindows) {
  // The spins last as long as Windows' own calls. A suspension requested inside such a call takes effect at its end,
  // so most frozen threads would stand there otherwise.
  constexpr std::uint64_t kFreezes = 1'000;
  ASSERT_NO_FATAL_FAILURE(Start(WindowsMemorySystem(), 60'000));
  const Tally tally = FreezeManyTimes(kFreezes, std::chrono::seconds(5));
  EXPECT_EQ(kFreezes, tally.in_manager) << "too few of " << tally.freezes << " freezes met the manager's own code";
  EXPECT_EQ(std::uint64_t{0}, tally.stalls_by_manager) << "a frozen thread held up others";
  ExpectExactAndEmptyAfterwards();
}

}  // namespace
}  // namespace clr_host_memory::test
