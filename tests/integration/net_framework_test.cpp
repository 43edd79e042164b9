// Tests programs of the .NET Framework, whose CLR requests the manager through its hosting interface. Windows only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

std::string FrameworkProgram(const std::string& name) {
  return std::string(kProgramsDirectory) + "\\net48\\" + name + "\\" + name + ".exe";
}

// Skips the tests under Wine only. Windows has the .NET Framework, so a test that cannot run there fails.
class NetFramework : public testing::Test {
 protected:
  void SetUp() override {
    const auto why = WhyNoNetFramework();
    if (!why) return;
    if (IsWine()) GTEST_SKIP() << *why;
    FAIL() << *why << "; clrmem info lists what it finds";
  }
};

TEST_F(NetFramework, RunsAProgramUnderTheManager) {
  const RunWithSummary run = RunProgram({}, FrameworkProgram("HelloFx"), {"6"});
  EXPECT_EQ(run.process.exit_code, 6u) << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("hello from .NET Framework 4"));
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["runtime"]["name"], ".NET Framework");
  EXPECT_EQ(run.summary["bridge"], nullptr);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
  EXPECT_EQ(run.summary["calls"]["create_malloc"]["ok"], 1);
  EXPECT_EQ(run.summary["calls"]["register_memory_notification_callback"]["ok"], 1);
  EXPECT_GT(run.summary["calls"]["virtual_alloc"]["ok"], 50);
  EXPECT_GT(run.summary["calls"]["malloc_alloc"]["ok"], 50);
}

TEST_F(NetFramework, LimitRaisesACatchableOutOfMemoryException) {
  const RunWithSummary run = RunProgram({"--limit", "128M"}, FrameworkProgram("AllocateUntilOomFx"));
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], std::uint64_t{128} << 20);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
  EXPECT_GT(run.summary["refusals"]["task_critical"]["out_of_memory"], 0);
}

}  // namespace
}  // namespace clrhm_test
