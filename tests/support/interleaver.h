// Runs a few operations in every order in which they can interrupt each other, one thread at a time.
//
// An operation gives way at InterleavingPoint(), which hooks of the fake OS (or atomics made for it) call. Every
// schedule with at most `preemptions` interruptions is run once, each in a fresh world: what a thread suspended at that
// very point, while others go on, would bring about. Schedules are found depth first by replaying choices, so a run is
// repeatable.
#ifndef CLRHM_TESTS_SUPPORT_INTERLEAVER_H
#define CLRHM_TESTS_SUPPORT_INTERLEAVER_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace clr_host_memory::test {

// What one schedule is played in.
class InterleavedWorld {
 public:
  virtual ~InterleavedWorld() = default;
  // Any number, the same each time; called once, before they run.
  virtual std::vector<std::function<void()>> Operations() = 0;
  // Nobody who is not suspended can go on, unless time passes for those who wait. False: it brings no more.
  virtual bool PassTime() { return false; }
  // All operations have ended. False ends the exploration.
  virtual bool Check(const std::string& schedule) = 0;
};

struct Exploration {
  std::uint64_t schedules = 0;
  bool passed = true;
  bool complete = true;  // false: max_schedules was reached
};

using MakeWorld = std::function<std::unique_ptr<InterleavedWorld>()>;

[[nodiscard]] Exploration Explore(const MakeWorld& make_world, int preemptions,
                                  std::uint64_t max_schedules = 1'000'000);

// Another operation may go on here. Nothing happens in threads that no exploration runs.
void InterleavingPoint();

// The operation goes on once ready(), which others see to, or the passing of time. While one is suspended, time passes
// or not: both are played. ready: no interleaving point.
void InterleavingWait(const std::function<bool()>& ready);

// Which one calls this, as Operations() numbers them.
[[nodiscard]] std::size_t InterleavingOperation();

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_INTERLEAVER_H
