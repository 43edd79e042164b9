// What the tests of a WaitList share, with real or simulated threads and time.
#ifndef CLRHM_TESTS_SUPPORT_WAIT_LIST_SUPPORT_H
#define CLRHM_TESTS_SUPPORT_WAIT_LIST_SUPPORT_H

#include <gtest/gtest.h>

#include "base/waker.h"
#include "budget/budget.h"
#include "budget/wait_list.h"
#include "os/thread_system.h"

namespace clr_host_memory::test {

inline constexpr Criticality kTask = Criticality::kTask;
inline constexpr Criticality kAppDomain = Criticality::kAppDomain;
inline constexpr Criticality kProcess = Criticality::kProcess;

// The event on which a dispatcher sleeps between its rounds.
class EventWaker final : public Waker {
 public:
  explicit EventWaker(ThreadSystem& threads) : threads_(threads), event_(threads.MakeEvent()) {}
  ~EventWaker() { threads_.CloseEvent(event_); }
  EventWaker(const EventWaker&) = delete;
  EventWaker& operator=(const EventWaker&) = delete;
  void Wake() noexcept override { threads_.Signal(event_); }
  void Sleep(Milliseconds at_most) { static_cast<void>(threads_.WaitFor(event_, at_most)); }

 private:
  ThreadSystem& threads_;
  EventHandle event_;
};

// Returns the counts of all levels together.
[[nodiscard]] inline WaitCounts TotalCounts(const WaitList& list) {
  WaitCounts total;
  for (const Criticality level : {kTask, kAppDomain, kProcess}) {
    const WaitCounts counts = list.Counts(level);
    total.waits += counts.waits;
    total.granted += counts.granted;
    total.timed_out += counts.timed_out;
    total.abandoned += counts.abandoned;
  }
  return total;
}

// Expects that no request waits, that all records are free, and that every wait was counted with its result.
[[nodiscard]] inline testing::AssertionResult IsIdle(const Budget& budget, const WaitList& list) {
  const WaitCounts total = TotalCounts(list);
  if (budget.Waiting() != 0) return testing::AssertionFailure() << budget.Waiting() << " requests count as waiting";
  if (list.FreeRecords() != WaitList::kMostWaiters)
    return testing::AssertionFailure() << "only " << list.FreeRecords() << " records are free";
  if (total.waits != total.granted + total.timed_out + total.abandoned)
    return testing::AssertionFailure() << "not every wait was counted with its result";
  return testing::AssertionSuccess();
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_WAIT_LIST_SUPPORT_H
