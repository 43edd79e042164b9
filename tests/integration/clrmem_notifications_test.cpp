// Tests that a real runtime knows the manager's limit, and how it reacts to a Low notification.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

// A generation 0 (64 MiB) that none of these programs fills: each collection is caused by a notification.
const Environment kLargeGeneration0 = {{"DOTNET_GCgen0size", "4000000"}};

// ---- the memory size that the GC sees ----

const GcVariant kGcs[] = {kWorkstation, kServerGc, kStandaloneGc};

struct MemoryInfo {
  std::uint64_t total = 0;
  std::uint64_t high_load = 0;
  std::uint64_t load = 0;
};

// Parses the lines that the program MemoryInfo prints.
std::vector<MemoryInfo> ParseMemoryInfo(const std::string& out) {
  std::vector<MemoryInfo> result;
  std::istringstream lines(out);
  MemoryInfo info;
  while (lines >> info.total >> info.high_load >> info.load) result.push_back(info);
  return result;
}

class ClrmemMemoryInfo : public testing::TestWithParam<std::tuple<Runtime, GcVariant>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(runtime())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static const Runtime& runtime() { return std::get<0>(GetParam()); }
  [[nodiscard]] static const Environment& environment() { return std::get<1>(GetParam()).environment; }
};

TEST_P(ClrmemMemoryInfo, FollowsTheLimitWhileTheProgramRuns) {
  const RunWithSummary run = RunProgram({"--limit", "128M", "--gc-limit", "off"}, ProgramPath(runtime(), "MemoryInfo"),
                                        {"64", "256", "96"}, environment());
  ASSERT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  const std::vector<MemoryInfo> infos = ParseMemoryInfo(run.process.out);
  const std::uint64_t limits[] = {128 * kMiB, 64 * kMiB, 256 * kMiB, 96 * kMiB};
  ASSERT_EQ(infos.size(), std::size(limits)) << run.process.out;
  for (std::size_t index = 0; index < infos.size(); ++index) {
    SCOPED_TRACE(limits[index] / kMiB);
    EXPECT_EQ(infos[index].total, limits[index]);
    EXPECT_NEAR(static_cast<double>(infos[index].high_load), 0.9 * static_cast<double>(limits[index]), 1.0 * kMiB);
    EXPECT_GT(infos[index].load, 0u);
    EXPECT_LT(infos[index].load, limits[index] / 2);
  }
  EXPECT_EQ(run.summary["limit_bytes"], 96 * kMiB);
}

TEST_P(ClrmemMemoryInfo, LetsTheGcUseALimitRaisedTwelvefold) {
  const RunWithSummary run = RunProgram({"--limit", "64M", "--gc-limit", "off"}, ProgramPath(runtime(), "MemoryInfo"),
                                        {"768", "+500"}, environment());
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_GE(run.summary["memory"]["peak_charged_bytes"], 500 * kMiB);
}

TEST_P(ClrmemMemoryInfo, MatchesTheMachineWithoutALimit) {
  const std::string program = ProgramPath(runtime(), "MemoryInfo");
  const auto bridged = ParseMemoryInfo(RunProgram({}, program, {}, environment()).process.out);
  const auto alone = ParseMemoryInfo(RunProgram({"--no-bridge"}, program, {}, environment()).process.out);
  ASSERT_EQ(bridged.size(), 1u);
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ(bridged[0].total, alone[0].total);
  EXPECT_EQ(bridged[0].high_load, alone[0].high_load);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemMemoryInfo,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::ValuesIn(kGcs)), VariantName());

// ---- the effects of a notification ----

class ClrmemNotifications : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
};

// Returns the number after a word in the program's output; -1 if the output lacks it.
int NumberAfter(const std::string& text, const std::string& word) {
  const std::size_t at = text.find(word + " ");
  return at == std::string::npos ? -1 : std::stoi(text.substr(at + word.size() + 1));
}

TEST_P(ClrmemNotifications, LowCollectsAnIdleProgramUntilNeutral) {
  const RunWithSummary run =
      RunProgram({"--limit", "256M"}, ProgramPath(GetParam(), "IdleCollections"), {}, kLargeGeneration0);
  ASSERT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_EQ(NumberAfter(run.process.out, "before"), 0) << run.process.out;
  EXPECT_GE(NumberAfter(run.process.out, "low"), 2) << run.process.out;
  EXPECT_EQ(NumberAfter(run.process.out, "neutral"), 0) << run.process.out;
  EXPECT_EQ(run.summary["calls"]["register_memory_notification_callback"]["ok"], 1) << "the bridge registers once";
}

// Returns the number of refusals by the limit, summed over all levels.
int RefusedByLimit(const RunWithSummary& run) {
  int refused = 0;
  for (const auto& [level, count] : run.summary["limit_refusals"].items()) refused += count.get<int>();
  return refused;
}

// The program's cache releases its entries on a collection. The program requests 160 MiB of native memory, unknown to
// the GC, under a limit of 128 MiB. Two runs have the same limit and the same memory status: one receives
// notifications, the "deaf" run does not. The runtime may answer a refusal with an exception or with a collection just
// in time. In either case the deaf run is refused before its cache releases anything, and the other run is never
// refused.
TEST_P(ClrmemNotifications, CacheShrinksBeforeAnyRefusal) {
  for (const char* kind : {"weak", "table", "finalizer"}) {
    SCOPED_TRACE(kind);
    const auto serve = [&](const std::vector<std::string>& arguments) {
      // A GC with its own limit reports its own load, and the cache asks the GC for the load.
      return RunProgram({"--limit", "128M", "--gc-limit", "off"}, ProgramPath(GetParam(), "BufferCache"), arguments,
                        kLargeGeneration0);
    };
    const RunWithSummary hearing = serve({kind, "native"});
    EXPECT_EQ(hearing.process.exit_code, 0u) << hearing.process.out << hearing.process.error;
    EXPECT_THAT(hearing.process.out, HasSubstr("served 80 requests"));
    ASSERT_TRUE(hearing.summary.is_object()) << hearing.process.error;
    EXPECT_EQ(RefusedByLimit(hearing), 0) << hearing.process.error;
    // Only a notification causes a collection here.
    EXPECT_GE(NumberAfter(hearing.process.out, "requests,"), 1) << hearing.process.out;
    EXPECT_GE(hearing.summary["pressure"]["told"]["low"], 1);
    EXPECT_EQ(hearing.summary["audit"]["mismatch_bytes"], 0);

    const RunWithSummary deaf = serve({kind, "native", "deaf"});
    ASSERT_TRUE(deaf.summary.is_object()) << deaf.process.out << deaf.process.error;
    EXPECT_GT(RefusedByLimit(deaf), 0) << deaf.process.out << deaf.process.error;
    EXPECT_EQ(deaf.summary["pressure"]["told"]["low"], 0);
    EXPECT_EQ(deaf.summary["audit"]["mismatch_bytes"], 0);
    const auto peak = [](const RunWithSummary& run) {
      return run.summary["memory"]["peak_charged_bytes"].get<std::uint64_t>();
    };
    // The program waits at 73 % of the limit. The deaf run fills the limit up to its first refusal.
    EXPECT_LT(peak(hearing), 112 * kMiB) << "the program waits when it has 93 MiB";
    EXPECT_GT(peak(deaf), peak(hearing));
  }
}

// Repeats the test with managed buffers. A collection frees them only after the finalizers that drop them have run. The
// GC knows these buffers, so a deaf program may survive, too.
TEST_P(ClrmemNotifications, ManagedBufferCacheShrinksBeforeAnyRefusal) {
  const RunWithSummary run =
      RunProgram({"--limit", "128M", "--gc-limit", "off"}, ProgramPath(GetParam(), "BufferCache"),
                 {"finalizer", "managed"}, kLargeGeneration0);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("served 80 requests"));
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(RefusedByLimit(run), 0) << run.process.error;
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemNotifications, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
