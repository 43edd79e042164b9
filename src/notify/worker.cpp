#include "notify/worker.h"

namespace clr_host_memory {

Worker::Worker(ThreadSystem& threads, Step& step) : threads_(threads), step_(step), event_(threads.MakeEvent()) {}

Worker::~Worker() {
  Stop();
  if (IsCurrentThread()) {
    frame_->destroyed = true;
    DetachOwnThread();
  }
  if (const EventHandle event = event_.load(); event != nullptr) threads_.CloseEvent(event);
}

bool Worker::Start() {
  if (IsCurrentThread()) return !stopping_.load();
  const std::lock_guard lock(start_);
  if (stopping_.load()) return false;
  if (thread_.load() != nullptr) return true;
  // A Wake that finds no event happened before the first step, so no wake-up is lost.
  if (event_.load() == nullptr) event_.store(threads_.MakeEvent());
  if (event_.load() == nullptr) return false;
  phase_.store(Phase::kLooping);
  thread_.store(threads_.Start(&Main, this));
  if (thread_.load() != nullptr) return true;
  phase_.store(Phase::kIdle);
  return false;
}

void Worker::Wake() noexcept {
  if (const EventHandle event = event_.load(); event != nullptr) threads_.Signal(event);
}

void Worker::Stop() {
  if (StopWithoutWaiting() || !IsCurrentThread()) Join();
}

bool Worker::StopWithoutWaiting() {
  {
    // Waits for a Start in progress. Any later Start sees stopping_ and creates no thread.
    const std::lock_guard lock(start_);
    stopping_.store(true);
  }
  Wake();
  const Phase phase = phase_.load();
  return phase == Phase::kIdle || phase == Phase::kEnded;
}

void Worker::Join() {
  const std::lock_guard lock(join_);
  if (const ThreadHandle thread = thread_.exchange(nullptr); thread != nullptr) threads_.Join(thread);
}

void Worker::StopAndThen(void (*run)(void* context), void* context) {
  if (!StopWithoutWaiting()) {
    last_ = run;
    last_context_ = context;
    if (Phase looping = Phase::kLooping; phase_.compare_exchange_strong(looping, Phase::kHandedOver)) return;
  }
  // The thread has ended except for its last instructions. They call no function of the owner.
  Join();
  run(context);
}

bool Worker::IsCurrentThread() const { return own_thread_.load() == threads_.CurrentThread(); }

void Worker::Main(void* worker) {
  Frame frame;
  static_cast<Worker*>(worker)->Loop(frame);
  if (frame.last != nullptr) frame.last(frame.context);
}

void Worker::Loop(Frame& frame) {
  frame_ = &frame;
  own_thread_.store(threads_.CurrentThread());
  while (!stopping_.load()) {
    const Milliseconds sleep = step_.Run(threads_.Now());
    if (frame.destroyed) return;
    if (sleep > Milliseconds::zero() && !stopping_.load()) threads_.WaitFor(event_.load(), sleep);
  }
  step_.End(threads_.Now());
  if (frame.destroyed) return;
  own_thread_.store(0);
  // Touches the worker for the last time, unless its end was handed over to this thread.
  if (phase_.exchange(Phase::kEnded) != Phase::kHandedOver) return;
  frame.last = last_;
  frame.context = last_context_;
  DetachOwnThread();
}

// Detaches the thread's handle. If another thread is joining, there is no handle left to detach.
void Worker::DetachOwnThread() {
  ThreadSystem& threads = threads_;
  if (const ThreadHandle thread = thread_.exchange(nullptr); thread != nullptr) threads.Detach(thread);
}

}  // namespace clr_host_memory
