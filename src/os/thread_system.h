// The seam for time, wake-ups and the manager's own threads. os/windows implements it over Win32, tests by a fake
// clock.
//
// Contract for implementers: every function may be called from any thread at any time, also while other threads are
// suspended inside it. Events belong to the kernel, so no user-space lock is held. No function throws.
#ifndef CLRHM_OS_THREAD_SYSTEM_H
#define CLRHM_OS_THREAD_SYSTEM_H

#include <cstdint>

#include "base/time.h"

namespace clr_host_memory {

using EventHandle = void*;
using ThreadHandle = void*;

class ThreadSystem {
 public:
  virtual ~ThreadSystem() = default;

  // Returns the time of a clock that never goes back. Its zero point is unspecified. Cheap: read at every
  // GetMemoryLoad.
  [[nodiscard]] virtual Milliseconds Now() = 0;
  // Returns the number of this thread: never 0, and unique among the threads alive.
  [[nodiscard]] virtual std::uint64_t CurrentThread() = 0;

  // Returns an auto-reset event, not signalled at first, or null if none is available.
  [[nodiscard]] virtual EventHandle MakeEvent() = 0;
  virtual void CloseEvent(EventHandle event) = 0;
  virtual void Signal(EventHandle event) = 0;
  // Waits for the event. Returns true if it was signalled, and resets it. Returns false if at_most has passed;
  // kForever never passes.
  virtual bool WaitFor(EventHandle event, Milliseconds at_most) = 0;

  // Starts run(context) on a new thread. Returns null if no thread is available. The handle must be passed once, to
  // Join by another thread or to Detach by any thread.
  [[nodiscard]] virtual ThreadHandle Start(void (*run)(void* context), void* context) = 0;
  // Waits until the thread has ended.
  virtual void Join(ThreadHandle thread) = 0;
  // Closes the handle of a thread that no thread will wait for.
  virtual void Detach(ThreadHandle thread) = 0;
  virtual void Sleep(Milliseconds duration) = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_THREAD_SYSTEM_H
