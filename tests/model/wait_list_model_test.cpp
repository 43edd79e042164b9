// Random schedules of waiting requests, compared after every step with a sequential model: a sorted list and a few
// sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/wait_stage.h"

namespace clr_host_memory::test {
namespace {

using std::chrono_literals::operator""ms;

constexpr std::size_t kWaiters = 12;
constexpr Bytes kCommitted{20};

// The expected outcome of the waits. One thread; the caller supplies the time.
class WaitModel {
 public:
  struct Entry {
    std::size_t waiter = 0;
    WaitRequest request;
    Milliseconds end{};
    Milliseconds os_retry{};
    std::uint64_t returns_seen = 0;
    bool left = false;  // its thread has left; the dispatcher has not seen it yet
  };
  struct Ending {
    std::size_t waiter;
    WaitResult result;
  };

  void SetLimits(const Limits& limits) {
    limits_ = limits;
    FindBound();
  }
  void SetUncharged(Bytes outside) {
    uncharged_ = outside;
    FindBound();
  }
  void SetHeldHeadroom(Bytes held) { held_headroom_ = held; }
  void SetHeld(bool held) { held_ = held; }
  void Abandon(std::uint64_t through) { withdrawn_ = std::max(withdrawn_, through); }
  [[nodiscard]] bool IsWithdrawn(std::uint64_t ticket) const { return ticket <= withdrawn_; }

  void Return(Bytes bytes) {
    charged_ = charged_ - bytes;
    if (WaitingForMemory() != 0 || announced_) ++returns_;
  }
  void Withdraw(Bytes bytes) { charged_ = charged_ - bytes; }
  Admission TryCharge(Bytes bytes, Criticality level) {
    const bool behind = std::any_of(line_.begin(), line_.end(), [&](const Entry& it) {
      return it.request.bytes != Bytes{} && it.request.level >= level;
    });
    if (bytes != Bytes{} && behind) return Admission::kBehindQueue;
    if (!Fits(bytes, level, limits_.committed_headroom)) return Admission::kOverCeiling;
    charged_ = charged_ + bytes;
    return Admission::kAdmitted;
  }

  void Add(std::size_t waiter, const WaitRequest& request, Milliseconds now) {
    const Milliseconds end = request.deadline == kForever ? kForever : now + request.deadline;
    announced_ = true;
    line_.push_back({waiter, request, end, now + WaitList::kOsRetry, returns_});
    std::stable_sort(line_.begin(), line_.end(), [](const Entry& a, const Entry& b) {
      if (a.request.level != b.request.level) return a.request.level > b.request.level;
      return a.request.ticket < b.request.ticket;
    });
  }
  // Checks the waiter on its own thread. Returns the result with which it leaves, if it does.
  std::optional<WaitResult> Look(std::size_t waiter, Milliseconds now) {
    for (Entry& it : line_) {
      if (it.waiter != waiter || it.left) continue;
      if (IsWithdrawn(it.request.ticket)) return it.left = true, WaitResult::kAbandoned;
      if (now >= it.end) return it.left = true, WaitResult::kTimedOut;
    }
    return std::nullopt;
  }

  std::vector<Ending> Serve(Milliseconds now) {
    std::vector<Ending> endings;
    std::vector<Entry> rest;
    bool blocked = false;
    for (const Entry& it : line_) {
      const bool for_memory = it.request.bytes != Bytes{};
      const bool os_may_have_some = !it.request.refused_by_os || now >= it.os_retry || returns_ != it.returns_seen;
      const Bytes held = it.request.level == Criticality::kProcess ? held_headroom_ : limits_.committed_headroom;
      if (it.left) continue;
      if (IsWithdrawn(it.request.ticket)) {
        endings.push_back({it.waiter, WaitResult::kAbandoned});
      } else if (!held_ && os_may_have_some && !(for_memory && blocked) &&
                 Fits(it.request.bytes, it.request.level, held)) {
        charged_ = charged_ + it.request.bytes;
        endings.push_back({it.waiter, WaitResult::kGranted});
      } else if (now >= it.end) {
        endings.push_back({it.waiter, WaitResult::kTimedOut});
      } else {
        rest.push_back(it);
        blocked |= for_memory;
      }
    }
    line_ = rest;
    announced_ = false;
    return endings;
  }
  // Returns whether a round of the dispatcher would change anything.
  [[nodiscard]] bool HasWork(Milliseconds now) const {
    WaitModel copy = *this;
    return !copy.Serve(now).empty() || copy.line_.size() != line_.size();
  }

  [[nodiscard]] Bytes charged() const { return charged_; }
  [[nodiscard]] std::uint64_t WaitingForMemory() const {
    return static_cast<std::uint64_t>(
        std::count_if(line_.begin(), line_.end(), [](const Entry& it) { return it.request.bytes != Bytes{}; }));
  }
  [[nodiscard]] std::size_t length() const { return line_.size(); }

 private:
  [[nodiscard]] Bytes Within(Bytes ceiling) const { return ceiling - std::min(ceiling, uncharged_); }
  // A limit that leaves less than the process headroom free is exceeded by what is in use and that headroom.
  void FindBound() {
    bound_ = std::max(Within(limits_.limit), std::min(bound_, charged_ + held_headroom_ + limits_.process_headroom));
  }
  // held: the committed headroom that this request must leave.
  [[nodiscard]] bool Fits(Bytes bytes, Criticality level, Bytes held) const {
    const Bytes whole = bound_ - std::min(bound_, held);
    const Bytes ceiling = level == Criticality::kProcess
                              ? whole
                              : std::min(whole, Within(CeilingsOf(limits_)[static_cast<std::size_t>(level)]));
    return bytes == Bytes{} || charged_ + bytes <= ceiling;
  }

  Bytes bound_ = kUnlimited;
  Limits limits_;
  Bytes uncharged_;
  Bytes held_headroom_;
  Bytes charged_;
  bool held_ = false;
  bool announced_ = false;  // a request was, since the dispatcher's last round
  std::uint64_t withdrawn_ = 0;
  std::uint64_t returns_ = 0;
  std::vector<Entry> line_;
};

// One schedule: the list and its model, side by side.
class Schedule {
 public:
  Schedule(WaitStage& stage, std::uint64_t seed) : stage_(stage), random_(seed) {
    stage_.Open(LimitsOf(100));
    model_.SetLimits(LimitsOf(100));
    model_.SetHeldHeadroom(SetHeldHeadroom(stage_.budget(), kCommitted));
  }

  // Returns false if the two differ; Why then describes the difference.
  [[nodiscard]] bool Run(int steps) {
    for (int i = 0; i < steps && why_.empty(); ++i) {
      Step();
      Compare();
    }
    if (why_.empty()) Finish();
    return why_.empty();
  }
  [[nodiscard]] std::string Why() const {
    std::ostringstream text;
    for (const auto& [name, a, b] : steps_) text << name << ' ' << a << ' ' << b << '\n';
    text << why_;
    return text.str();
  }
  [[nodiscard]] std::uint64_t Steps() const { return steps_.size(); }
  [[nodiscard]] const std::array<std::uint64_t, 4>& Endings() const { return endings_; }  // by WaitResult

 private:
  struct Waiter {
    enum class Phase : std::uint8_t { kIdle, kAsleep, kEnded } phase = Phase::kIdle;  // kEnded: not checked yet
    WaitRequest request;
    WaitResult expected{};
    Bytes held;  // granted, and not yet returned
  };
  struct Done {
    const char* name;
    std::int64_t a;
    std::int64_t b;
  };

  [[nodiscard]] static Limits LimitsOf(std::uint64_t limit) {
    return {.limit = Bytes{limit} + kCommitted,
            .app_domain_headroom = {5},
            .process_headroom = Bytes{10} + kCommitted,
            .committed_headroom = kCommitted};
  }
  [[nodiscard]] std::uint64_t Below(std::uint64_t n) { return random_() % n; }
  [[nodiscard]] std::size_t AnyWaiter() { return static_cast<std::size_t>(Below(kWaiters)); }
  void Note(const char* name, std::uint64_t a = 0, std::uint64_t b = 0) {
    steps_.push_back({name, static_cast<std::int64_t>(a), static_cast<std::int64_t>(b)});
  }
  template <typename A, typename B>
  void Expect(const char* what, const A& real, const B& model) {
    if (real == model || !why_.empty()) return;
    std::ostringstream text;
    text << what << ": " << testing::PrintToString(real) << ", in the model " << testing::PrintToString(model);
    why_ = text.str();
  }

  void Step() {
    const std::uint64_t choice = Below(100);
    if (choice < 22) return Begin(AnyWaiter());
    if (choice < 42) return Look(AnyWaiter());
    if (choice < 60) return GiveBack(AnyWaiter());
    if (choice < 68) return NewcomerCharges();
    if (choice < 76) return NewcomerReturns();
    if (choice < 84) return PassTime(Below(4) == 0 ? 40 : 5);
    if (choice < 96) return ServeIfDue();
    switch (Below(8)) {
      case 0: {
        const std::uint64_t limit = 60 + Below(80);
        Note("limit", limit);
        stage_.budget().SetLimits(LimitsOf(limit));
        return model_.SetLimits(LimitsOf(limit));
      }
      case 1: {
        const Bytes outside{Below(30)};
        Note("outside", outside.value);
        stage_.budget().SetUncharged(outside);
        return model_.SetUncharged(outside);
      }
      case 2: {
        const Bytes held{Below(kCommitted.value + 1)};
        Note("held", held.value);
        return model_.SetHeldHeadroom(SetHeldHeadroom(stage_.budget(), held));
      }
      case 3:
        if (Below(4) != 0) return;
        Note("abandon", tickets_);
        stage_.list().Abandon(false);
        return model_.Abandon(tickets_);
      case 4:
      case 5: {
        const bool held = Below(3) == 0;
        Note("hold", held ? 1 : 0);
        stage_.list().Hold(held);
        return model_.SetHeld(held);
      }
      default: return Serve();  // without a reason
    }
  }

  void Begin(std::size_t i) {
    Waiter& it = waiters_[i];
    if (it.phase != Waiter::Phase::kIdle || it.held != Bytes{}) return;
    if (it.request.ticket == 0 || Below(4) != 0) {
      it.request.ticket = stage_.list().TakeTicket();
      Expect("ticket", it.request.ticket, ++tickets_);
      it.request.level = static_cast<Criticality>(Below(3));
      it.request.refused_by_os = false;
    }  // else it waits again with its last ticket
    it.request.bytes = {Below(6) == 0 ? 0 : 1 + Below(40)};
    it.request.deadline = Below(5) == 0 ? kForever : Milliseconds(Below(150));
    if (Below(4) == 0) it.request.refused_by_os = true;
    Wait(i);
  }
  void Wait(std::size_t i) {
    Waiter& it = waiters_[i];
    Note("wait", i, it.request.bytes.value);
    const Milliseconds now = stage_.threads().Now();
    if (model_.IsWithdrawn(it.request.ticket)) {
      stage_.Begin(i, it.request);
      return Ended(i, WaitResult::kAbandoned);
    }
    model_.Add(i, it.request, now);
    stage_.Begin(i, it.request);
    it.phase = Waiter::Phase::kAsleep;
    if (const auto left = model_.Look(i, now)) Ended(i, *left);
  }
  void Look(std::size_t i) {
    Waiter& it = waiters_[i];
    if (it.phase == Waiter::Phase::kIdle) return;
    Note("look", i);
    if (it.phase == Waiter::Phase::kEnded) {
      stage_.GoOn(i);
      return Ended(i, it.expected);
    }
    const auto left = model_.Look(i, stage_.threads().Now());
    stage_.Disturb(i);
    if (left) return Ended(i, *left);
    Expect("still waits", stage_.Waits(i), true);
  }
  void Ended(std::size_t i, WaitResult expected) {
    Waiter& it = waiters_[i];
    Expect("still waits", stage_.Waits(i), false);
    Expect("result", stage_.Result(i), expected);
    it.phase = Waiter::Phase::kIdle;
    if (expected == WaitResult::kGranted) it.held = it.request.bytes;
    ++endings_[static_cast<std::size_t>(expected)];
    ++ended_[static_cast<std::size_t>(it.request.level)][static_cast<std::size_t>(expected)];
  }
  void GiveBack(std::size_t i) {
    Waiter& it = waiters_[i];
    if (it.held == Bytes{}) return;
    const Bytes held = std::exchange(it.held, Bytes{});
    if (Below(4) == 0) {  // the OS refused: it waits again
      Note("withdraw", i, held.value);
      stage_.budget().CancelCharge(held);
      model_.Withdraw(held);
      it.request.refused_by_os = true;
      return Wait(i);
    }
    Note("return", i, held.value);
    stage_.budget().Uncharge(held);
    model_.Return(held);
  }
  void NewcomerCharges() {
    const Bytes bytes{Below(20)};
    const auto level = static_cast<Criticality>(Below(3));
    Note("newcomer", bytes.value, static_cast<std::uint64_t>(level));
    const Admission verdict = model_.TryCharge(bytes, level);
    Expect("newcomer", stage_.budget().TryCharge(bytes, level), verdict);
    if (verdict == Admission::kAdmitted) newcomers_ = newcomers_ + bytes;
  }
  void NewcomerReturns() {
    const Bytes bytes{Below(newcomers_.value + 1)};
    Note("newcomer returns", bytes.value);
    newcomers_ = newcomers_ - bytes;
    stage_.budget().Uncharge(bytes);
    model_.Return(bytes);
  }
  void PassTime(std::uint64_t most) {
    const Milliseconds by(1 + Below(most));
    Note("time", static_cast<std::uint64_t>(by.count()));
    stage_.threads().Advance(by);
  }
  [[nodiscard]] bool IsDue() const { return stage_.server().wakes > 0 || stage_.threads().Now() >= due_; }
  void ServeIfDue() {
    if (IsDue()) Serve();
  }
  void Serve() {
    Note("serve");
    const Milliseconds now = stage_.threads().Now();
    for (const auto& [waiter, result] : model_.Serve(now)) {
      waiters_[waiter].phase = Waiter::Phase::kEnded;
      waiters_[waiter].expected = result;
    }
    const Milliseconds sleep = stage_.Serve();
    Expect("sleeps not at all", sleep > 0ms, true);
    due_ = sleep == kForever ? kForever : now + sleep;
    for (std::size_t i = 0; i < kWaiters; ++i) {
      const Waiter& it = waiters_[i];
      if (it.phase == Waiter::Phase::kIdle) continue;
      Expect("told to look", stage_.IsSignalled(i), it.phase == Waiter::Phase::kEnded);
    }
  }

  void Compare() {
    Expect("charged", stage_.budget().Charged().value, model_.charged().value);
    Expect("waiting", stage_.budget().Waiting(), model_.WaitingForMemory());
    // Detects a lost wake-up: whenever a wait could end, the dispatcher was woken or its next round is due.
    if (!IsDue()) Expect("the server sleeps over it", model_.HasWork(stage_.threads().Now()), false);
    std::uint32_t used = static_cast<std::uint32_t>(model_.length());
    for (const Waiter& it : waiters_) used += it.phase == Waiter::Phase::kEnded ? 1 : 0;
    // Counting the free records is slow.
    if (steps_.size() % 64 == 0) Expect("free records", stage_.list().FreeRecords(), WaitList::kMostWaiters - used);
  }

  // Raises the limit so that every request fits. All waits must end, all memory is returned, and nothing may be left.
  void Finish() {
    stage_.budget().SetLimits(LimitsOf(1000));
    model_.SetLimits(LimitsOf(1000));
    stage_.list().Hold(false);
    model_.SetHeld(false);
    PassTime(1);
    stage_.threads().Advance(WaitList::kOsRetry);
    Serve();
    for (std::size_t i = 0; i < kWaiters; ++i) {
      Waiter& it = waiters_[i];
      if (it.phase != Waiter::Phase::kIdle) {
        Expect("ended", it.phase == Waiter::Phase::kEnded, true);
        stage_.GoOn(i);
        Ended(i, it.expected);
      }
      stage_.budget().Uncharge(it.held);
    }
    stage_.budget().Uncharge(newcomers_);
    Serve();
    Expect("charged at the end", stage_.budget().Charged().value, 0u);
    Expect("waiting at the end", stage_.budget().Waiting(), 0u);
    Expect("free records at the end", stage_.list().FreeRecords(), WaitList::kMostWaiters);
    for (std::size_t level = 0; level < kCriticalityCount; ++level) {
      const WaitCounts counts = stage_.list().Counts(static_cast<Criticality>(level));
      const auto& [granted, timed_out, abandoned, no_room] = ended_[level];
      Expect("granted", counts.granted, granted);
      Expect("timed out", counts.timed_out, timed_out);
      Expect("abandoned", counts.abandoned, abandoned);
      Expect("waits", counts.waits, granted + timed_out + abandoned);
    }
  }

  WaitStage& stage_;
  std::mt19937_64 random_;
  WaitModel model_;
  std::array<Waiter, kWaiters> waiters_;
  std::uint64_t tickets_ = 0;
  Bytes newcomers_;
  Milliseconds due_ = kForever;
  std::array<std::uint64_t, 4> endings_{};
  std::array<std::array<std::uint64_t, 4>, kCriticalityCount> ended_{};
  std::vector<Done> steps_;
  std::string why_;
};

TEST(WaitListModel, RandomSchedulesAgreeWithASortedList) {
  const std::uint64_t enough = SwitchingIsCheap() ? 2'000'000 : 40'000;
  WaitStage stage(kWaiters);
  std::uint64_t steps = 0;
  std::array<std::uint64_t, 4> endings{};
  for (std::uint64_t seed = 1; steps < enough; ++seed) {
    Schedule schedule(stage, seed);
    ASSERT_TRUE(schedule.Run(4000)) << "seed " << seed << ":\n" << schedule.Why();
    steps += schedule.Steps();
    for (std::size_t i = 0; i < endings.size(); ++i) endings[i] += schedule.Endings()[i];
  }
  std::cout << steps << " steps; " << endings[0] << " granted, " << endings[1] << " timed out, " << endings[2]
            << " abandoned\n";
  EXPECT_GT(std::min({endings[0], endings[1], endings[2]}), steps / 200);
}

}  // namespace
}  // namespace clr_host_memory::test
