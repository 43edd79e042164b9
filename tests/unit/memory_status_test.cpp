#include "policy/memory_status.h"

#include <gtest/gtest.h>

#include <random>

#include "os/job_bound.h"
#include "policy/percent.h"

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kMost = kUnlimited.value - 1;

struct Row {
  const char* what;
  MemoryLoad load;
  LimitUse use;
  MemoryStatus status;
};

// A machine with 10,000 bytes, 6,000 of them available.
constexpr MemoryLoad Machine() {
  return {.percent_in_use = 40, .available_physical = {6000}, .total_physical = {10'000}};
}
constexpr MemoryLoad WithCommit(std::uint64_t available, std::uint64_t total) {
  MemoryLoad load = Machine();
  load.available_commit = {available};
  load.total_commit = {total};
  return load;
}
constexpr MemoryLoad WithJob(std::uint64_t available, std::uint64_t total) {
  MemoryLoad load = WithCommit(9000, 20'000);
  load.available_in_job = {available};
  load.total_in_job = {total};
  return load;
}

TEST(MemoryStatus, TightestBoundCounts) {
  const Row rows[] = {
      // A heap can grow up to the headroom. The machine appears as large as the limit.
      {"headroom is out of reach",
       Machine(),
       {.limit = {1000}, .charged = {400}, .headroom = {200}},
       {50, {1000}, {400}, {1000}, {400}}},
      {"in use is more than what is in reach",
       Machine(),
       {.limit = {1000}, .charged = {900}, .headroom = {200}},
       {100, {1000}, {}, {1000}, {}}},
      {"nothing but headroom", Machine(), {.limit = {1000}, .headroom = {1000}}, {100, {1000}, {}, {1000}, {}}},
      {"physical memory alone", Machine(), {}, {40, {10'000}, {6000}, kUnlimited, kUnlimited}},
      {"commit is ample", WithCommit(9000, 20'000), {}, {55, {10'000}, {6000}, {20'000}, {9000}}},
      {"commit is tight", WithCommit(100, 20'000), {}, {99, {10'000}, {100}, {20'000}, {100}}},
      {"commit limit 0 is none", WithCommit(50, 0), {}, {40, {10'000}, {6000}, kUnlimited, kUnlimited}},
      {"commit limit without end is none",
       WithCommit(50, kUnlimited.value),
       {},
       {40, {10'000}, {6000}, kUnlimited, kUnlimited}},
      {"more available than there is", WithCommit(30'000, 20'000), {}, {40, {10'000}, {6000}, {20'000}, {20'000}}},
      {"a job", WithJob(250, 1000), {}, {75, {1000}, {250}, {1000}, {250}}},
      {"a roomy job", WithJob(50'000, 50'000), {}, {55, {10'000}, {6000}, {20'000}, {9000}}},
      {"a limit", Machine(), {{1000}, {100}, {}}, {40, {1000}, {900}, {1000}, {900}}},
      {"a limit used more than the machine", Machine(), {{1000}, {410}, {}}, {41, {1000}, {590}, {1000}, {590}}},
      {"what is outside counts", Machine(), {{1000}, {410}, {300}}, {71, {1000}, {290}, {1000}, {290}}},
      {"a limit above the machine", Machine(), {{20'000}, {1000}, {}}, {40, {10'000}, {6000}, {20'000}, {19'000}}},
      {"a limit that is full", Machine(), {{1000}, {1000}, {}}, {100, {1000}, {0}, {1000}, {0}}},
      {"one below what is in use", Machine(), {{1000}, {5000}, {}}, {100, {1000}, {0}, {1000}, {0}}},
      {"sums that overflow", Machine(), {{1000}, {kMost}, {kMost}}, {100, {1000}, {0}, {1000}, {0}}},
      {"outside without a limit is no matter",
       Machine(),
       {kUnlimited, {5}, {7}},
       {40, {10'000}, {6000}, kUnlimited, kUnlimited}},
      {"a limit of nothing", Machine(), {{0}, {0}, {}}, {100, {1}, {0}, {1}, {0}}},
      {"limit, job and commit at once", WithJob(700, 2000), {{1000}, {200}, {}}, {65, {1000}, {700}, {1000}, {700}}},
      {"the largest numbers",
       Machine(),
       {{kMost}, {kMost / 2}, {}},
       {50, {10'000}, {6000}, {kMost}, {kMost - kMost / 2}}},
      {"rounded down", Machine(), {{1000}, {999}, {}}, {99, {1000}, {1}, {1000}, {1}}},
      {"small limits are exact", Machine(), {{4096}, {4096}, {}}, {100, {4096}, {0}, {4096}, {0}}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const MemoryStatus status = StatusOf(row.load, row.use);
    EXPECT_EQ(status.percent_in_use, row.status.percent_in_use);
    EXPECT_EQ(status.total_physical, row.status.total_physical);
    EXPECT_EQ(status.available_physical, row.status.available_physical);
    EXPECT_EQ(status.total_commit, row.status.total_commit);
    EXPECT_EQ(status.available_commit, row.status.available_commit);
  }
}

TEST(MemoryStatus, SourcesCoverEveryBound) {
  MemoryLoad load = WithJob(250, 1000);
  load.available_commit = {18'000};
  EXPECT_EQ(AvailablePercent({SourcesOf(load, {{400}, {300}, {}})}), 25U);  // the same for the job and the limit
  EXPECT_EQ(AvailablePercent({SourcesOf(load, {{400}, {300}, {60}})}), 10U);
  EXPECT_EQ(AvailablePercent({SourcesOf(load, {{400}, {500}, {}})}), 0U);
  EXPECT_EQ(AvailablePercent({SourcesOf(load, {})}), 25U);
  EXPECT_EQ(AvailablePercent({SourcesOf(WithCommit(400, 20'000), {})}), 2U);
  EXPECT_EQ(AvailablePercent({SourcesOf(Machine(), {})}), 60U);
  EXPECT_EQ(AvailablePercent({SourcesOf({}, {})}), 100U);
  EXPECT_EQ(AvailablePercent({SourcesOf({}, {{0}, {}, {}})}), 0U);
}

TEST(MemoryStatus, OverLimitIsExact) {
  EXPECT_EQ(OverLimit({}), Bytes{});
  EXPECT_EQ(OverLimit({kUnlimited, {kMost}, {kMost}}), Bytes{});
  EXPECT_EQ(OverLimit({{1000}, {1000}, {}}), Bytes{});
  EXPECT_EQ(OverLimit({{1000}, {1001}, {}}), Bytes{1});
  EXPECT_EQ(OverLimit({{1000}, {600}, {500}}), Bytes{100});
  EXPECT_EQ(OverLimit({{1000}, {kMost}, {kMost}}), kUnlimited - Bytes{1000});
}

TEST(PercentOf, RoundsDownForEverySize) {
  EXPECT_EQ(PercentOf({0}, {1}), 0U);
  EXPECT_EQ(PercentOf({1}, {1}), 100U);
  EXPECT_EQ(PercentOf({2}, {1}), 100U);
  EXPECT_EQ(PercentOf({kMost}, {kMost}), 100U);
  EXPECT_EQ(PercentOf({kMost - 1}, {kMost}), 99U);
  EXPECT_EQ(PercentOf({kMost}, {1}), 100U);
  for (std::uint64_t whole = 1; whole < 350; ++whole) {
    for (std::uint64_t part = 0; part <= whole; ++part) {
      ASSERT_EQ(PercentOf({part}, {whole}), part * 100 / whole) << part << " of " << whole;
    }
  }
  std::mt19937_64 random(4);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t whole = random() % (UINT64_MAX / 100) + 1;
    const std::uint64_t part = random() % (whole + 1);
    ASSERT_EQ(PercentOf({part}, {whole}), part * 100 / whole) << part << " of " << whole;
  }
}

TEST(TightestInJob, LimitWithTheLeastRoomCounts) {
  struct Case {
    JobFigures figures;
    std::uint64_t total, available;
  };
  const Case cases[] = {
      {{}, 0, 0},
      {{.job_used = {50}, .process_used = {40}}, 0, 0},
      {{.job_limit = {100}, .job_used = {30}, .process_used = {20}}, 100, 70},
      {{.job_limit = {100}, .process_used = {20}}, 100, 80},  // the job's own use is unknown
      {{.job_limit = {100}, .job_used = {130}}, 100, 0},
      {{.process_limit = {100}, .process_used = {20}}, 100, 80},
      {{.job_limit = {1000}, .job_used = {900}, .process_limit = {200}, .process_used = {50}}, 1000, 100},
      {{.job_limit = {1000}, .job_used = {100}, .process_limit = {200}, .process_used = {50}}, 200, 150},
      {{.job_limit = {300}, .job_used = {100}, .process_limit = {250}, .process_used = {50}}, 250, 200},
      {{.job_limit = kUnlimited, .process_limit = {64 * kMiB}, .process_used = {kMiB}}, 64 * kMiB, 63 * kMiB},
      {{.job_limit = {64 * kMiB}, .job_used = {kMiB}, .process_limit = kUnlimited}, 64 * kMiB, 63 * kMiB},
  };
  for (const Case& it : cases) {
    const JobBound bound = TightestInJob(it.figures);
    EXPECT_EQ(bound.total, Bytes{it.total});
    EXPECT_EQ(bound.available, Bytes{it.available});
  }
}

}  // namespace
}  // namespace clr_host_memory
