// The monitor under random readings, and on a worker thread beside other threads.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/std_thread_system.h"
#include "unit/monitor_fixture.h"

namespace clr_host_memory::test {
namespace {

// In every run: the last state is not Low. Reserves are taken back only without pressure. The OS is asked at most once
// per interval. Messages about the exceeded limit alternate between "over" and "over 0".
TEST(Monitor, KeepsInvariantsForRandomReadings) {
  std::mt19937_64 random(20'270'101);
  for (int run = 0; run < 300; ++run) {
    FakeMemorySystem os;
    FakeThreadSystem threads;
    Budget budget({.limit = {100 * kMiB}});
    CountingWaker server;
    budget.SetDispatcher(&server);
    Ear ear;
    Chest chest;
    LoadSampler sampler(os, threads, kSampling);
    Monitor monitor(budget, sampler, chest, ear, {kThresholds, run % 2 == 0}, threads.Now());
    int waiting = 0;
    const Milliseconds begin = threads.Now();
    bool was_low = false;
    for (int step = 0; step < 200; ++step) {
      switch (random() % 8) {
        case 0: budget.SetLimits({.limit = {(1 + random() % 200) * kMiB}}); break;
        case 1:
          if (budget.Charged() == Bytes{}) budget.Charge({random() % 150 * kMiB});
          break;
        case 2: budget.Uncharge(budget.Charged()); break;
        case 3:
          os.SetLoad({.available_physical = {random() % 1001},
                      .total_physical = {1000},
                      .available_commit = {random() % 1001},
                      .total_commit = {1000},
                      .process_private = {random() % 150 * kMiB},
                      .low_signalled = random() % 10 == 0,
                      .high_signalled = random() % 2 == 0});
          break;
        case 4:
          chest.given = chest.given + Bytes{random() % 2 * kMiB};
          chest.whole_again = random() % 2 == 0;
          break;
        case 5:
          if (waiting == 0) {
            AddWaiter(budget, Criticality::kAppDomain);
            waiting = 1;
          } else {
            budget.RemoveWaiting(Criticality::kAppDomain);
            waiting = 0;
          }
          break;
        case 6: monitor.SetCountWholeProcess(random() % 2 == 0); break;
        default: threads.Advance(Milliseconds{random() % 1500});
      }
      const int tries = chest.tries;
      monitor.Run(threads.Now());
      if (chest.tries != tries) {
        ASSERT_NE(ear.last, Availability::kLow);
        ASSERT_EQ(monitor.OverLimit(), Bytes{});
      }
      ASSERT_EQ(monitor.Told(), ear.last);
      was_low = was_low || ear.last == Availability::kLow;
    }
    ASSERT_TRUE(was_low);
    const auto most = static_cast<std::uint64_t>((threads.Now() - begin) / kSampling + 1);
    ASSERT_LE(os.Calls(OsCall::kLoad), most);
    monitor.Finish(threads.Now());
    ASSERT_NE(ear.last, Availability::kLow);
    bool over = false;
    for (const std::string& what : ear.Heard()) {
      if (what.rfind("over ", 0) != 0) continue;
      ASSERT_EQ(what == "over 0", over) << what;
      over = !over;
    }
  }
}

// Runs on a worker's thread while other threads change every setting; for ThreadSanitizer, too.
TEST(Monitor, RunsOnAWorkerDuringConcurrentConfiguration) {
  FakeMemorySystem os;
  StdThreadSystem threads;
  Budget budget({.limit = {100 * kMiB}});
  CountingWaker server;
  budget.SetDispatcher(&server);
  Ear ear;
  Chest chest;
  LoadSampler sampler(os, threads, Milliseconds{1});
  Monitor monitor(budget, sampler, chest, ear, {kThresholds}, threads.Now());
  Worker worker(threads, monitor);
  monitor.SetWaker(&worker);
  std::atomic<int> lows = 0;
  ear.on_pressure = [&](Availability availability) {
    if (availability == Availability::kLow) ++lows;
    monitor.SetSampling(Milliseconds{1});
  };
  ASSERT_TRUE(worker.Start());

  std::vector<std::thread> others;
  for (unsigned i = 0; i < 3; ++i) {
    others.emplace_back([&, i] {
      for (unsigned round = 0; round < 300; ++round) {
        monitor.SetThresholds({.dwell = Milliseconds{round % 3}, .repeat_low = Milliseconds{1 + round % 5}});
        monitor.SetCountWholeProcess(round % 2 == 0);
        budget.SetLimits({.limit = {(1 + (round + i) % 100) * kMiB}});
        if (budget.TryCharge({kMiB}, Criticality::kProcess) == Admission::kAdmitted) budget.Uncharge({kMiB});
        monitor.Repeat();
        MemoryLoad load;
        EXPECT_EQ(sampler.Read(&load), win32::kSuccess);
        (void)monitor.Uncharged();
        (void)monitor.OverLimit();
      }
    });
  }
  for (std::thread& other : others) other.join();
  budget.Charge({1000 * kMiB});
  worker.Wake();
  while (monitor.Told() != Availability::kLow) std::this_thread::yield();
  worker.Stop();
  monitor.Finish(threads.Now());
  EXPECT_EQ(ear.last, Availability::kNeutral);
  EXPECT_GT(lows.load(), 0);
}

}  // namespace
}  // namespace clr_host_memory::test
