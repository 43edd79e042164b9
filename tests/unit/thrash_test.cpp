#include "policy/thrash.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr Bytes kCeiling{60 * kMiB};
constexpr Milliseconds kRound{100};

// The counts that one round of 100 ms adds, and the charge at its end.
struct Round {
  std::uint64_t refusals = 0;
  std::uint64_t grants = 0;
  std::uint64_t collections = 0;
  std::uint64_t charged_mib = 59;
  std::uint64_t without_gain = 0;
};

// Plays rounds to a ThrashGuard and collects its reports.
class Life {
 public:
  explicit Life(const ThrashSettings& settings = {}, Bytes ceiling = kCeiling)
      : ceiling_(ceiling), guard_(settings, Milliseconds{0}) {}

  void Live(const Round& round, Milliseconds length = kRound) {
    now_ += length;
    reading_.counts.refusals += round.refusals;
    reading_.counts.grants += round.grants;
    reading_.counts.without_gain += round.without_gain;
    reading_.counts.collections += round.collections;
    reading_.charged = {round.charged_mib * kMiB};
    reading_.ceiling = ceiling_;
    if (const auto report = guard_.Observe(reading_, now_)) {
      reports.push_back(*report);
      reported_at.push_back(now_);
    }
  }
  void Live(int rounds, const std::function<Round(int)>& round) {
    for (int i = 0; i < rounds; ++i) Live(round(i));
  }
  [[nodiscard]] ThrashGuard& guard() { return guard_; }

  std::vector<ThrashReport> reports;
  std::vector<Milliseconds> reported_at;

 private:
  Bytes ceiling_;
  ThrashGuard guard_;
  ThrashReading reading_;
  Milliseconds now_{0};
};

// Each case lasts one minute.
TEST(ThrashGuard, ReportsThrashingAndIgnoresNormalLoad) {
  const struct {
    const char* what;
    std::function<Round(int)> round;
    bool thrashes;
  } table[] = {
      {"spins: nothing but refusals", [](int) { return Round{16, 0, 5}; }, true},
      {"spins slowly: a collection takes half a second", [](int i) { return i % 5 == 0 ? Round{5, 0, 2} : Round{}; },
       true},
      {"spins, and a collection takes longer than a quarter",
       [](int i) { return i % 14 == 0 ? Round{50, 0, 2} : Round{}; }, false},
      {"spins, and is granted a little", [](int) { return Round{16, 1, 5}; }, true},
      {"spins for more than a fifth of the limit", [](int) { return Round{16, 0, 5, 47}; }, true},
      {"idles at its limit", [](int) { return Round{}; }, false},
      {"is refused once every two seconds", [](int i) { return i % 20 == 0 ? Round{4, 0, 2} : Round{}; }, false},
      {"is refused in a storm every two seconds", [](int i) { return i % 20 < 3 ? Round{500, 0, 50} : Round{}; },
       false},
      {"is refused below its limit", [](int) { return Round{16, 0, 5, 30}; }, false},
      {"comes below its limit once a second", [](int i) { return Round{16, 0, 5, i % 10 == 0 ? 30u : 59u}; }, false},
      {"fills its heap again and again", [](int i) { return Round{i % 3 == 0 ? 16u : 0u, 400, 50}; }, false},
      {"is granted as often as refused", [](int) { return Round{16, 16, 5}; }, false},
      {"reserves a segment, is granted its first page and refused the rest, and releases it",
       [](int) { return Round{16, 16, 5, 59, 16}; }, true},
      {"is granted more than it reserves and releases", [](int) { return Round{16, 16, 5, 59, 8}; }, false},
      {"gets large blocks in between", [](int i) { return i % 10 == 0 ? Round{16, 1, 5, 59} : Round{16, 0, 5, 55}; },
       false},
      {"is refused too seldom to tell", [](int i) { return i % 10 == 0 ? Round{6, 0, 2} : Round{}; }, false},
      {"is refused once a second as a runtime is that tries four times",
       [](int i) { return i % 10 == 0 ? Round{4, 0, 2} : Round{}; }, false},
      {"collects without being refused", [](int) { return Round{0, 0, 20}; }, false},
  };
  for (const auto& row : table) {
    Life life;
    life.Live(600, row.round);
    EXPECT_EQ(!life.reports.empty(), row.thrashes) << row.what;
  }
}

TEST(ThrashGuard, ReportsOneWindowAtATimeWithItsFigures) {
  Life life;
  life.Live(20, [](int) { return Round{0, 100, 10}; });  // normal load before
  life.Live(150, [](int i) { return Round{3, 0, 2, i % 20 == 0 ? 58u : 57u}; });
  ASSERT_GE(life.reports.size(), 2U);
  const ThrashReport& report = life.reports.front();
  EXPECT_GE(report.window, Milliseconds{5000});
  EXPECT_LE(report.window, Milliseconds{5400});
  EXPECT_EQ(report.refusals, 3 * static_cast<std::uint64_t>(report.window / kRound));
  EXPECT_EQ(report.collections, 2 * static_cast<std::uint64_t>(report.window / kRound));
  EXPECT_GE(report.obtained.value, 2 * kMiB);
  EXPECT_LE(report.obtained.value, 3 * kMiB);
  // Thrashing begins after 2 s. The guard reports it after one window and at most two quarters of a window.
  EXPECT_LE(life.reported_at.front(), Milliseconds{2000 + 5000 + 2 * 1250 + 100});
  EXPECT_GE(life.reported_at[1] - life.reported_at[0], Milliseconds{5000});
}

TEST(ThrashGuard, RecoveryStartsANewWindow) {
  Life life;
  const auto spins = [](int) { return Round{16, 0, 5}; };
  life.Live(48, spins);
  life.Live(30, [](int) { return Round{0, 0, 0, 20}; });
  EXPECT_TRUE(life.reports.empty());
  life.Live(48, spins);
  EXPECT_TRUE(life.reports.empty());
  life.Live(30, spins);
  EXPECT_EQ(life.reports.size(), 1U);
}

TEST(ThrashGuard, ZeroWindowOrNoLimitReportsNothing) {
  const auto spins = [](int) { return Round{16, 0, 5}; };
  Life off({.window = Milliseconds{0}});
  off.Live(600, spins);
  EXPECT_TRUE(off.reports.empty());
  Life unlimited({}, kUnlimited);
  unlimited.Live(600, spins);
  EXPECT_TRUE(unlimited.reports.empty());
}

TEST(ThrashGuard, NewSettingsApplyAtOnceAndEqualSettingsChangeNothing) {
  Life life({.window = Milliseconds{3600000}});
  const auto spins = [](int) { return Round{16, 0, 5}; };
  life.Live(100, spins);
  life.guard().SetSettings({.window = Milliseconds{1000}, .refusals = 1000});
  life.Live(100, spins);
  EXPECT_TRUE(life.reports.empty()) << "160 in a second are fewer than 1000";
  for (int i = 0; i < 40; ++i) {
    life.guard().SetSettings({.window = Milliseconds{1000}, .refusals = 100});
    life.Live(spins(i));
  }
  EXPECT_GE(life.reports.size(), 2U);
}

TEST(ThrashGuard, LongGapBetweenObservationsReportsNothing) {
  Life life;
  life.Live({1000000, 0, 0}, Milliseconds{60000});
  life.Live({0, 0, 0}, Milliseconds{60000});
  EXPECT_TRUE(life.reports.empty());
}

// ---- a GC that keeps to its own limit

// Readings once a quarter of a window of 4 s. In each quarter the GC pauses the program for `paused` ms in
// `collections` collections, and the program allocates `allocated` bytes. The heap has 100 MiB.
std::optional<ThrashReport> ObserveGc(int quarters, int paused, std::uint64_t collections, std::uint64_t allocated) {
  GcThrashGuard guard;
  GcReading reading{.heap = {100 << 20}};
  std::optional<ThrashReport> last;
  for (int i = 0; i <= quarters; ++i) {
    last = guard.Observe(reading, Milliseconds{4000});
    reading.at += Milliseconds{1000};
    reading.paused += Milliseconds{paused};
    reading.collections += collections;
    reading.allocated = reading.allocated + Bytes{allocated};
  }
  return last;
}

TEST(GcThrash, NeedsNearlyAllTimeInCollectionsThatGainNearlyNothing) {
  const auto report = ObserveGc(4, 980, 10, 10 << 20);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->window, Milliseconds{4000});
  EXPECT_EQ(report->collections, 40u);
  EXPECT_EQ(report->obtained, Bytes{40 << 20});
  EXPECT_EQ(report->refusals, 0u);
  EXPECT_FALSE(ObserveGc(3, 980, 10, 10 << 20)) << "the window is not full";
  EXPECT_FALSE(ObserveGc(4, 970, 10, 10 << 20)) << "the program runs for 3 % of the time";
  EXPECT_FALSE(ObserveGc(4, 990, 10, 20 << 20)) << "each collection gains 2 % of the heap";
  EXPECT_FALSE(ObserveGc(4, 0, 0, 0)) << "no collection at all";
  EXPECT_TRUE(ObserveGc(4, 1000, 1, 0));
}

TEST(GcThrash, NextReportNeedsANewWindow) {
  EXPECT_FALSE(ObserveGc(5, 990, 10, 0));
  EXPECT_FALSE(ObserveGc(8, 990, 10, 0));
  EXPECT_TRUE(ObserveGc(9, 990, 10, 0));
}

TEST(GcThrash, RareReadingsMakeALongWindow) {
  GcThrashGuard guard;
  GcReading reading{.at = Milliseconds{1000}, .heap = {100 << 20}};
  const auto after = [&](int milliseconds, int paused) {
    reading.at += Milliseconds{milliseconds};
    reading.paused += Milliseconds{paused};
    reading.collections += 10;
    return guard.Observe(reading, Milliseconds{4000});
  };
  EXPECT_FALSE(after(0, 0));
  EXPECT_FALSE(after(2000, 0));
  EXPECT_FALSE(after(2000, 2000)) << "half of this window was spent";
  const auto report = after(9000, 9000);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->window, Milliseconds{9000});
  EXPECT_EQ(report->collections, 10u);
  EXPECT_FALSE(after(3000, 3000));
  EXPECT_TRUE(after(4000, 4000));
}

TEST(GcThrash, LongerWindowIsFilledAnew) {
  GcThrashGuard guard;
  GcReading reading{.heap = {100 << 20}};
  int reports = 0;
  for (int i = 0; i < 40; ++i) {
    reports += guard.Observe(reading, Milliseconds{i < 3 ? 4000 : 20'000}) ? 1 : 0;
    if (i < 20) {
      EXPECT_EQ(reports, 0) << i;
    }
    reading.at += Milliseconds{1000};
    reading.paused += Milliseconds{1000};
    reading.collections += 1;
  }
  EXPECT_EQ(reports, 1);
}

TEST(GcThrash, WindowOfZeroReportsNothing) {
  GcThrashGuard guard;
  GcReading reading;
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(guard.Observe(reading, Milliseconds{}));
    reading.at += Milliseconds{1000};
    reading.paused += Milliseconds{1000};
    reading.collections += 10;
  }
}

}  // namespace
}  // namespace clr_host_memory
