// Runs a few operations in every order in which they can interrupt one another, one thread at a time.
//
// An operation can be suspended at InterleavingPoint(), which hooks of the fake OS or the atomics of yielding_atomic.h
// call. Explore runs every schedule with at most `preemptions` interruptions once, each in a fresh world. A schedule
// has the effect of a thread that is suspended at that point while other threads continue. Schedules are found depth
// first by replaying choices, so a run is repeatable.
#ifndef CLRHM_TESTS_SUPPORT_INTERLEAVER_H
#define CLRHM_TESTS_SUPPORT_INTERLEAVER_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace clr_host_memory::test {

// The state in which one schedule is played.
class InterleavedWorld {
 public:
  virtual ~InterleavedWorld() = default;
  // Returns the operations: any number of them, the same ones each time. Called once per world, before they run.
  virtual std::vector<std::function<void()>> Operations() = 0;
  // Lets time pass. Called when only suspended operations, or none, can continue and an operation waits. Returns false
  // if time has no further effect.
  virtual bool PassTime() { return false; }
  // Checks the state once all operations have ended. Returning false ends the exploration.
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

// Marks a point at which another operation may continue. Does nothing in threads that no exploration runs.
void InterleavingPoint();

// Blocks the operation until ready() is true, by the action of another operation or by the passing of time. While an
// operation is suspended, time may pass or not: both cases are played. ready() must contain no interleaving point.
void InterleavingWait(const std::function<bool()>& ready);

// Returns the index of the calling operation in Operations().
[[nodiscard]] std::size_t InterleavingOperation();

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_INTERLEAVER_H
