// A WaitList on a fake clock, with a few waiters that a test plays one at a time, each in its own context. Begin runs
// a waiter until it sleeps. GoOn runs it until it sleeps again or its wait has ended. The test plays the dispatcher.
#ifndef CLRHM_TESTS_SUPPORT_WAIT_STAGE_H
#define CLRHM_TESTS_SUPPORT_WAIT_STAGE_H

#include <cstddef>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <vector>

#include "budget/budget.h"
#include "budget/wait_list.h"
#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"
#include "support/switcher.h"

namespace clr_host_memory {

inline void PrintTo(WaitResult result, std::ostream* os) {
  constexpr const char* kNames[] = {"granted", "timed out", "abandoned", "no room"};
  *os << kNames[static_cast<std::size_t>(result)];
}

}  // namespace clr_host_memory

namespace clr_host_memory::test {

struct CountingWaker final : Waker {
  void Wake() noexcept override { ++wakes; }
  int wakes = 0;
};

// Holds `held` of a committed headroom, as if that much of it were committed. Returns what is held now: less can always
// be held, and more only if the charge fits beside it.
inline Bytes SetHeldHeadroom(Budget& budget, Bytes held) {
  const Bytes now = budget.Held();
  if (held < now) budget.LowerHeld(now - held);
  if (held > now) static_cast<void>(budget.TryRaiseHeld(held - now));
  return budget.Held();
}

class WaitStage {
 public:
  explicit WaitStage(std::size_t waiters)
      : director_(waiters), running_(waiters), slots_(waiters), switcher_(waiters, [this](std::size_t i) { Work(i); }) {
  }
  ~WaitStage() { Close(); }
  WaitStage(const WaitStage&) = delete;
  WaitStage& operator=(const WaitStage&) = delete;

  // Opens a new list without waiters.
  void Open(const Limits& limits) {
    Close();
    world_ = std::make_unique<World>(limits);
    world_->budget.SetDispatcher(&world_->server);
    if (!world_->list.Open(&world_->server)) throw std::logic_error("WaitStage: no records");
    world_->threads.SetWaitHook([this](EventHandle event, Milliseconds) {
      const std::size_t self = running_;
      slots_[self].event = event;
      static_cast<void>(switcher_.Transfer(self, director_));
    });
  }
  // Ends all waits.
  void Close() {
    if (world_ == nullptr) return;
    world_->list.Abandon(true);
    static_cast<void>(Serve());
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].waits) GoOn(i);
    }
    static_cast<void>(Serve());
    world_.reset();
  }

  void Begin(std::size_t waiter, const WaitRequest& request) {
    slots_[waiter] = {.request = request, .waits = true};
    GoOn(waiter);
  }
  void GoOn(std::size_t waiter) {
    running_ = waiter;
    static_cast<void>(switcher_.Transfer(director_, waiter));
  }
  // Signals the waiter without a reason, and lets it check its state.
  void Disturb(std::size_t waiter) {
    world_->threads.Signal(slots_[waiter].event);
    GoOn(waiter);
  }
  [[nodiscard]] bool Waits(std::size_t waiter) const { return slots_[waiter].waits; }
  [[nodiscard]] WaitResult Result(std::size_t waiter) const { return slots_[waiter].result; }
  // Returns whether the sleeping waiter's event is signalled.
  [[nodiscard]] bool IsSignalled(std::size_t waiter) const { return world_->threads.IsSignalled(slots_[waiter].event); }

  [[nodiscard]] Milliseconds Serve() {
    world_->server.wakes = 0;
    return world_->list.Serve(world_->threads.Now());
  }

  [[nodiscard]] WaitList& list() { return world_->list; }
  [[nodiscard]] Budget& budget() { return world_->budget; }
  [[nodiscard]] FakeThreadSystem& threads() { return world_->threads; }
  [[nodiscard]] FakeMemorySystem& memory() { return world_->memory; }
  [[nodiscard]] CountingWaker& server() { return world_->server; }

 private:
  struct World {
    explicit World(const Limits& limits) : budget(limits), list(memory, threads, budget) {}
    FakeMemorySystem memory;
    FakeThreadSystem threads;
    CountingWaker server;
    Budget budget;
    WaitList list;
  };
  struct Slot {
    WaitRequest request;
    bool waits = false;
    WaitResult result = WaitResult::kNoRoom;
    EventHandle event = nullptr;
  };

  void Work(std::size_t self) {
    do {
      slots_[self].result = world_->list.Wait(slots_[self].request);
      slots_[self].waits = false;
    } while (switcher_.Transfer(self, director_));
  }

  const std::size_t director_;
  std::size_t running_;
  std::unique_ptr<World> world_;
  std::vector<Slot> slots_;
  Switcher switcher_;  // destroyed first: its contexts use the other members
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_WAIT_STAGE_H
