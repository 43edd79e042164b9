// Tests the policy part of the summary. It omits options that were not set and events that did not occur, and shows
// each figure once.
#include "tool/report/policy_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clr_host_memory/memory_manager.h>

namespace clr_host_memory::tool {
namespace {

using namespace clr_host_memory::literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ClrHostMemoryStatistics QuietStatistics() {
  ClrHostMemoryStatistics statistics{};
  statistics.limit = CLR_HOST_MEMORY_NO_LIMIT;
  statistics.availability = eMemoryAvailableNeutral;
  return statistics;
}

std::string LimitTable(const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  Table table;
  AddLimit(table, statistics, policy);
  return table.text();
}
std::string PolicyTable(const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  Table table;
  AddPolicy(table, statistics, policy);
  return table.text();
}
Json PolicyJson(const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  Json json;
  AddPolicy(json, statistics, policy);
  return json;
}

TEST(PolicySummary, ShowsOnlyTheLimitWithoutPolicyOrEvents) {
  EXPECT_EQ(LimitTable(QuietStatistics(), {}), "  limit                                none\n");
  EXPECT_THAT(PolicyTable(QuietStatistics(), {}), IsEmpty());
}

TEST(PolicySummary, ShowsNotificationsInOneLineByDefault) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.notifications[0] = 3;
  statistics.notifications[2] = 1;
  PolicyFigures policy;
  policy.events.pressure_changes = {{1000, eMemoryAvailableLow, 3}};
  policy.events.repeated_low = 2;
  EXPECT_EQ(PolicyTable(statistics, policy), "  memory pressure notifications        3 Low, 1 High\n");
}

TEST(PolicySummary, ReportsAThrashingRuntime) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  PolicyFigures policy;
  EXPECT_EQ(PolicyJson(statistics, policy)["thrash"],
            (Json{{"on_thrash", "report"}, {"windows", 0}, {"first", nullptr}}));
  statistics.thrashes = 2;
  policy.options.on_thrash = OnThrash::kStop;
  policy.events.first_thrash = ThrashFigures{7000, 5100, 1800, 400, 0};
  EXPECT_EQ(
      PolicyTable(statistics, policy),
      "  runtime spun at its limit            2 times\n"
      "    after 7.0 s                        1,800 refused requests, 400 collections and 0.0 MiB obtained in 5.1 s\n");
  const Json json = PolicyJson(statistics, policy)["thrash"];
  EXPECT_EQ(json["on_thrash"], "stop");
  EXPECT_EQ(json["windows"], 2);
  EXPECT_EQ(json["first"]["refusals"], 1800);

  policy.events.first_thrash = ThrashFigures{7000, 5100, 0, 40, 60_MiB};
  EXPECT_EQ(
      PolicyTable(statistics, policy),
      "  runtime spun at its limit            2 times\n"
      "    after 7.0 s                        40 collections took at least 98 % of 5.1 s and gained 1.5 MiB each\n");
}

TEST(PolicySummary, ListsLimitChangesAndTheirOutcomes) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.limit = 96_MiB;
  PolicyFigures policy;
  policy.initial_limit = 128_MiB;
  policy.options.limit_changes = {{500, 96_MiB}, {1500, 4_MiB}, {2000, std::nullopt}};
  policy.limit_changes = {{policy.options.limit_changes[0], ChangeOutcome::kApplied, 501, S_OK},
                          {policy.options.limit_changes[1], ChangeOutcome::kRefused, 1502, E_INVALIDARG},
                          {policy.options.limit_changes[2], ChangeOutcome::kNotReached, 0, S_OK}};
  EXPECT_EQ(LimitTable(statistics, policy),
            "  limit                                96.0 MiB at the end\n"
            "    at the start                       128.0 MiB\n"
            "    after 0.5 s                        96.0 MiB\n"
            "    after 1.5 s                        4.0 MiB, not applied: 0x80070057\n"
            "    after 2.0 s                        none, not applied: the program had ended\n");

  const Json json = PolicyJson(statistics, policy);
  EXPECT_EQ(json["initial_limit_bytes"], 128_MiB);
  EXPECT_EQ(json["limit_changes"].dump(),
            R"([{"after_milliseconds":500,"limit_bytes":100663296,"outcome":"applied","applied_milliseconds":501,)"
            R"("answer":"0x00000000"},)"
            R"({"after_milliseconds":1500,"limit_bytes":4194304,"outcome":"refused","applied_milliseconds":1502,)"
            R"("answer":"0x80070057"},)"
            R"({"after_milliseconds":2000,"limit_bytes":null,"outcome":"not_reached","applied_milliseconds":null,)"
            R"("answer":null}])");
}

TEST(PolicySummary, ShowsRequestedHeadroomUnderALimit) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  PolicyFigures policy;
  policy.options.headroom = Headroom{8_MiB, 2_MiB};
  EXPECT_THAT(LimitTable(statistics, policy), Not(HasSubstr("headroom")));
  statistics.limit = 64_MiB;
  statistics.process_headroom = 8_MiB;
  statistics.app_domain_headroom = 2_MiB;
  EXPECT_THAT(LimitTable(statistics, policy),
              HasSubstr("  headroom                             8.0 MiB for the process, 2.0 MiB for the application "
                        "domain\n"));
  policy.options.headroom = {};
  EXPECT_THAT(LimitTable(statistics, policy), Not(HasSubstr("headroom")));
}

TEST(PolicySummary, ShowsOutsideBytesIfTheyCount) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.outside = 24_MiB;
  PolicyFigures policy;
  EXPECT_THAT(LimitTable(statistics, policy), Not(HasSubstr("outside")));
  EXPECT_EQ(PolicyJson(statistics, policy)["outside"].dump(), R"({"bytes":25165824,"counted":false})");
  policy.options.count_whole_process = true;
  EXPECT_THAT(LimitTable(statistics, policy),
              HasSubstr("  outside of the manager               24.0 MiB, counts against the limit\n"));
  EXPECT_EQ(PolicyJson(statistics, policy)["outside"]["counted"], true);
}

TEST(PolicySummary, ShowsWaitsByLevelAndOutcome) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  PolicyFigures policy;
  policy.options.wait_ms = {2000, 0, 300};
  EXPECT_EQ(PolicyTable(statistics, policy), "  waits                                none\n");
  statistics.waits[eTaskCritical] = 1234;
  statistics.waits_granted[eTaskCritical] = 1230;
  statistics.waits_timed_out[eTaskCritical] = 2;
  statistics.waits_abandoned[eTaskCritical] = 1;
  statistics.waits[eProcessCritical] = 5;
  statistics.waits_granted[eProcessCritical] = 5;
  EXPECT_EQ(PolicyTable(statistics, policy),
            "  waits by level\n"
            "    eTaskCritical                            1,234  1,230 granted, 2 timed out, 1 abandoned, 1 at the "
            "end\n"
            "    eProcessCritical                             5  5 granted\n");
  const Json waits = PolicyJson(statistics, policy)["waits"];
  EXPECT_EQ(waits["task_critical"].dump(),
            R"({"allowed_milliseconds":2000,"total":1234,"granted":1230,"timed_out":2,"abandoned":1})");
  EXPECT_EQ(waits["app_domain_critical"]["allowed_milliseconds"], 0);
  EXPECT_EQ(waits["process_critical"]["granted"], 5);
}

TEST(PolicySummary, ShowsWaitsWithoutAWaitOption) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.waits[eTaskCritical] = 1;
  statistics.waits_granted[eTaskCritical] = 1;
  EXPECT_THAT(PolicyTable(statistics, {}), HasSubstr("eTaskCritical"));
}

TEST(PolicySummary, ShowsCommittedHeadroomUsesAndHeldBytes) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.committed_headroom = 4_MiB;
  statistics.headroom_held = 4_MiB;
  EXPECT_EQ(PolicyTable(statistics, {}),
            "  committed headroom                   4.0 MiB, 4.0 MiB held now; never used\n");
  statistics.headroom_held = 1_MiB;
  statistics.headroom_uses = 2;
  statistics.headroom_given = 5_MiB;
  statistics.headroom_taken_back = 2_MiB;
  EXPECT_EQ(PolicyTable(statistics, {}),
            "  committed headroom                   4.0 MiB, 1.0 MiB held now; used 2 times, 5.0 MiB in total, 2.0 MiB "
            "restored\n");
  EXPECT_EQ(PolicyJson(statistics, {})["committed_headroom"].dump(),
            R"({"bytes":4194304,"held_bytes":1048576,"uses":2,"given_bytes":5242880,"taken_back_bytes":2097152})");
}

TEST(PolicySummary, SaysLoudlyThatTheBoundWasExceeded) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.limit = 64_MiB;
  statistics.bound = 64_MiB;
  EXPECT_EQ(PolicyTable(statistics, {}), "");
  EXPECT_EQ(PolicyJson(statistics, {})["bound"].dump(), R"({"bytes":67108864,"exceeded_by_bytes":0})");
  statistics.over_bound = 8192;
  EXPECT_EQ(PolicyTable(statistics, {}),
            "  ERROR                                the limit was exceeded by 8,192 bytes; report this as a bug of "
            "ClrHostMemory\n");
}

TEST(PolicySummary, ShowsTheBoundWhileItExceedsTheLimit) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.limit = 32_MiB;
  statistics.bound = 62_MiB;
  statistics.over_limit = 28_MiB;
  EXPECT_EQ(PolicyTable(statistics, {}),
            "  above the limit                      by 28.0 MiB at the end; at most 62.0 MiB until it fits\n");
}

TEST(PolicySummary, ListsOverLimitPeriods) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  PolicyFigures policy;
  policy.events.over_limit_periods = {{1000, 3500, 2_MiB}};
  EXPECT_EQ(PolicyTable(statistics, policy),
            "  above the limit                      once; not at the end\n"
            "    after 1.0 s                        by 2.0 MiB, for 2.5 s\n");
  statistics.over_limit = 3_MiB;
  policy.events.over_limit_periods.push_back({4000, std::nullopt, 1_MiB});
  policy.events.unlisted_over_limit_periods = 7;
  EXPECT_EQ(PolicyTable(statistics, policy),
            "  above the limit                      9 times; by 3.0 MiB at the end\n"
            "    after 1.0 s                        by 2.0 MiB, for 2.5 s\n"
            "    after 4.0 s                        by 1.0 MiB, to the end\n"
            "    later                              7 more times\n");
  const Json json = PolicyJson(statistics, policy)["over_limit"];
  EXPECT_EQ(json["bytes"], 3_MiB);
  EXPECT_EQ(json["periods"].dump(), R"([{"from_milliseconds":1000,"until_milliseconds":3500,"bytes":2097152},)"
                                    R"({"from_milliseconds":4000,"until_milliseconds":null,"bytes":1048576}])");
  EXPECT_EQ(json["unlisted_periods"], 7);
}

TEST(PolicySummary, ListsPressureChangesIfAPolicyOptionIsSet) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  statistics.notifications[0] = 4;
  statistics.notifications[1] = 1;
  PolicyFigures policy;
  policy.options.committed_headroom = 1;
  policy.events.pressure_changes = {{-120, eMemoryAvailableHigh, 90}, {2040, eMemoryAvailableLow, 3}};
  policy.events.unlisted_pressure_changes = 5;
  policy.events.repeated_low = 3;
  EXPECT_EQ(PolicyTable(statistics, policy),
            "  memory pressure notifications        4 Low, 1 Neutral\n"
            "    0.1 s before managed code          High, 90% available\n"
            "    after 2.0 s                        Low, 3% available\n"
            "    later                              5 more changes\n"
            "    Low repeated                       3 times\n");
  const Json json = PolicyJson(statistics, policy)["pressure"];
  EXPECT_EQ(json["availability"], "neutral");
  EXPECT_EQ(json["told"].dump(), R"({"low":4,"neutral":1,"high":0})");
  EXPECT_EQ(json["changes"].dump(), R"([{"milliseconds":-120,"availability":"high","available_percent":90},)"
                                    R"({"milliseconds":2040,"availability":"low","available_percent":3}])");
  EXPECT_EQ(json["unlisted_changes"], 5);
  EXPECT_EQ(json["repeated_low"], 3);
}

TEST(PolicySummary, NamesTheCauseOfALatch) {
  ClrHostMemoryStatistics statistics = QuietStatistics();
  EXPECT_TRUE(PolicyJson(statistics, {})["latch"].is_null());
  statistics.latch_cause = kClrHostMemoryLatchedByException;
  statistics.latch_method = kClrHostMemoryVirtualFree;
  EXPECT_EQ(PolicyTable(statistics, {}),
            "  latched                              E_FAIL, caused by an exception in VirtualFree\n");
  statistics.latch_cause = kClrHostMemoryLatchedByOs;
  statistics.latch_error = 487;
  EXPECT_THAT(PolicyTable(statistics, {}), HasSubstr("E_FAIL, caused by an OS call in VirtualFree, error 487 ("));
  EXPECT_EQ(PolicyJson(statistics, {})["latch"].dump(), R"({"cause":"os","method":"virtual_free","win32_error":487})");
}

}  // namespace
}  // namespace clr_host_memory::tool
