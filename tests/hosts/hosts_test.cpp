// Runs the hosts that docs/embedding.md shows, on real runtimes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint32_t kCaughtOutOfMemory = 42;  // AllocateUntilOom's exit code
constexpr std::uint32_t kRefused = 101;           // the hosts' exit code

class Hosts : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  static ProcessResult Run(const char* host, std::vector<std::string> arguments) {
    return RunProcess(HostPath(host), arguments);
  }
  static std::string HostFxr() {
    return std::string(kDotnetRoot) + "\\host\\fxr\\" + GetParam().version + "\\hostfxr.dll";
  }
  static std::uint64_t Peak(const ProcessResult& result) {
    const std::size_t at = result.error.find("peak ");
    EXPECT_NE(at, std::string::npos) << result.error;
    return at == std::string::npos ? 0 : std::strtoull(result.error.c_str() + at + 5, nullptr, 10);
  }
  // The program fills what it gets, so a limit that is not kept shows in the peak.
  static void ExpectFilled(const ProcessResult& result) {
    EXPECT_GT(Peak(result), 56 * kMiB) << result.error;
    EXPECT_LE(Peak(result), 64 * kMiB) << result.error;
  }
};

TEST_P(Hosts, HostFxrHostKeepsTheLimit) {
  const ProcessResult result = Run("hostfxr_host", {HostFxr(), "64", ProgramPath(GetParam(), "AllocateUntilOom")});
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  ExpectFilled(result);
}

TEST_P(Hosts, HostFxrHostReturnsTheProgramsExitCode) {
  const ProcessResult result = Run("hostfxr_host", {HostFxr(), "64", ProgramPath(GetParam(), "Hello"), "7"});
  EXPECT_EQ(result.exit_code, 7u) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("hello from .NET "));
}

TEST_P(Hosts, HostFxrHostRunsNoProgramThatDoesNotFitTheLimit) {
  const ProcessResult result = Run("hostfxr_host", {HostFxr(), "4", ProgramPath(GetParam(), "AllocateUntilOom")});
  EXPECT_NE(result.exit_code, kCaughtOutOfMemory);
  EXPECT_NE(result.exit_code, 0u);
  EXPECT_EQ(result.out, "");
}

TEST_P(Hosts, ComponentHostKeepsTheLimit) {
  const std::string component = ProgramPath(GetParam(), "Component");
  const std::string config = component.substr(0, component.size() - 4) + ".runtimeconfig.json";
  const ProcessResult fits = Run("component_host", {HostFxr(), "64", config, component, "20"});
  EXPECT_EQ(fits.exit_code, 0u) << fits.out << fits.error;
  EXPECT_THAT(fits.out, HasSubstr("held 20"));
  EXPECT_LE(Peak(fits), 64 * kMiB);

  const ProcessResult full = Run("component_host", {HostFxr(), "64", config, component, "100"});
  EXPECT_EQ(full.exit_code, 0u) << full.out << full.error;
  EXPECT_THAT(full.out, HasSubstr("held -")) << "an OutOfMemoryException was caught";
  ExpectFilled(full);
}

TEST_P(Hosts, ComponentHostIsRefusedALimitBelowTheStart) {
  const std::string component = ProgramPath(GetParam(), "Component");
  const std::string config = component.substr(0, component.size() - 4) + ".runtimeconfig.json";
  const ProcessResult result = Run("component_host", {HostFxr(), "0", config, component, "20"});
  EXPECT_EQ(result.exit_code, kRefused);
  EXPECT_THAT(result.error, HasSubstr("limit is 0: give "));
}

class ComHosts : public Hosts {
 protected:
  void SetUp() override {
    Hosts::SetUp();
    if (IsSkipped()) return;
    comhost_ = ProgramPath(GetParam(), "ComComponent");
    comhost_.replace(comhost_.size() - 4, 4, ".comhost.dll");
    if (!FileExists(comhost_)) {
      GTEST_SKIP() << "no " << comhost_ << "; cmake -P cmake/test.cmake builds it if there is a .NET SDK";
    }
  }
  std::string comhost_;
};

TEST_P(ComHosts, KeepTheLimit) {
  const ProcessResult fits = Run("com_host", {comhost_, "64", "20"});
  EXPECT_EQ(fits.exit_code, 0u) << fits.out << fits.error;
  EXPECT_THAT(fits.out, HasSubstr("held 20"));
  EXPECT_THAT(fits.error, HasSubstr("mismatch 0"));
  EXPECT_LE(Peak(fits), 64 * kMiB);

  const ProcessResult full = Run("com_host", {comhost_, "64", "100"});
  EXPECT_EQ(full.exit_code, 0u) << full.out << full.error;
  EXPECT_THAT(full.out, HasSubstr("held -")) << "an OutOfMemoryException was caught";
  EXPECT_THAT(full.error, HasSubstr("mismatch 0"));
  ExpectFilled(full);
}

TEST_P(ComHosts, GetNoClassIfTheRuntimeDoesNotFitTheLimit) {
  const ProcessResult result = Run("com_host", {comhost_, "4", "20"});
  EXPECT_NE(result.exit_code, 0u) << result.out << result.error;
  EXPECT_EQ(result.out, "");
}

TEST_P(Hosts, CoreClrHostKeepsTheLimit) {
  const ProcessResult result =
      Run("coreclr_host", {RuntimeFolder(GetParam()), "64", ProgramPath(GetParam(), "AllocateUntilOom")});
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  ExpectFilled(result);
}

TEST_P(Hosts, CoreClrHostIsToldTheLeastLimit) {
  const ProcessResult result = Run("coreclr_host", {RuntimeFolder(GetParam()), "4", ProgramPath(GetParam(), "Hello")});
  EXPECT_EQ(result.exit_code, kRefused) << result.out << result.error;
  EXPECT_THAT(result.error, HasSubstr("the runtime needs more than the limit to start: raise the limit"));
}

INSTANTIATE_TEST_SUITE_P(Runtimes, Hosts, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });
INSTANTIATE_TEST_SUITE_P(Runtimes, ComHosts, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
