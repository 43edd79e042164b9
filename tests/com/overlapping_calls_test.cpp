// Tests callback calls that overlap, re-enter the manager, or end it. A thread inside any such call never waits for
// another one, and Low never stays. A forbidden wait shows as a suite that does not end.
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "com/callback_slot.h"
#include "host_callbacks.h"
#include "host_over_fake.h"
#include "os/windows/windows_thread_system.h"

namespace clr_host_memory::test {
namespace {

using namespace std::chrono_literals;
using Effect = Standing::Effect;

constexpr std::uint64_t kLimit = 100 * kMiB;
// The manager sends no notifications by itself: half of the memory is in use, and nothing repeats.
constexpr PressureThresholds kQuiet{.enter_low = 1,
                                    .leave_low = 2,
                                    .leave_high = 98,
                                    .enter_high = 99,
                                    .dwell = Milliseconds{0},
                                    .repeat_low = Milliseconds{3600000}};

ComReference<HostMemoryManager> MakeManager(FakeMemorySystem& os) {
  ComReference<HostMemoryManager> manager(
      new HostMemoryManager(os, WindowsThreadSystem(), {.limit = {kLimit}}, {.thresholds = kQuiet}, Milliseconds{1}));
  EXPECT_NE(nullptr,
            Allocate(manager.get(), nullptr, kLimit / 2, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
  return manager;
}

std::uint32_t StateOf(HostMemoryManager* manager) {
  return StatisticsOf(static_cast<IHostMemoryManager*>(manager)).state;
}

// Causes a refusal, which sends an event.
void MakeEvent(HostMemoryManager* manager) {
  void* memory = nullptr;
  EXPECT_HR(E_OUTOFMEMORY, manager->VirtualAlloc(nullptr, 2 * kLimit, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                                 eTaskCritical, &memory));
}

// Blocks calls: each waits in Pass until the test opens the gate.
class Gate {
 public:
  void Pass() {
    ++inside_;
    while (!open_) std::this_thread::sleep_for(1ms);
  }
  [[nodiscard]] bool AwaitOneInside() {
    return Eventually([&] { return inside_ != 0; });
  }
  void Open() { open_ = true; }

 private:
  std::atomic<int> inside_ = 0;
  std::atomic<bool> open_ = false;
};

// Registers callback and waits for its first notification of the state, so that later notifications come from the
// test.
void Register(HostMemoryManager* manager, Callback& callback) {
  ASSERT_HR(S_OK, manager->RegisterMemoryNotificationCallback(&callback));
  ASSERT_TRUE(Eventually([&] { return callback.told[eMemoryAvailableNeutral] != 0; }));
}

TEST(OverlappingCalls, ShutdownInsideTheHostsCallbackReturnsAndCompletesLater) {
  FakeMemorySystem os;
  const ComReference<HostMemoryManager> manager = MakeManager(os);
  Callback callback;
  Register(manager.get(), callback);
  bool returned = false;
  callback.react = [&](EMemoryAvailable available) {
    if (available != eMemoryAvailableLow) return;
    EXPECT_HR(S_OK, manager->Shutdown());
    returned = true;
  };
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
  EXPECT_TRUE(returned);
  EXPECT_TRUE(Eventually([&] { return StateOf(manager.get()) == kClrHostMemoryStopped; }));
  EXPECT_HR(S_OK, manager->Shutdown());  // waits until the shutdown is complete
  EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
  EXPECT_EQ(1u, callback.references);
}

TEST(OverlappingCalls, LastReferenceMayBeReleasedInsideTheHostsCallback) {
  for (int round = 0; round < 20; ++round) {
    FakeMemorySystem os;
    auto* const manager = MakeManager(os).Detach();
    Callback callback;
    Register(manager, callback);
    callback.react = [&](EMemoryAvailable available) {
      if (available == eMemoryAvailableLow) (void)manager->Release();
    };
    EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
    EXPECT_TRUE(Eventually([&] { return os.LiveMetadata() == 0 && callback.references == 1; }));
    EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
  }
}

// Unregistering releases the sink, and the sink releases the objects that its function holds.
TEST(OverlappingCalls, RemovedSinkMayHoldTheLastReference) {
  FakeMemorySystem os;
  auto* const manager = MakeManager(os).Detach();
  struct Held {
    explicit Held(HostMemoryManager* it) : manager(it) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { manager->Release(); }
    HostMemoryManager* manager;
  };
  auto sink = SinkOf([held = std::make_shared<Held>(manager)](const ClrHostMemoryEvent&) {});
  ASSERT_HR(S_OK, manager->SetEventSink(sink.get()));
  sink.Reset();
  EXPECT_HR(S_OK, manager->SetEventSink(nullptr));
  EXPECT_EQ(0u, os.LiveMetadata());
}

TEST(OverlappingCalls, SinkAndCallbackMayUnregisterEachOther) {
  FakeMemorySystem os;
  const ComReference<HostMemoryManager> manager = MakeManager(os);
  Callback callback;
  Callback other;
  Register(manager.get(), callback);
  std::atomic<bool> in_sink = false;
  std::atomic<bool> in_callback = false;
  std::atomic<int> returned = 0;
  const auto sink = SinkOf([&](const ClrHostMemoryEvent&) {
    if (in_sink.exchange(true)) return;
    while (!in_callback) std::this_thread::sleep_for(1ms);
    EXPECT_HR(S_OK, manager->RegisterMemoryNotificationCallback(&other));
    ++returned;
  });
  ASSERT_HR(S_OK, manager->SetEventSink(sink.get()));
  callback.react = [&](EMemoryAvailable available) {
    if (available != eMemoryAvailableLow) return;
    in_callback = true;
    while (!in_sink) std::this_thread::sleep_for(1ms);
    EXPECT_HR(S_OK, manager->SetEventSink(nullptr));
    ++returned;
  };
  MakeEvent(manager.get());
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
  EXPECT_TRUE(Eventually([&] { return returned == 2; }));
  // The callback that was replaced inside its own call must not stay in Low.
  EXPECT_TRUE(Eventually([&] { return callback.references == 1; }));
  EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
  ASSERT_HR(S_OK, manager->RegisterMemoryNotificationCallback(nullptr));
}

TEST(OverlappingCalls, TwoManagersMayEndEachOtherInsideEvents) {
  for (int round = 0; round < 20; ++round) {
    std::array<FakeMemorySystem, 2> systems;
    std::array<HostMemoryManager*, 2> managers{};
    for (std::size_t i = 0; i < managers.size(); ++i) managers[i] = MakeManager(systems[i]).Detach();
    std::array<std::atomic<bool>, 2> inside{};
    std::atomic<int> returned = 0;
    for (std::size_t i = 0; i < managers.size(); ++i) {
      const auto sink = SinkOf([&, i](const ClrHostMemoryEvent&) {
        if (inside[i].exchange(true)) return;
        while (!inside[1 - i]) std::this_thread::sleep_for(1ms);
        if (round % 2 == 0) {
          EXPECT_HR(S_OK, managers[1 - i]->Shutdown());
        }
        (void)managers[1 - i]->Release();
        ++returned;
      });
      ASSERT_HR(S_OK, managers[i]->SetEventSink(sink.get()));
    }
    for (HostMemoryManager* const manager : managers) MakeEvent(manager);
    EXPECT_TRUE(Eventually([&] { return returned == 2; }));
    for (const FakeMemorySystem& os : systems) {
      EXPECT_TRUE(Eventually([&] { return os.LiveMetadata() == 0; }));
    }
  }
}

TEST(OverlappingCalls, ShutdownWaitsForACallbackThatCallsShutdown) {
  FakeMemorySystem os;
  const ComReference<HostMemoryManager> manager = MakeManager(os);
  Callback callback;
  Register(manager.get(), callback);
  const auto sink = SinkOf([](const ClrHostMemoryEvent&) {});
  Gate gate;
  std::atomic<bool> outer_returned = false;
  callback.react = [&](EMemoryAvailable available) {
    if (available != eMemoryAvailableLow) return;
    gate.Pass();
    // Another thread is in Shutdown and waits for this call.
    EXPECT_HR(S_OK, manager->Shutdown());
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, manager->SetEventSink(sink.get()));
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, manager->SetWait(eTaskCritical, 1));
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, manager->RegisterMemoryNotificationCallback(&callback));
    EXPECT_HR(S_OK, manager->SetLimit(kMiB, 0, 0));  // over the limit: tries to wake the monitor thread
    EXPECT_FALSE(outer_returned);
  };
  std::thread host([&] { EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow)); });
  ASSERT_TRUE(gate.AwaitOneInside());
  std::thread outside([&] {
    EXPECT_HR(S_OK, manager->Shutdown());
    EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
    EXPECT_EQ(1u, callback.references);
    outer_returned = true;
  });
  EXPECT_TRUE(Eventually([&] { return StateOf(manager.get()) != kClrHostMemoryRunning; }));
  std::this_thread::sleep_for(20ms);  // so that Shutdown is waiting by now
  EXPECT_FALSE(outer_returned);
  gate.Open();
  host.join();
  outside.join();
  EXPECT_EQ(kClrHostMemoryStopped, static_cast<int>(StateOf(manager.get())));
}

// ---- Low

TEST(LowNotification, IsEndedAtShutdownAfterOverlappingCalls) {
  for (const bool low_is_under_way : {false, true}) {
    FakeMemorySystem os;
    const ComReference<HostMemoryManager> manager = MakeManager(os);
    Callback callback;
    Register(manager.get(), callback);
    Gate gate;
    const EMemoryAvailable held = low_is_under_way ? eMemoryAvailableLow : eMemoryAvailableHigh;
    const EMemoryAvailable other = low_is_under_way ? eMemoryAvailableHigh : eMemoryAvailableLow;
    callback.react = [&](EMemoryAvailable available) {
      if (available == held) gate.Pass();
    };
    std::thread first([&] { EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(held)); });
    ASSERT_TRUE(gate.AwaitOneInside());
    EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(other));
    gate.Open();
    first.join();
    const int neutrals = callback.told[eMemoryAvailableNeutral];
    EXPECT_HR(S_OK, manager->Shutdown());
    EXPECT_EQ(neutrals + 1, callback.told[eMemoryAvailableNeutral]);
    EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
  }
}

TEST(LowNotification, IsEndedWhenItsCallbackIsReplaced) {
  FakeMemorySystem os;
  const ComReference<HostMemoryManager> manager = MakeManager(os);
  Callback callback;
  Callback other;
  std::atomic<int> refusals = 0;
  const ComReference<EventFunction> sink(new EventFunction([&](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventRefusal) ++refusals;
  }));
  EXPECT_HR(S_OK, manager->SetEventSink(sink.get()));
  Register(manager.get(), callback);
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
  Register(manager.get(), other);
  EXPECT_EQ(eMemoryAvailableNeutral, callback.last);
  EXPECT_EQ(1u, callback.references);
  // A new callback receives the state again, perhaps twice. A round sends refusal events at its end. So the second
  // refusal event comes from a round that began after these notifications were ordered.
  for (int told = 1; told <= 2; ++told) {
    MakeEvent(manager.get());
    ASSERT_TRUE(Eventually([&] { return refusals >= told; }));
  }
  const int neutrals = other.told[eMemoryAvailableNeutral];
  EXPECT_HR(S_OK, manager->Shutdown());
  EXPECT_EQ(neutrals, other.told[eMemoryAvailableNeutral]);
}

TEST(LowNotification, IsEndedOnceAndNotAfterUnregistering) {
  FakeMemorySystem os;
  const ComReference<HostMemoryManager> manager = MakeManager(os);
  Callback callback;
  Register(manager.get(), callback);
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableHigh));
  const auto before = StatisticsOf(static_cast<IHostMemoryManager*>(manager.get())).notifications[1];
  EXPECT_HR(S_OK, manager->NotifyMemoryAvailable(eMemoryAvailableLow));
  EXPECT_HR(S_OK, manager->RegisterMemoryNotificationCallback(nullptr));
  callback.dead = true;
  EXPECT_HR(S_OK, manager->Shutdown());
  EXPECT_EQ(0, callback.after_death);
  EXPECT_EQ(before, StatisticsOf(static_cast<IHostMemoryManager*>(manager.get())).notifications[1]);
}

// Runs three calls of any effect in every order of begin and return, and compares Standing with the rule itself.
class EveryOrder {
 public:
  void Run() {
    for (int effects = 0; effects < 8; ++effects) {
      for (std::size_t call = 0; call < calls_.size(); ++call) {
        calls_[call].effect = (effects >> call & 1) != 0 ? Effect::kLeaves : Effect::kEnds;
      }
      Continue(Standing{}, 0);
    }
  }
  [[nodiscard]] int orders() const { return orders_; }

 private:
  struct OneCall {
    Effect effect = Effect::kNone;
    int began = -1;
    int ended = -1;
    std::uint64_t token = 0;
  };

  void Continue(const Standing& standing, int now) {
    EXPECT_EQ(MayStand(), standing.May());
    bool any = false;
    for (OneCall& call : calls_) {
      if (call.ended >= 0) continue;
      any = true;
      Standing next = standing;
      const OneCall before = call;
      if (call.began < 0) {
        call.began = now;
        call.token = next.Begin(call.effect);
      } else {
        call.ended = now;
        next.End(call.effect, call.token);
      }
      Continue(next, now + 1);
      call = before;
    }
    if (!any) ++orders_;
  }
  // Returns whether Low may stand. It may, unless a call that ends Low began after every Low call had returned, and
  // no Low call began before that call returned.
  [[nodiscard]] bool MayStand() const {
    bool any_low = false;
    for (const OneCall& low : calls_) any_low = any_low || (low.effect == Effect::kLeaves && low.began >= 0);
    if (!any_low) return false;
    for (const OneCall& end : calls_) {
      if (end.effect != Effect::kEnds || end.ended < 0) continue;
      bool ends_all = true;
      for (const OneCall& low : calls_) {
        if (low.effect != Effect::kLeaves || low.began < 0) continue;
        ends_all = ends_all && low.ended >= 0 && low.ended < end.began;
      }
      if (ends_all) return false;
    }
    return true;
  }

  std::array<OneCall, 3> calls_{};
  int orders_ = 0;
};

TEST(LowNotification, FollowsItsRuleInEveryOrderOfThreeCalls) {
  EveryOrder orders;
  orders.Run();
  EXPECT_EQ(8 * 90, orders.orders());
}

}  // namespace
}  // namespace clr_host_memory::test
