// Tests the policy options on real runtimes: limits that change while a program runs, waits, the headroom, and
// their figures in the summary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class ClrmemPolicy : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static RunWithSummary Run(const std::vector<std::string>& options, const std::string& program,
                                          const std::vector<std::string>& arguments = {},
                                          const Environment& environment = {}) {
    return RunProgram(options, ProgramPath(GetParam(), program), arguments, environment);
  }
};

// Checks what holds after every run, under all options.
void ExpectSound(const RunWithSummary& run) {
  ASSERT_FALSE(run.process.timed_out) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["schema"], 1);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0) << run.summary.dump(2);
  EXPECT_TRUE(run.summary["latch"].is_null()) << run.summary.dump(2);
  for (const auto& [level, waits] : run.summary["waits"].items()) {
    EXPECT_EQ(waits["total"],
              waits["granted"].get<int>() + waits["timed_out"].get<int>() + waits["abandoned"].get<int>())
        << level;
  }
}

TEST_P(ClrmemPolicy, LoweredLimitRefusesNewRequests) {
  // The program holds 16 MiB when the limit falls, and requests 160 MiB in all.
  const RunWithSummary run = Run({"--limit-at", "500ms=40M"}, "HeldBuffers", {"80", "8", "40"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("refused after "));
  EXPECT_EQ(run.summary["initial_limit_bytes"], nullptr);
  EXPECT_EQ(run.summary["limit_bytes"], 40 * kMiB);
  ASSERT_EQ(run.summary["limit_changes"].size(), 1u);
  EXPECT_EQ(run.summary["limit_changes"][0]["outcome"], "applied");
  EXPECT_EQ(run.summary["limit_changes"][0]["limit_bytes"], 40 * kMiB);
  EXPECT_GE(run.summary["limit_changes"][0]["applied_milliseconds"], 500);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], (40 + 16) * kMiB) << "limit and reserve";
  EXPECT_GT(run.summary["limit_refusals"]["task_critical"], 0);
  EXPECT_THAT(run.process.error, HasSubstr("after 0.5 s                        40.0 MiB\n"));
}

TEST_P(ClrmemPolicy, RaisedLimitLetsTheProgramFinish) {
  // The program requests 160 MiB in all, the first 16 MiB at once.
  const RunWithSummary run =
      Run({"--limit", "64M", "--limit-at", "500ms=none", "--limit-at", "1h=8M"}, "HeldBuffers", {"80", "8", "none"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_GT(run.summary["memory"]["peak_charged_bytes"], 128 * kMiB);
  EXPECT_EQ(run.summary["limit_bytes"], nullptr);
  EXPECT_EQ(run.summary["limit_changes"][0]["outcome"], "applied");
  EXPECT_EQ(run.summary["limit_changes"][1]["outcome"], "not_reached");
  EXPECT_EQ(run.summary["limit_changes"][1]["applied_milliseconds"], nullptr);
  EXPECT_THAT(run.process.error, HasSubstr("8.0 MiB, not applied: the program had ended"));
}

TEST_P(ClrmemPolicy, LimitBelowUsageIsReportedUntilItFitsAgain) {
  // 30 MiB and the runtime's memory are in use when the limit falls. Later requests wait until it rises.
  const RunWithSummary run = Run({"--limit", "512M", "--wait", "60s", "--limit-at", "1s=4M", "--limit-at", "2s=500M"},
                                 "HeldBuffers", {"30", "15", "500"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  const auto& periods = run.summary["over_limit"]["periods"];
  ASSERT_EQ(periods.size(), 1u) << run.summary["over_limit"].dump(2);
  EXPECT_GT(periods[0]["bytes"], 1 * kMiB);
  EXPECT_GE(periods[0]["from_milliseconds"], 990) << "times count from where managed code begins";
  ASSERT_TRUE(periods[0]["until_milliseconds"].is_number());
  EXPECT_GE(periods[0]["until_milliseconds"], 1990);
  EXPECT_EQ(run.summary["over_limit"]["bytes"], 0);
  EXPECT_GE(run.summary["pressure"]["told"]["low"], 1);
  EXPECT_GE(run.summary["waits"]["task_critical"]["granted"], 1);
  EXPECT_THAT(run.process.error, HasSubstr("above the limit                      once; not at the end"));
}

TEST_P(ClrmemPolicy, GrantedWaitPreventsAnOutOfMemoryException) {
  // The GC's heap reaches the limit of 64 MiB, and gets the rest of its 90 MiB when the limit rises. On a slow machine
  // the limit may rise before the heap reaches 64 MiB. Then the test runs again with a later change.
  RunWithSummary run;
  for (int milliseconds = 1000; milliseconds <= 16'000; milliseconds *= 2) {
    run = Run({"--limit", "64M", "--gc-limit", "off", "--wait", "task=60s", "--limit-at",
               std::to_string(milliseconds) + "ms=128M"},
              "AllocateUntilOom", {"90"});
    ExpectSound(run);
    if (HasFatalFailure() || run.summary["waits"]["task_critical"]["total"] != 0) break;
  }
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("allocated 90 MiB"));
  const auto& waits = run.summary["waits"];
  EXPECT_EQ(waits["task_critical"]["allowed_milliseconds"], 60'000);
  EXPECT_GE(waits["task_critical"]["granted"], 1);
  EXPECT_EQ(waits["task_critical"]["timed_out"], 0);
  EXPECT_EQ(waits["process_critical"]["allowed_milliseconds"], 0);
  EXPECT_GE(run.summary["elapsed_milliseconds"], 1000);
  EXPECT_EQ(run.summary["refusals"]["task_critical"]["total"], 0);
  EXPECT_THAT(run.process.error, HasSubstr("granted"));
}

TEST_P(ClrmemPolicy, TimedOutWaitRaisesAnOutOfMemoryException) {
  const RunWithSummary run = Run({"--limit", "64M", "--gc-limit", "off", "--wait", "200ms"}, "AllocateUntilOom");
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_GE(run.summary["waits"]["task_critical"]["timed_out"], 1);
  EXPECT_GE(run.summary["refusals"]["task_critical"]["timeout"], 1);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 64 * kMiB);
  EXPECT_THAT(run.process.error, HasSubstr("timed out"));
}

TEST_P(ClrmemPolicy, UnusedWaitsTakeOneLine) {
  const RunWithSummary run = Run({"--limit", "64M", "--wait", "1s"}, "Hello");
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u);
  EXPECT_THAT(run.process.error, HasSubstr("waits                                none\n"));
}

TEST_P(ClrmemPolicy, HeadroomIsWithheldFromTaskCriticalRequests) {
  // Headroom withholds a quarter and an eighth of 128 MiB from the GC's heap.
  const RunWithSummary run = Run({"--limit", "128M", "--headroom", "25%,16M", "--gc-limit", "off"}, "AllocateUntilOom");
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["process_headroom_bytes"], 32 * kMiB);
  EXPECT_EQ(run.summary["app_domain_headroom_bytes"], 16 * kMiB);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 96 * kMiB) << "80 MiB and process-critical requests";
  EXPECT_GE(run.summary["memory"]["peak_charged_bytes"], 60 * kMiB);
  EXPECT_THAT(run.process.error, HasSubstr("headroom                             32.0 MiB for the process, 16.0 MiB"));
}

TEST_P(ClrmemPolicy, CommittedHeadroomServesProcessCriticalRequestsAtTheLimit) {
  // The program's GC heap fills what the headroom leaves. Its loader heap's requests are process-critical.
  const RunWithSummary run =
      Run({"--limit", "64M", "--commit-headroom", "16M", "--gc-limit", "off"}, "LoaderHeapAtLimit", {"12"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("then took 12 MiB of a loader heap"));
  const auto& headroom = run.summary["committed_headroom"];
  EXPECT_EQ(headroom["bytes"], 16 * kMiB);
  EXPECT_GE(headroom["uses"], 1);
  EXPECT_GT(headroom["given_bytes"], 4 * kMiB);
  // A collection may have freed so much since then that the manager has taken all of it back.
  EXPECT_EQ(headroom["held_bytes"].get<std::uint64_t>() + headroom["given_bytes"].get<std::uint64_t>(),
            16 * kMiB + headroom["taken_back_bytes"].get<std::uint64_t>());
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 64 * kMiB);
  EXPECT_EQ(run.summary["limit_refusals"]["process_critical"], 0);
  EXPECT_GE(run.summary["limit_refusals"]["task_critical"], 1);
  EXPECT_THAT(run.process.error, HasSubstr("committed headroom                   16.0 MiB, "));
  EXPECT_THAT(run.process.error, HasSubstr(" held now; used "));
}

TEST_P(ClrmemPolicy, DefaultHeadroomServesProcessCriticalRequests) {
  const RunWithSummary run = Run({"--limit", "64M", "--gc-limit", "off"}, "LoaderHeapAtLimit", {"1"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["process_headroom_bytes"], 2 * kMiB);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 64 * kMiB);
  EXPECT_EQ(run.summary["limit_refusals"]["process_critical"], 0);
}

TEST_P(ClrmemPolicy, UnusedCommittedHeadroomIsHeldToTheEnd) {
  const RunWithSummary run = Run({"--limit", "64M", "--commit-headroom", "4M"}, "Hello");
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u);
  EXPECT_THAT(run.process.error,
              HasSubstr("committed headroom                   4.0 MiB, 4.0 MiB held now; never used\n"));
  EXPECT_EQ(run.summary["committed_headroom"]["held_bytes"], 4 * kMiB);
}

TEST_P(ClrmemPolicy, CountAllLeavesLessForTheProgram) {
  const RunWithSummary without = Run({"--limit", "256M", "--gc-limit", "off"}, "AllocateUntilOom");
  ExpectSound(without);
  ASSERT_EQ(without.process.exit_code, 42u) << without.process.out << without.process.error;
  EXPECT_EQ(without.summary["outside"]["counted"], false);
  EXPECT_THAT(without.process.error, Not(HasSubstr("outside of the manager")));

  // The program pauses first, so that the manager measures the outside bytes before the program fills the limit.
  const RunWithSummary with = Run({"--limit", "256M", "--gc-limit", "off", "--count-all", "--headroom", "0,0"},
                                  "AllocateUntilOom", {"100000", "1024", "1000"});
  ExpectSound(with);
  // Nothing is kept for process-critical requests, so the runtime may end in any way. It must be refused first.
  EXPECT_GT(with.summary["limit_refusals"]["task_critical"], 0) << with.process.out << with.process.error;
  EXPECT_LT(with.summary["memory"]["peak_charged_bytes"], without.summary["memory"]["peak_charged_bytes"]);

  // Wine counts touched pages as private bytes. This program commits little that it does not touch.
  const RunWithSummary quiet = Run({"--limit", "256M", "--count-all"}, "AllocateUntilOom", {"1", "1024", "1000"});
  ExpectSound(quiet);
  EXPECT_EQ(quiet.process.exit_code, 0u) << quiet.process.out << quiet.process.error;
  EXPECT_EQ(quiet.summary["outside"]["counted"], true);
  EXPECT_GT(quiet.summary["outside"]["bytes"], 0);
  EXPECT_THAT(quiet.process.error, HasSubstr("MiB, counts against the limit\n"));
}

TEST_P(ClrmemPolicy, CountAllIsRefusedWithoutRoomForARuntime) {
  // clrmem's own private bytes leave too little of 4 MiB for a runtime.
  const RunWithSummary run = Run({"--limit", "4M", "--count-all"}, "Hello");
  EXPECT_EQ(run.process.exit_code, 2u) << run.process.error;
  EXPECT_THAT(run.process.error, HasSubstr("clrmem: --count-all counts "));
  EXPECT_THAT(run.process.error, HasSubstr("; give a higher --limit, or remove --count-all\n"));
  EXPECT_TRUE(run.summary.is_null());
}

TEST_P(ClrmemPolicy, ProcessExitWritesTheSummaryWithLimitChangesPending) {
  // The programs end the process by Environment.Exit and by an unhandled exception. The threads of the manager and of
  // clrmem run until then.
  for (const char* program : {"ExitEarly", "Crash"}) {
    const RunWithSummary run = Run({"--limit", "256M", "--wait", "30s", "--commit-headroom", "1M", "--count-all",
                                    "--headroom", "10%,5%", "--limit-at", "0=192M", "--limit-at", "1h=64M"},
                                   program);
    ExpectSound(run);
    EXPECT_EQ(run.summary["limit_changes"][0]["outcome"], "applied") << program;
    EXPECT_EQ(run.summary["limit_changes"][1]["outcome"], "not_reached") << program;
    EXPECT_EQ(run.summary["limit_bytes"], 192 * kMiB) << program;
  }
}

TEST_P(ClrmemPolicy, RuntimeFolderProgramGetsItsLimitChanges) {
  const RunWithSummary run =
      Run({"--runtime", RuntimeFolder(GetParam()), "--limit-at", "500ms=40M"}, "HeldBuffers", {"80", "8", "40"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["limit_changes"][0]["outcome"], "applied");
}

// A GC of segments reserves one for each large object, is granted its first page, and releases it again when the rest
// is refused.
TEST_P(ClrmemPolicy, ThrashGuardStopsASpinningGcOfSegments) {
  const RunWithSummary run = Run({"--limit", "64M", "--gc-limit", "off", "--on-thrash=stop"}, "SpinAtLimit",
                                 {"spin", "60"}, {{"DOTNET_GCName", "clrgc.dll"}});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 124u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["thrash"]["windows"], 1) << run.summary.dump(2);
}

TEST_P(ClrmemPolicy, ThrashGuardStopsASpinningRuntime) {
  const RunWithSummary run =
      Run({"--limit", "64M", "--gc-limit", "off", "--on-thrash=stop"}, "SpinAtLimit", {"spin", "60"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 124u) << run.process.out << run.process.error;
  EXPECT_EQ(run.summary["exit_code"], 124);
  EXPECT_EQ(run.summary["ended_by"], "stopped by the thrash guard");
  EXPECT_THAT(run.process.error,
              HasSubstr("clrmem: the app is stopped because its runtime spins at the limit of 64.0 MiB: "));
  EXPECT_THAT(run.process.error, HasSubstr("spun at its limit"));
  const auto& thrash = run.summary["thrash"];
  EXPECT_EQ(thrash["windows"], 1);
  EXPECT_GE(thrash["first"]["refusals"], 40);
  EXPECT_GE(thrash["first"]["collections"], 10);
  EXPECT_GE(thrash["first"]["window_milliseconds"], 5000);
}

TEST_P(ClrmemPolicy, SpinningRuntimeIsOnlyReportedByDefault) {
  // The manager reports a window of 5 seconds without a pause in the refusals. On a loaded machine, such a window may
  // take longer to occur.
  RunWithSummary run;
  for (const char* seconds : {"9", "20", "60"}) {
    run = Run({"--limit", "64M", "--gc-limit", "off"}, "SpinAtLimit", {"spin", seconds});
    ExpectSound(run);
    if (HasFatalFailure() || run.summary["thrash"]["windows"] != 0) break;
  }
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_GE(run.summary["thrash"]["windows"], 1);
  EXPECT_THAT(run.process.error, HasSubstr("spun at its limit"));
}

TEST_P(ClrmemPolicy, ThrashGuardSparesAProgramThatMakesProgress) {
  const std::vector<std::string> options{"--limit", "64M", "--gc-limit", "off", "--on-thrash=stop"};
  const struct {
    const char* program;
    std::vector<std::string> arguments;
    std::uint32_t exit_code;
  } runs[] = {
      {"SpinAtLimit", {"refill", "9"}, 0},
      {"SpinAtLimit", {"occasional", "9"}, 0},
      {"AllocateUntilOom", {}, 42},
  };
  for (const auto& one : runs) {
    const RunWithSummary run = Run(options, one.program, one.arguments);
    ExpectSound(run);
    EXPECT_EQ(run.process.exit_code, one.exit_code) << one.program << run.process.out << run.process.error;
    EXPECT_EQ(run.summary["thrash"]["windows"], 0) << one.program << run.summary.dump(2);
    EXPECT_GT(run.summary["limit_refusals"]["task_critical"], 0) << one.program;
  }
}

TEST_P(ClrmemPolicy, SummaryOmitsThePolicyByDefault) {
  const RunWithSummary run = Run({"--limit", "64M"}, "Hello");
  ExpectSound(run);
  for (const char* line : {"headroom", "waits", "committed headroom", "outside", "above the limit", "at the start"}) {
    EXPECT_THAT(run.process.error, Not(HasSubstr(line)));
  }
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemPolicy, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
