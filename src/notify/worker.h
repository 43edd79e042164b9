// A thread of the manager's own, which takes one step after the other and sleeps between them.
//
// No CLR suspends it, so what it holds holds nobody up. A step may end the worker, and even destroy it along with all
// it belongs to: StopAndThen.
// Threads: any. Start, Stop and the destructor may wait for each other; Wake never waits.
#ifndef CLRHM_NOTIFY_WORKER_H
#define CLRHM_NOTIFY_WORKER_H

#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/time.h"
#include "base/waker.h"
#include "os/thread_system.h"

namespace clr_host_memory {

class Worker final : public Waker {
 public:
  class Step {
   public:
    // On the worker's thread, one at a time. Returns how long to sleep unless woken; kForever: until woken. Does not
    // throw.
    virtual Milliseconds Run(Milliseconds now) = 0;
    // On the worker's thread, once, when it has been stopped and before Stop returns to others. Does not throw.
    virtual void End(Milliseconds /*now*/) {}

   protected:
    ~Step() = default;
  };

  // Both outlive the worker's thread.
  Worker(os::ThreadSystem& threads, Step& step);
  // Stops. On the worker's own thread: nothing of the worker is touched after the step that is running.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The first step is taken at once. Idempotent. False: it was stopped, or there is no event or no thread to be had,
  // which may be tried again.
  [[nodiscard]] bool Start();
  // A step begins after this, though not one for each call.
  void Wake() noexcept override;

  // For good. When it returns, the last step has ended and the thread with it (but for what StopAndThen lets it call);
  // on the worker's own thread, no step begins after the one that is running.
  void Stop();
  // Stops, and then calls run(context), which may destroy the worker and its owner: on the worker's own thread last of
  // all on it, when the worker is not touched any more; on another, before this returns. At most once.
  void StopAndThen(void (*run)(void* context), void* context);

  [[nodiscard]] bool IsCurrentThread() const;

 private:
  // What the thread must know when the worker may be gone: on its own stack.
  struct Frame {
    bool destroyed = false;
    void (*last)(void* context) = nullptr;
    void* context = nullptr;
  };
  static void Main(void* worker);
  void Loop(Frame& frame);
  void DetachOwnThread();

  os::ThreadSystem& threads_;
  Step& step_;
  std::atomic<os::EventHandle> event_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> own_thread_ = 0;  // while the loop runs
  Frame* frame_ = nullptr;                     // used by the own thread only
  // Whoever takes it out joins the thread, or gives the handle up.
  std::atomic<os::ThreadHandle> thread_ = nullptr;
  std::mutex start_stop_;  // never taken by the own thread
};

}  // namespace clr_host_memory

#endif  // CLRHM_NOTIFY_WORKER_H
