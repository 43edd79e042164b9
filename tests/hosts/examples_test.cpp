// Runs the examples that hosts_test.cpp does not run, on real runtimes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint32_t kCaughtOutOfMemory = 42;  // AllocateUntilOom's exit code

class Examples : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  // The managed part of an example is for .NET 8 and rolls forward. Its hostfxr takes the newest runtime of its folder,
  // unless it is given one.
  static ProcessResult Run(const char* example, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     std::string(kDotnetRoot) + "\\host\\fxr\\" + GetParam().version + "\\hostfxr.dll");
    ProcessSettings settings;
    settings.environment["DOTNET_ROLL_FORWARD"] = RollForward();
    return RunProcessWith(settings, HostPath(example), arguments);
  }
  static std::string RollForward() { return std::string(GetParam().framework) == "net8.0" ? "Minor" : "LatestMajor"; }
  static std::string ManagedPart(const std::string& name) {
    return std::string(kBuildDirectory) + "\\examples\\" + name + "\\" + name + ".dll";
  }
};

TEST_P(Examples, HostInCKeepsTheLimitAndReportsEvents) {
  const ProcessResult result = Run("c_host", {"64", ProgramPath(GetParam(), "AllocateUntilOom")});
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  EXPECT_THAT(result.error, HasSubstr("memory is low: "));
  EXPECT_THAT(result.error, HasSubstr("peak 6")) << "close to 64 MiB, below 70,000,000";
}

TEST_P(Examples, HostInCTellsWhyALimitIsRefused) {
  const ProcessResult result = Run("c_host", {"0", ProgramPath(GetParam(), "Hello")});
  EXPECT_EQ(result.exit_code, 101u) << result.out << result.error;
  EXPECT_THAT(result.error, HasSubstr("limit is 0: give "));
}

TEST_P(Examples, GameLoopKeepsEachScenesCap) {
  const ProcessResult result = Run("game_loop", {ManagedPart("Game")});
  EXPECT_EQ(result.exit_code, 0u) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("battle: cap 96 MiB, 54000 objects"));
  EXPECT_THAT(result.out, HasSubstr("map: cap 48 MiB, 600 objects"));
  EXPECT_THAT(result.out, HasSubstr("mismatch 0"));
}

TEST_P(Examples, PluginHostUnloadsTheGreedyPluginOnly) {
  const ProcessResult result = Run("plugin_host", {ManagedPart("Plugins")});
  EXPECT_EQ(result.exit_code, 0u) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("plug-in 2: unloaded, 0 KiB"));
  EXPECT_THAT(result.out, HasSubstr("plug-in 3: runs, 8192 KiB"));
  EXPECT_THAT(result.out, HasSubstr("mismatch 0"));
}

TEST_P(Examples, ManagedCacheServesEveryRequestUnderALimit) {
  if (std::getenv("CLRHM_FLAVOUR") != nullptr) GTEST_SKIP() << "the program runs under clrmem, not over the DLL";
  // 6000 values of 16 KiB are 94 MiB.
  const ProcessResult result =
      RunClrmem({"run", "--limit", "64M", "--runtime", kDotnetRoot, ManagedPart("ManagedCache"), "6000"},
                {{"DOTNET_ROLL_FORWARD", RollForward()}});
  EXPECT_EQ(result.exit_code, 0u) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("6000 requests, "));
  EXPECT_THAT(result.out, Not(HasSubstr(", 0 values given up")));
  EXPECT_THAT(result.out, HasSubstr(" of 64 MiB"));
}

INSTANTIATE_TEST_SUITE_P(Runtimes, Examples, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

TEST(NetFrameworkExamples, OwnHostControlIsAskedForEverythingButMemory) {
  const ProcessResult result = RunProcess(HostPath("own_host_control"), {});
  EXPECT_EQ(result.exit_code, 0u) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("the memory manager is the library's"));
  EXPECT_THAT(result.out, HasSubstr("asked for the manager 997ff24c"));
  EXPECT_THAT(result.out, Not(HasSubstr("asked for the manager 7bc698d1")));
}

TEST(NetFrameworkExamples, RunAMethodUnderALimit) {
  if (const auto why = WhyNoNetFramework()) GTEST_SKIP() << *why;
  const std::string assembly = std::string(kProgramsDirectory) + "\\net48\\HelloFx\\HelloFx.exe";
  for (const char* example : {"net_framework_host", "own_host_control"}) {
    const ProcessResult result = RunProcess(HostPath(example), {"128", assembly, "Hello", "LengthOf", "seven77"});
    EXPECT_EQ(result.exit_code, 7u) << example << result.out << result.error;
  }
}

}  // namespace
}  // namespace clrhm_test
