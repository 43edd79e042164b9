// Real time, events and threads over std, for native tests. Counts live objects, and fails on request.
// Threads: any.
#ifndef CLRHM_TESTS_SUPPORT_STD_THREAD_SYSTEM_H
#define CLRHM_TESTS_SUPPORT_STD_THREAD_SYSTEM_H

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "os/thread_system.h"

namespace clr_host_memory::test {

class StdThreadSystem final : public ThreadSystem {
 public:
  Milliseconds Now() override {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now().time_since_epoch());
  }
  std::uint64_t CurrentThread() override { return OwnNumber(); }

  EventHandle MakeEvent() override {
    if (TakeOne(events_to_fail_)) return nullptr;
    ++live_events_;
    return std::make_unique<Event>().release();
  }
  void CloseEvent(EventHandle event) override {
    --live_events_;
    const std::unique_ptr<Event> owned(static_cast<Event*>(event));
  }
  void Signal(EventHandle event) override {
    Event& it = *static_cast<Event*>(event);
    const std::lock_guard lock(it.mutex);
    it.signalled = true;
    it.changed.notify_one();
  }
  bool WaitFor(EventHandle event, Milliseconds at_most) override {
    Event& it = *static_cast<Event*>(event);
    const auto signalled = [&] { return it.signalled; };
    std::unique_lock lock(it.mutex);
    // Waits without a timeout for a year or more: the clock may not represent such a deadline.
    if (at_most >= std::chrono::hours(24 * 365)) {
      it.changed.wait(lock, signalled);
    } else if (!it.changed.wait_for(lock, at_most, signalled)) {
      return false;
    }
    it.signalled = false;
    return true;
  }

  ThreadHandle Start(void (*run)(void* context), void* context) override {
    if (TakeOne(threads_to_fail_)) return nullptr;
    try {
      auto thread = std::make_unique<std::thread>(run, context);
      ++live_threads_;
      return thread.release();
    } catch (const std::system_error&) {
      return nullptr;
    }
  }
  void Join(ThreadHandle thread) override {
    const std::unique_ptr<std::thread> owned(static_cast<std::thread*>(thread));
    owned->join();
    --live_threads_;
  }
  void Detach(ThreadHandle thread) override {
    const std::unique_ptr<std::thread> owned(static_cast<std::thread*>(thread));
    owned->detach();
    --live_threads_;
  }
  void Sleep(Milliseconds duration) override { std::this_thread::sleep_for(duration); }

  // ---- make the next `count` calls fail
  void FailEvents(int count) { events_to_fail_ = count; }
  void FailThreads(int count) { threads_to_fail_ = count; }

  // ---- live objects: events not closed, threads neither joined nor detached
  [[nodiscard]] int LiveEvents() const { return live_events_; }
  [[nodiscard]] int LiveThreads() const { return live_threads_; }

 private:
  struct Event {
    std::mutex mutex;
    std::condition_variable changed;
    bool signalled = false;
  };
  [[nodiscard]] static std::uint64_t OwnNumber() {
    static std::atomic<std::uint64_t> last = 0;
    thread_local const std::uint64_t own = ++last;
    return own;
  }
  [[nodiscard]] static bool TakeOne(std::atomic<int>& left) {
    int seen = left;
    while (seen > 0 && !left.compare_exchange_weak(seen, seen - 1)) {
    }
    return seen > 0;
  }

  std::atomic<int> live_events_ = 0;
  std::atomic<int> live_threads_ = 0;
  std::atomic<int> events_to_fail_ = 0;
  std::atomic<int> threads_to_fail_ = 0;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_STD_THREAD_SYSTEM_H
