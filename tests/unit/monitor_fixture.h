// A monitor over a fake machine, and fakes of the interfaces it calls.
#ifndef CLRHM_TESTS_UNIT_MONITOR_FIXTURE_H
#define CLRHM_TESTS_UNIT_MONITOR_FIXTURE_H

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "notify/monitor.h"
#include "support/engine_fixture.h"
#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"

namespace clr_host_memory::test {

inline constexpr Milliseconds kSampling{100};
inline constexpr PressureThresholds kThresholds{};

[[nodiscard]] inline const char* NameOf(Availability availability) {
  switch (availability) {
    case Availability::kLow: return "Low";
    case Availability::kNeutral: return "Neutral";
    case Availability::kHigh: return "High";
  }
  return "?";
}

// Records each callback as text, with sizes in MiB.
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

// Adds a waiter, until RemoveWaiting is called.
inline void AddWaiter(Budget& budget, Criticality level) {
  budget.Enqueue(1, level, true, [](std::uint16_t) {});
}

// A machine with ample memory, and a limit of 100 MiB.
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

  // Runs one round at the current time. Returns the callbacks it made.
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

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_UNIT_MONITOR_FIXTURE_H
