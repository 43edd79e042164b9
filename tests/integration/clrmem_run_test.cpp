// Tests real programs on real runtimes without a limit. All calls go through the manager, and the app behaves as usual.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <windows.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"
#include "integration/sound_run.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;
using testing::Not;

// Without the flag, a 32-bit program has 2 GiB of address space instead of 4.
TEST(Clrmem, IsLargeAddressAware) {
  std::ifstream file(kClrmemPath, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  ASSERT_GT(bytes.size(), sizeof(IMAGE_DOS_HEADER));
  IMAGE_DOS_HEADER dos{};
  std::memcpy(&dos, bytes.data(), sizeof(dos));
  const std::size_t at = static_cast<std::size_t>(dos.e_lfanew) + sizeof(DWORD);  // behind the signature
  IMAGE_FILE_HEADER header{};
  ASSERT_GE(bytes.size(), at + sizeof(header));
  std::memcpy(&header, bytes.data() + at, sizeof(header));
  EXPECT_NE(header.Characteristics & IMAGE_FILE_LARGE_ADDRESS_AWARE, 0);
}

class ClrmemRun : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] std::string Program(const std::string& name) const { return ProgramPath(GetParam(), name); }
};

TEST_P(ClrmemRun, QuietRunLeavesStandardErrorToTheProgram) {
  const ProcessResult alone = RunClrmem({"run", "--quiet", Program("Hello"), "7"});
  EXPECT_EQ(alone.exit_code, 7u) << alone.error;
  EXPECT_EQ(alone.error, "");

  const RunWithSummary with_file = RunProgram({"--quiet"}, Program("Hello"), {"7"});
  EXPECT_EQ(with_file.process.error, "");
  ASSERT_TRUE(with_file.summary.is_object());
  EXPECT_EQ(with_file.summary["audit"]["mismatch_bytes"], 0);
}

TEST_P(ClrmemRun, PassesOutputAndExitCodeThrough) {
  for (const std::uint32_t exit_code : {0u, 7u, 255u}) {
    const RunWithSummary run = RunProgram({}, Program("Hello"), {std::to_string(exit_code)});
    ExpectSound(run);
    EXPECT_EQ(run.process.exit_code, exit_code);
    EXPECT_EQ(run.process.out, std::string("hello from .NET ") + GetParam().version + "\r\n");
    EXPECT_EQ(run.summary["exit_code"], exit_code);
    EXPECT_EQ(run.summary["ended_by"], "returned from Main");
    EXPECT_EQ(run.summary["runtime"]["version"], GetParam().version);
    EXPECT_EQ(run.summary["limit_bytes"], nullptr);
  }
}

TEST_P(ClrmemRun, CountsRuntimeCallsAndNamesItsModules) {
  const RunWithSummary run = RunProgram({}, Program("Hello"));
  ExpectSound(run);
  ASSERT_EQ(run.summary["bridge"]["modules"].size(), 2u);
  EXPECT_THAT(run.summary["bridge"]["modules"][1]["path"].get<std::string>(), HasSubstr("clrjit.dll"));
  const auto& module = run.summary["bridge"]["modules"][0];
  EXPECT_THAT(module["path"].get<std::string>(), HasSubstr("coreclr.dll"));
  EXPECT_THAT(module["imports"], testing::Contains("VirtualAlloc"));
  EXPECT_THAT(module["imports"], testing::Contains("VirtualFree"));
  EXPECT_EQ(module["import_count"], module["imports"].size());
  EXPECT_GT(run.summary["memory"]["peak_charged_bytes"], 1 << 20);
  EXPECT_GT(run.summary["memory"]["reserved_bytes"], std::uint64_t{1} << (sizeof(void*) == 8 ? 30 : 24));
}

TEST_P(ClrmemRun, HostsFromARuntimeFolder) {
  const RunWithSummary run = RunProgram({"--runtime", RuntimeFolder(GetParam())}, Program("Hello"), {"5"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 5u);
  EXPECT_THAT(run.process.out, HasSubstr(std::string("hello from .NET ") + GetParam().version));
}

TEST_P(ClrmemRun, UsesTheDotnetRootOfTheRuntimeOption) {
  const RunWithSummary run =
      RunProgram({"--runtime", kDotnetRoot}, Program("Hello"), {}, {{"DOTNET_ROOT", "Z:\\nowhere"}});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u);
}

TEST_P(ClrmemRun, NoBridgeLeavesTheManagerOut) {
  const RunWithSummary run = RunProgram({"--no-bridge"}, Program("Hello"), {"9"});
  EXPECT_EQ(run.process.exit_code, 9u);
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["managed_by_host"], false);
  EXPECT_EQ(run.summary["bridge"], nullptr);
  EXPECT_FALSE(run.summary.contains("calls"));
  EXPECT_THAT(run.process.error, HasSubstr("without the memory manager (--no-bridge)"));
}

TEST_P(ClrmemRun, WritesTheSummaryWhenTheAppEndsTheProcess) {
  const RunWithSummary run = RunProgram({}, Program("ExitEarly"));
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 7u);
  EXPECT_EQ(run.summary["exit_code"], 7);
  EXPECT_EQ(run.summary["ended_by"], "exited");
  EXPECT_THAT(run.process.out, Not(HasSubstr("never printed")));
}

TEST_P(ClrmemRun, WritesTheSummaryWhenTheAppCrashes) {
  const RunWithSummary run = RunProgram({}, Program("Crash"));
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0xE0434352u);
  EXPECT_EQ(run.summary["exit_code"], 0xE0434352u);
  EXPECT_EQ(run.summary["ended_by"], "unhandled exception");
  EXPECT_THAT(run.process.error, HasSubstr("meant to be unhandled"));
}

TEST_P(ClrmemRun, LetsAManagedClientCallTheManager) {
  const RunWithSummary run = RunProgram({}, Program("ComClient"));
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out;
  EXPECT_THAT(run.process.out, HasSubstr("all ok"));
  EXPECT_GE(run.summary["calls"]["malloc_free"]["invalid_operation"], 1);
  EXPECT_GE(run.summary["calls"]["create_malloc"]["ok"], 1);
}

TEST_P(ClrmemRun, GivesManagedCodeItsManager) {
  const RunWithSummary run = RunProgram({"--limit", "128M"}, Program("ClientApi"), {"128"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("all ok"));
}

TEST_P(ClrmemRun, ManagedCodeFindsNoManagerWithoutABridge) {
  const RunWithSummary run = RunProgram({"--no-bridge"}, Program("ClientApi"), {"none"});
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("ok TryGetCurrent finds none"));
}

TEST_P(ClrmemRun, PassesArgumentsUnchanged) {
  // Hello takes its first argument as its exit code. The arguments after it look like clrmem's options.
  const RunWithSummary run =
      RunProgram({}, Program("Hello"), {"3", "--limit", "1", "--no-bridge", "--help", "a \"b\\"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 3u);
}

struct Load {
  const char* program;
  Environment environment;
};

TEST_P(ClrmemRun, AccountingIsExactUnderEveryLoad) {
  const Load loads[] = {
      {"SmallObjects", {}}, {"LargeObjects", {}}, {"ManyThreads", {}}, {"LoadAssemblies", ForFreeingCode(GetParam())}};
  for (const Load& load : loads) {
    SCOPED_TRACE(load.program);
    const RunWithSummary run = RunProgram({}, Program(load.program), {}, load.environment);
    ExpectSound(run);
    EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
    EXPECT_EQ(run.summary["refusals"]["task_critical"]["total"], 0);
    EXPECT_EQ(run.summary["limit_refusals"]["process_critical"], 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemRun, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
