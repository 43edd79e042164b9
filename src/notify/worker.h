// The manager's own thread, which runs one step after the other and sleeps between them.
//
// No CLR suspends it, so no lock that it holds stays held. A step may stop the worker. With StopAndThen it may even
// destroy the worker and its owner.
// Threads: any. Stop and the destructor wait for the thread. Wake, Start, StopWithoutWaiting and StopAndThen do not.
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
    // Runs on the worker's thread, one step at a time. Returns how long to sleep unless woken. kForever: sleeps until
    // woken. Does not throw.
    virtual Milliseconds Run(Milliseconds now) = 0;
    // Runs on the worker's thread, once, after the worker was stopped and before Stop returns to another thread. Does
    // not throw.
    virtual void End(Milliseconds /*now*/) {}

   protected:
    ~Step() = default;
  };

  // Both outlive the worker's thread.
  Worker(ThreadSystem& threads, Step& step);
  // Stops. On the worker's own thread, the running step is the last: after it nothing of the worker is touched.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Starts the thread. The first step begins at once. Idempotent. Returns false if the worker was stopped, or if no
  // event or thread is available. In the latter case the call may be repeated.
  [[nodiscard]] bool Start();
  // Wakes the thread. A step begins after this call; several calls may share one step.
  void Wake() noexcept override;

  // Stops permanently. When it returns, the last step and the thread have ended, except for the call of run that
  // StopAndThen ordered. On the worker's own thread it does not wait: no step begins after the one that is running.
  void Stop();
  // Stops without waiting: a running step continues. Returns true if no step runs any more; End was then called if
  // any step ever ran. Returns false if the worker's thread is still ending by itself; it will call End.
  bool StopWithoutWaiting();
  // Stops without waiting and has run(context) called once. run may destroy the worker and its owner.
  // If the worker's thread still runs, it calls run as its last act and does not touch the worker afterwards. If that
  // thread has ended or never ran, run is called before this function returns.
  // Called at most once. No other thread may call the worker after it.
  void StopAndThen(void (*run)(void* context), void* context);

  [[nodiscard]] bool IsCurrentThread() const;

 private:
  // The state of the thread. StopAndThen and the end of the loop use it to agree on which thread calls run.
  enum class Phase : std::uint8_t { kIdle, kLooping, kHandedOver, kEnded };
  // State that the thread needs after the worker may be destroyed. It lies on the thread's own stack.
  struct Frame {
    bool destroyed = false;
    void (*last)(void* context) = nullptr;
    void* context = nullptr;
  };
  static void Main(void* worker);
  void Loop(Frame& frame);
  void Join();
  void DetachOwnThread();

  ThreadSystem& threads_;
  Step& step_;
  std::atomic<EventHandle> event_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> own_thread_ = 0;  // while the loop runs
  Frame* frame_ = nullptr;                     // used by the worker's own thread only
  std::atomic<Phase> phase_ = Phase::kIdle;
  void (*last_)(void* context) = nullptr;  // written before the phase becomes kHandedOver
  void* last_context_ = nullptr;
  // The thread that exchanges it for null must join the thread or detach the handle.
  std::atomic<ThreadHandle> thread_ = nullptr;
  std::mutex start_;  // held while a thread is being created
  std::mutex join_;   // held while the thread ends; the worker's thread never takes it
};

}  // namespace clr_host_memory

#endif  // CLRHM_NOTIFY_WORKER_H
