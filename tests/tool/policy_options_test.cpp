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
  EXPECT_FALSE(policy.headroom.has_value());
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
    ASSERT_TRUE(policy.headroom.has_value()) << text;
    EXPECT_EQ(policy.headroom->process, process) << text;
    EXPECT_EQ(policy.headroom->app_domain, app_domain) << text;
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
  EXPECT_GT(PolicyOf({"--limit", "64M", "--on-thrash=report"}).gc_limit, 0u);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--on-thrash=stop"}).gc_limit, 0u)
      << "the thrash guard would not see the runtime spin";
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--on-thrash=stop", "--gc-limit", "32M"}).gc_limit, 32_MiB);
  EXPECT_THROW(PolicyOf({"--limit", "64M", "--on-thrash", "kill"}), ToolError);
  EXPECT_THROW(PolicyOf({"--on-thrash", "stop"}), ToolError) << "needs a limit";
}

TEST(PolicyOptions, EmergencyReserveNeedsNoLimit) {
  EXPECT_EQ(PolicyOf({"--emergency-reserve", "4M"}).emergency_reserve, 4_MiB);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--emergency-reserve", "64M"}).emergency_reserve, 64_MiB);
}

TEST(PolicyOptions, DefaultReserveReplacesHeadroomAndScalesWithTheLimit) {
  struct {
    const char* limit;
    std::uint64_t reserve;
  } const limits[] = {{"4M", 16_MiB}, {"32M", 16_MiB}, {"256M", 16_MiB}, {"512M", 32_MiB}, {"1T", 64_MiB}};
  for (const auto& [limit, reserve] : limits) {
    const PolicyOptions policy = PolicyOf({"--limit", limit});
    EXPECT_EQ(policy.emergency_reserve, reserve) << limit;
    EXPECT_TRUE(policy.own_reserve) << limit;
    EXPECT_EQ(policy.HeadroomToKeep().process, 0u) << limit;
    EXPECT_EQ(policy.HeadroomToKeep().app_domain, 0u) << limit;
  }
  EXPECT_EQ(PolicyOf({"--limit", "4M", "--gc-limit", "off"}).emergency_reserve, 4_MiB) << "at most the limit";
  EXPECT_EQ(PolicyOf({}).emergency_reserve, 0u);
  EXPECT_EQ(PolicyOf({"--limit-at", "1s=64M"}).emergency_reserve, 0u);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--headroom", "8M"}).emergency_reserve, 0u);
  EXPECT_EQ(PolicyOf({"--limit", "64M", "--headroom", "8M"}).HeadroomToKeep().process, 8_MiB);

  const PolicyOptions strict = PolicyOf({"--limit", "64M", "--emergency-reserve", "0"});
  EXPECT_EQ(strict.emergency_reserve, 0u);
  EXPECT_FALSE(strict.own_reserve);
  EXPECT_EQ(strict.HeadroomToKeep().process, CLR_HOST_MEMORY_DEFAULT_HEADROOM);
}

TEST(PolicyOptions, DerivesGcLimitFromTheLimitUnlessItMustBeOff) {
  struct {
    std::vector<std::string> options;
    std::uint64_t gc_limit;
  } const cases[] = {
      {{"--limit", "64M"}, 68_MiB},
      {{"--limit", "8M"}, 12_MiB},
      {{"--limit", "5M"}, 9_MiB},
      {{"--limit", "4M"}, 8_MiB},
      {{"--limit", "4M", "--headroom", "256K,0"}, 0},
      {{"--limit", "1G"}, 1040_MiB},
      {{"--limit", "64M", "--emergency-reserve", "8M"}, 64_MiB},
      {{"--limit", "64M", "--headroom", "8M,2M"}, 54_MiB},
      {{"--limit", "64M", "--limit-at", "1s=32M", "--limit-at", "2s=128M"}, 132_MiB},
      {{"--limit", "64M", "--gc-limit", "auto"}, 68_MiB},
      {{"--limit", "64M", "--gc-limit", "20M"}, 20_MiB},
      {{"--gc-limit", "20M"}, 20_MiB},
      {{"--limit", "64M", "--gc-limit", "off"}, 0},
      {{"--limit", "64M", "--limit-at", "1s=none"}, 0},
      {{"--limit-at", "1s=64M"}, 0},
      {{"--limit", "64M", "--wait", "task=1s"}, 0},
      {{"--limit", "64M", "--wait", "process=1s"}, 68_MiB},
      {{}, 0},
  };
  for (const auto& [options, gc_limit] : cases) {
    EXPECT_EQ(PolicyOf(options).gc_limit, gc_limit) << testing::PrintToString(options);
  }
}

TEST(PolicyOptions, LeavingGcLimitOutCapsDefaultReserveAtTheLimit) {
  for (const auto& [limit, reserve] : {std::pair{8_MiB, 8_MiB}, std::pair{64_MiB, 16_MiB}}) {
    PolicyOptions policy = PolicyOf({"--limit", std::to_string(limit)});
    EXPECT_EQ(policy.emergency_reserve, 16_MiB);
    policy.LeaveGcLimitOut(limit);
    EXPECT_EQ(policy.gc_limit, 0u);
    EXPECT_EQ(policy.emergency_reserve, reserve);
  }
  PolicyOptions asked = PolicyOf({"--limit", "64M", "--emergency-reserve", "4M"});
  asked.LeaveGcLimitOut(64_MiB);
  EXPECT_EQ(asked.emergency_reserve, 4_MiB);
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
  EXPECT_TRUE(PolicyOf({"--headroom", "8M", "--limit-at", "1s=64M"}).headroom.has_value());
}

TEST(PolicyOptions, OptionWithInlineValueDoesNotConsumeTheApp) {
  for (const char* option : {"--headroom=8M", "--wait=1s", "--emergency-reserve=4M", "--limit-at=1s=64M"}) {
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
      {{"--emergency-reserve", "many"},
       "--emergency-reserve many is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit", "64M", "--emergency-reserve", "65M"},
       "--emergency-reserve 65M is larger than the limit of 64.0 MiB; give a small part of the limit: the reserve "
       "comes on top of it"},
      {{"--count-all"}, "--count-all needs a limit; add --limit"},
      {{"--limit-at", "64M"}, "--limit-at 64M is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "=64M"}, "--limit-at =64M is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "2s="}, "--limit-at 2s= is not a time and a limit; write it like 2s=64M or 1m=none"},
      {{"--limit-at", "2x=64M"}, "--limit-at 2x is not a duration; write it like 500ms, 2s, 1.5s or 1m"},
      {{"--limit-at", "2s=64Q"}, "--limit-at 64Q is not a size; write it like 256M, 1.5G, 512K or 268435456"},
      {{"--limit-at", "2s=3985407"},
       "--limit-at 3985407 is below the 3892K that a CLR needs to start; give at least 3892K"},
      {{"--limit-at", "2s=64M", "--limit-at", "2000=8M"},
       "--limit-at 2000=8M is the second limit for the same time; remove one of the two"},
      {{"--no-bridge", "--headroom", "8M"},
       "--no-bridge runs APP without the memory manager, so --headroom would have no effect; remove one of the two "
       "options"},
      {{"--no-bridge", "--wait", "1s"},
       "--no-bridge runs APP without the memory manager, so --wait would have no effect; remove one of the two "
       "options"},
      {{"--no-bridge", "--emergency-reserve", "4M"},
       "--no-bridge runs APP without the memory manager, so --emergency-reserve would have no effect; remove one of "
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
       {"--headroom SIZE|N%", "--wait TIME", "--emergency-reserve SIZE", "--count-all", "--limit-at TIME=SIZE|none"}) {
    EXPECT_THAT(help, HasSubstr(option));
  }
}

}  // namespace
}  // namespace clr_host_memory::tool
