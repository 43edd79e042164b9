// A clock that only a test moves, with events and threads that follow it.
//
// Threads::kNone (the default) is for tests that play everything on one thread. WaitFor returns at once if the event
// is signalled. Otherwise it runs the wait hook repeatedly, until the hook has signalled the event or moved the clock
// to the deadline. Without a hook, WaitFor moves the clock to the deadline itself. Start runs nothing: a test plays
// the thread with Run. If the test has not done so, Join runs it, as a thread that began late.
// Threads::kReal is for real threads under a clock that only the test moves. WaitFor blocks until the event is
// signalled or Advance passes the deadline. Start starts a thread.
// Threads: any.
#ifndef CLRHM_TESTS_SUPPORT_FAKE_THREAD_SYSTEM_H
#define CLRHM_TESTS_SUPPORT_FAKE_THREAD_SYSTEM_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "os/thread_system.h"

namespace clr_host_memory::test {

class FakeThreadSystem final : public ThreadSystem {
 public:
  enum class Threads : std::uint8_t { kNone, kReal };
  using WaitHook = std::function<void(EventHandle event, Milliseconds deadline)>;

  explicit FakeThreadSystem(Threads threads = Threads::kNone) : threads_(threads) {}

  // ---- the clock
  void SetNow(Milliseconds now) {
    const std::lock_guard lock(mutex_);
    now_ = now;
    changed_.notify_all();
  }
  void Advance(Milliseconds by) {
    const std::lock_guard lock(mutex_);
    now_ += by;
    changed_.notify_all();
  }

  // ---- set by a test, before other threads run
  void SetWaitHook(WaitHook hook) { hook_ = std::move(hook); }
  // Sets the thread id that CurrentThread reports on the calling thread. 0: its own id.
  static void SetCurrentThread(std::uint64_t number) { Claimed() = number; }
  // Sets a function that CurrentThread asks each time, for tests that play several threads on one.
  void SetIdentity(std::function<std::uint64_t()> identity) { identity_ = std::move(identity); }
  // Runs a thread that Start has made, to its end.
  void Run(ThreadHandle thread) {
    Thread& it = *static_cast<Thread*>(thread);
    const std::uint64_t caller = Claimed();
    it.played = true;
    Claimed() = it.number;
    it.run(it.context);
    Claimed() = caller;
  }
  void FailEvents(int count) { events_to_fail_ = count; }
  void FailThreads(int count) { threads_to_fail_ = count; }

  // ---- results for tests
  [[nodiscard]] bool IsSignalled(EventHandle event) const {
    const std::lock_guard lock(mutex_);
    return static_cast<const Event*>(event)->signalled;
  }
  [[nodiscard]] std::uint64_t Signals() const { return signals_; }
  [[nodiscard]] std::uint64_t Waits() const { return waits_; }  // calls of WaitFor
  [[nodiscard]] int LiveEvents() const { return live_events_; }
  [[nodiscard]] int LiveThreads() const { return live_threads_; }
  [[nodiscard]] ThreadHandle LastStarted() const { return last_started_; }

  // ---- ThreadSystem
  Milliseconds Now() override {
    const std::lock_guard lock(mutex_);
    return now_;
  }
  std::uint64_t CurrentThread() override {
    if (identity_) return identity_();
    return Claimed() != 0 ? Claimed() : OwnNumber();
  }

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
    const std::lock_guard lock(mutex_);
    ++signals_;
    static_cast<Event*>(event)->signalled = true;
    changed_.notify_all();
  }
  bool WaitFor(EventHandle event, Milliseconds at_most) override {
    ++waits_;
    std::unique_lock lock(mutex_);
    const Milliseconds deadline = at_most > kForever - now_ ? kForever : now_ + at_most;
    bool& signalled = static_cast<Event*>(event)->signalled;
    const auto over = [&] { return signalled || now_ >= deadline; };
    if (hook_) {
      for (int rounds = 0; !over(); ++rounds) {
        if (rounds == kMostRounds) throw std::logic_error("a wait that nothing ends");
        lock.unlock();
        hook_(event, deadline);
        lock.lock();
      }
    } else if (threads_ == Threads::kReal) {
      changed_.wait(lock, over);
    } else if (!over()) {
      if (deadline == kForever) throw std::logic_error("a wait that nothing ends");
      now_ = deadline;
    }
    return std::exchange(signalled, false);
  }

  ThreadHandle Start(void (*run)(void* context), void* context) override {
    if (TakeOne(threads_to_fail_)) return nullptr;
    ++live_threads_;
    auto made = std::make_unique<Thread>(run, context);
    Thread* const it = made.release();
    if (threads_ == Threads::kReal) it->thread = std::thread(run, context);
    last_started_ = it;
    return it;
  }
  void Join(ThreadHandle thread) override {
    const std::unique_ptr<Thread> owned(static_cast<Thread*>(thread));
    if (owned->thread.joinable()) {
      owned->thread.join();
    } else if (!owned->played) {
      Run(thread);
    }
    --live_threads_;
  }
  void Detach(ThreadHandle thread) override {
    const std::unique_ptr<Thread> owned(static_cast<Thread*>(thread));
    if (owned->thread.joinable()) owned->thread.detach();
    --live_threads_;
  }
  void Sleep(Milliseconds duration) override {
    if (threads_ == Threads::kReal) {
      std::this_thread::sleep_for(duration);
    } else {
      Advance(duration);
    }
  }

 private:
  static constexpr int kMostRounds = 1'000'000;

  struct Event {
    bool signalled = false;
  };
  struct Thread {
    Thread(void (*run_it)(void*), void* with) : run(run_it), context(with), number(TakeNumber()) {}
    void (*run)(void*);
    void* context;
    std::uint64_t number;
    bool played = false;
    std::thread thread;
  };
  [[nodiscard]] static std::uint64_t TakeNumber() {
    static std::atomic<std::uint64_t> last = 0;
    return ++last;
  }
  [[nodiscard]] static std::uint64_t OwnNumber() {
    thread_local const std::uint64_t own = TakeNumber();
    return own;
  }
  [[nodiscard]] static std::uint64_t& Claimed() {
    thread_local std::uint64_t claimed = 0;
    return claimed;
  }
  [[nodiscard]] static bool TakeOne(std::atomic<int>& left) {
    int seen = left;
    while (seen > 0 && !left.compare_exchange_weak(seen, seen - 1)) {
    }
    return seen > 0;
  }

  const Threads threads_;
  WaitHook hook_;
  std::function<std::uint64_t()> identity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Milliseconds now_{1'000'000};
  std::atomic<std::uint64_t> signals_ = 0;
  std::atomic<std::uint64_t> waits_ = 0;
  std::atomic<int> live_events_ = 0;
  std::atomic<int> live_threads_ = 0;
  std::atomic<int> events_to_fail_ = 0;
  std::atomic<int> threads_to_fail_ = 0;
  std::atomic<ThreadHandle> last_started_ = nullptr;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_FAKE_THREAD_SYSTEM_H
