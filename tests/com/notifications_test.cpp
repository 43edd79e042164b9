// Tests the manager's own threads over the real thread seam: the callbacks they call, the times of the calls, and
// that they never block requests.
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "notifications_fixture.h"

namespace clr_host_memory::test {
namespace {

using namespace std::chrono_literals;

TEST_F(NotificationsTest, CallbackReceivesLowNeutralAndHigh) {
  Callback callback;
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
  EXPECT_TRUE(Eventually([&] { return callback.last == eMemoryAvailableHigh; }));  // nothing is in use
  Use(95);
  EXPECT_TRUE(Eventually([&] { return callback.last == eMemoryAvailableLow; }));
  Use(70);
  EXPECT_TRUE(Eventually([&] { return callback.last == eMemoryAvailableNeutral; }));
  const auto statistics = StatisticsOf(client());
  EXPECT_EQ(std::uint32_t{eMemoryAvailableNeutral}, statistics.availability);
  EXPECT_GE(statistics.notifications[0], 1u);
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
  EXPECT_EQ(1u, callback.references.load());
}

TEST_F(NotificationsTest, CallbackRegisteredDuringLowReceivesLow) {
  Callback first;
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&first));
  const ClrHostMemoryThresholds seldom{8, 15, 40, 50, 0, 3600000};
  ASSERT_HR(S_OK, manager()->SetThresholds(&seldom));
  Use(95);
  ASSERT_TRUE(Eventually([&] { return first.last == eMemoryAvailableLow; }));
  Callback second;
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&second));
  EXPECT_TRUE(Eventually([&] { return second.last == eMemoryAvailableLow; }));
  EXPECT_EQ(eMemoryAvailableNeutral, first.last);  // the replaced callback must not stay in Low
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
}

TEST_F(NotificationsTest, ShutdownEndsLow) {
  for (const bool by_host : {false, true}) {
    ComReference<HostMemoryManager> other(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}},
                                                                {.thresholds = kEager}, Milliseconds{1}));
    Callback callback;
    ASSERT_HR(S_OK, other->RegisterMemoryNotificationCallback(&callback));
    if (by_host) {
      ASSERT_HR(S_OK, other->NotifyMemoryAvailable(eMemoryAvailableLow));
    } else {
      EXPECT_NE(nullptr,
                Allocate(other.get(), nullptr, 99 * kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
      ASSERT_TRUE(Eventually([&] { return callback.last == eMemoryAvailableLow; }));
    }
    ASSERT_HR(S_OK, other->Shutdown());
    EXPECT_NE(eMemoryAvailableLow, callback.last);
    callback.dead = true;
    EXPECT_EQ(1u, callback.references.load());
    EXPECT_EQ(std::uint32_t{kClrHostMemoryStopped}, StatisticsOf(static_cast<IHostMemoryManager*>(other.get())).state);
    ASSERT_HR(S_OK, other->Shutdown());
    EXPECT_EQ(0, callback.after_death);
  }
}

void STDMETHODCALLTYPE CountLine(const char*, void* lines) { ++*static_cast<int*>(lines); }

TEST_F(NotificationsTest, CallbackMayReenterEveryMethod) {
  Callback callback;
  std::atomic<int> reentered = 0;
  std::atomic<bool> end = false;
  callback.react = [&](EMemoryAvailable) {
    if (end) {
      EXPECT_HR(S_OK, manager()->Shutdown());
      return;
    }
    DWORD load = 0;
    SIZE_T available = 0;
    EXPECT_HR(S_OK, manager()->GetMemoryLoad(&load, &available));
    void* const memory =
        Allocate(manager(), nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
    DWORD old = 0;
    MEMORY_BASIC_INFORMATION information{};
    SIZE_T written = 0;
    EXPECT_HR(S_OK, manager()->VirtualProtect(memory, kPage, PAGE_READONLY, &old));
    EXPECT_HR(S_OK, manager()->VirtualQuery(memory, &information, sizeof(information), &written));
    EXPECT_HR(S_OK, manager()->VirtualFree(memory, 0, MEM_RELEASE));
    ComReference<IHostMalloc> heap;
    EXPECT_HR(S_OK, manager()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
    (void)manager()->NeedsVirtualAddressSpace(nullptr, kPage);
    (void)manager()->AcquiredVirtualAddressSpace(nullptr, kPage);
    (void)manager()->ReleasedVirtualAddressSpace(nullptr);
    (void)StatisticsOf(client());
    ClrHostMemoryAudit audit{};
    audit.size = sizeof(audit);
    EXPECT_HR(S_OK, manager()->Audit(&audit));
    int lines = 0;
    EXPECT_HR(S_OK, manager()->WriteReport(&CountLine, &lines));
    EXPECT_GT(lines, 20);
    EXPECT_HR(S_OK, manager()->SetLimit(kLimit, 0, 0));
    const ClrHostMemoryThresholds thresholds{8, 15, 40, 50, 0, 5};
    EXPECT_HR(S_OK, manager()->SetThresholds(&thresholds));
    EXPECT_HR(S_OK, manager()->SetWait(eTaskCritical, 1));
    EXPECT_HR(S_OK, manager()->CancelWaits());
    EXPECT_HR(S_OK, manager()->EnterExclusive(1000));
    EXPECT_HR(S_OK, manager()->LeaveExclusive());
    EXPECT_HR(S_OK, manager()->SealRegion(region_, kPage));
    EXPECT_HR(S_OK, manager()->UnsealRegion(region_));
    EXPECT_HR(S_OK, manager()->SetEventSink(nullptr));
    EXPECT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
    EXPECT_HR(S_FALSE, manager()->NotifyMemoryAvailable(eMemoryAvailableNeutral));
    EXPECT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
    ++reentered;
  };
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
  Use(95);
  EXPECT_TRUE(Eventually([&] { return reentered >= 5; }));
  end = true;
  EXPECT_TRUE(Eventually([&] { return StatisticsOf(client()).state == kClrHostMemoryStopped; }));
  manager_.Reset();  // waits for the thread
}

TEST_F(NotificationsTest, UnregisteredCallbackReceivesNothing) {
  Use(95);  // Low is repeated every 5 ms
  for (int round = 0; round < 300; ++round) {
    Callback callback;
    ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
    if (round % 3 == 0) {
      ASSERT_TRUE(Eventually([&] { return callback.last != 0; }));
    }
    ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
    callback.dead = true;
    ASSERT_EQ(1u, callback.references.load());
    if (round % 10 == 0) std::this_thread::sleep_for(1ms);
    ASSERT_EQ(0, callback.after_death);
  }
}

TEST_F(NotificationsTest, UnregisteringWaitsForTheCallInProgress) {
  Callback callback;
  std::atomic<bool> inside = false;
  std::atomic<bool> go_on = false;
  callback.react = [&](EMemoryAvailable) {
    inside = true;
    while (!go_on) std::this_thread::sleep_for(1ms);
  };
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
  Use(95);
  ASSERT_TRUE(Eventually([&] { return inside.load(); }));
  std::atomic<bool> unregistered = false;
  std::thread other([&] {
    EXPECT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
    unregistered = true;
  });
  std::this_thread::sleep_for(50ms);
  EXPECT_FALSE(unregistered);
  EXPECT_NE(nullptr, Allocate(manager(), nullptr, kPage, MEM_RESERVE, PAGE_READWRITE));  // no lock blocks it
  (void)StatisticsOf(client());
  go_on = true;
  other.join();
  EXPECT_TRUE(unregistered);
}

TEST_F(NotificationsTest, ConcurrentShutdownAbandonsAllWaitingRequests) {
  for (int round = 0; round < 20; ++round) {
    FakeMemorySystem os;
    ComReference<HostMemoryManager> other(
        new HostMemoryManager(os, WindowsThreadSystem(), {.limit = {kMiB}}, {.thresholds = kEager}, Milliseconds{1}));
    ASSERT_HR(S_OK, other->SetWait(eTaskCritical, 60000));
    void* const all = Allocate(other.get(), nullptr, kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    std::vector<std::thread> waiters;
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back([&] {
        void* memory = Poison();
        EXPECT_HR(HOST_E_ABANDONED, other->VirtualAlloc(nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                        eTaskCritical, &memory));
        EXPECT_EQ(nullptr, memory);
      });
    }
    ASSERT_TRUE(Eventually([&] { return StatisticsOf(static_cast<IHostMemoryManager*>(other.get())).waiting == 4; }));
    std::vector<std::thread> enders;
    for (int i = 0; i < 3; ++i) enders.emplace_back([&] { EXPECT_HR(S_OK, other->Shutdown()); });
    for (std::thread& thread : enders) thread.join();
    for (std::thread& thread : waiters) thread.join();
    EXPECT_EQ(4u, StatisticsOf(static_cast<IHostMemoryManager*>(other.get())).waits_abandoned[eTaskCritical]);
    EXPECT_EQ(0u, StatisticsOf(static_cast<IHostMemoryManager*>(other.get())).waiting);
    EXPECT_HR(S_OK, other->VirtualFree(all, 0, MEM_RELEASE));
  }
}

TEST_F(NotificationsTest, WaitingRequestCausesLowAndIsGranted) {
  Callback callback;
  ASSERT_HR(S_OK, manager()->SetWait(eTaskCritical, 60000));
  Use(90);
  callback.react = [&](EMemoryAvailable available) {
    // Frees memory as a CLR does after Low, though a CLR uses another thread.
    if (available != eMemoryAvailableLow) return;
    EXPECT_HR(S_OK, manager()->VirtualFree(region_, 60 * kMiB, MEM_DECOMMIT));
  };
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
  EXPECT_NE(nullptr, Allocate(manager(), nullptr, 30 * kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  const auto statistics = StatisticsOf(client());
  EXPECT_EQ(1u, statistics.waits_granted[eTaskCritical]);
  EXPECT_GE(callback.told[eMemoryAvailableLow], 1);
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
}

TEST_F(NotificationsTest, StatisticsAreConsistentInAnExclusiveSection) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> clients;
  for (int t = 0; t < 2; ++t) {
    clients.emplace_back([&] {
      while (!stop) {
        void* memory = nullptr;
        if (manager()->VirtualAlloc(nullptr, kGranule, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                                    &memory) == S_OK) {
          EXPECT_HR(S_OK, manager()->VirtualFree(memory, 0, MEM_RELEASE));
        } else {
          std::this_thread::sleep_for(1ms);  // refused in the exclusive section: limits the count of refusals
        }
      }
    });
  }
  int consistent = 0;
  for (int round = 0; round < 50; ++round) {
    ASSERT_HR(S_OK, manager()->EnterExclusive(5000));
    const auto statistics = StatisticsOf(client());
    EXPECT_EQ(statistics.charged, statistics.page_bytes + statistics.heap_bytes);
    consistent += static_cast<int>(statistics.consistent);
    ASSERT_HR(S_OK, manager()->LeaveExclusive());
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_GT(consistent, 25);
  EXPECT_EQ(1u, StatisticsOf(client()).consistent);  // always consistent without concurrent calls
}

}  // namespace
}  // namespace clr_host_memory::test
