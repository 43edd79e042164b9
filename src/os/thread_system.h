// The seam for time, wake-ups and the manager's own threads. os/windows implements it over Win32, tests by a fake
// clock.
//
// Contract for implementers: every function may be called from any thread at any time, also while other threads are
// suspended inside it (events are the kernel's: no lock of user space is held); none throws.
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

  // A clock that never goes back; the zero point is anybody's guess. Cheap: read at every GetMemoryLoad.
  [[nodiscard]] virtual Milliseconds Now() = 0;
  // Never 0, and different for threads that live at the same time.
  [[nodiscard]] virtual std::uint64_t CurrentThread() = 0;

  // Auto-reset events, not signalled at first; null when there is none to be had.
  [[nodiscard]] virtual EventHandle MakeEvent() = 0;
  virtual void CloseEvent(EventHandle event) = 0;
  virtual void Signal(EventHandle event) = 0;
  // True: it was signalled, which this has taken back. False: at_most has passed; kForever never does.
  virtual bool WaitFor(EventHandle event, Milliseconds at_most) = 0;

  // Starts run(context) on a thread of its own; null when there is none to be had. The handle is to be given, once, to
  // Join by another thread or to Detach by any.
  [[nodiscard]] virtual ThreadHandle Start(void (*run)(void* context), void* context) = 0;
  // Returns when the thread has ended.
  virtual void Join(ThreadHandle thread) = 0;
  // Gives up the handle of a thread that nobody will wait for.
  virtual void Detach(ThreadHandle thread) = 0;
  virtual void Sleep(Milliseconds duration) = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_THREAD_SYSTEM_H
