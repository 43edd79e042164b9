// Tests HOST_E_TIMEOUT, HOST_E_ABANDONED, HOST_E_NOT_OWNER and NeedsVirtualAddressSpace's S_OK from the host's own
// causes: waits, exclusive sections, sealed regions, reserves. return_codes_test.cpp tests the causes in the OS
// layer.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "com/backend.h"
#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

constexpr ClrHostMemoryMethod kAllocators[] = {kClrHostMemoryVirtualAlloc, kClrHostMemoryMallocAlloc,
                                               kClrHostMemoryMallocDebugAlloc};

// A host whose memory is fully used and whose requests may wait. The wait hook plays all other threads. In each round
// of a wait it runs `during`, advances the clock by 100 ms, and runs the dispatcher.
class WaitingHost : public HostOverFake {
 public:
  WaitingHost() : HostOverFake({.limit = {4 * kMiB}}) {
    EXPECT_TRUE(object().notifier().StartDispatcher());
    for (const auto level : {eTaskCritical, eAppDomainCritical, eProcessCritical}) {
      EXPECT_HR(S_OK, object().SetWait(level, 1000));
    }
    threads.SetWaitHook([this](EventHandle, Milliseconds deadline) {
      (void)object().engine().ServeWaiters(threads.Now());
      if (during) during();
      threads.SetNow(std::min(deadline, threads.Now() + Milliseconds{100}));
      (void)object().engine().ServeWaiters(threads.Now());
    });
    const auto left = static_cast<SIZE_T>(4 * kMiB - StatisticsOf(manager()).charged);
    used_up_ = Allocate(manager(), nullptr, left, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    EXPECT_EQ(4 * kMiB, StatisticsOf(manager()).charged);
  }
  void GiveSomeBack() { EXPECT_HR(S_OK, manager()->VirtualFree(used_up_, 8 * kPage, MEM_DECOMMIT)); }

  std::function<void()> during;

 private:
  void* used_up_ = nullptr;
};

TEST(Timeout, IsReturnedWhenTheWaitExpires) {
  for (const ClrHostMemoryMethod method : kAllocators) {
    for (const auto level : {eTaskCritical, eAppDomainCritical, eProcessCritical}) {
      WaitingHost host;
      const Milliseconds before = host.threads.Now();
      const Answer answer = host.Call(method, level);
      EXPECT_HR(HOST_E_TIMEOUT, answer.hr);
      EXPECT_EQ(DWORD{ERROR_TIMEOUT}, answer.last_error);
      EXPECT_TRUE(answer.outputs_cleared);
      EXPECT_EQ(Milliseconds{1000}, host.threads.Now() - before);
      const auto statistics = StatisticsOf(host.manager());
      EXPECT_EQ(1u, statistics.refusals[level][kClrHostMemoryTimeout]);
      EXPECT_EQ(0u, statistics.limit_refusals[level]);
      EXPECT_EQ(1u, statistics.waits[level]);
      EXPECT_EQ(1u, statistics.waits_timed_out[level]);
      EXPECT_EQ(0u, statistics.waiting);
      EXPECT_TRUE(LedgerIsExact(host.manager()));
    }
  }
}

TEST(Timeout, IsAvoidedWhenMemoryIsFreedInTime) {
  for (const ClrHostMemoryMethod method : kAllocators) {
    WaitingHost host;
    host.during = [&host, round = 0]() mutable {
      if (++round == 3) host.GiveSomeBack();
    };
    const Answer answer = host.Call(method);
    EXPECT_HR(S_OK, answer.hr);
    EXPECT_EQ(kCallersError, answer.last_error);
    EXPECT_EQ(1u, StatisticsOf(host.manager()).waits_granted[eTaskCritical]);
  }
}

TEST(Timeout, IsReturnedWhenAnExclusiveSectionOutlastsTheWait) {
  for (const ClrHostMemoryMethod method : {kClrHostMemoryVirtualAlloc, kClrHostMemoryMallocAlloc,
                                           kClrHostMemoryMallocDebugAlloc, kClrHostMemoryCreateMalloc}) {
    WaitingHost host;
    FakeThreadSystem::SetCurrentThread(77);
    ASSERT_HR(S_OK, host.object().EnterExclusive(0));
    FakeThreadSystem::SetCurrentThread(0);
    const Answer answer = host.Call(method, eProcessCritical);
    EXPECT_HR(HOST_E_TIMEOUT, answer.hr);
    EXPECT_TRUE(answer.outputs_cleared);
  }
}

TEST(Abandoned, IsReturnedWhenTheHostCancelsWaits) {
  for (const ClrHostMemoryMethod method : kAllocators) {
    WaitingHost host;
    host.during = [&] { EXPECT_HR(S_OK, host.object().CancelWaits()); };
    const Answer answer = host.Call(method);
    EXPECT_HR(HOST_E_ABANDONED, answer.hr);
    EXPECT_EQ(DWORD{ERROR_OPERATION_ABORTED}, answer.last_error);
    EXPECT_TRUE(answer.outputs_cleared);
    host.during = [&] { host.GiveSomeBack(); };
    EXPECT_HR(S_OK, host.Call(method).hr);  // later requests still wait
    EXPECT_EQ(1u, StatisticsOf(host.manager()).waits_abandoned[eTaskCritical]);
  }
}

TEST(Abandoned, IsReturnedToWaitingRequestsAtShutdown) {
  for (const ClrHostMemoryMethod method : kAllocators) {
    WaitingHost host;
    host.during = [&] { EXPECT_HR(S_OK, host.object().Shutdown()); };
    EXPECT_HR(HOST_E_ABANDONED, host.Call(method).hr);
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, host.Call(method).hr);
    host.GiveSomeBack();  // frees still succeed
    EXPECT_TRUE(LedgerIsExact(host.manager()));
  }
}

TEST(Abandoned, IsReturnedToWaitingRequestsWhenEFailLatches) {
  WaitingHost host;
  host.during = [&] {
    host.os.OnNext(OsCall::kProtect, Moment::kBefore, [](const OsCallInfo&) { throw 42; });
    EXPECT_HR(E_FAIL, host.Call(kClrHostMemoryVirtualProtect).hr);
  };
  EXPECT_HR(HOST_E_ABANDONED, host.Call(kClrHostMemoryVirtualAlloc).hr);
  const auto statistics = StatisticsOf(host.manager());
  EXPECT_EQ(std::uint32_t{kClrHostMemoryLatchedByException}, statistics.latch_cause);
  EXPECT_EQ(std::uint32_t{kClrHostMemoryVirtualProtect}, statistics.latch_method);
}

TEST(NotOwner, IsReturnedDuringAnotherThreadsExclusiveSection) {
  HostOverFake host;
  FakeThreadSystem::SetCurrentThread(77);
  ASSERT_HR(S_OK, host.object().EnterExclusive(0));
  EXPECT_HR(S_OK, host.Call(kClrHostMemoryVirtualAlloc).hr);  // the section's own thread is served
  FakeThreadSystem::SetCurrentThread(0);
  EXPECT_HR(HOST_E_NOT_OWNER, host.object().EnterExclusive(0));
  EXPECT_HR(HOST_E_NOT_OWNER, host.object().LeaveExclusive());
  for (const auto& [method, name] : kMethods) {
    SCOPED_TRACE(name);
    const Answer answer = host.Call(method);
    switch (method) {
      case kClrHostMemoryVirtualAlloc:
      case kClrHostMemoryMallocAlloc:
      case kClrHostMemoryMallocDebugAlloc:
      case kClrHostMemoryCreateMalloc:
      case kClrHostMemoryNeedsVirtualAddressSpace:
        EXPECT_HR(HOST_E_NOT_OWNER, answer.hr);
        EXPECT_EQ(DWORD{ERROR_NOT_OWNER}, answer.last_error);
        EXPECT_TRUE(answer.outputs_cleared);
        break;
      case kClrHostMemoryMallocFree: EXPECT_HR(S_OK, answer.hr); break;
      default: EXPECT_HR(S_OK, answer.hr);  // frees, queries and announcements still succeed
    }
  }
  FakeThreadSystem::SetCurrentThread(77);
  EXPECT_HR(S_OK, host.object().LeaveExclusive());
  FakeThreadSystem::SetCurrentThread(0);
  EXPECT_HR(S_OK, host.Call(kClrHostMemoryVirtualAlloc).hr);
  EXPECT_HR(HOST_E_NOT_OWNER, host.object().LeaveExclusive());
}

TEST(NotOwner, IsReturnedForSealedRegions) {
  HostOverFake host;
  IHostMemoryManager* const manager = host.manager();
  ASSERT_HR(S_OK, host.object().SealRegion(host.region(), HostOverFake::kRegionSize));
  EXPECT_EQ(1u, StatisticsOf(manager).sealed_regions);
  const auto expect_refused = [](const Answer& answer) {
    EXPECT_HR(HOST_E_NOT_OWNER, answer.hr);
    EXPECT_EQ(DWORD{ERROR_NOT_OWNER}, answer.last_error);
    EXPECT_TRUE(answer.outputs_cleared);
  };
  expect_refused(host.Call(kClrHostMemoryVirtualAlloc));
  expect_refused(host.Call(kClrHostMemoryVirtualFree));
  expect_refused(host.Call(kClrHostMemoryVirtualProtect));
  expect_refused(Ask([&] { return manager->VirtualFree(host.region(), 0, MEM_RELEASE); }));
  EXPECT_HR(S_OK, host.Call(kClrHostMemoryVirtualQuery).hr);
  EXPECT_HR(E_INVALIDARG, host.object().SealRegion(host.page(), kPage));  // overlaps a sealed region
  EXPECT_HR(E_INVALIDARG, host.object().SealRegion(host.view(), 0));
  EXPECT_HR(S_FALSE, host.object().UnsealRegion(At(host.region(), kPage)));
  EXPECT_HR(S_OK, host.object().UnsealRegion(host.region()));
  for (const auto method : {kClrHostMemoryVirtualAlloc, kClrHostMemoryVirtualFree, kClrHostMemoryVirtualProtect}) {
    EXPECT_HR(S_OK, host.Call(method).hr);
  }
  EXPECT_TRUE(LedgerIsExact(manager));
}

TEST(NotOwner, IsReturnedForBlocksOnSealedPages) {
  const MemoryManager manager = MakeManager({.limit = 64 * kMiB});
  ComReference<IHostMalloc> malloc;
  ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, malloc.Receive()));
  const auto heap = Query<IHeapBackend>(malloc.get(), kIidHeapBackend);
  for (const SIZE_T size : {SIZE_T{100}, SIZE_T{100000}, SIZE_T{1} << 20}) {
    SCOPED_TRACE(size);
    void* block = nullptr;
    ASSERT_HR(S_OK, malloc->Alloc(size, eTaskCritical, &block));
    ASSERT_TRUE(manager.SealRegion(block, size));
    const Answer freed = Ask([&] { return malloc->Free(block); });
    EXPECT_HR(HOST_E_NOT_OWNER, freed.hr);
    EXPECT_EQ(DWORD{ERROR_NOT_OWNER}, freed.last_error);
    void* other = nullptr;
    EXPECT_HR(S_OK, malloc->Alloc(size, eTaskCritical, &other));
    EXPECT_NE(block, other);
    void* moved = Poison();
    const Answer grown = Ask([&] { return heap->Reallocate(block, 4 * size, 0, eTaskCritical, &moved); });
    EXPECT_HR(HOST_E_NOT_OWNER, grown.hr);
    EXPECT_EQ(nullptr, moved);
    EXPECT_HR(S_OK, heap->FreeIfOwned(block));
    EXPECT_HR(S_FALSE, heap->FreeIfOwned(block));
    EXPECT_TRUE(manager.UnsealRegion(block));
    EXPECT_HR(S_OK, malloc->Free(other));
  }
  ClrHostMemoryHeapFigures figures{};
  figures.size = sizeof(figures);
  EXPECT_HR(S_OK, heap->GetFigures(&figures));
  EXPECT_EQ(0u, figures.blocks);
  EXPECT_TRUE(LedgerIsExact(manager.get()));
}

// A heap is destroyed while its blocks are sealed.
TEST(NotOwner, UnsealReleasesPagesOfADestroyedHeap) {
  const MemoryManager manager = MakeManager({.limit = 64 * kMiB});
  ComReference<IHostMalloc> malloc;
  ASSERT_HR(S_OK, manager.get()->CreateMalloc(MALLOC_THREADSAFE, malloc.Receive()));
  void* block = nullptr;
  ASSERT_HR(S_OK, malloc->Alloc(1 << 20, eTaskCritical, &block));
  ASSERT_TRUE(manager.SealRegion(block, 1));
  malloc.Reset();
  EXPECT_EQ(std::uint64_t{1} << 20, manager.Statistics().charged);
  EXPECT_TRUE(manager.UnsealRegion(block));
  EXPECT_EQ(std::uint64_t{0}, manager.Statistics().charged);
}

TEST(NotOwner, IsReturnedForAddressesInsideAReserve) {
  HostOverFake host;
  IHostMemoryManager* const manager = host.manager();
  ASSERT_EQ(win32::kSuccess, host.object().engine().OpenReserves({kMiB}, {kMiB}));
  const Engine& engine = host.object().engine();
  for (const Address address : {engine.headroom_pool().Range().Start(), engine.address_space().Range().Start()}) {
    void* const memory = reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
    void* allocated = Poison();
    DWORD old = 0;
    EXPECT_HR(HOST_E_NOT_OWNER, manager->VirtualFree(memory, 0, MEM_RELEASE));
    EXPECT_HR(HOST_E_NOT_OWNER, manager->VirtualFree(memory, kPage, MEM_DECOMMIT));
    EXPECT_HR(HOST_E_NOT_OWNER, manager->VirtualProtect(memory, kPage, PAGE_READONLY, &old));
    EXPECT_HR(HOST_E_NOT_OWNER,
              manager->VirtualAlloc(memory, kPage, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &allocated));
    EXPECT_EQ(nullptr, allocated);
  }
}

TEST(Ok, NeedsVirtualAddressSpaceUsesTheReserve) {
  HostOverFake host;
  ASSERT_EQ(win32::kSuccess, host.object().engine().OpenReserves({}, {kMiB}));
  EXPECT_EQ(kMiB, StatisticsOf(host.manager()).address_space_held);
  EXPECT_HR(E_OUTOFMEMORY, host.manager()->NeedsVirtualAddressSpace(nullptr, 2 * kMiB));
  EXPECT_HR(S_OK, host.manager()->NeedsVirtualAddressSpace(nullptr, kMiB));
  EXPECT_HR(E_OUTOFMEMORY, host.manager()->NeedsVirtualAddressSpace(nullptr, kMiB));
  const auto statistics = StatisticsOf(host.manager());
  EXPECT_EQ(0u, statistics.address_space_held);
  EXPECT_EQ(1u, statistics.address_space_uses);
}

TEST(Control, RefusesInvalidSettings) {
  HostOverFake host;
  HostMemoryManager& manager = host.object();
  EXPECT_HR(E_INVALIDARG, manager.SetWait(static_cast<EMemoryCriticalLevel>(3), 1));
  EXPECT_HR(E_INVALIDARG, manager.SetWait(eTaskCritical, 3600001));
  EXPECT_HR(E_POINTER, manager.SetThresholds(nullptr));
  ClrHostMemoryThresholds thresholds = CLR_HOST_MEMORY_THRESHOLDS_INIT;
  EXPECT_HR(S_OK, manager.SetThresholds(&thresholds));
  thresholds.enter_low = thresholds.leave_low;
  EXPECT_HR(E_INVALIDARG, manager.SetThresholds(&thresholds));
  EXPECT_HR(E_INVALIDARG, manager.SetLimit(0, 0, 0));
  EXPECT_HR(E_INVALIDARG, manager.SetLimit(kMiB, CLR_HOST_MEMORY_PERCENT(101), 0));
  EXPECT_HR(S_OK, manager.SetLimit(100 * kMiB, CLR_HOST_MEMORY_PERCENT(10), CLR_HOST_MEMORY_PERCENT(25)));
  const auto statistics = StatisticsOf(host.manager());
  EXPECT_EQ(10 * kMiB, statistics.app_domain_headroom);
  EXPECT_EQ(25 * kMiB, statistics.process_headroom);
}

TEST(Control, SetWaitFailsWithoutADispatcherThread) {
  HostOverFake host;
  host.threads.FailThreads(1);
  EXPECT_HR(E_OUTOFMEMORY, host.object().SetWait(eTaskCritical, 100));
  EXPECT_HR(S_OK, host.object().SetWait(eTaskCritical, 0));
  EXPECT_HR(S_OK, host.object().SetWait(eTaskCritical, 100));  // the thread starts now
  host.threads.FailEvents(1);
  EXPECT_HR(S_OK, host.Call(kClrHostMemoryVirtualAlloc).hr);
}

}  // namespace
}  // namespace clr_host_memory::test
