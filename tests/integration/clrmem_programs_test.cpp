// Tests realistic programs on real runtimes, under a limit that has room for them. They behave as without the manager,
// and every page is accounted for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"
#include "integration/sound_run.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

void ExpectWithin(const RunWithSummary& run, std::uint64_t limit) {
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_EQ(run.summary["limit_bytes"], limit);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], limit);
  for (const char* level : {"task_critical", "app_domain_critical", "process_critical"}) {
    EXPECT_EQ(run.summary["limit_refusals"][level], 0) << level;
  }
}

class ClrmemPrograms : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static std::string Program(const std::string& name) { return ProgramPath(GetParam(), name); }
};

TEST_P(ClrmemPrograms, AspNetCoreServesRequestsUnderALimit) {
  const RunWithSummary run = RunProgram({"--limit", "64M"}, Program("WebHello"), {"300"}, ForFreeingCode(GetParam()));
  ExpectWithin(run, 64 * kMiB);
  EXPECT_THAT(run.process.out, HasSubstr("answered 300 of 300 requests"));
  // 300 requests allocate 75 MiB in all.
  EXPECT_GT(run.summary["memory"]["peak_charged_bytes"], 5 * kMiB);
}

// Returns the manager's charge in bytes after each round, as the program read it from the manager.
std::vector<std::int64_t> ChargedByRound(const std::string& out) {
  std::vector<std::int64_t> charged;
  std::istringstream lines(out);
  constexpr std::string_view kBefore = " charged ";
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find(kBefore);
    if (line.starts_with("round ") && at != std::string::npos)
      charged.push_back(std::stoll(line.substr(at + kBefore.size())));
  }
  return charged;
}

TEST_P(ClrmemPrograms, ChargeStaysLevelWhileContextsLoadAndUnload) {
  constexpr std::size_t kRounds = 20;
  constexpr std::int64_t kMargin = 64 * 1024;
  // Tiered compilation and W^X are off. Recompiling hot methods would grow the code heap for another hundred rounds,
  // and W^X mappings would grow by a page or two.
  const RunWithSummary run =
      RunProgram({"--limit", "64M"}, Program("CollectibleContexts"), {std::to_string(kRounds), "6"},
                 {{"DOTNET_TieredCompilation", "0"}, {"DOTNET_EnableWriteXorExecute", "0"}});
  ExpectWithin(run, 64 * kMiB);
  const std::vector<std::int64_t> charged = ChargedByRound(run.process.out);
  ASSERT_EQ(charged.size(), kRounds) << run.process.out;
  // One round may be higher: .NET 8 was seen on a loaded machine with 320 KiB more in one round and none in the next.
  // What leaks stays in each later round.
  std::vector<std::int64_t> later(charged.begin() + kRounds / 2, charged.end());
  std::sort(later.begin(), later.end());
  EXPECT_GT(later.front(), 1 << 20) << run.process.out;
  EXPECT_LE(later[later.size() - 2] - later.front(), kMargin) << run.process.out;
}

TEST_P(ClrmemPrograms, NativeHeavyRunsUnderALimit) {
  const RunWithSummary run = RunProgram({"--limit", "64M"}, Program("NativeHeavy"), {}, ForFreeingCode(GetParam()));
  ExpectWithin(run, 64 * kMiB);
  EXPECT_THAT(run.process.out, HasSubstr("all right"));
}

// Under a limit below the program's peak, the program may run out of memory or finish. The account is exact in either
// case.
TEST_P(ClrmemPrograms, AccountingStaysExactWhenMemoryIsShort) {
  const RunWithSummary run = RunProgram({"--limit", "32M"}, Program("Churn"), {"96"});
  ExpectSound(run);
  EXPECT_TRUE(run.process.exit_code == 0 || run.process.exit_code == 42) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], (32 + 16) * kMiB) << "limit and reserve";
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemPrograms, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

const GcVariant kGcVariants[] = {
    kWorkstation,
    kServerGc,
    kWithoutConcurrentGc,
    {"ServerGcWithoutConcurrentGc", {{"DOTNET_gcServer", "1"}, {"DOTNET_gcConcurrent", "0"}}, nullptr},
    kStandaloneGc,
    {"StandaloneServerGc", {{"DOTNET_GCName", "clrgc.dll"}, {"DOTNET_gcServer", "1"}}, "clrgc.dll"},
    {"ExperimentalGc", {{"DOTNET_GCName", "clrgcexp.dll"}}, "clrgcexp.dll"},
    kWriteXorExecuteOn,
    kWriteXorExecuteOff,
};

// Returns whether Churn ran out of memory although the manager refused nothing and half of the limit was free.
bool RanOutOfMemoryByItself(const RunWithSummary& run, std::uint64_t limit) {
  constexpr std::uint32_t kOutOfMemory = 42;
  if (run.process.exit_code != kOutOfMemory || !run.summary.is_object()) return false;
  if (run.summary["memory"]["peak_charged_bytes"].get<std::uint64_t>() > limit / 2) return false;
  for (const auto& [level, codes] : run.summary["refusals"].items()) {
    if (codes["total"] != 0) return false;
  }
  return true;
}

class ClrmemChurn : public testing::TestWithParam<std::tuple<Runtime, GcVariant>> {};

TEST_P(ClrmemChurn, KeepsObjectsIntactAndAccountingExact) {
  const auto& [runtime, variant] = GetParam();
  if (const auto why = WhyNotRunnable(runtime)) GTEST_SKIP() << *why;
  if (variant.gc_module != nullptr && !FileExists(RuntimeFolder(runtime) + "\\" + variant.gc_module)) {
    GTEST_SKIP() << ".NET " << runtime.version << " has no " << variant.gc_module;
  }
  if (IsEmulated() && std::string(variant.name) == kWriteXorExecuteOn.name) {
    GTEST_SKIP() << "needs a processor: the emulation does not notice code written through a second mapping";
  }
  const auto churn = [&, r = runtime, v = variant] {
    return RunProgram({"--limit", "256M"}, ProgramPath(r, "Churn"), {"128"}, v.environment);
  };
  RunWithSummary run = churn();
  // .NET 10 with the server GC did so under Wine once in some 1,000 runs. If the manager were the cause, it would
  // happen again.
  if (RanOutOfMemoryByItself(run, 256 * kMiB)) {
    ExpectSound(run);
    run = churn();
  }
  ExpectWithin(run, 256 * kMiB);
  EXPECT_THAT(run.process.out, HasSubstr("churned 128 MiB, 0 changed, finalizers ran"));
  if (variant.gc_module == nullptr) return;
  const auto& modules = run.summary["bridge"]["modules"];
  EXPECT_TRUE(std::any_of(modules.begin(), modules.end(), [&](const auto& module) {
    return module["path"].template get<std::string>().ends_with(variant.gc_module);
  })) << modules.dump(2);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemChurn,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::ValuesIn(kGcVariants)),
                         VariantName());

}  // namespace
}  // namespace clrhm_test
