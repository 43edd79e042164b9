// Units, the admission policy and the budget.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <ios>
#include <limits>
#include <thread>
#include <vector>

#include "base/units.h"
#include "budget/budget.h"
#include "policy/admission.h"
#include "policy/gc_limit.h"

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMiB = 1024 * 1024;

struct CoveringCase {
  Address address;
  std::uint64_t size;
  std::uint64_t first;
  std::uint64_t count;  // 0: no range
};

TEST(PageRangeCovering, RoundsOutwardsWithoutOverflow) {
  constexpr CoveringCase kCases[] = {
      {0, 0, 0, 0},
      {0, 1, 0, 1},
      {0, kPageSize, 0, 1},
      {0, kPageSize + 1, 0, 2},
      {kPageSize - 1, 1, 0, 1},
      {kPageSize - 1, 2, 0, 2},
      {kPageSize, kPageSize, 1, 1},
      {5 * kPageSize + 17, kPageSize, 5, 2},
      {0x7FFF'FFFE'F000, kPageSize, 0x7'FFFF'FFEF, 1},
      {kMax, 1, 0, 0},
      {kMax - kPageSize, 1, 0, 0},
      {kMax - kPageSize + 1, 1, 0, 0},
      {kMax - 2 * kPageSize, kPageSize, (kMax >> kPageShift) - 2, 2},
      {kMax - 2 * kPageSize, kPageSize + 1, 0, 0},
      {0, kMax, 0, 0},
      {0, kMax - kPageSize + 1, 0, 0},
      {0, kMax - kPageSize, 0, kMax >> kPageShift},
      {1, kMax, 0, 0},
  };
  for (const CoveringCase& c : kCases) {
    const auto range = PageRange::Covering(c.address, c.size);
    SCOPED_TRACE(testing::Message() << std::hex << "address " << c.address << ", size " << c.size);
    EXPECT_EQ(range.has_value(), c.count != 0);
    if (!range) continue;
    EXPECT_EQ(range->first, c.first);
    EXPECT_EQ(range->count.value, c.count);
    EXPECT_GE(range->end(), range->first);
  }
}

TEST(PageRangeContains, IsTrueOnlyForSubranges) {
  const PageRange range{10, {5}};
  EXPECT_TRUE(range.Contains({10, {5}}));
  EXPECT_TRUE(range.Contains({14, {1}}));
  EXPECT_FALSE(range.Contains({9, {2}}));
  EXPECT_FALSE(range.Contains({14, {2}}));
}

TEST(Rounding, RoundsDownToPagesAndGranules) {
  EXPECT_EQ(RoundDownToPage(0x12345FFF), 0x12345000u);
  EXPECT_EQ(RoundDownToGranule(0x12345FFF), 0x12340000u);
  EXPECT_TRUE(IsGranuleAligned(0x12340000));
  EXPECT_FALSE(IsGranuleAligned(0x12341000));
}

struct AdmissionCase {
  std::uint64_t bytes;
  std::uint64_t charged;
  Criticality level;
  Admission verdict;
};

TEST(AdmissionPolicy, EachLevelFillsUpToItsOwnCeiling) {
  constexpr Limits kLimits{.limit = {1000}, .app_domain_headroom = {100}, .process_headroom = {200}};
  constexpr AdmissionCase kCases[] = {
      {700, 0, Criticality::kTask, Admission::kAdmitted},
      {701, 0, Criticality::kTask, Admission::kOverCeiling},
      {1, 699, Criticality::kTask, Admission::kAdmitted},
      {1, 700, Criticality::kTask, Admission::kOverCeiling},
      {800, 0, Criticality::kAppDomain, Admission::kAdmitted},
      {801, 0, Criticality::kAppDomain, Admission::kOverCeiling},
      {1000, 0, Criticality::kProcess, Admission::kAdmitted},
      {1001, 0, Criticality::kProcess, Admission::kOverCeiling},
      {1, 1000, Criticality::kProcess, Admission::kOverCeiling},
      {0, 5000, Criticality::kTask, Admission::kAdmitted},  // nothing new to charge
      {1, 5000, Criticality::kProcess, Admission::kOverCeiling},
      {kMax, 500, Criticality::kProcess, Admission::kOverCeiling},  // the sum would wrap
      {kMax, kMax, Criticality::kProcess, Admission::kOverCeiling},
  };
  for (const AdmissionCase& c : kCases) {
    EXPECT_EQ(Admit({{c.bytes}, c.level}, {{c.charged}}, CeilingsOf(kLimits)), c.verdict)
        << c.bytes << " on top of " << c.charged << " at level " << static_cast<int>(c.level);
  }
}

TEST(AdmissionPolicy, HigherLevelIsAdmittedWhereverALowerOneIs) {
  for (const std::uint64_t limit : std::array<std::uint64_t, 5>{1, 4096, kMiB, kMiB << 20, kMax}) {
    for (const std::uint64_t domain : std::array<std::uint64_t, 4>{0, 1, 4096, kMiB << 10}) {
      for (const std::uint64_t process : std::array<std::uint64_t, 4>{0, 1, 8192, kMiB << 11}) {
        const Limits limits{{limit}, {domain}, {process}};
        if (Validate(limits) != LimitsError::kNone) continue;
        const Ceilings ceilings = CeilingsOf(limits);
        for (const std::uint64_t charged : {std::uint64_t{0}, limit / 2, limit - 1, limit}) {
          for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, limit / 4, limit, kMax}) {
            bool admitted = false;
            for (const auto level : {Criticality::kTask, Criticality::kAppDomain, Criticality::kProcess}) {
              const bool now = Admit({{bytes}, level}, {{charged}}, ceilings) == Admission::kAdmitted;
              EXPECT_TRUE(now || !admitted) << limit << ' ' << domain << ' ' << process << ' ' << charged;
              admitted = now;
            }
          }
        }
      }
    }
  }
}

TEST(AdmissionPolicy, HeadroomAboveTheLimitIsRejected) {
  struct Case {
    Limits limits;
    LimitsError error;
  };
  const Case cases[] = {
      {{}, LimitsError::kNone},
      {{.limit = {0}}, LimitsError::kLimitIsZero},
      {{{100}, {40}, {60}}, LimitsError::kNone},
      {{{100}, {41}, {60}}, LimitsError::kHeadroomExceedsLimit},
      {{{100}, {0}, {101}}, LimitsError::kHeadroomExceedsLimit},
      {{{100}, {kMax}, {1}}, LimitsError::kHeadroomExceedsLimit},  // the sum would wrap
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Validate(c.limits), c.error)
        << c.limits.limit.value << ' ' << c.limits.app_domain_headroom.value << ' ' << c.limits.process_headroom.value;
  }
}

TEST(AdmissionPolicy, DefaultHeadroomIsAtMostAQuarterOfTheLimit) {
  EXPECT_EQ(DefaultHeadroom(kUnlimited).process, Bytes{});
  for (std::uint64_t limit = 1; limit != 0; limit <<= 1) {
    for (const std::uint64_t value : {limit - 1, limit, limit + 1}) {
      if (value == 0) continue;
      const Headroom headroom = DefaultHeadroom({value});
      const Limits limits{{value}, headroom.app_domain, headroom.process};
      EXPECT_EQ(Validate(limits), LimitsError::kNone) << value;
      EXPECT_LE((headroom.app_domain + headroom.process).value, value / 4) << value;
    }
  }
  EXPECT_EQ(DefaultHeadroom({128 * kMiB}).process, Bytes{4 * kMiB});
  EXPECT_EQ(DefaultHeadroom({128 * kMiB}).app_domain, Bytes{kMiB});
  EXPECT_EQ(DefaultHeadroom({std::uint64_t{1} << 40}).process, Bytes{32 * kMiB});
  EXPECT_EQ(DefaultHeadroom({128 * kMiB}, {16 * kMiB}).process, Bytes{16 * kMiB}) << "as much as is to be committed";
  EXPECT_EQ(DefaultHeadroom({128 * kMiB}, {64 * kMiB}).process, Bytes{32 * kMiB}) << "but a quarter of the limit";
}

TEST(GcLimit, AtStartLeavesRoomForTheRestOfTheRuntime) {
  EXPECT_EQ(GcLimitAtStart({}), kUnlimited);
  EXPECT_EQ(GcLimitAtStart({.limit = {128 * kMiB}, .headroom = {5 * kMiB}}), Bytes{118 * kMiB});
  EXPECT_EQ(GcLimitAtStart({.limit = {128 * kMiB}, .outside = {20 * kMiB}, .headroom = {5 * kMiB}}), Bytes{98 * kMiB});
  EXPECT_EQ(GcLimitAtStart({.limit = {13 * kMiB}, .headroom = {kMiB}}), kLeastGcLimit) << "with less no GC is sound";
}

TEST(GcLimit, IsWhatHeadroomAndTheRestOfTheChargeLeave) {
  EXPECT_EQ(GcLimitNow({.charged = {100 * kMiB}}, {50 * kMiB}), kUnlimited);
  const LimitUse use{.limit = {100 * kMiB}, .charged = {60 * kMiB}, .outside = {10 * kMiB}, .headroom = {5 * kMiB}};
  EXPECT_EQ(GcLimitNow(use, {40 * kMiB}), Bytes{65 * kMiB});
  EXPECT_EQ(GcLimitNow(use, {90 * kMiB}), Bytes{95 * kMiB}) << "figures of two moments";
  EXPECT_EQ(GcLimitNow({.limit = {20 * kMiB}, .charged = {60 * kMiB}}, {kMiB}), Bytes{kPageSize}) << "0 is no limit";
}

TEST(GcLimit, IsToldOnlyIfItMustFallOrMayRiseByMoreThanAStep) {
  const Bytes limit{64 * kMiB};  // a step is 1 MiB
  const Bytes told{40 * kMiB};
  EXPECT_EQ(GcLimitToTell({told, told, told}, limit), Bytes{});
  EXPECT_EQ(GcLimitToTell({told, {41 * kMiB}, told}, limit), Bytes{});
  EXPECT_EQ(GcLimitToTell({told, {41 * kMiB + 1}, told}, limit), Bytes{41 * kMiB - kMiB / 2});
  EXPECT_EQ(GcLimitToTell({told, {40 * kMiB - 1}, told}, limit), Bytes{39 * kMiB + kMiB / 2 - kPageSize});
  EXPECT_EQ(GcLimitToTell({told, {40 * kMiB - 1}, told, {kMiB / 4}}, limit), Bytes{39 * kMiB + kMiB / 2 - kPageSize});
  EXPECT_EQ(GcLimitToTell({told, {39 * kMiB}, told, {2 * kMiB}}, limit), Bytes{37 * kMiB})
      << "room for as much growth again";
  EXPECT_EQ(GcLimitToTell({told, {39 * kMiB}, told, {20 * kMiB}}, limit), Bytes{35 * kMiB}) << "at most a sixteenth";
  EXPECT_EQ(GcLimitToTell({told, {45 * kMiB}, {29 * kMiB}}, limit), Bytes{}) << "it does not need so little more yet";
  EXPECT_EQ(GcLimitToTell({told, {45 * kMiB}, {30 * kMiB}}, limit), Bytes{44 * kMiB + kMiB / 2});
  EXPECT_EQ(GcLimitToTell({told, {46 * kMiB}, {}}, limit), Bytes{45 * kMiB + kMiB / 2});
  EXPECT_EQ(GcLimitToTell({told, kUnlimited, {}}, kUnlimited), kUnlimited);
  EXPECT_EQ(GcLimitToTell({kUnlimited, kUnlimited, {}}, kUnlimited), Bytes{});
  EXPECT_EQ(GcLimitToTell({kUnlimited, {kPageSize}, kUnlimited}, limit), Bytes{kPageSize});
}

TEST(BudgetTest, RefusedChargeChangesNothing) {
  Budget budget({.limit = {1000}, .process_headroom = {100}});
  EXPECT_EQ(budget.TryCharge({900}, Criticality::kTask), Admission::kAdmitted);
  EXPECT_EQ(budget.TryCharge({1}, Criticality::kTask), Admission::kOverCeiling);
  EXPECT_EQ(budget.Charged(), Bytes{900});
  EXPECT_EQ(budget.TryCharge({100}, Criticality::kProcess), Admission::kAdmitted);
  budget.Uncharge({1000});
  EXPECT_EQ(budget.Charged(), Bytes{});
}

TEST(BudgetTest, PeakIsTheHighestNotedCharge) {
  Budget budget({});
  ASSERT_EQ(budget.TryCharge({100}, Criticality::kTask), Admission::kAdmitted);
  EXPECT_EQ(budget.Peak(), Bytes{});  // the request may still fail
  budget.NotePeak();
  budget.Uncharge({90});
  budget.NotePeak();
  EXPECT_EQ(budget.Peak(), Bytes{100});
}

TEST(BudgetTest, ConcurrentSetLimitsNeverMixes) {
  const Limits little{.limit = {10}, .app_domain_headroom = {1}, .process_headroom = {2}};
  const Limits large{.limit = {100}, .app_domain_headroom = {10}, .process_headroom = {20}};
  Budget budget(little);
  const auto is = [](const Limits& a, const Limits& b) {
    return a.limit == b.limit && a.app_domain_headroom == b.app_domain_headroom &&
           a.process_headroom == b.process_headroom;
  };
  std::atomic<bool> stop = false;
  const auto set = [&](const Limits& limits) {
    while (!stop.load()) budget.SetLimits(limits);
  };
  std::thread first(set, little);
  std::thread second(set, large);
  int mixtures = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Limits seen = budget.CurrentLimits();
    if (!is(seen, little) && !is(seen, large)) ++mixtures;
  }
  stop.store(true);
  first.join();
  second.join();
  EXPECT_EQ(mixtures, 0);
  EXPECT_TRUE(is(budget.CurrentLimits(), little) || is(budget.CurrentLimits(), large));
}

TEST(BudgetTest, LimitsReadBackAsSet) {
  Budget budget({});
  EXPECT_EQ(budget.CurrentLimits().limit, kUnlimited);
  EXPECT_EQ(budget.CurrentLimits().process_headroom, Bytes{});
  budget.SetLimits({{1000}, {10}, {200}});
  EXPECT_EQ(budget.CurrentLimits().limit, Bytes{1000});
  EXPECT_EQ(budget.CurrentLimits().app_domain_headroom, Bytes{10});
  EXPECT_EQ(budget.CurrentLimits().process_headroom, Bytes{200});
}

TEST(BudgetTest, LimitBelowTheChargeRefusesUntilEnoughIsUncharged) {
  Budget budget({.limit = {1000}});
  ASSERT_EQ(budget.TryCharge({800}, Criticality::kTask), Admission::kAdmitted);
  budget.SetLimits({.limit = {500}});
  EXPECT_EQ(budget.TryCharge({1}, Criticality::kProcess), Admission::kOverCeiling);
  EXPECT_EQ(budget.TryCharge({0}, Criticality::kTask), Admission::kAdmitted);
  budget.Uncharge({301});
  EXPECT_EQ(budget.TryCharge({1}, Criticality::kTask), Admission::kAdmitted);
}

TEST(BudgetTest, ConcurrentChargesStayWithinTheLimit) {
  Budget budget({.limit = {100}});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        if (budget.TryCharge({7}, Criticality::kTask) != Admission::kAdmitted) continue;
        EXPECT_LE(budget.Charged(), Bytes{100});
        budget.NotePeak();
        budget.Uncharge({7});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.Charged(), Bytes{});
  EXPECT_LE(budget.Peak(), Bytes{100});
}

}  // namespace
}  // namespace clr_host_memory
