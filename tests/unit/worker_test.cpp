#include "notify/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "support/fake_thread_system.h"
#include "support/std_thread_system.h"

namespace clr_host_memory::test {
namespace {

class FunctionStep final : public Worker::Step {
 public:
  explicit FunctionStep(std::function<Milliseconds(Milliseconds)> run) : run_(std::move(run)) {}
  Milliseconds Run(Milliseconds now) override { return run_(now); }

 private:
  std::function<Milliseconds(Milliseconds)> run_;
};

void WaitUntil(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(Milliseconds{1});
}

// ---- on one thread, under a fake clock

TEST(Worker, SleepsAsLongAsEachStepReturns) {
  FakeThreadSystem threads;
  threads.SetNow(Milliseconds{100});
  std::vector<Milliseconds> steps;
  Worker* self = nullptr;
  FunctionStep step([&](Milliseconds now) {
    steps.push_back(now);
    if (steps.size() == 5) self->Stop();
    return Milliseconds{steps.size() == 3 ? 0 : 10 * static_cast<int>(steps.size())};
  });
  Worker worker(threads, step);
  self = &worker;
  ASSERT_TRUE(worker.Start());
  threads.Run(threads.LastStarted());
  EXPECT_EQ(steps, (std::vector{Milliseconds{100}, Milliseconds{110}, Milliseconds{130}, Milliseconds{130},
                                Milliseconds{170}}));
  EXPECT_EQ(threads.Waits(), 3U);  // no wait for a sleep of 0, and none after Stop
}

TEST(Worker, WakeBetweenStepsSkipsTheSleep) {
  FakeThreadSystem threads;
  threads.SetNow(Milliseconds{100});
  std::vector<Milliseconds> steps;
  Worker* self = nullptr;
  FunctionStep step([&](Milliseconds now) {
    steps.push_back(now);
    if (steps.size() == 1) {  // before the sleep; two wakes count as one
      self->Wake();
      self->Wake();
    }
    if (steps.size() == 3) self->Stop();
    return Milliseconds{1000};
  });
  Worker worker(threads, step);
  self = &worker;
  ASSERT_TRUE(worker.Start());
  threads.Run(threads.LastStarted());
  EXPECT_EQ(steps, (std::vector{Milliseconds{100}, Milliseconds{100}, Milliseconds{1100}}));
}

TEST(Worker, StartFailsWithoutEventOrThreadAndCanBeRetried) {
  FakeThreadSystem threads;
  int steps = 0;
  FunctionStep step([&](Milliseconds) { return ++steps, kForever; });
  threads.FailEvents(2);
  {
    Worker worker(threads, step);
    worker.Wake();
    EXPECT_FALSE(worker.Start());
    worker.Wake();
    threads.FailThreads(1);
    EXPECT_FALSE(worker.Start());
    EXPECT_EQ(threads.LiveEvents(), 1);
    EXPECT_TRUE(worker.Start());
    EXPECT_TRUE(worker.Start());
    EXPECT_EQ(threads.LiveThreads(), 1);
  }
  EXPECT_EQ(steps, 0);  // the thread was stopped before it began
  EXPECT_EQ(threads.LiveEvents(), 0);
  EXPECT_EQ(threads.LiveThreads(), 0);
}

TEST(Worker, StopIsPermanent) {
  FakeThreadSystem threads;
  FunctionStep step([](Milliseconds) { return kForever; });
  Worker worker(threads, step);
  worker.Stop();
  EXPECT_FALSE(worker.Start());
  worker.Wake();
  worker.Stop();
  int calls = 0;
  worker.StopAndThen([](void* count) { ++*static_cast<int*>(count); }, &calls);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(threads.LiveThreads(), 0);
}

TEST(Worker, ThreadWithAReusedIdIsNotItsOwn) {
  FakeThreadSystem threads;
  std::uint64_t number = 0;
  Worker* self = nullptr;
  FunctionStep step([&](Milliseconds) {
    number = threads.CurrentThread();
    EXPECT_TRUE(self->IsCurrentThread());
    self->Stop();
    return kForever;
  });
  Worker worker(threads, step);
  self = &worker;
  ASSERT_TRUE(worker.Start());
  threads.Run(threads.LastStarted());
  FakeThreadSystem::SetCurrentThread(number);
  EXPECT_FALSE(worker.IsCurrentThread());
  FakeThreadSystem::SetCurrentThread(0);
}

// ---- with real threads

TEST(WorkerThread, EveryWakeIsFollowedByAStep) {
  StdThreadSystem threads;
  std::atomic<std::uint64_t> wanted = 0;
  std::atomic<std::uint64_t> seen = 0;
  FunctionStep step([&](Milliseconds) {
    seen.store(wanted.load());
    return kForever;  // only a wake causes another step
  });
  Worker worker(threads, step);
  ASSERT_TRUE(worker.Start());
  std::vector<std::thread> wakers;
  for (int i = 0; i < 3; ++i) {
    wakers.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        const std::uint64_t mine = wanted.fetch_add(1) + 1;
        worker.Wake();
        while (seen.load() < mine) std::this_thread::yield();
      }
    });
  }
  for (std::thread& waker : wakers) waker.join();
  worker.Stop();
  EXPECT_EQ(seen.load(), 6000U);
}

TEST(WorkerThread, WakeBeforeStartIsNotLost) {
  StdThreadSystem threads;
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> wanted = false;
    std::atomic<bool> seen = false;
    FunctionStep step([&](Milliseconds) {
      if (wanted.load()) seen.store(true);
      return kForever;
    });
    Worker worker(threads, step);
    std::thread starter([&] { EXPECT_TRUE(worker.Start()); });
    wanted.store(true);
    worker.Wake();
    starter.join();
    WaitUntil([&] { return seen.load(); });
  }
}

TEST(WorkerThread, ConcurrentStartAndStopRunOneThread) {
  StdThreadSystem threads;
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> inside = 0;
    std::atomic<bool> stopped = false;
    FunctionStep step([&](Milliseconds) {
      EXPECT_EQ(inside.fetch_add(1), 0) << "two threads";
      EXPECT_FALSE(stopped.load());
      std::this_thread::yield();
      inside.fetch_sub(1);
      return Milliseconds{0};
    });
    {
      Worker worker(threads, step);
      std::vector<std::thread> others;
      for (int i = 0; i < 4; ++i) {
        others.emplace_back([&, i] {
          (void)worker.Start();
          if (i == 0) (void)worker.Start();
          worker.Stop();
          EXPECT_EQ(inside.load(), 0) << "a step runs after Stop";
          stopped.store(true);
          EXPECT_FALSE(worker.Start());
        });
      }
      for (std::thread& other : others) other.join();
    }
    ASSERT_EQ(threads.LiveThreads(), 0);
    ASSERT_EQ(threads.LiveEvents(), 0);
  }
}

TEST(WorkerThread, RecognizesItsOwnThreadOnlyWhileRunning) {
  StdThreadSystem threads;
  std::atomic<bool> own = false;
  Worker* self = nullptr;
  FunctionStep step([&](Milliseconds) {
    own.store(self->IsCurrentThread() && self->Start());
    self->Stop();  // does not wait for itself
    EXPECT_FALSE(self->Start());
    return kForever;
  });
  Worker worker(threads, step);
  self = &worker;
  EXPECT_FALSE(worker.IsCurrentThread());
  ASSERT_TRUE(worker.Start());
  WaitUntil([&] { return own.load(); });
  worker.Stop();
  EXPECT_FALSE(worker.IsCurrentThread());
}

// A step starts and stops the worker while another thread joins it.
TEST(WorkerThread, StopsFromInsideAndOutsideConcurrently) {
  StdThreadSystem threads;
  for (int round = 0; round < 200; ++round) {
    Worker* self = nullptr;
    std::atomic<bool> begun = false;
    std::atomic<bool> stopping = false;
    FunctionStep step([&](Milliseconds) {
      begun.store(true);
      while (!stopping.load()) std::this_thread::yield();
      for (int i = 0; i < 10; ++i) std::this_thread::yield();
      (void)self->Start();
      self->Stop();
      return kForever;
    });
    Worker worker(threads, step);
    self = &worker;
    ASSERT_TRUE(worker.Start());
    WaitUntil([&] { return begun.load(); });
    stopping.store(true);
    worker.Stop();
    ASSERT_EQ(threads.LiveThreads(), 0);
  }
}

// An owner that is destroyed inside its own worker's step. This happens to a manager if the host's event sink releases
// the last reference. ASan and TSan detect accesses after the end.
struct Owner {
  Owner(StdThreadSystem& threads, std::function<void(Owner*)> on_step, std::atomic<int>& alive)
      : alive_(alive), step([this, run = std::move(on_step)](Milliseconds) {
          run(this);
          ++steps;  // the owner still exists
          return kForever;
        }),
        worker(threads, step) {
    ++alive_;
  }
  ~Owner() { --alive_; }
  static void Delete(void* owner) { const std::unique_ptr<Owner> it(static_cast<Owner*>(owner)); }

  std::atomic<int>& alive_;
  int steps = 0;
  FunctionStep step;
  Worker worker;
};

TEST(WorkerThread, LastStepCanDestroyTheOwner) {
  StdThreadSystem threads;
  std::atomic<int> alive = 0;
  for (int round = 0; round < 500; ++round) {
    std::atomic<bool> go = false;  // stands for the reference that the starter holds until it has started
    const auto last_reference_goes = [&](Owner* it) {
      while (!go.load()) std::this_thread::yield();
      it->worker.StopAndThen(&Owner::Delete, it);
    };
    auto owner = std::make_unique<Owner>(threads, last_reference_goes, alive);
    ASSERT_TRUE(owner->worker.Start());
    (void)owner.release();
    go.store(true);
    WaitUntil([&] { return alive.load() == 0; });
    WaitUntil([&] { return threads.LiveThreads() == 0 && threads.LiveEvents() == 0; });
  }
}

TEST(WorkerThread, WorkerCanBeDestroyedInsideItsStep) {
  StdThreadSystem threads;
  for (int round = 0; round < 500; ++round) {
    std::unique_ptr<Worker> worker;
    std::atomic<bool> go = false;
    FunctionStep step([&](Milliseconds) {
      while (!go.load()) std::this_thread::yield();
      worker.reset();
      return kForever;
    });
    worker = std::make_unique<Worker>(threads, step);
    ASSERT_TRUE(worker->Start());
    go.store(true);
    WaitUntil([&] { return threads.LiveThreads() == 0 && threads.LiveEvents() == 0; });
  }
}

// Models a manager whose last reference is released by another thread while the worker's thread runs the host's code.
TEST(WorkerThread, StopAndThenDefersTheCallbackToARunningStep) {
  StdThreadSystem threads;
  std::atomic<int> alive = 0;
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> inside = false;
    std::atomic<bool> go_on = false;
    const auto on_step = [&](Owner*) {
      inside.store(true);
      while (!go_on.load()) std::this_thread::yield();
    };
    auto owner = std::make_unique<Owner>(threads, on_step, alive);
    ASSERT_TRUE(owner->worker.Start());
    WaitUntil([&] { return inside.load(); });
    Owner* const it = owner.release();
    EXPECT_FALSE(it->worker.StopWithoutWaiting());
    it->worker.StopAndThen(&Owner::Delete, it);  // returns while the step runs
    EXPECT_EQ(alive.load(), 1);
    go_on.store(true);
    WaitUntil([&] { return alive.load() == 0 && threads.LiveThreads() == 0 && threads.LiveEvents() == 0; });
  }
}

TEST(WorkerThread, StopAndThenCallsBackOnceTheThreadHasEnded) {
  StdThreadSystem threads;
  std::atomic<int> alive = 0;
  for (int round = 0; round < 500; ++round) {
    std::atomic<bool> stepped = false;
    auto owner = std::make_unique<Owner>(threads, [&](Owner*) { stepped.store(true); }, alive);
    ASSERT_TRUE(owner->worker.Start());
    WaitUntil([&] { return stepped.load(); });
    if (round % 2 == 0) {
      owner->worker.Stop();
      EXPECT_TRUE(owner->worker.StopWithoutWaiting());
    } else {
      (void)owner->worker.StopWithoutWaiting();
    }
    Owner* const it = owner.release();
    it->worker.StopAndThen(&Owner::Delete, it);
    if (round % 2 == 0) {
      EXPECT_EQ(alive.load(), 0);
    }
    WaitUntil([&] { return alive.load() == 0 && threads.LiveThreads() == 0 && threads.LiveEvents() == 0; });
  }
}

// Another thread joins the worker, which takes as long as the step.
TEST(WorkerThread, StartAndStopWithoutWaitingReturnDuringAJoin) {
  StdThreadSystem threads;
  std::atomic<bool> inside = false;
  std::atomic<bool> go_on = false;
  FunctionStep step([&](Milliseconds) {
    inside.store(true);
    while (!go_on.load()) std::this_thread::yield();
    return kForever;
  });
  Worker worker(threads, step);
  ASSERT_TRUE(worker.Start());
  WaitUntil([&] { return inside.load(); });
  std::thread joiner([&] { worker.Stop(); });
  WaitUntil([&] { return !worker.Start(); });
  EXPECT_FALSE(worker.StopWithoutWaiting());
  EXPECT_FALSE(worker.Start());
  go_on.store(true);
  joiner.join();
  EXPECT_TRUE(worker.StopWithoutWaiting());
}

}  // namespace
}  // namespace clr_host_memory::test
