#include "notify/worker.h"

namespace clr_host_memory {

Worker::Worker(os::ThreadSystem& threads, Step& step) : threads_(threads), step_(step), event_(threads.MakeEvent()) {}

Worker::~Worker() {
  Stop();
  if (IsCurrentThread()) {
    frame_->destroyed = true;
    DetachOwnThread();
  }
  if (const os::EventHandle event = event_.load(); event != nullptr) threads_.CloseEvent(event);
}

bool Worker::Start() {
  if (IsCurrentThread()) return !stopping_.load();
  const std::lock_guard lock(start_stop_);
  if (stopping_.load()) return false;
  if (thread_.load() != nullptr) return true;
  // Whoever finds no event to signal has come before the first step.
  if (event_.load() == nullptr) event_.store(threads_.MakeEvent());
  if (event_.load() == nullptr) return false;
  thread_.store(threads_.Start(&Main, this));
  return thread_.load() != nullptr;
}

void Worker::Wake() noexcept {
  if (const os::EventHandle event = event_.load(); event != nullptr) threads_.Signal(event);
}

void Worker::Stop() {
  stopping_.store(true);
  Wake();
  if (IsCurrentThread()) return;
  const std::lock_guard lock(start_stop_);
  if (const os::ThreadHandle thread = thread_.exchange(nullptr); thread != nullptr) threads_.Join(thread);
}

void Worker::StopAndThen(void (*run)(void* context), void* context) {
  Stop();
  if (!IsCurrentThread()) return run(context);
  frame_->last = run;
  frame_->context = context;
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
  // With the handle gone nobody waits for this thread any more: taking it is the last touch of the worker.
  if (frame.last != nullptr) DetachOwnThread();
}

// Not when another thread is joining it: then there is nothing to give up.
void Worker::DetachOwnThread() {
  os::ThreadSystem& threads = threads_;
  if (const os::ThreadHandle thread = thread_.exchange(nullptr); thread != nullptr) threads.Detach(thread);
}

}  // namespace clr_host_memory
