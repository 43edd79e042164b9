// Tests the companion in real runtimes: the GC's limit follows the manager's, up and down. The app's own start-up hooks
// run, and runtimes that cannot load the companion run without it. The thrash guard sees a GC at its own limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <tuple>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"
#include "integration/sound_run.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::optional<std::string> WhyNoCompanion(const Runtime& runtime) {
  if (auto why = WhyNotRunnable(runtime)) return why;
  const RunWithSummary run = RunProgram({"--limit", "64M"}, ProgramPath(runtime, "Hello"));
  if (run.summary["gc_limit"]["follows"] != "no_companion") return std::nullopt;
  return "no ClrHostMemory.Companion.dll beside clrmem; cmake/test.cmake builds it if there is a .NET SDK";
}

class ClrmemCompanion : public testing::TestWithParam<std::tuple<Runtime, GcVariant>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNoCompanion(runtime())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static const Runtime& runtime() { return std::get<0>(GetParam()); }
  [[nodiscard]] static const Environment& environment() { return std::get<1>(GetParam()).environment; }
};

TEST_P(ClrmemCompanion, GcsLimitFollowsARaisedAndALoweredLimit) {
  const RunWithSummary run = RunProgram({"--limit", "128M", "--limit-at", "300ms=256M", "--limit-at", "3s=64M"},
                                        ProgramPath(runtime(), "FollowLimit"), {"200"}, environment());
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes");
  EXPECT_GT(run.summary["gc_limit"]["at_start_bytes"], 64 * kMiB);
  EXPECT_LT(run.summary["gc_limit"]["bytes"], 64 * kMiB);
  EXPECT_GE(run.summary["memory"]["peak_charged_bytes"], 200 * kMiB);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 256 * kMiB);
  // The program's arrays are garbage when the limit is lowered, and no collection but the companion's frees them.
  EXPECT_LE(run.summary["memory"]["charged_bytes"], 64 * kMiB);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
  EXPECT_THAT(run.process.error, HasSubstr(" MiB, follows the limit\n"));
}

TEST_P(ClrmemCompanion, OffKeepsTheLimitOfTheStart) {
  const RunWithSummary run =
      RunProgram({"--limit", "128M", "--companion", "off", "--limit-at", "200ms=256M"},
                 ProgramPath(runtime(), "AllocateUntilOom"), {"200", "1024", "800"}, environment());
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 128 * kMiB);
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "companion_off");
  EXPECT_EQ(run.summary["gc_limit"]["bytes"], run.summary["gc_limit"]["at_start_bytes"]);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemCompanion,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::Values(kWorkstation, kServerGc)),
                         VariantName());

class ClrmemThrash : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNoCompanion(GetParam())) GTEST_SKIP() << *why;
  }
};

// With one core for itself, the program is stopped after 10 s. On a loaded machine its GC lets the companion's thread
// run only now and then, so that it takes longer. The size of generation 0 is fixed. A GC derives it from the
// processor's cache, and with a larger one the heap is full too early.
TEST_P(ClrmemThrash, GcThatOnlyCollectsIsStopped) {
  RunWithSummary run;
  for (int attempt = 0; attempt < 3; ++attempt) {
    run = RunProgram({"--limit", "128M", "--on-thrash=stop"}, ProgramPath(GetParam(), "Crawl"), {"100"},
                     {{"DOTNET_GCgen0size", "280000"}});
    ExpectSound(run);
    if (run.process.exit_code != 42) break;  // the heap was full before it was full enough
  }
  ASSERT_EQ(run.process.exit_code, 124u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["ended_by"], "stopped by the thrash guard");
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes");
  EXPECT_THAT(run.process.error,
              HasSubstr("clrmem: the app is stopped because its runtime spins at the limit of 128.0 MiB: "));
  EXPECT_THAT(run.process.error, HasSubstr(" collections took at least 98 % of "));
  EXPECT_THAT(run.process.error, HasSubstr("runtime spun at its limit            once\n"));
  const auto& thrash = run.summary["thrash"];
  EXPECT_EQ(thrash["windows"], 1);
  EXPECT_EQ(thrash["first"]["refusals"], 0);
  EXPECT_GE(thrash["first"]["collections"], 5);
  EXPECT_GE(thrash["first"]["window_milliseconds"], 5000);
  // Each gains less than 2 % of a heap that is smaller than the limit.
  EXPECT_LT(thrash["first"]["obtained_bytes"].get<std::uint64_t>(),
            thrash["first"]["collections"].get<std::uint64_t>() * (128 * kMiB / 50));
}

// Collects hundreds of times a second at its limit for longer than a window, and makes progress.
TEST_P(ClrmemThrash, ProgramThatCollectsHardIsSpared) {
  const RunWithSummary run =
      RunProgram({"--limit", "64M", "--on-thrash=stop"}, ProgramPath(GetParam(), "Churn"), {"6000"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes");
  EXPECT_GE(run.summary["elapsed_milliseconds"], 5000) << "longer than a window";
  EXPECT_EQ(run.summary["thrash"]["windows"], 0) << run.summary.dump(2);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemThrash, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

class ClrmemStartupHooks : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNoCompanion(GetParam())) GTEST_SKIP() << *why;
  }
};

// Both ways of hosting: hostfxr passes the environment's hooks, and in a runtime folder clrmem does.
TEST_P(ClrmemStartupHooks, OfTheAppRunBesideTheCompanion) {
  const Environment environment{{"DOTNET_STARTUP_HOOKS", ProgramPath(GetParam(), "OwnStartupHook")}};
  for (const bool in_folder : {false, true}) {
    std::vector<std::string> options{"--limit", "64M"};
    if (in_folder) options.insert(options.end(), {"--runtime", RuntimeFolder(GetParam())});
    const RunWithSummary run = RunProgram(options, ProgramPath(GetParam(), "Hello"), {}, environment);
    EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
    EXPECT_THAT(run.process.out, StartsWith("the app's own hook")) << in_folder;
    EXPECT_THAT(run.process.out, HasSubstr("hello from")) << in_folder;
    EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes") << in_folder;
  }
}

TEST_P(ClrmemStartupHooks, OwnLimitOfTheAppStays) {
  const Environment environment{{"DOTNET_GCHeapHardLimit", "0x2000000"}};
  const RunWithSummary run = RunProgram({"--limit", "64M"}, ProgramPath(GetParam(), "Hello"), {}, environment);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "limit_of_the_app");
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemStartupHooks, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
