// Real threads on a real clock that wait for memory, with a dispatcher thread like the manager's.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

#include "budget/wait_list.h"
#include "support/fake_memory_system.h"
#include "support/std_thread_system.h"
#include "support/wait_list_support.h"

namespace clr_host_memory::test {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr std::uint64_t kLimit = 100;

class WaitListStress : public testing::Test {
 protected:
  WaitListStress() : dispatcher_(threads_), budget_({.limit = {kLimit}}), list_(memory_, threads_, budget_) {
    budget_.SetDispatcher(&dispatcher_);
    EXPECT_TRUE(list_.Open(&dispatcher_));
    thread_ = std::thread([this] {
      while (!stop_) {
        const Milliseconds sleep = list_.Serve(threads_.Now());
        ++rounds_;
        dispatcher_.Sleep(sleep);
      }
    });
  }
  ~WaitListStress() override {
    list_.Abandon(true);
    StopServing();
  }
  void StopServing() {
    if (!thread_.joinable()) return;
    stop_ = true;
    dispatcher_.Wake();
    thread_.join();
    static_cast<void>(list_.Serve(threads_.Now()));
  }

  // Plays one request from admission to settlement.
  WaitResult Use(WaitRequest request, std::minstd_rand& random, std::uint64_t os_refuses_one_in) {
    request.ticket = 0;
    WaitResult result = WaitResult::kGranted;
    if (budget_.TryCharge(request.bytes, request.level) != Admission::kAdmitted) {
      request.ticket = list_.TakeTicket();
      result = Wait(request);
    }
    while (result == WaitResult::kGranted && random() % os_refuses_one_in == 0) {
      budget_.CancelCharge(request.bytes);
      if (request.ticket == 0) request.ticket = list_.TakeTicket();
      request.refused_by_os = true;
      result = Wait(request);
    }
    if (result != WaitResult::kGranted) return result;
    EXPECT_LE(budget_.Charged().value, most_charged_);
    for (std::uint64_t i = random() % 3; i != 0; --i) std::this_thread::yield();
    budget_.Uncharge(request.bytes);
    return result;
  }
  WaitResult Wait(const WaitRequest& request) {
    const WaitResult result = list_.Wait(request);
    ++results_[static_cast<std::size_t>(result)];
    return result;
  }

  template <typename Work>
  static void InThreads(unsigned count, Work work) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < count; ++t) {
      threads.emplace_back([&work, t] {
        std::minstd_rand random(t + 1);
        work(random);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Must be called when all other threads have ended.
  void ExpectNothingLeft() {
    StopServing();
    EXPECT_EQ(budget_.Charged(), Bytes{});
    EXPECT_TRUE(IsIdle(budget_, list_));
    const WaitCounts total = TotalCounts(list_);
    const std::uint64_t counted[] = {total.granted, total.timed_out, total.abandoned, 0};
    for (std::size_t i = 0; i < results_.size(); ++i) EXPECT_EQ(counted[i], results_[i].load()) << i;
    std::cout << total.waits << " waits: " << total.granted << " granted, " << total.timed_out << " timed out, "
              << total.abandoned << " abandoned; " << rounds_.load() << " rounds of the dispatcher\n";
  }

  FakeMemorySystem memory_;
  StdThreadSystem threads_;
  EventWaker dispatcher_;
  Budget budget_;
  WaitList list_;
  std::uint64_t most_charged_ = kLimit;
  std::array<std::atomic<std::uint64_t>, 4> results_{};

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<std::uint64_t> rounds_ = 0;
  std::thread thread_;
};

// Memory is returned continuously, so every waiter is granted long before its deadline.
TEST_F(WaitListStress, EveryWaiterReceivesReturnedMemory) {
  InThreads(6, [this](std::minstd_rand& random) {
    for (int round = 0; round < 8000; ++round) {
      const WaitRequest request{.bytes = {1 + random() % 60},
                                .level = static_cast<Criticality>(random() % kCriticalityCount),
                                .deadline = 100s};
      EXPECT_EQ(Use(request, random, 1'000'000), WaitResult::kGranted);
    }
  });
  ExpectNothingLeft();
  EXPECT_GT(results_[0].load(), 0u);
}

// Small requests that would fit must not starve a large one at the head of the queue.
TEST_F(WaitListStress, QueueHeadIsNotStarved) {
  std::atomic<bool> done = false;
  std::thread large([&] {
    std::minstd_rand random(99);
    while (results_[0] < 1000 && !HasFailure()) {
      EXPECT_EQ(Use({.bytes = {kLimit}, .deadline = 100s}, random, 1'000'000), WaitResult::kGranted);
    }
    done = true;
  });
  InThreads(4, [&](std::minstd_rand& random) {
    while (!done) static_cast<void>(Use({.bytes = {1 + random() % 30}, .deadline = 100s}, random, 1'000'000));
  });
  large.join();
  ExpectNothingLeft();
}

TEST_F(WaitListStress, DeadlinesCancelsHoldsAndLimitsLeakNothing) {
  std::atomic<bool> done = false;
  std::thread host([&] {
    std::minstd_rand random(99);
    while (!done) {
      switch (random() % 8) {
        case 0: list_.Abandon(false); break;
        case 1:
          list_.Hold(true);
          std::this_thread::sleep_for(2ms);
          list_.Hold(false);
          break;
        case 2:
        case 3:
          budget_.SetLimits(
              {.limit = {kLimit - random() % 50}, .process_headroom = {10}, .committed_headroom = {random() % 10}});
          break;
        case 4: budget_.SetUncharged({random() % 20}); break;
        default:
          if (budget_.TryRaiseHeld({5})) budget_.LowerHeld({5});
          break;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    budget_.SetLimits({.limit = {kLimit}});
    list_.Hold(false);
  });
  most_charged_ = kLimit + 10;
  InThreads(6, [this](std::minstd_rand& random) {
    for (int round = 0; round < 4000; ++round) {
      const WaitRequest request{.bytes = {random() % 70},
                                .level = static_cast<Criticality>(random() % kCriticalityCount),
                                .deadline = Milliseconds(random() % 4)};
      static_cast<void>(Use(request, random, 40));
    }
  });
  done = true;
  host.join();
  ExpectNothingLeft();
  for (const std::size_t i : {0u, 1u, 2u}) EXPECT_GT(results_[i].load(), 0u) << i;
}

TEST_F(WaitListStress, ShutdownEndsAllWaitsAtOnce) {
  budget_.Charge({kLimit});
  std::atomic<int> abandoned = 0;
  std::thread host([this] {
    while (budget_.Waiting() < 6) std::this_thread::yield();
    list_.Abandon(true);
  });
  const Milliseconds start = threads_.Now();
  InThreads(6, [&](std::minstd_rand& random) {
    const WaitRequest request{.bytes = {1}, .deadline = 100s};
    if (Use(request, random, 1'000'000) == WaitResult::kAbandoned) ++abandoned;
  });
  host.join();
  EXPECT_EQ(abandoned, 6);
  EXPECT_LT(threads_.Now() - start, 50s);
  budget_.Uncharge({kLimit});
  ExpectNothingLeft();
}

}  // namespace
}  // namespace clr_host_memory::test
