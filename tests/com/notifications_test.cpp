// Tests the manager's own threads over the real thread seam: the callbacks they call, the times of the calls, and
// that they never block requests.
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "com/backend.h"
#include "host_callbacks.h"
#include "host_over_fake.h"
#include "os/windows/windows_thread_system.h"

namespace clr_host_memory::test {
namespace {

using namespace std::chrono_literals;

constexpr PressureThresholds kEager{.dwell = Milliseconds{0}, .repeat_low = Milliseconds{5}};
constexpr std::uint64_t kLimit = 100 * kMiB;

class NotificationsTest : public testing::Test {
 protected:
  NotificationsTest()
      : manager_(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}}, {.thresholds = kEager},
                                       Milliseconds{1})) {
    region_ = Allocate(manager(), nullptr, kLimit, MEM_RESERVE, PAGE_READWRITE);
  }
  [[nodiscard]] HostMemoryManager* manager() const { return manager_.get(); }
  [[nodiscard]] IHostMemoryManager* client() const { return manager_.get(); }
  // Charges percent of the limit, more or less than before.
  void Use(unsigned percent) {
    EXPECT_HR(S_OK, manager()->VirtualFree(region_, kLimit, MEM_DECOMMIT));
    EXPECT_NE(nullptr, Allocate(manager(), region_, percent * kMiB, MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
  }

  FakeMemorySystem os_;
  ComPtr<HostMemoryManager> manager_;
  void* region_ = nullptr;
};

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
    ComPtr<HostMemoryManager> other(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}},
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
    ComPtr<IHostMalloc> heap;
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

TEST_F(NotificationsTest, SinkReceivesRefusalsReservesLimitsAndShutdown) {
  std::mutex lock;
  std::vector<ClrHostMemoryEvent> events;
  const auto sink = SinkOf([&](const ClrHostMemoryEvent& event) {
    const std::lock_guard guard(lock);
    events.push_back(event);
  });
  const auto seen = [&](ClrHostMemoryEventKind kind, auto matches) {
    const std::lock_guard guard(lock);
    for (const ClrHostMemoryEvent& event : events) {
      if (event.kind == kind && matches(event)) return true;
    }
    return false;
  };
  ASSERT_EQ(win32::kSuccess, manager()->engine().OpenReserves({kMiB}, {}));
  ASSERT_HR(S_OK, manager()->SetEventSink(sink.get()));
  void* memory = nullptr;
  for (int i = 0; i < 3; ++i) {
    EXPECT_HR(E_OUTOFMEMORY, manager()->VirtualAlloc(nullptr, 200 * kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                     eAppDomainCritical, &memory));
  }
  std::uint64_t refused = 0;
  EXPECT_TRUE(Eventually([&] {
    const std::lock_guard guard(lock);
    refused = 0;
    for (const ClrHostMemoryEvent& event : events) {
      if (event.kind != kClrHostMemoryEventRefusal) continue;
      EXPECT_EQ(std::uint32_t{eAppDomainCritical}, event.level);
      EXPECT_HR(E_OUTOFMEMORY, event.code);
      refused += event.count;
    }
    return refused == 3;
  })) << refused;
  // A taken address is reported as a placement event, not as a refusal.
  void* const taken = Allocate(manager(), nullptr, kPage, MEM_RESERVE, PAGE_READWRITE, eTaskCritical);
  EXPECT_HR(E_OUTOFMEMORY,
            manager()->VirtualAlloc(taken, kPage, MEM_RESERVE, PAGE_READWRITE, eProcessCritical, &memory));
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventPlacement, [](const ClrHostMemoryEvent& event) { return event.count == 1; });
  }));
  EXPECT_FALSE(seen(kClrHostMemoryEventRefusal,
                    [](const ClrHostMemoryEvent& event) { return event.level == eProcessCritical; }));
  Use(100);
  void* const behind_limit =
      Allocate(manager(), nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventReserveUsed, [](const ClrHostMemoryEvent& event) { return event.bytes != 0; });
  }));
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventOverLimit, [](const ClrHostMemoryEvent& event) { return event.bytes != 0; });
  }));
  EXPECT_HR(S_OK, manager()->VirtualFree(behind_limit, 0, MEM_RELEASE));
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventOverLimit, [](const ClrHostMemoryEvent& event) { return event.bytes == 0; });
  }));
  EXPECT_HR(S_OK, manager()->SetLimit(50 * kMiB, 0, 0));
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventOverLimit, [](const ClrHostMemoryEvent& event) { return event.bytes > 49 * kMiB; });
  }));
  EXPECT_GT(StatisticsOf(client()).over_limit, 49 * kMiB);
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventPressure,
                [](const ClrHostMemoryEvent& event) { return event.availability == eMemoryAvailableLow; });
  }));
  // Lower levels get no memory until the usage fits the limit.
  EXPECT_HR(E_OUTOFMEMORY,
            manager()->VirtualAlloc(nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory));
  Use(20);
  EXPECT_TRUE(Eventually([&] {
    const std::lock_guard guard(lock);
    std::uint64_t last = 1;
    for (const ClrHostMemoryEvent& event : events) {
      if (event.kind == kClrHostMemoryEventOverLimit) last = event.bytes;
    }
    return last == 0;
  }));
  EXPECT_TRUE(Eventually(
      [&] { return seen(kClrHostMemoryEventReserveRestored, [](const ClrHostMemoryEvent&) { return true; }); }));
  EXPECT_EQ(0u, StatisticsOf(client()).over_limit);
  EXPECT_EQ(kMiB, StatisticsOf(client()).emergency_held);

  os_.OnNext(OsCall::kProtect, Moment::kBefore, [](const OsCallInfo&) { throw 42; });
  DWORD old = 0;
  EXPECT_HR(E_FAIL, manager()->VirtualProtect(region_, kPage, PAGE_READWRITE, &old));
  EXPECT_TRUE(
      Eventually([&] { return seen(kClrHostMemoryEventLatch, [](const ClrHostMemoryEvent&) { return true; }); }));

  ASSERT_HR(S_OK, manager()->Shutdown());
  const auto has_state = [](std::uint32_t state) {
    return [state](const ClrHostMemoryEvent& event) { return event.state == state; };
  };
  EXPECT_TRUE(seen(kClrHostMemoryEventState, has_state(kClrHostMemoryDraining)));
  EXPECT_TRUE(seen(kClrHostMemoryEventState, has_state(kClrHostMemoryStopped)));
  const std::size_t count = events.size();
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(count, events.size());
  for (std::size_t i = 1; i < events.size(); ++i) EXPECT_LE(events[i - 1].milliseconds, events[i].milliseconds);
}

TEST_F(NotificationsTest, SinkReceivesEachDetachOnce) {
  std::atomic<std::uint64_t> detached = 0;
  const auto sink = SinkOf([&](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventDetached) detached += event.count;
  });
  ComPtr<IManagerBackend> bridged;
  ASSERT_HR(S_OK, manager()->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(bridged.Receive())));
  EXPECT_HR(S_OK, bridged->NoteDetached());  // without a sink the event waits for the first one
  EXPECT_HR(S_OK, bridged->NoteDetached());
  ASSERT_HR(S_OK, manager()->SetEventSink(sink.get()));
  EXPECT_TRUE(Eventually([&] { return detached == 2; }));
  EXPECT_HR(S_OK, bridged->NoteDetached());
  EXPECT_TRUE(Eventually([&] { return detached == 3; }));
  ASSERT_HR(S_OK, manager()->Shutdown());
  EXPECT_EQ(3u, detached);
}

TEST_F(NotificationsTest, SinkReceivesThrashReports) {
  std::mutex lock;
  std::vector<ClrHostMemoryEvent> events;
  std::uint64_t over_limit = 0;  // of the last event
  const auto sink = SinkOf([&](const ClrHostMemoryEvent& event) {
    const std::lock_guard guard(lock);
    if (event.kind == kClrHostMemoryEventThrash) events.push_back(event);
    if (event.kind == kClrHostMemoryEventOverLimit) over_limit = event.bytes;
  });
  const auto count = [&] {
    const std::lock_guard guard(lock);
    return events.size();
  };
  EXPECT_HR(E_INVALIDARG, manager()->SetThrashGuard(999, 10));
  EXPECT_HR(E_INVALIDARG, manager()->SetThrashGuard(3600001, 10));
  EXPECT_HR(E_INVALIDARG, manager()->SetThrashGuard(1000, 0));
  ASSERT_HR(S_OK, manager()->SetThrashGuard(1000, 20));
  ASSERT_HR(S_OK, manager()->SetEventSink(sink.get()));
  Use(95);
  DWORD load = 0;
  SIZE_T available = 0;
  const auto spin = [&] {
    void* memory = nullptr;
    EXPECT_HR(E_OUTOFMEMORY, manager()->VirtualAlloc(nullptr, 10 * kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                     eTaskCritical, &memory));
    EXPECT_HR(S_OK, manager()->GetMemoryLoad(&load, &available));
  };
  EXPECT_TRUE(Eventually([&] { return spin(), count() != 0; }));
  {
    const std::lock_guard guard(lock);
    ASSERT_FALSE(events.empty());
    EXPECT_GE(events[0].window_ms, 1000u);
    EXPECT_GE(events[0].count, 20u);
    EXPECT_GE(events[0].collections, 20u);
    EXPECT_EQ(0u, events[0].bytes);
    EXPECT_EQ(95 * kMiB, events[0].charged);
  }
  EXPECT_GE(StatisticsOf(client()).thrashes, 1u);

  // Once the guard is off, no report must follow. A round of the manager's thread may have begun before. A round
  // sends at most one over-limit event, so the second event comes from a later round.
  ASSERT_HR(S_OK, manager()->SetThrashGuard(0, 20));
  for (const std::uint64_t limit : {kLimit - 10 * kMiB, kLimit}) {
    ASSERT_HR(S_OK, manager()->SetLimit(limit, 0, 0));
    ASSERT_TRUE(Eventually([&] {
      const std::lock_guard guard(lock);
      return (over_limit != 0) == (limit != kLimit);
    }));
  }
  const std::size_t before = count();
  const auto end = std::chrono::steady_clock::now() + 1500ms;
  while (std::chrono::steady_clock::now() < end) spin();
  EXPECT_EQ(before, count());
  ASSERT_HR(S_OK, manager()->Shutdown());
}

TEST_F(NotificationsTest, ShutdownEventsArriveOnOneThreadWithoutNesting) {
  for (const bool from_inside : {true, false}) {
    ComPtr<HostMemoryManager> other(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}},
                                                          {.thresholds = kEager}, Milliseconds{1}));
    HostMemoryManager* const its = other.get();
    std::atomic<int> depth = 0;
    std::atomic<int> deepest = 0;
    std::atomic<int> stages = 0;
    std::atomic<int> events = 0;
    std::atomic<DWORD> thread = 0;
    std::atomic<bool> others = false;
    const auto sink = SinkOf([&](const ClrHostMemoryEvent& event) {
      deepest = std::max(deepest.load(), ++depth);
      DWORD none = 0;
      if (!thread.compare_exchange_strong(none, ::GetCurrentThreadId()))
        others = others || none != ::GetCurrentThreadId();
      if (event.kind == kClrHostMemoryEventState) ++stages;
      its->AddRef();  // as a host's smart pointers may do at any time
      if (++events == 1 && from_inside) {
        EXPECT_HR(S_OK, its->Shutdown());
      }
      its->Release();
      --depth;
    });
    ASSERT_HR(S_OK, other->SetEventSink(sink.get()));
    void* memory = nullptr;
    EXPECT_HR(E_OUTOFMEMORY, other->VirtualAlloc(nullptr, 2 * kLimit, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                 eTaskCritical, &memory));
    ASSERT_TRUE(Eventually([&] { return events >= 1; }));
    if (!from_inside) {
      ASSERT_HR(S_OK, other->Shutdown());
    }
    ASSERT_TRUE(Eventually([&] { return stages == 2; }));
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, other->SetEventSink(sink.get()));
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, other->SetWait(eTaskCritical, 1));
    other.Reset();
    EXPECT_EQ(1, deepest);
    EXPECT_FALSE(others);
    EXPECT_NE(::GetCurrentThreadId(), thread.load());
  }
}

TEST_F(NotificationsTest, LastReferenceMayBeReleasedInsideAnEvent) {
  for (int round = 0; round < 20; ++round) {
    FakeMemorySystem os;
    std::atomic<bool> registered = false;  // SetEventSink holds a reference until it returns
    std::atomic<bool> released = false;
    auto* const other =
        new HostMemoryManager(os, WindowsThreadSystem(), {.limit = {kLimit}}, {.thresholds = kEager}, Milliseconds{1});
    // Low repeats, so an event arrives even if the sink is registered late.
    ASSERT_NE(nullptr, Allocate(other, nullptr, kLimit, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
    Callback callback;
    ASSERT_HR(S_OK, other->RegisterMemoryNotificationCallback(&callback));
    const auto sink = SinkOf([&, once = true](const ClrHostMemoryEvent&) mutable {
      if (!once || !registered) return;
      once = false;
      EXPECT_EQ(0u, other->Release());
      released = true;
    });
    ASSERT_HR(S_OK, other->SetEventSink(sink.get()));
    registered = true;
    EXPECT_TRUE(Eventually([&] { return released.load(); }));
    EXPECT_TRUE(Eventually([&] { return os.LiveMetadata() == 0; }));  // memory and threads are released
    EXPECT_TRUE(Eventually([&] { return callback.references == 1; }));
  }
}

TEST_F(NotificationsTest, ConcurrentShutdownAbandonsAllWaitingRequests) {
  for (int round = 0; round < 20; ++round) {
    FakeMemorySystem os;
    ComPtr<HostMemoryManager> other(
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
