// Tests what a host's event sink receives, on which thread, and in which order.
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

class EventSinkTest : public NotificationsTest {};

TEST_F(EventSinkTest, ReceivesRefusalsReservesLimitsAndShutdown) {
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
  ASSERT_HR(S_OK, manager()->SetLimit(kLimit, 0, kMiB));
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
  Use(99);
  void* const in_headroom =
      Allocate(manager(), nullptr, kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventReserveUsed, [](const ClrHostMemoryEvent& event) { return event.bytes != 0; });
  }));
  EXPECT_FALSE(seen(kClrHostMemoryEventOverLimit, [](const ClrHostMemoryEvent&) { return true; }));
  EXPECT_HR(S_OK, manager()->VirtualFree(in_headroom, 0, MEM_RELEASE));
  EXPECT_HR(S_OK, manager()->SetLimit(50 * kMiB, 0, kMiB));
  EXPECT_TRUE(Eventually([&] {
    return seen(kClrHostMemoryEventOverLimit, [](const ClrHostMemoryEvent& event) { return event.bytes >= 49 * kMiB; });
  }));
  EXPECT_GE(StatisticsOf(client()).over_limit, 49 * kMiB);
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
  EXPECT_EQ(kMiB, StatisticsOf(client()).headroom_held);

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

TEST_F(EventSinkTest, ReceivesEachDetachOnce) {
  std::atomic<std::uint64_t> detached = 0;
  const auto sink = SinkOf([&](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventDetached) detached += event.count;
  });
  ComReference<IManagerBackend> bridged;
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

TEST_F(EventSinkTest, ReceivesThrashReports) {
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

TEST_F(EventSinkTest, ShutdownEventsArriveOnOneThreadWithoutNesting) {
  for (const bool from_inside : {true, false}) {
    ComReference<HostMemoryManager> other(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}},
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

TEST_F(EventSinkTest, LastReferenceMayBeReleasedInsideAnEvent) {
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

}  // namespace
}  // namespace clr_host_memory::test
