// Suspends waiters, returns, the dispatcher and cancels at every atomic operation and before every wake-up. The
// sources are compiled into this program with atomics that yield (support/yielding_atomic.h). While one thread is
// suspended, the other threads and the clock continue. A suspended thread must delay no other thread.
#include "support/yielding_atomic.h"
// Must follow yielding_atomic.h.
#include <iostream>

#include "budget/budget.h"
#include "budget/wait_list.h"
#include "os/thread_system.h"
#include "support/wait_list_support.h"

namespace clr_host_memory::test {
namespace {

using std::chrono_literals::operator""ms;

// Events and a clock for the operations of an exploration.
class InterleavedThreads final : public ThreadSystem {
 public:
  Milliseconds Now() override { return now_; }
  std::uint64_t CurrentThread() override { return 1; }
  EventHandle MakeEvent() override { return std::make_unique<bool>(false).release(); }
  void CloseEvent(EventHandle event) override { const std::unique_ptr<bool> owned(static_cast<bool*>(event)); }
  void Signal(EventHandle event) override {
    InterleavingPoint();
    *static_cast<bool*>(event) = true;
  }
  bool WaitFor(EventHandle event, Milliseconds at_most) override {
    InterleavingPoint();
    bool& signalled = *static_cast<bool*>(event);
    const std::size_t self = InterleavingOperation();
    asleep_[self] = at_most > kForever - now_ ? kForever : now_ + at_most;
    InterleavingWait([&] { return signalled || now_ >= asleep_[self]; });
    asleep_.erase(self);
    return std::exchange(signalled, false);
  }
  ThreadHandle Start(void (*)(void*), void*) override { return nullptr; }
  void Join(ThreadHandle) override {}
  void Detach(ThreadHandle) override {}
  void Sleep(Milliseconds duration) override {
    const Milliseconds end = now_ + duration;
    asleep_[InterleavingOperation()] = end;
    InterleavingWait([&] { return now_ >= end; });
    asleep_.erase(InterleavingOperation());
  }

  [[nodiscard]] bool IsAsleep(std::size_t operation) const { return asleep_.count(operation) != 0; }
  // Advances the clock to the next deadline. Returns false if there is none.
  bool Advance() {
    Milliseconds next = kForever;
    for (const auto& [operation, end] : asleep_) {
      if (end > now_) next = std::min(next, end);
    }
    if (next == kForever) return false;
    now_ = next;
    return true;
  }

 private:
  Milliseconds now_ = 1000ms;
  std::map<std::size_t, Milliseconds> asleep_;  // the deadline of each sleeping operation
};

class WaitingWorld;
struct WaitingOperation {
  std::function<void(WaitingWorld&, std::size_t self)> run;
  bool only_waits = false;  // calls Wait and does nothing else
};
// The limit is 10, and all of it is in use unless the scene prepares another state.
struct WaitingScene {
  std::string name;
  std::vector<WaitingOperation> operations;
  std::function<void(WaitingWorld&)> check = [](WaitingWorld&) {};
  std::function<void(WaitingWorld&)> prepare = [](WaitingWorld&) {};
};

class WaitingWorld final : public InterleavedWorld {
 public:
  explicit WaitingWorld(const WaitingScene& scene)
      : server(threads), budget({.limit = {10}}), list(memory, threads, budget), scene_(scene) {
    budget.SetDispatcher(&server);
    EXPECT_TRUE(list.Open(&server));
    budget.Charge({10});
    expected_charge = 10;
    scene_.prepare(*this);
    left_ = scene_.operations.size();
    waiters.resize(left_);
  }

  std::vector<std::function<void()>> Operations() override {
    std::vector<std::function<void()>> operations;
    for (std::size_t i = 0; i < scene_.operations.size(); ++i) {
      operations.emplace_back([this, i] {
        scene_.operations[i].run(*this, i);
        waiters[i].over = true;
        if (--left_ == 0) server.Wake();
      });
    }
    operations.emplace_back([this] { ServeToTheEnd(); });
    return operations;
  }

  bool PassTime() override {
    // No CLR suspends the dispatcher's thread. It may be slow, but it finishes its round before the clock moves.
    if (!server_over_ && !threads.IsAsleep(waiters.size())) return false;
    LookForALostWakeUp();
    return threads.Advance();
  }

  bool Check(const std::string& schedule) override {
    if (closing) static_cast<void>(list.Serve(threads.Now()));  // the dispatcher ended before the waiters that left
    Expect(budget.Charged().value == expected_charge, "the charge is exact");
    Expect(IsIdle(budget, list), "the list is idle");
    const WaitCounts total = TotalCounts(list);
    Expect(total.granted == results_[0] && total.timed_out == results_[1] && total.abandoned == results_[2],
           "the counts are exact");
    scene_.check(*this);
    if (why_.empty()) return true;
    ADD_FAILURE() << scene_.name << "; not so: " << why_ << "\n" << schedule;
    return false;
  }

  // ---- actions of the operations
  WaitResult Wait(std::size_t self, const WaitRequest& request) {
    Waiter& it = waiters[self];
    it.request = request;
    it.started = true;
    const Milliseconds end = threads.Now() + request.deadline;
    it.result = list.Wait(request);
    it.ended = threads.Now();
    it.started = false;
    if (it.result == WaitResult::kGranted) expected_charge += request.bytes.value;
    Expect(it.result != WaitResult::kTimedOut || it.ended >= end, "no wait times out before its deadline");
    Expect(it.result != WaitResult::kNoRoom, "there is room");
    ++results_[static_cast<std::size_t>(it.result)];
    return it.result;
  }
  void Return(std::uint64_t bytes) {
    expected_charge -= bytes;
    budget.Uncharge({bytes});
  }
  // Waits until the operation sleeps or has ended.
  void AwaitSleepOf(std::size_t operation) {
    InterleavingWait([this, operation] { return threads.IsAsleep(operation) || waiters[operation].over; });
  }
  [[nodiscard]] bool Granted(std::size_t i) const { return waiters[i].result == WaitResult::kGranted; }
  [[nodiscard]] bool TimePassed() { return threads.Now() != 1000ms; }
  void Expect(bool holds, const char* what) {
    if (!holds && why_.empty()) why_ = what;
  }

  struct Waiter {
    WaitRequest request;
    bool started = false;
    bool over = false;
    WaitResult result = WaitResult::kNoRoom;
    Milliseconds ended{};
  };

  FakeMemorySystem memory;
  InterleavedThreads threads;
  EventWaker server;
  Budget budget;
  WaitList list;
  std::vector<Waiter> waiters;  // by index of the operation
  std::uint64_t expected_charge = 0;
  bool held = false;
  bool closing = false;  // the dispatcher ends after its next round

 private:
  void ServeToTheEnd() {
    while (true) {
      const bool last = left_ == 0 || closing;
      const Milliseconds sleep = list.Serve(threads.Now());
      server_over_ = last;
      if (last) return;
      server.Sleep(sleep);
    }
  }

  // Every operation sleeps or is suspended. Expects that no operation sleeps although its request could be granted.
  // Skips the check if a suspended operation may still make room: a suspended return has not sent its wake-up yet.
  void LookForALostWakeUp() {
    if (held || closing) return;
    const WaitRequest* first = nullptr;
    bool first_sleeps = false;
    for (std::size_t i = 0; i < waiters.size(); ++i) {
      const Waiter& it = waiters[i];
      const bool sleeps = threads.IsAsleep(i);
      if (it.over || (sleeps && !it.started)) continue;
      if (!sleeps && !scene_.operations[i].only_waits) return;
      if (!it.started) continue;
      if (first != nullptr &&
          (first->level != it.request.level ? first->level > it.request.level : first->ticket < it.request.ticket)) {
        continue;
      }
      first = &it.request;
      first_sleeps = sleeps;
    }
    if (first == nullptr || !first_sleeps || first->refused_by_os) return;
    Expect(budget.Charged() + first->bytes > budget.WholeCeiling(first->level),
           "no request sleeps while there is memory for it");
  }

  const WaitingScene& scene_;
  std::size_t left_ = 0;
  bool server_over_ = false;
  std::array<std::uint64_t, 4> results_{};
  std::string why_;
};

// `ticket` does not come from WaitList::TakeTicket. Scenes in which tickets must count as issued call TakeTickets
// first.
constexpr std::uint64_t kTickets = 8;
WaitingOperation Wait(std::uint64_t bytes, std::uint64_t ticket, Milliseconds deadline = 100ms,
                      Criticality level = kTask, bool refused_by_os = false) {
  const WaitRequest request{{bytes}, level, deadline, ticket, refused_by_os};
  return {[request](WaitingWorld& world, std::size_t self) { world.Wait(self, request); }, true};
}
WaitingOperation Return(std::uint64_t bytes) {
  return {[bytes](WaitingWorld& world, std::size_t) { world.Return(bytes); }};
}
void TakeTickets(WaitingWorld& world) {
  for (std::uint64_t i = 0; i < kTickets; ++i) static_cast<void>(world.list.TakeTicket());
}

void ExploreWaits(const WaitingScene& scene, int preemptions) {
  const Exploration exploration = Explore([&] { return std::make_unique<WaitingWorld>(scene); }, preemptions, 60'000);
  EXPECT_TRUE(exploration.passed) << scene.name;
  EXPECT_GT(exploration.schedules, 20u) << scene.name;
  std::cout << exploration.schedules << (exploration.complete ? " schedules: " : " schedules, and there are more: ")
            << scene.name << '\n';
}

// The waiter is granted, unless a thread stays suspended until the waiter's deadline passes.
void GrantedInTime(WaitingWorld& world) {
  world.Expect(world.Granted(0) || world.TimePassed(), "granted as soon as it is there");
}

TEST(WaitListInterleavings, EveryReturnReachesTheWaiter) {
  const WaitingOperation wait = Wait(4, 1);
  ExploreWaits({"a wait and a return", {wait, Return(5)}, GrantedInTime}, 3);
  ExploreWaits({"a wait and two returns", {wait, Return(2), Return(2)}, GrantedInTime}, 2);
  ExploreWaits({"a wait and a withdrawal",
                {wait, {[](WaitingWorld& world, std::size_t) {
                   world.expected_charge -= 4;
                   world.budget.CancelCharge({4});
                 }}},
                GrantedInTime},
               2);
  ExploreWaits({"a wait and a higher limit",
                {wait, {[](WaitingWorld& world, std::size_t) { world.budget.SetLimits({.limit = {14}}); }}},
                GrantedInTime},
               2);
  ExploreWaits({"a wait, and less uncharged memory",
                {wait, {[](WaitingWorld& world, std::size_t) { world.budget.SetUncharged({}); }}},
                GrantedInTime,
                [](WaitingWorld& world) {
                  world.budget.SetLimits({.limit = {20}});
                  world.budget.SetUncharged({10});
                }},
               2);
  ExploreWaits({"a wait and the end of a hold",
                {wait, Wait(0, 2), {[](WaitingWorld& world, std::size_t) {
                   world.list.Hold(false);
                   world.held = false;
                 }}},
                [](WaitingWorld& world) {
                  GrantedInTime(world);
                  world.Expect(world.Granted(1) || world.TimePassed(), "a request that needs no memory is granted");
                },
                [](WaitingWorld& world) {
                  world.Return(4);
                  world.list.Hold(true);
                  world.held = true;
                }},
               1);
  ExploreWaits({"a wait and a reserve given up",
                {Wait(4, 1, 100ms, kProcess), {[](WaitingWorld& world, std::size_t) { world.budget.LowerHeld({4}); }}},
                GrantedInTime,
                [](WaitingWorld& world) {
                  world.budget.SetLimits({.limit = {14}, .process_headroom = {4}, .committed_headroom = {4}});
                  EXPECT_TRUE(world.budget.TryRaiseHeld({4}));
                }},
               2);
}

TEST(WaitListInterleavings, SimultaneousDeadlineAndGrantAgree) {
  // In every outcome, the charge and the counts are exact.
  ExploreWaits({"a return at the deadline", {Wait(4, 1, 5ms), {[](WaitingWorld& world, std::size_t) {
                                               world.threads.Sleep(5ms);
                                               world.Return(4);
                                             }}}},
               2);
  ExploreWaits({"two deadlines and a return at one of them",
                {Wait(4, 1, 5ms), Wait(4, 2, 10ms), {[](WaitingWorld& world, std::size_t) {
                   world.threads.Sleep(5ms);
                   world.Return(4);
                 }}}},
               1);
  // The second wait uses the record of the first.
  ExploreWaits({"a request that waits again at once",
                {{[](WaitingWorld& world, std::size_t self) {
                   world.Wait(self, {{4}, kTask, 5ms, 1});
                   world.Wait(self, {{3}, kTask, 100ms, 2});
                 }},
                 {[](WaitingWorld& world, std::size_t) {
                   world.threads.Sleep(5ms);
                   world.Return(7);
                 }}},
                [](WaitingWorld& world) {
                  world.Expect(world.Granted(0) || world.threads.Now() >= 1100ms, "the second wait is granted");
                }},
               1);
}

TEST(WaitListInterleavings, CancelledWaitEnds) {
  const WaitingOperation abandon{[](WaitingWorld& world, std::size_t) { world.list.Abandon(false); }};
  const auto abandoned = [](WaitingWorld& world) {
    world.Expect(world.waiters[0].result == WaitResult::kAbandoned || world.TimePassed(), "abandoned at once");
  };
  ExploreWaits({"a wait and a cancel", {Wait(4, 1), abandon}, abandoned, TakeTickets}, 2);
  ExploreWaits({"a wait, a cancel and a return", {Wait(4, 1), abandon, Return(4)}, {[](WaitingWorld&) {}}, TakeTickets},
               1);
  ExploreWaits({"a later wait is none of it",
                {Wait(4, kTickets + 1), abandon, Return(4)},
                [](WaitingWorld& world) { GrantedInTime(world); },
                TakeTickets},
               1);
  // The dispatcher runs one more round and ends. A waiter that arrives too late for that round ends by itself.
  ExploreWaits({"two waits and the end",
                {Wait(4, 1), Wait(4, kTickets + 1), {[](WaitingWorld& world, std::size_t) {
                   world.list.Abandon(true);
                   world.closing = true;
                   world.server.Wake();
                 }}},
                [](WaitingWorld& world) {
                  for (const std::size_t i : {0u, 1u}) {
                    world.Expect(world.waiters[i].result == WaitResult::kAbandoned || world.TimePassed(), "abandoned");
                  }
                },
                TakeTickets},
               1);
}

TEST(WaitListInterleavings, QueueOrderIsKept) {
  const auto both_wait_first = [](std::uint64_t bytes) {
    return WaitingOperation{[bytes](WaitingWorld& world, std::size_t) {
      world.AwaitSleepOf(0);
      world.AwaitSleepOf(1);
      world.Return(bytes);
    }};
  };
  const auto only_second = [](WaitingWorld& world) {
    world.Expect(world.TimePassed() || (world.Granted(1) && world.waiters[0].result == WaitResult::kTimedOut),
                 "the first in line is granted");
  };
  const auto second_first = [only_second](WaitingWorld& world) {
    if (world.Granted(0)) world.Expect(world.waiters[1].ended >= 1100ms, "no request overtakes the first in the queue");
    if (!world.TimePassed()) only_second(world);
  };
  ExploreWaits({"an earlier one announced later", {Wait(4, 2), Wait(4, 1), both_wait_first(4)}, second_first}, 1);
  ExploreWaits({"a higher level later", {Wait(4, 1), Wait(4, 2, 100ms, kAppDomain), both_wait_first(4)}, second_first},
               1);
  ExploreWaits({"a smaller one behind",
                {Wait(1, 2), Wait(4, 1), both_wait_first(3)},
                [](WaitingWorld& world) {
                  world.Expect(!world.Granted(0) || world.waiters[0].ended >= 1100ms, "the smaller one waits too");
                }},
               2);
  ExploreWaits({"two waits, and returns enough for both",
                {Wait(4, 1), Wait(4, 2), Return(4), Return(4)},
                [](WaitingWorld& world) {
                  GrantedInTime(world);
                  world.Expect(world.Granted(1) || world.TimePassed(), "granted as soon as it is there");
                }},
               1);
  const WaitingOperation newcomer{[](WaitingWorld& world, std::size_t) {
    world.AwaitSleepOf(0);
    if (world.budget.TryCharge({4}, kTask) != Admission::kAdmitted) return;
    world.expected_charge += 4;
    world.Expect(world.waiters[0].over || world.threads.Now() >= 1100ms, "a new request overtakes no waiting request");
  }};
  ExploreWaits({"a newcomer while memory comes back", {Wait(4, 1), Return(4), newcomer}, GrantedInTime}, 1);
}

// Any thread may be suspended anywhere, for as long as the other threads have work.
TEST(WaitListInterleavings, SuspendedThreadDelaysNoOtherRequest) {
  ExploreWaits({"behind one that never fits, beyond its deadline",
                {Wait(100, 1, 10ms), Wait(1, 2, 10'000ms)},
                [](WaitingWorld& world) {
                  world.Expect(world.Granted(1) && (world.waiters[1].ended <= 1010ms || world.threads.Now() > 2000ms),
                               "the next goes on at the deadline of the first");
                },
                [](WaitingWorld& world) { world.Return(4); }},
               2);
  // The newcomer may be refused while the dispatcher serves the waiter, but no longer.
  const WaitingOperation newcomer{[](WaitingWorld& world, std::size_t) {
    bool admitted = false;
    for (int tries = 0; tries < 3 && !admitted; ++tries) {
      if (tries != 0) world.threads.Sleep(1ms);
      admitted = world.budget.TryCharge({1}, kTask) == Admission::kAdmitted;
    }
    world.expected_charge += admitted ? 1 : 0;
    world.Expect(admitted, "there is enough for both");
  }};
  ExploreWaits({"a newcomer that may not wait",
                {Wait(4, 1, 10'000ms, kProcess), newcomer},
                [](WaitingWorld& world) { world.Expect(world.Granted(0), "there is enough for both"); },
                [](WaitingWorld& world) { world.Return(8); }},
               2);
  ExploreWaits({"a request that needs more as soon as it is granted",
                {{[](WaitingWorld& world, std::size_t self) {
                  world.Wait(self, {{4}, kTask, 100ms, 1});
                  const bool admitted = world.budget.TryCharge({1}, kTask) == Admission::kAdmitted;
                  world.expected_charge += admitted ? 1 : 0;
                  world.Expect(admitted, "a request does not block itself");
                }}},
                GrantedInTime,
                [](WaitingWorld& world) { world.Return(8); }},
               2);
  ExploreWaits({"three waits that all fit",
                {Wait(1, 1, 10'000ms), Wait(1, 2, 10'000ms), Wait(1, 3, 10'000ms)},
                [](WaitingWorld& world) {
                  for (const std::size_t i : {0u, 1u, 2u}) world.Expect(world.Granted(i), "there is enough for all");
                },
                [](WaitingWorld& world) { world.Return(8); }},
               1);
}

TEST(WaitListInterleavings, OsRefusedRequestIsRetriedInTime) {
  ExploreWaits({"a wait after a refusal by the OS, and a return",
                {Wait(4, 1, 100ms, kTask, true), Wait(4, 2, 100ms), Return(1)},
                [](WaitingWorld& world) {
                  for (const std::size_t i : {0u, 1u}) {
                    world.Expect(world.Granted(i) || world.threads.Now() >= 1100ms, "tried again");
                  }
                },
                [](WaitingWorld& world) { world.Return(8); }},
               1);
}

// A record is taken and freed by other threads while one thread is suspended in the act of taking it.
TEST(WaitListInterleavings, RecordsAreTakenByOneThreadAtATime) {
  const WaitingOperation twice{[](WaitingWorld& world, std::size_t self) {
    world.Wait(self, {{0}, kTask, 100ms, 1});
    world.Wait(self, {{1}, kTask, 100ms, 2});
  }};
  ExploreWaits(
      {"two requests that wait twice", {twice, twice}, GrantedInTime, [](WaitingWorld& world) { world.Return(9); }}, 1);
  // The record that one thread is about to take is taken and freed by another, while a third keeps the next one.
  ExploreWaits({"two granted requests, and one that continues to wait",
                {Wait(0, 1, 10'000ms), Wait(0, 2, 10'000ms), Wait(5, 3, 100ms)},
                [](WaitingWorld& world) {
                  world.Expect(world.Granted(0) && world.Granted(1), "a request that needs no memory is granted");
                  world.Expect(!world.Granted(2), "there is nothing for the third");
                }},
               1);
}

}  // namespace
}  // namespace clr_host_memory::test
