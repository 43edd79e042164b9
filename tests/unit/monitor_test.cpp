#include "notify/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"
#include "support/std_thread_system.h"

namespace clr_host_memory::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr Milliseconds kSampling{100};
constexpr PressureThresholds kThresholds{};

[[nodiscard]] const char* NameOf(Availability availability) {
  switch (availability) {
    case Availability::kLow: return "Low";
    case Availability::kNeutral: return "Neutral";
    case Availability::kHigh: return "High";
  }
  return "?";
}

// Notes what it hears, in words; MiB for bytes.
class Ear final : public Monitor::Listener {
 public:
  void OnPressure(Availability availability, std::uint32_t available_percent) override {
    Hear(std::string(NameOf(availability)) + " " + std::to_string(available_percent));
    last = availability;
    if (on_pressure) on_pressure(availability);
  }
  void OnOverLimit(Bytes over) override {
    Hear("over " + std::to_string(over.value / kMiB));
    if (on_over) on_over();
  }
  void OnReserveUsed(Bytes given) override {
    Hear("used " + std::to_string(given.value / kMiB));
    if (on_used) on_used();
  }
  void OnReserveRestored() override { Hear("restored"); }
  void OnRound(Milliseconds) override { ++rounds; }

  [[nodiscard]] std::vector<std::string> Heard() { return std::exchange(heard_, {}); }

  std::function<void(Availability)> on_pressure;
  std::function<void()> on_over;
  std::function<void()> on_used;
  Availability last = Availability::kNeutral;
  int rounds = 0;

 private:
  void Hear(std::string what) { heard_.push_back(std::move(what)); }
  std::vector<std::string> heard_;
};

class Chest final : public Monitor::Reserves {
 public:
  Bytes GivenSoFar() override { return given; }
  Bytes Held() override { return held; }
  bool TakeBack() override { return ++tries, whole_again; }

  Bytes given;
  Bytes held;
  bool whole_again = true;
  int tries = 0;
};

class CountingWaker final : public Waker {
 public:
  void Wake() noexcept override { ++wakes; }
  std::atomic<int> wakes = 0;
};

// Someone waits from now on, until RemoveWaiting.
void AddWaiter(Budget& budget, Criticality level) {
  budget.Enqueue(1, level, true, [](std::uint16_t) {});
}

// A machine with plenty of everything, and a limit of 100 MiB.
class MonitorTest : public ::testing::Test {
 protected:
  MonitorTest() {
    load_.total_physical = {1000 * kMiB};
    load_.available_physical = {900 * kMiB};
    load_.total_commit = {2000 * kMiB};
    load_.available_commit = {1900 * kMiB};
    SetLimit(100);
    Charge(60);
    budget_.SetDispatcher(&dispatcher_);
    monitor_.SetWaker(&waker_);
  }

  // A round at the present; what it said.
  std::vector<std::string> Round() {
    os_.SetLoad(load_);
    sleep_ = monitor_.Run(threads_.Now());
    return ear_.Heard();
  }
  std::vector<std::string> After(int ms) {
    threads_.Advance(Milliseconds{ms});
    return Round();
  }
  void SetLimit(std::uint64_t mib) { budget_.SetLimits({.limit = {mib * kMiB}}); }
  void Charge(std::uint64_t mib) { budget_.Charge({mib * kMiB}); }
  void Return(std::uint64_t mib) { budget_.Uncharge({mib * kMiB}); }
  [[nodiscard]] std::uint64_t Asked() const { return os_.Calls(OsCall::kLoad); }

  FakeMemorySystem os_;
  FakeThreadSystem threads_;
  MemoryLoad load_;
  Budget budget_{{}};
  CountingWaker dispatcher_;
  CountingWaker waker_;
  Ear ear_;
  Chest chest_;
  LoadSampler sampler_{os_, threads_, kSampling};
  Monitor monitor_{budget_, sampler_, chest_, ear_, {kThresholds}, threads_.Now()};
  Milliseconds sleep_{};
};

TEST_F(MonitorTest, SaysNothingWhileThereIsEnough) {
  for (int i = 0; i < 100; ++i) EXPECT_THAT(After(100), IsEmpty());
  EXPECT_EQ(ear_.rounds, 100);
  EXPECT_EQ(monitor_.Told(), Availability::kNeutral);
}

TEST_F(MonitorTest, ALimitLoweredBelowWhatIsInUseIsLowUntilItFits) {
  Round();
  SetLimit(50);
  EXPECT_THAT(After(1), ElementsAre("over 10", "Low 0"));
  EXPECT_EQ(monitor_.OverLimit(), Bytes{10 * kMiB});
  Return(5);
  EXPECT_THAT(After(2000), IsEmpty());
  EXPECT_EQ(monitor_.OverLimit(), Bytes{5 * kMiB});
  Return(5);
  EXPECT_THAT(After(100), ElementsAre("over 0"));  // it fits, but leaves nothing
  EXPECT_EQ(monitor_.OverLimit(), Bytes{});
  Return(20);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, ALimitThatFillsUpIsLowAndARaisedOneEndsIt) {
  Round();
  Charge(32);
  EXPECT_THAT(After(100), ElementsAre("Low 8"));
  SetLimit(200);
  EXPECT_THAT(After(500), IsEmpty());  // dwells
  EXPECT_THAT(After(500), ElementsAre("High 54"));
  Charge(32);
  EXPECT_THAT(After(1000), ElementsAre("Neutral 38"));
}

TEST_F(MonitorTest, LowComesBeforeTaskCriticalRequestsAreRefusedWhateverTheHeadroom) {
  budget_.SetLimits({.limit = {100 * kMiB}, .app_domain_headroom = {10 * kMiB}, .process_headroom = {20 * kMiB}});
  EXPECT_THAT(Round(), IsEmpty());  // 10 of 70 MiB are left
  Charge(5);
  EXPECT_THAT(After(100), ElementsAre("Low 7"));  // 5 of 70
  EXPECT_EQ(budget_.TryCharge({4 * kMiB}, Criticality::kTask), Admission::kAdmitted);
}

TEST_F(MonitorTest, EverySourceCounts) {
  struct Row {
    const char* what;
    std::function<void(MemoryLoad&)> make;
    const char* heard;
  };
  const Row rows[] = {
      {"job", [](auto& load) { load.total_in_job = {100 * kMiB}, load.available_in_job = {3 * kMiB}; }, "Low 3"},
      {"commit", [](auto& load) { load.available_commit = {20 * kMiB}; }, "Low 1"},
      {"physical memory", [](auto& load) { load.available_physical = {80 * kMiB}; }, "Low 8"},
      {"the OS's own notification", [](auto& load) { load.low_signalled = true; }, "Low 0"},
  };
  Round();
  const MemoryLoad plenty = load_;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    row.make(load_);
    EXPECT_THAT(After(100), ElementsAre(row.heard));
    load_ = plenty;
    EXPECT_THAT(After(900), IsEmpty());
    EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
  }
}

TEST_F(MonitorTest, LowIsRepeatedAsOftenAsTheThresholdsSay) {
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
  EXPECT_THAT(After(8191), IsEmpty());
  EXPECT_THAT(After(1), ElementsAre("Low 5"));
  EXPECT_THAT(After(8191), IsEmpty());
  monitor_.SetThresholds({.repeat_low = Milliseconds{10'000}});
  EXPECT_THAT(After(1), IsEmpty());
  EXPECT_THAT(After(1808), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, ThresholdsMayChangeWhileItRuns) {
  EXPECT_THAT(Round(), IsEmpty());
  monitor_.SetThresholds({.enter_low = 40, .leave_low = 41, .leave_high = 41, .enter_high = 42});
  EXPECT_EQ(waker_.wakes, 1);
  EXPECT_THAT(Round(), ElementsAre("Low 40"));
  monitor_.SetThresholds(kThresholds);
  EXPECT_THAT(After(1000), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, WhoeverWaitsForMemoryMakesItLow) {
  Round();
  AddWaiter(budget_, Criticality::kTask);
  EXPECT_THAT(Round(), ElementsAre("Low 0"));
  budget_.RemoveWaiting(Criticality::kTask);
  EXPECT_THAT(After(999), IsEmpty());
  EXPECT_THAT(After(1), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, NeverSaysHighWhileTheOsDeniesIt) {
  Return(60);
  load_.high_signalled = true;
  Round();
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
  load_.high_signalled = false;
  EXPECT_THAT(After(1000), ElementsAre("Neutral 90"));
  load_.high_signalled = true;
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
}

TEST_F(MonitorTest, AnOsWithoutAHighNotificationDeniesNothing) {
  Return(60);
  Round();
  EXPECT_THAT(After(1000), ElementsAre("High 90"));
}

TEST_F(MonitorTest, WhatTheProcessHasBesidesIsTold) {
  load_.process_private = {75 * kMiB};
  chest_.held = {4 * kMiB};
  Round();
  EXPECT_EQ(monitor_.Uncharged(), Bytes{11 * kMiB});
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{100 * kMiB});  // but counts for nothing
  load_.process_private = {50 * kMiB};
  After(100);
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
}

TEST_F(MonitorTest, WhatTheProcessHasBesidesCountsWhenAsked) {
  load_.process_private = {93 * kMiB};
  EXPECT_THAT(Round(), IsEmpty());
  monitor_.SetCountWholeProcess(true);
  EXPECT_EQ(waker_.wakes, 1);
  EXPECT_THAT(Round(), ElementsAre("Low 7"));
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{67 * kMiB});
  EXPECT_EQ(budget_.TryCharge({8 * kMiB}, Criticality::kProcess), Admission::kOverCeiling);
  EXPECT_EQ(budget_.TryCharge({7 * kMiB}, Criticality::kProcess), Admission::kAdmitted);

  load_.process_private = {110 * kMiB};
  EXPECT_THAT(After(100), ElementsAre("over 10"));
  monitor_.SetCountWholeProcess(false);
  EXPECT_THAT(After(1000), ElementsAre("over 0", "Neutral 33"));
  EXPECT_EQ(budget_.Ceiling(Criticality::kProcess), Bytes{100 * kMiB});
}

// Charges and returns between the two questions are not the process' own growth.
TEST_F(MonitorTest, WhatIsChargedMeanwhileIsNotTakenForOutside) {
  load_.process_private = {60 * kMiB};
  os_.OnNext(OsCall::kLoad, Moment::kAfter, [&](const OsCallInfo&) { Return(30); });
  Round();
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
  load_.process_private = {40 * kMiB};
  os_.OnNext(OsCall::kLoad, Moment::kBefore, [&](const OsCallInfo&) { Charge(10); });
  After(100);
  EXPECT_EQ(monitor_.Uncharged(), Bytes{});
}

TEST_F(MonitorTest, AUsedReserveIsLowAndIsTakenBackWhenThatIsOver) {
  Round();
  chest_.given = {8 * kMiB};
  chest_.whole_again = false;
  EXPECT_THAT(Round(), ElementsAre("used 8", "Low 0"));
  chest_.given = {12 * kMiB};
  EXPECT_THAT(After(100), ElementsAre("used 4"));
  EXPECT_THAT(After(800), IsEmpty());
  EXPECT_EQ(chest_.tries, 0);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
  EXPECT_EQ(chest_.tries, 1);
  EXPECT_THAT(After(99), IsEmpty());
  EXPECT_EQ(chest_.tries, 1);  // not before the OS is asked again
  chest_.whole_again = true;
  EXPECT_THAT(After(1), ElementsAre("restored"));
  EXPECT_THAT(After(100), IsEmpty());
  EXPECT_EQ(chest_.tries, 2);
}

TEST_F(MonitorTest, ReservesAreNotTakenBackWhileMoreThanTheLimitIsInUse) {
  // Low is left at once, so that only the limit stands against it.
  monitor_.SetThresholds({.enter_low = 0, .leave_low = 1, .dwell = Milliseconds{0}});
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1", "over 10", "Low 0"));
  After(100);
  EXPECT_EQ(chest_.tries, 0);
  Return(15);
  EXPECT_THAT(After(100), ElementsAre("over 0", "Neutral 10", "restored"));
}

TEST_F(MonitorTest, AStormOfWakesAsksTheOsOncePerInterval) {
  Round();
  for (int i = 0; i < 1000; ++i) Round();
  EXPECT_EQ(Asked(), 1U);
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));  // charge and limit are looked at all the same
  EXPECT_EQ(Asked(), 1U);
  After(99);
  EXPECT_EQ(Asked(), 1U);
  After(1);
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(MonitorTest, SleepsUntilTheNextLook) {
  Round();
  EXPECT_EQ(sleep_, Milliseconds{100});
  After(30);
  EXPECT_EQ(sleep_, Milliseconds{70});
  monitor_.SetSampling(Milliseconds{40});
  Round();
  EXPECT_EQ(sleep_, Milliseconds{10});
  After(15);  // late
  EXPECT_EQ(Asked(), 2U);
  EXPECT_EQ(sleep_, Milliseconds{40});
  monitor_.SetSampling(Milliseconds{60'000});
  Round();
  EXPECT_EQ(sleep_, Milliseconds{100});  // the limit is looked at meanwhile
  Charge(35);
  EXPECT_THAT(After(100), ElementsAre("Low 5"));
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(MonitorTest, AnOsThatDoesNotAnswerIsAskedAgainAfterTheInterval) {
  load_.available_commit = {20 * kMiB};
  EXPECT_THAT(Round(), ElementsAre("Low 1"));
  os_.Fail(OsCall::kLoad, win32::kAccessDenied, 0, 2);
  EXPECT_THAT(After(100), IsEmpty());
  load_.available_commit = {900 * kMiB};
  EXPECT_THAT(After(1000), IsEmpty());  // what is known is what it said last
  Round();
  EXPECT_EQ(Asked(), 3U);
  EXPECT_THAT(After(100), ElementsAre("Neutral 40"));
}

TEST_F(MonitorTest, TheLimitIsWatchedWithoutTheOs) {
  os_.Fail(OsCall::kLoad, win32::kAccessDenied, 0, 1000);
  Charge(35);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, WhoRegistersIsToldTheStateAtOnce) {
  monitor_.Repeat();
  EXPECT_THAT(Round(), ElementsAre("Neutral 40"));
  Charge(35);
  EXPECT_THAT(After(100), ElementsAre("Low 5"));
  EXPECT_THAT(After(100), IsEmpty());
  monitor_.Repeat();
  monitor_.Repeat();
  EXPECT_EQ(waker_.wakes, 3);
  EXPECT_THAT(Round(), ElementsAre("Low 5"));
  EXPECT_THAT(Round(), IsEmpty());
  EXPECT_THAT(After(8191), IsEmpty());  // counted from there
  EXPECT_THAT(After(1), ElementsAre("Low 5"));
}

TEST_F(MonitorTest, FinishLeavesNobodyLow) {
  Charge(35);
  Round();
  monitor_.Finish(threads_.Now());
  EXPECT_THAT(ear_.Heard(), ElementsAre("Neutral 5"));
  EXPECT_EQ(monitor_.Told(), Availability::kNeutral);
  monitor_.Finish(threads_.Now());
  const int rounds = ear_.rounds;
  SetLimit(50);
  chest_.given = {kMiB};
  monitor_.Repeat();
  EXPECT_THAT(After(10'000), IsEmpty());
  EXPECT_EQ(sleep_, kForever);
  EXPECT_EQ(ear_.rounds, rounds);
}

TEST_F(MonitorTest, FinishSaysNothingToWhoWasToldNothing) {
  Round();
  monitor_.Finish(threads_.Now());
  EXPECT_THAT(ear_.Heard(), IsEmpty());
}

TEST_F(MonitorTest, AListenerMayCallBack) {
  ear_.on_pressure = [&](Availability availability) {
    if (availability != Availability::kLow) return;
    monitor_.SetThresholds(kThresholds);
    monitor_.SetSampling(kSampling);
    monitor_.SetCountWholeProcess(false);
    monitor_.Repeat();
    SetLimit(200);
    EXPECT_EQ(monitor_.Told(), Availability::kLow);
  };
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("over 10", "Low 0"));
  EXPECT_THAT(Round(), ElementsAre("over 0", "Low 70"));  // repeated since it asked for it
  ear_.on_pressure = nullptr;
  EXPECT_THAT(After(1000), ElementsAre("High 70"));
}

TEST_F(MonitorTest, AListenerThatFinishesItHearsNothingMoreButNeutral) {
  ear_.on_pressure = [&](Availability availability) {
    if (availability == Availability::kLow) monitor_.Finish(threads_.Now());
  };
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1", "over 10", "Low 0", "Neutral 0"));
  EXPECT_EQ(ear_.rounds, 0);
}

TEST_F(MonitorTest, AListenerThatFinishesItBeforeLowNeverHearsLow) {
  ear_.on_over = [&] { monitor_.Finish(threads_.Now()); };
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("over 10"));
}

TEST_F(MonitorTest, AListenerThatFinishesItFirstOfAllHearsNothingMore) {
  ear_.on_used = [&] { monitor_.Finish(threads_.Now()); };
  chest_.given = {kMiB};
  SetLimit(50);
  EXPECT_THAT(Round(), ElementsAre("used 1"));
}

TEST_F(MonitorTest, AListenerThatFinishesItWhenPressureIsOverGetsNoReserveBack) {
  chest_.given = {kMiB};
  EXPECT_THAT(Round(), ElementsAre("used 1", "Low 0"));
  ear_.on_pressure = [&](Availability) { monitor_.Finish(threads_.Now()); };
  EXPECT_THAT(After(1000), ElementsAre("Neutral 40"));
  EXPECT_EQ(chest_.tries, 0);
}

// Whatever happens, the end is not Low; reserves are taken back only when there is no pressure; the OS is asked no more
// often than once per interval; over the limit is told in turns.
TEST(Monitor, KeepsItsPromisesForAnyReadings) {
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

// On its worker's thread, with everything being set from others meanwhile; for TSan, too.
TEST(Monitor, RunsOnAWorkerWhileOthersSetIt) {
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
