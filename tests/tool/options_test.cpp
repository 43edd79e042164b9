#include "tool/command_line/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Options, RunTakesOptionsBeforeTheApp) {
  const auto run = std::get<RunOptions>(
      ParseOptions({"run", "--limit", "256M", "--runtime", "C:\\dotnet", "--summary", "out.json", "App.dll"}));
  EXPECT_EQ(run.limit, std::uint64_t{256} << 20);
  EXPECT_EQ(run.runtime, "C:\\dotnet");
  EXPECT_EQ(run.summary, "out.json");
  EXPECT_FALSE(run.no_bridge);
  EXPECT_FALSE(run.quiet);
  EXPECT_EQ(run.app, "App.dll");
  EXPECT_THAT(run.arguments, IsEmpty());
}

TEST(Options, ArgumentsAfterTheAppBelongToTheApp) {
  const auto run = std::get<RunOptions>(ParseOptions(
      {"run", "--no-bridge", "App.dll", "--limit", "1", "--help", "--", "-x", "", "with space", "--summary"}));
  EXPECT_TRUE(run.no_bridge);
  EXPECT_EQ(run.limit, std::nullopt);
  EXPECT_EQ(run.app, "App.dll");
  EXPECT_THAT(run.arguments, ElementsAre("--limit", "1", "--help", "--", "-x", "", "with space", "--summary"));
}

TEST(Options, TwoDashesEndClrmemOptions) {
  const auto run = std::get<RunOptions>(ParseOptions({"run", "--limit=64M", "--", "-odd name.dll", "--"}));
  EXPECT_EQ(run.limit, std::uint64_t{64} << 20);
  EXPECT_EQ(run.app, "-odd name.dll");
  EXPECT_THAT(run.arguments, ElementsAre("--"));
}

TEST(Options, AppMayBeNamedLikeACommandOrContainSlashes) {
  EXPECT_EQ(std::get<RunOptions>(ParseOptions({"run", "info"})).app, "info");
  EXPECT_EQ(std::get<RunOptions>(ParseOptions({"run", "/tmp/App.dll"})).app, "/tmp/App.dll");
}

TEST(Options, BridgedModulesAndGcContainerNeedTheBridge) {
  const auto run = std::get<RunOptions>(ParseOptions(
      {"run", "--limit", "64M", "--gc-container", "--bridge", "a.dll", "--bridge=b.dll", "App.dll", "--bridge"}));
  EXPECT_TRUE(run.gc_container);
  EXPECT_THAT(run.bridged_modules, ElementsAre("a.dll", "b.dll"));
  EXPECT_THAT(run.arguments, ElementsAre("--bridge"));
  EXPECT_FALSE(std::get<RunOptions>(ParseOptions({"run", "App.dll"})).gc_container);
  EXPECT_EQ(run.policy.gc_limit, 0u) << "the GC derives its own limit";
  EXPECT_THROW((void)ParseOptions({"run", "--limit", "64M", "--gc-container", "--gc-limit", "32M", "App.dll"}),
               ToolError);
  EXPECT_THROW((void)ParseOptions({"run", "--gc-container", "App.dll"}), ToolError) << "needs a limit";
  EXPECT_THROW((void)ParseOptions({"run", "--no-bridge", "--bridge", "a.dll", "App.dll"}), ToolError);
  EXPECT_THROW((void)ParseOptions({"run", "--no-bridge", "--gc-container", "App.dll"}), ToolError);
}

TEST(Options, AccountingNeedsTheBridge) {
  EXPECT_FALSE(std::get<RunOptions>(ParseOptions({"run", "App.dll"})).accounting);
  EXPECT_TRUE(std::get<RunOptions>(ParseOptions({"run", "--accounting", "App.dll"})).accounting);
  EXPECT_THROW((void)ParseOptions({"run", "--accounting", "--no-bridge", "App.dll"}), ToolError);
}

TEST(Options, AcceptsTheLeastLimitAndRefusesLess) {
  EXPECT_EQ(std::get<RunOptions>(ParseOptions({"run", "--limit", kLeastLimitText, "App.dll"})).limit, kLeastLimit);
  EXPECT_THROW((void)ParseOptions({"run", "--limit", "3985407", "App.dll"}), ToolError);
}

TEST(Options, ScriptedAndInfoTakeTheirOwnOptions) {
  const auto scripted = std::get<ScriptedOptions>(ParseOptions({"scripted", "--limit", "1M", "--summary", "s.json"}));
  EXPECT_EQ(scripted.limit, std::uint64_t{1} << 20);
  EXPECT_EQ(scripted.summary, "s.json");
  EXPECT_EQ(std::get<InfoOptions>(ParseOptions({"info"})).runtime, "auto");
  EXPECT_EQ(std::get<InfoOptions>(ParseOptions({"info", "--runtime", "D:\\dn"})).runtime, "D:\\dn");
}

TEST(Options, HelpAndVersionYieldTextToPrint) {
  EXPECT_THAT(std::get<PrintText>(ParseOptions({"--version"})).text, HasSubstr("clrmem "));
  EXPECT_THAT(std::get<PrintText>(ParseOptions({"--help"})).text, HasSubstr("scripted"));
  const std::string run_help = std::get<PrintText>(ParseOptions({"run", "--help"})).text;
  EXPECT_THAT(run_help, HasSubstr("APP [ARGUMENTS...]"));
  for (const char* option : {"--limit", "--runtime", "--summary", "--no-bridge"}) {
    EXPECT_THAT(run_help, HasSubstr(option));
  }
}

}  // namespace
}  // namespace clr_host_memory::tool
