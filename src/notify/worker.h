// A thread of the manager's own, which takes one step after the other and sleeps between them.
//
// No CLR suspends it, so what it holds holds nobody up. A step may end the worker, and even destroy it along with all
// it belongs to: StopAndThen.
// Threads: any. Stop and the destructor wait for the thread; Wake, Start, StopWithoutWaiting and StopAndThen do not.
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
  Worker(ThreadSystem& threads, Step& step);
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
  // The same without waiting: the step that is running goes on. True: no step runs any more, and End has been called if
  // any ever ran. False: the worker's thread ends by itself, and calls End.
  bool StopWithoutWaiting();
  // Stops without waiting, and has run(context) called, which may destroy the worker and its owner: last of all on the
  // worker's thread, which does not touch the worker any more then; if that thread has ended or never ran, before this
  // returns. At most once, and the last call of the worker's by any other thread.
  void StopAndThen(void (*run)(void* context), void* context);

  [[nodiscard]] bool IsCurrentThread() const;

 private:
  // Where the thread is in its life. StopAndThen and the end of the loop agree by it on the thread that calls run.
  enum class Phase : std::uint8_t { kIdle, kLooping, kHandedOver, kEnded };
  // What the thread must know when the worker may be gone: on its own stack.
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
  Frame* frame_ = nullptr;                     // used by the own thread only
  std::atomic<Phase> phase_ = Phase::kIdle;
  void (*last_)(void* context) = nullptr;  // written before the phase says that they are handed over
  void* last_context_ = nullptr;
  // The one that takes it out joins the thread, or gives the handle up.
  std::atomic<ThreadHandle> thread_ = nullptr;
  std::mutex start_;  // held for as long as a thread takes to be made
  std::mutex join_;   // held for as long as the thread takes to end; never taken by it
};

}  // namespace clr_host_memory

#endif  // CLRHM_NOTIFY_WORKER_H
