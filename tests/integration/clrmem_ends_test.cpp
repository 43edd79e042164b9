// Tests how programs end that need more than the limit leaves, also outside of the GC's heap. No end may be worse than
// without the manager. The GC's heap has to shrink before a commit for code, types or native blocks is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"
#include "integration/sound_run.h"

namespace clrhm_test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint32_t kCaughtOutOfMemory = 42;
constexpr std::uint32_t kUnhandledException = 0xE0434352;
constexpr std::uint32_t kRefusedAtStart = 2;
constexpr std::uint32_t kStoppedByThrashGuard = 124;

std::string Described(const RunWithSummary& run) {
  std::ostringstream text;
  text << "exit code 0x" << std::hex << run.process.exit_code << "\n" << run.process.out << run.process.error;
  return text.str();
}

RunWithSummary RunWithin60Seconds(const std::vector<std::string>& options, const std::string& program,
                                  const std::vector<std::string>& arguments = {}, const Environment& environment = {}) {
  ProcessSettings settings;
  settings.environment = environment;
  settings.timeout = std::chrono::seconds(60);
  return RunProgramWith(settings, options, program, arguments);
}

// Expects an allowed end: by the program itself, by an OutOfMemoryException, by the thrash guard, or a start that was
// refused with the least limit. An OutOfMemoryException is unhandled if there is no memory to catch it with.
void ExpectAllowedEnd(const RunWithSummary& run) {
  ASSERT_FALSE(run.process.timed_out) << Described(run);
  if (run.process.exit_code == kRefusedAtStart) {
    EXPECT_THAT(run.process.error, HasSubstr("give --limit "));
    return;
  }
  EXPECT_THAT(run.process.exit_code, AnyOf(0U, kCaughtOutOfMemory, kUnhandledException, kStoppedByThrashGuard))
      << Described(run);
  if (run.process.exit_code == kUnhandledException) {
    EXPECT_THAT(run.process.error, HasSubstr("Out of memory."));
  }
  ExpectSound(run);
}

struct Need {
  const char* name;
  const char* program;
  std::vector<std::string> arguments;
  std::vector<std::string> options;  // beside --on-thrash=stop
};

const Need kNeeds[] = {
    {"KeptDynamicMethods", "KeptDynamicMethods", {}, {"--limit", "24M"}},
    {"ManyTypes", "ManyTypes", {}, {"--limit", "24M"}},
    {"RaisedCode", "RaisedNeed", {"code"}, {"--limit", "24M"}},
    {"RaisedTypes", "RaisedNeed", {"types"}, {"--limit", "24M"}},
    {"RaisedNative", "RaisedNeed", {"native"}, {"--limit", "24M"}},
    {"RaisedCodeAt64MiB", "RaisedNeed", {"code"}, {"--limit", "64M"}},
    {"RaisedTypesAt64MiB", "RaisedNeed", {"types"}, {"--limit", "64M"}},
    {"RaisedNativeAt64MiB", "RaisedNeed", {"native"}, {"--limit", "64M"}},
    {"DataLibrary", "DataLibrary", {"28"}, {"--limit", "24M"}},
    {"DataLibraryAt56MiB", "DataLibrary", {"28"}, {"--limit", "56M"}},
    {"DataLibraryThatExhausts", "DataLibrary", {"28", "exhaust"}, {"--limit", "56M"}},
    {"NativeFinalizers", "NativeFinalizers", {}, {"--limit", "24M"}},
    {"NativeFinalizersThatWait", "NativeFinalizers", {}, {"--limit", "24M", "--wait", "2s"}},
};

std::ostream& operator<<(std::ostream& out, const Need& need) { return out << need.name; }

class ClrmemEnds : public testing::TestWithParam<std::tuple<Runtime, Need>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(std::get<0>(GetParam()))) GTEST_SKIP() << *why;
  }
};

TEST_P(ClrmemEnds, ProgramEndsInAnAllowedWay) {
  const auto& [runtime, need] = GetParam();
  std::vector<std::string> options = need.options;
  options.insert(options.end(), {"--on-thrash", "stop"});
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);
    const RunWithSummary run = RunWithin60Seconds(options, ProgramPath(runtime, need.program), need.arguments);
    ExpectAllowedEnd(run);
    if (run.summary.is_object()) {
      EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], run.summary["limit_bytes"]) << run.summary.dump(2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemEnds,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::ValuesIn(kNeeds)),
                         [](const auto& tested) {
                           return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param).name;
                         });

class ClrmemLiveLimit : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
};

TEST_P(ClrmemLiveLimit, UnboundedRecursionEndsAsWithoutTheManager) {
  if (IsWine()) {
    GTEST_SKIP() << "needs Windows: Wine 8 has no stack guarantee, and leaves the process hanging under every host";
  }
  const std::string program = ProgramPath(GetParam(), "DataLibrary");
  const std::vector<std::string> arguments{"28", "recurse"};
  const RunWithSummary expected = RunWithin60Seconds({"--no-bridge"}, program, arguments);
  const RunWithSummary run = RunWithin60Seconds({"--limit", "80M"}, program, arguments);
  ASSERT_FALSE(run.process.timed_out) << Described(run);
  EXPECT_EQ(run.process.exit_code, expected.process.exit_code) << Described(run) << Described(expected);
  EXPECT_NE(run.process.exit_code, 0U);
}

TEST_P(ClrmemLiveLimit, RaisedLimitLetsTheProgramGrowAgain) {
  const RunWithSummary run =
      RunWithin60Seconds({"--limit", "80M", "--limit-at", "500ms=40M", "--limit-at", "1500ms=160M"},
                         ProgramPath(GetParam(), "AllocateUntilOom"), {"100", "256", "2500"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0U) << Described(run);
  EXPECT_THAT(run.process.out, HasSubstr("allocated 100 MiB"));
}

// The limit is set below what is in use, in a program that was started without one. That is no reason to fail fast.
TEST_P(ClrmemLiveLimit, BelowTheLiveDataOfAnUnlimitedProgramEndsInAnAllowedWay) {
  for (const GcVariant& gc : {kWorkstation, kServerGc}) {
    SCOPED_TRACE(gc.name);
    const RunWithSummary run =
        RunWithin60Seconds({"--limit-at", "1s=32M"}, ProgramPath(GetParam(), "JsonCache"), {"40", "5"}, gc.environment);
    ExpectAllowedEnd(run);
  }
}

// What managed code can ask about memory agrees with the limit.
TEST_P(ClrmemLiveLimit, MemoryLoadIsWithinAContainersLimit) {
  const RunWithSummary run =
      RunWithin60Seconds({"--limit", "48M", "--gc-container"}, ProgramPath(GetParam(), "MemoryInfo"));
  ExpectSound(run);
  std::istringstream out(run.process.out);
  std::uint64_t total = 0;
  std::uint64_t threshold = 0;
  std::uint64_t load = 0;
  ASSERT_TRUE(out >> total >> threshold >> load) << Described(run);
  EXPECT_EQ(total, 36 * kMiB) << "75 % of the limit";
  EXPECT_LE(load, total);
  EXPECT_LE(load, run.summary["memory"]["peak_charged_bytes"].get<std::uint64_t>() + 4 * kMiB)
      << "the charge and the headroom";
  EXPECT_GT(load, 2 * kMiB);
}

struct CacheFigures {
  std::int64_t milliseconds;
  std::uint64_t limit;
  std::uint64_t charged;
};

// Returns the lines that JsonCache printed.
std::vector<CacheFigures> FiguresOf(const std::string& out) {
  std::vector<CacheFigures> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    CacheFigures figures{};
    std::string word;
    if (words >> figures.milliseconds >> word >> figures.limit >> word >> figures.charged) all.push_back(figures);
  }
  return all;
}

// A cache whose live data fits the lowered limit. It serves without a pause, so most of its memory is garbage.
struct LoweredCache {
  GcVariant gc;
  const char* live;  // MiB
};
std::ostream& operator<<(std::ostream& out, const LoweredCache& cache) { return out << cache.gc.name; }

class ClrmemLoweredLimit : public testing::TestWithParam<std::tuple<Runtime, LoweredCache>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(std::get<0>(GetParam()))) GTEST_SKIP() << *why;
  }
  static constexpr std::uint64_t kLimit = 80 * kMiB;
  static constexpr std::uint64_t kLowered = 58 * kMiB;

  // Runs the cache for 5 s. Expects that it serves to its end, and that it is within the lowered limit 2 s after the
  // change.
  static RunWithSummary RunLowered(const std::vector<std::string>& options, const std::vector<std::string>& more = {}) {
    const auto& [runtime, cache] = GetParam();
    std::vector<std::string> arguments{cache.live, "5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    RunWithSummary run =
        RunWithin60Seconds(options, ProgramPath(runtime, "JsonCache"), arguments, cache.gc.environment);
    EXPECT_EQ(run.process.exit_code, 0U) << Described(run);
    ExpectSound(run);
    std::int64_t lowered_at = -1;
    std::uint64_t highest_before = 0;
    int checked = 0;
    for (const CacheFigures& figures : FiguresOf(run.process.out)) {
      if (figures.limit != kLowered) {
        if (lowered_at < 0) highest_before = std::max(highest_before, figures.charged);
        continue;
      }
      if (lowered_at < 0) lowered_at = figures.milliseconds;
      if (figures.milliseconds < lowered_at + 2000) continue;
      ++checked;
      EXPECT_LE(figures.charged, kLowered) << figures.milliseconds - lowered_at << " ms after the limit was lowered";
    }
    EXPECT_GT(highest_before, kLowered);
    EXPECT_GT(checked, 2) << run.process.out;
    return run;
  }
};

TEST_P(ClrmemLoweredLimit, HoldsWithinTwoSeconds) { RunLowered({"--limit", "80M", "--limit-at", "1s=58M"}); }

// The program itself lowers the limit, and raises it again.
TEST_P(ClrmemLoweredLimit, SetByTheControlInterfaceHoldsAndRises) {
  const RunWithSummary run = RunLowered({"--limit", "80M"}, {"58"});
  const std::vector<CacheFigures> figures = FiguresOf(run.process.out);
  std::uint64_t highest_after = 0;
  for (auto it = figures.rbegin(); it != figures.rend() && it->limit == kLimit; ++it) {
    highest_after = std::max(highest_after, it->charged);
  }
  EXPECT_GT(highest_after, kLowered) << "the cache uses the raised limit\n" << run.process.out;
}

INSTANTIATE_TEST_SUITE_P(
    Runtimes, ClrmemLoweredLimit,
    testing::Combine(testing::Values(kNet8, kNet10),
                     testing::Values(LoweredCache{kWorkstation, "30"}, LoweredCache{kServerGc, "16"})),
    [](const auto& tested) { return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param).gc.name; });

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemLiveLimit, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
