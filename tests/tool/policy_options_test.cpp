// Tests the options of `clrmem run` that set the policy: the accepted values, and the messages for all others.
#include "tool/command_line/policy_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clr_host_memory/memory_manager.h>

#include "tool/command_line/options.h"
#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

using namespace clr_host_memory::literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;

PolicyOptions PolicyOf(std::vector<std::string> options) {
  options.insert(options.begin(), "run");
  options.emplace_back("App.dll");
  return std::get<RunOptions>(ParseOptions(options)).policy;
}

TEST(PolicyOptions, UnsetOptionsLeaveDefaults) {
  const PolicyOptions policy = PolicyOf({"--limit", "64M"});
  EXPECT_EQ(policy.headroom.process, CLR_HOST_MEMORY_DEFAULT_HEADROOM);
  EXPECT_EQ(policy.committed_headroom, 0u);
  EXPECT_EQ(policy.gc_limit, CLR_HOST_MEMORY_GC_LIMIT_AUTO);
  EXPECT_THAT(policy.wait_ms, ElementsAre(0u, 0u, 0u));
  EXPECT_FALSE(policy.count_whole_process);
  EXPECT_TRUE(policy.limit_changes.empty());
}

TEST(PolicyOptions, HeadroomNamesProcessThenAppDomain) {
  struct {
    const char* text;
    std::uint64_t process;
    std::uint64_t app_domain;
  } const headrooms[] = {
      {"8M", 8_MiB, CLR_HOST_MEMORY_DEFAULT_HEADROOM},
      {"8M,2M", 8_MiB, 2_MiB},
      {"10%", Percent(10), CLR_HOST_MEMORY_DEFAULT_HEADROOM},
      {"10%,512K", Percent(10), 512_KiB},
      {"0,0%", 0, Percent(0)},
      {"48M,16M", 48_MiB, 16_MiB},
      {"100%,0", Percent(100), 0},
  };
  for (const auto& [text, process, app_domain] : headrooms) {
    const PolicyOptions policy = PolicyOf({"--limit", "64M", "--headroom", text});
    EXPECT_EQ(policy.headroom.process, process) << text;
    EXPECT_EQ(policy.headroom.app_domain, app_domain) << text;
  }
}

TEST(PolicyOptions, WaitIsOneTimeOrOnePerNamedLevel) {
  EXPECT_THAT(PolicyOf({"--wait", "250"}).wait_ms, ElementsAre(250u, 250u, 250u));
  EXPECT_THAT(PolicyOf({"--wait", "2s"}).wait_ms, ElementsAre(2000u, 2000u, 2000u));
  EXPECT_THAT(PolicyOf({"--wait", "1h"}).wait_ms, ElementsAre(3'600'000u, 3'600'000u, 3'600'000u));
  EXPECT_THAT(PolicyOf({"--wait", "domain=5s"}).wait_ms, ElementsAre(0u, 5000u, 0u));
  EXPECT_THAT(PolicyOf({"--wait", "process=300,task=1.5s"}).wait_ms, ElementsAre(1500u, 0u, 300u));
  EXPECT_THAT(PolicyOf({"--wait=task=2s,domain=500ms,process=1"}).wait_ms, ElementsAre(2000u, 500u, 1u));
}

TEST(PolicyOptions, OnThrashReportsUnlessSetToStop) {
  EXPECT_EQ(PolicyOf({"--limit", "64M"}).on_thrash, OnThrash::kReport);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--on-thrash", "report"}).on_thrash, OnThrash::kReport);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--on-thrash=stop"}).on_thrash, OnThrash::kStop);
  EXPECT_EQ(PolicyOf({"--limit-at", "1s=64M", "--on-thrash=stop"}).on_thrash, OnThrash::kStop);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--on-thrash=stop", "--gc-limit", "32M"}).gc_limit, 32_MiB);
  EXPECT_THROW(PolicyOf({"--limit", "64M", "--on-thrash", "kill"}), ToolError);
  EXPECT_THROW(PolicyOf({"--on-thrash", "stop"}), ToolError) << "needs a limit";
}

TEST(PolicyOptions, CommittedHeadroomIsAPartOfTheHeadroom) {
  EXPECT_EQ(PolicyOf({"--commit-headroom", "4M"}).committed_headroom, 4_MiB) << "needs no limit";
  EXPECT_EQ(PolicyOf({"--commit-headroom", "0"}).committed_headroom, 0u);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--commit-headroom", "16M"}).committed_headroom, 16_MiB)
      << "the default headroom grows with it, up to a quarter of the limit";
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--headroom", "20M", "--commit-headroom", "20M"}).committed_headroom, 20_MiB);
}

TEST(PolicyOptions, GcLimitFollowsTheLimitUnlessItIsGiven) {
  EXPECT_EQ(PolicyOf({"--gc-limit", "auto"}).gc_limit, CLR_HOST_MEMORY_GC_LIMIT_AUTO);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--wait", "1s"}).gc_limit, CLR_HOST_MEMORY_GC_LIMIT_AUTO);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--gc-limit", "off"}).gc_limit, 0u);
  EXPECT_EQ(PolicyOf({"--gc-limit", "20M"}).gc_limit, 20_MiB);
}

TEST(PolicyOptions, LimitChangesAreSortedAndNeedNoInitialLimit) {
  const PolicyOptions policy =
      PolicyOf({"--limit-at", "2s=64M", "--limit-at=1m=none", "--limit-at", "500ms=4M", "--limit-at", "0=1G"});
  const auto change = [](std::uint64_t after_ms, Limit limit) {
    return AllOf(Field(&LimitChange::after_ms, after_ms), Field(&LimitChange::limit, limit));
  };
  EXPECT_THAT(policy.limit_changes,
              ElementsAre(change(0, 1_GiB), change(500, 4_MiB), change(2000, 64_MiB), change(60'000, std::nullopt)));
}

TEST(PolicyOptions, LaterLimitSatisfiesOptionsThatNeedALimit) {
  EXPECT_TRUE(PolicyOf({"--count-all", "--limit", "64M"}).count_whole_process);
  EXPECT_TRUE(PolicyOf({"--count-all", "--limit-at", "1s=64M"}).count_whole_process);
  EXPECT_EQ(PolicyOf({"--headroom", "8M", "--limit-at", "1s=64M"}).headroom.process, 8_MiB);
}

TEST(PolicyOptions, OptionWithInlineValueDoesNotConsumeTheApp) {
  for (const char* option : {"--headroom=8M", "--wait=1s", "--commit-headroom=4M", "--limit-at=1s=64M"}) {
    const auto run = std::get<RunOptions>(ParseOptions({"run", "--limit", "64M", option, "App.dll", "--wait", "x"}));
    EXPECT_EQ(run.app, "App.dll") << option;
    EXPECT_THAT(run.arguments, ElementsAre("--wait", "x")) << option;
  }
}

struct BadPolicy {
  std::vector<std::string> options;
  const char* message;
};

TEST(PolicyOptions, RefusesInvalidValuesWithTheExactMessage) {
  const BadPolicy policies[] = {
      {{"--headroom", "8M"}, "--headroom needs a limit; add --limit"},
      {{"--headroom", "8M", "--limit-at", "1s=none"}, "--headroom needs a limit; add --limit"},
      {{"--limit", "64M", "--headroom", ""}, "--headroom  is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit", "64M", "--headroom", "8Q"},
       "--headroom 8Q is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit", "64M", "--headroom", "101%"},
       "--headroom 101% is not a percentage from 0% to 100%; give a whole percentage, or a size such as 16M"},
      {{"--limit", "64M", "--headroom", "1.5%"},
       "--headroom 1.5% is not a percentage from 0% to 100%; give a whole percentage, or a size such as 16M"},
      {{"--limit", "64M", "--headroom", "%"},
       "--headroom % is not a percentage from 0% to 100%; give a whole percentage, or a size such as 16M"},
      {{"--limit", "64M", "--headroom", "1M,1M,1M"},
       "--headroom 1M,1M,1M has more than two parts; give the headroom of the process, then that of the application "
       "domain, such as 16M,4M or 10%,5%"},
      {{"--limit", "64M", "--headroom", "48M,17M"},
       "--headroom 48M,17M exceeds the limit of 64.0 MiB with 48.0 MiB for the process and 17.0 MiB for the "
       "application domain; lower the headroom or raise the limit"},
      {{"--limit", "64M", "--headroom", "48M,1M", "--limit-at", "1s=48M"},
       "--headroom 48M,1M exceeds the limit of 48.0 MiB with 48.0 MiB for the process and 1.0 MiB for the "
       "application domain; lower the headroom or raise the limit"},
      {{"--wait", ""}, "--wait  is not a duration; write it like 500ms, 2s, 1.5s or 1m"},
      {{"--wait", "soon"}, "--wait soon is not a duration; write it like 500ms, 2s, 1.5s or 1m"},
      {{"--wait", "61m"}, "--wait 61m is longer than an hour; give a shorter time"},
      {{"--wait", "task=1s,thread=2s"},
       "--wait task=1s,thread=2s has the part 'thread=2s', which is not a level and a time; write "
       "task=2s,domain=500ms,process=500ms, or one time for all three levels"},
      {{"--wait", "task=1s,2s"},
       "--wait task=1s,2s has the part '2s', which is not a level and a time; write "
       "task=2s,domain=500ms,process=500ms, or one time for all three levels"},
      {{"--wait", "task=1s,task"},
       "--wait task=1s,task has the part 'task', which is not a level and a time; write "
       "task=2s,domain=500ms,process=500ms, or one time for all three levels"},
      {{"--wait", "task=1s,task=2s"}, "--wait task=1s,task=2s names task twice; name each level once"},
      {{"--wait", "task="}, "--wait  is not a duration; write it like 500ms, 2s, 1.5s or 1m"},
      {{"--commit-headroom", "many"},
       "--commit-headroom many is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit", "64M", "--commit-headroom", "17M"},
       "--commit-headroom 17.0 MiB is more than the headroom of 16.0 MiB within the limit of 64.0 MiB; lower it, or "
       "give a larger --headroom"},
      {{"--limit", "64M", "--emergency-reserve", "16M"},
       "--emergency-reserve no longer exists: what it added to the limit is a headroom within it now; use "
       "--commit-headroom SIZE, or leave it out"},
      {{"--count-all"}, "--count-all needs a limit; add --limit"},
      {{"--limit-at", "64M"}, "--limit-at 64M is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "=64M"}, "--limit-at =64M is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "2s="}, "--limit-at 2s= is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "2x=64M"},
       "in --limit-at 2x=64M, the time 2x is not a duration; write it like 500ms, 2s, 1.5s or 1m"},
      {{"--limit-at", "2s=64Q"},
       "in --limit-at 2s=64Q, the limit 64Q is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit-at", "2s=3985407"},
       "in --limit-at 2s=3985407, the limit 3985407 is below the 3892K that a CLR needs to start; give at least 3892K"},
      {{"--limit-at", "2s=64M", "--limit-at", "2000=8M"},
       "--limit-at 2000=8M is the second limit for the same time; remove one of the two"},
      {{"--no-bridge", "--headroom", "8M"},
       "--no-bridge runs APP without the memory manager, so --headroom would have no effect; remove one of the two "
       "options"},
      {{"--no-bridge", "--wait", "1s"},
       "--no-bridge runs APP without the memory manager, so --wait would have no effect; remove one of the two "
       "options"},
      {{"--no-bridge", "--commit-headroom", "4M"},
       "--no-bridge runs APP without the memory manager, so --commit-headroom would have no effect; remove one of "
       "the two options"},
      {{"--no-bridge", "--count-all"},
       "--no-bridge runs APP without the memory manager, so --count-all would have no effect; remove one of the two "
       "options"},
      {{"--no-bridge", "--limit-at", "1s=64M"},
       "--no-bridge runs APP without the memory manager, so --limit-at would have no effect; remove one of the two "
       "options"},
  };
  for (const BadPolicy& policy : policies) {
    try {
      (void)PolicyOf(policy.options);
      ADD_FAILURE() << "accepted: " << testing::PrintToString(policy.options);
    } catch (const ToolError& error) {
      EXPECT_STREQ(error.what(), policy.message);
    }
  }
}

TEST(PolicyOptions, RefusesAnEmptyLimit) {
  EXPECT_THROW((void)ParseOptions({"run", "--limit", "", "App.dll"}), ToolError) << "an empty variable of a script";
}

TEST(PolicyOptions, HelpNamesEveryPolicyOption) {
  const std::string help = std::get<PrintText>(ParseOptions({"run", "--help"})).text;
  for (const char* option :
       {"--headroom SIZE|N%", "--wait TIME", "--commit-headroom SIZE", "--count-all", "--limit-at TIME=SIZE|none"}) {
    EXPECT_THAT(help, HasSubstr(option));
  }
}

}  // namespace
}  // namespace clr_host_memory::tool
