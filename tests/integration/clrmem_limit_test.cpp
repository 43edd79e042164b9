// Tests real programs under --limit. A program that allocates without end gets a catchable OutOfMemoryException near
// the limit, never above it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <tuple>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

const GcVariant kVariants[] = {
    kWorkstation,
    kServerGc,
    kStandaloneGc,
    kWithoutConcurrentGc,
    kWriteXorExecuteOn,
    kWriteXorExecuteOff,
    {"TieredCompilationOff", {{"DOTNET_TieredCompilation", "0"}}, nullptr},
};

class ClrmemLimit : public testing::TestWithParam<std::tuple<Runtime, GcVariant>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(runtime())) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static const Runtime& runtime() { return std::get<0>(GetParam()); }
  [[nodiscard]] static const GcVariant& variant() { return std::get<1>(GetParam()); }
};

// Returns the number that follows `what` in the text, in MiB; -1 if the text lacks it.
int MiBAfter(const std::string& text, const std::string& what) {
  const std::size_t at = text.find(what);
  return at == std::string::npos ? -1 : std::stoi(text.substr(at + what.size()));
}

TEST_P(ClrmemLimit, RaisesACatchableOutOfMemoryException) {
  const std::string app = ProgramPath(runtime(), "AllocateUntilOom");
  // With its own limit, the GC would throw before the manager refuses a request.
  const RunWithSummary run = RunProgram({"--limit", "128M", "--gc-limit", "off"}, app, {}, variant().environment);
  ASSERT_FALSE(run.process.timed_out) << run.process.out << run.process.error;
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  const int reached = MiBAfter(run.process.out, "OutOfMemoryException after ");
  EXPECT_GE(reached, 90) << run.process.out;
  EXPECT_LE(reached, 128) << run.process.out;

  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["limit_bytes"], 128 * kMiB);
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], (128 + 16) * kMiB) << "limit and reserve";
  EXPECT_GE(run.summary["memory"]["peak_charged_bytes"], 90 * kMiB);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0) << run.summary.dump(2);
  EXPECT_GT(run.summary["refusals"]["task_critical"]["out_of_memory"], 0);
  EXPECT_GT(run.summary["limit_refusals"]["task_critical"], 0);
  EXPECT_EQ(run.summary["limit_refusals"]["process_critical"], 0) << run.summary.dump(2);
  EXPECT_THAT(run.process.error, HasSubstr("mismatch 0 bytes"));

  // The bridge distinguishes the purposes under every GC and every way to map code. Only the GC's heap was refused.
  const auto& purposes = run.summary["bridge"]["purposes"];
  for (const char* purpose : {"gc_heap", "gc_bookkeeping", "code_heap", "loader_heap"}) {
    EXPECT_GT(purposes[purpose]["requests"], 0) << purpose << run.summary["bridge"].dump(2);
  }
  EXPECT_EQ(purposes["gc_heap"]["refusals"], run.summary["refusals"]["task_critical"]["total"]);
  for (const auto& [purpose, counted] : purposes.items()) {
    if (purpose == "gc_heap") continue;
    EXPECT_EQ(counted["refusals"], 0) << purpose;
  }

  if (variant().gc_module == nullptr) return;
  bool found = false;
  for (const auto& module : run.summary["bridge"]["modules"]) {
    if (!module["path"].get<std::string>().ends_with(variant().gc_module)) continue;
    found = true;
    EXPECT_THAT(module["imports"], testing::Contains("VirtualAlloc"));
  }
  EXPECT_TRUE(found) << run.summary["bridge"].dump(2);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemLimit,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::ValuesIn(kVariants)), VariantName());

TEST_P(ClrmemLimit, GcKeepsToTheLimitItReceives) {
  const RunWithSummary filled =
      RunProgram({"--limit", "128M"}, ProgramPath(runtime(), "AllocateUntilOom"), {}, variant().environment);
  EXPECT_EQ(filled.process.exit_code, 42u) << filled.process.out << filled.process.error;
  EXPECT_GE(MiBAfter(filled.process.out, "OutOfMemoryException after "), 100) << filled.process.out;
  EXPECT_LE(filled.summary["memory"]["peak_charged_bytes"], (128 + 16) * kMiB);
  EXPECT_EQ(filled.summary["audit"]["mismatch_bytes"], 0) << filled.summary.dump(2);
}

class ClrmemTightLimit : public testing::TestWithParam<Runtime> {};

TEST_P(ClrmemTightLimit, FitsAProgramThatNeedsLess) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const RunWithSummary run = RunProgram({"--limit", "128M"}, ProgramPath(GetParam(), "AllocateUntilOom"), {"60"});
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_EQ(run.summary["refusals"]["task_critical"]["total"], 0);
  EXPECT_GE(run.summary["memory"]["peak_charged_bytes"], 60 * kMiB);
}

TEST_P(ClrmemTightLimit, FitsAProgramWithMostlyGarbage) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  // Without a limit, the program's peak is 56 MiB, of which 25 MiB are alive.
  const RunWithSummary run = RunProgram({"--limit", "45M"}, ProgramPath(GetParam(), "SmallObjects"), {"64"});
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 45 * kMiB);
}

TEST_P(ClrmemTightLimit, StartsHelloUnderALimitOf8MiB) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const RunWithSummary run = RunProgram({"--limit", "8M"}, ProgramPath(GetParam(), "Hello"));
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 8 * kMiB);
}

// If clrmem refuses to start the program, its error names a limit under which the program runs. This holds for every GC
// and for every size of the GC's initial commit.
TEST_P(ClrmemTightLimit, NamesAWorkingLimitWhenStartIsRefused) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const Environment environments[] = {
      {},
      {{"DOTNET_gcServer", "1"}},
      {{"DOTNET_gcServer", "1"}, {"DOTNET_GCName", "clrgc.dll"}},
      {{"DOTNET_GCgen0size", "0x1000000"}},
  };
  int refused = 0;
  for (const Environment& environment : environments) {
    SCOPED_TRACE(testing::PrintToString(environment));
    const std::string hello = ProgramPath(GetParam(), "Hello");
    RunWithSummary run = RunProgram({"--limit", "4M"}, hello, {}, environment);
    if (run.process.exit_code != 0) {
      ++refused;
      EXPECT_EQ(run.process.exit_code, 2u) << run.process.error;
      EXPECT_THAT(run.process.error, HasSubstr("clrmem: the limit of 4.0 MiB is less than .NET "));
      EXPECT_THAT(run.process.out, testing::IsEmpty()) << "Main has not run";
      EXPECT_TRUE(run.summary.is_null());
      const std::string before = "give --limit ";
      const std::size_t at = run.process.error.find(before);
      ASSERT_NE(at, std::string::npos) << run.process.error;
      const std::string least = std::to_string(std::stoi(run.process.error.substr(at + before.size()))) + "M";
      EXPECT_NE(least, "4M");
      run = RunProgram({"--limit", least}, hello, {}, environment);
    }
    EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
    EXPECT_THAT(run.process.out, HasSubstr("hello from .NET "));
  }
  EXPECT_GT(refused, 0) << "a server GC of segments commits more than 4 MiB at its start";
}

// Each byte of the process's figure is in one row or is reported as unexplained.
TEST_P(ClrmemTightLimit, AccountsForEveryByteOfTheProcess) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const RunWithSummary run =
      RunProgram({"--limit", "128M", "--accounting"}, ProgramPath(GetParam(), "AllocateUntilOom"), {"60"});
  ASSERT_EQ(run.process.exit_code, 0u) << run.process.error;
  const auto& accounting = run.summary["accounting"];
  const auto bytes = [&](const char* part, const char* key) { return accounting[part][key].get<std::int64_t>(); };
  EXPECT_EQ(bytes("hosted", "bytes"), run.summary["memory"]["charged_bytes"].get<std::int64_t>()) << accounting.dump(2);
  EXPECT_EQ(bytes("process", "bytes"), bytes("hosted", "bytes") - bytes("hosted", "mapped_bytes") +
                                           bytes("not_hosted", "bytes") +
                                           accounting["unexplained_bytes"].get<std::int64_t>());
  EXPECT_EQ(bytes("not_hosted", "bytes"), bytes("not_hosted", "stack_bytes") + bytes("not_hosted", "thread_bytes") +
                                              bytes("not_hosted", "heap_bytes") + bytes("not_hosted", "image_bytes") +
                                              bytes("not_hosted", "own_bytes") + bytes("not_hosted", "unknown_bytes"));
  EXPECT_GE(accounting["hosted"]["purposes"]["gc_heap"], 60 * kMiB);
  EXPECT_GT(accounting["hosted"]["purposes"]["gc_bookkeeping"], 0);
  EXPECT_GT(bytes("not_hosted", "stack_bytes"), 0);
  EXPECT_GE(accounting["not_hosted"]["stacks"], 3);
  EXPECT_GT(bytes("not_hosted", "image_bytes"), 0);
  EXPECT_GT(bytes("not_hosted", "heap_bytes"), 0);
  EXPECT_THAT(run.process.error, HasSubstr("not explained"));
}

// The limit bounds the hosted part of the process's private pages. The known rest
// is the pages present before the runtime, stacks and other thread data, and images. All other private pages are few:
// the growth of native heaps and unknown pages stays within 8 MiB.
TEST_P(ClrmemTightLimit, BoundsProcessMemoryWithinAKnownMargin) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  for (const char* program : {"WebHello", "LoadAssemblies", "NativeHeavy"}) {
    SCOPED_TRACE(program);
    const RunWithSummary run = RunProgram({"--limit", "32M", "--accounting"}, ProgramPath(GetParam(), program), {},
                                          {{"DOTNET_EnableWriteXorExecute", "0"}});
    ASSERT_EQ(run.process.exit_code, 0u) << run.process.error;
    const auto& accounting = run.summary["accounting"];
    const auto& rest = accounting["not_hosted"];
    const auto grown = [&](const char* key) {
      return rest[key].get<std::int64_t>() - rest["before"][key].get<std::int64_t>();
    };
    EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 32 * kMiB);
    EXPECT_LE(accounting["hosted"]["bytes"], 32 * kMiB);
    // Wine keeps the second stack (1 MiB) of threads that have ended. NativeHeavy starts 64 threads.
    EXPECT_LE(grown("heap_bytes") + grown("unknown_bytes"), 8 * kMiB) << accounting.dump(2);
  }
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemTightLimit, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

// ---- --gc-container: the GC derives its hard limit by its own rules ----
struct Collector {
  const char* name;  // part of the test's name
  const char* file;  // a standalone GC's DLL, or null for the runtime's built-in GC
};
class ClrmemContainer : public testing::TestWithParam<std::tuple<Runtime, Collector>> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(runtime())) GTEST_SKIP() << *why;
    const char* file = std::get<1>(GetParam()).file;
    if (file != nullptr && !FileExists(RuntimeFolder(runtime()) + "\\" + file)) {
      GTEST_SKIP() << file << " needs a later .NET than " << runtime().version;
    }
  }
  [[nodiscard]] static const Runtime& runtime() { return std::get<0>(GetParam()); }
  // Returns the bytes that the GC takes for the memory available to it.
  static std::uint64_t Available(const std::vector<std::string>& options, Environment environment = {}) {
    if (const char* file = std::get<1>(GetParam()).file) environment["DOTNET_GCName"] = file;
    const RunWithSummary run = RunProgram(options, ProgramPath(runtime(), "MemoryInfo"), {}, environment);
    EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
    EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
    return std::stoull("0" + run.process.out);
  }
};

TEST_P(ClrmemContainer, GcTakesItsShareOfTheLimit) {
  EXPECT_EQ(Available({"--limit", "200M", "--gc-container"}), 150 * kMiB) << "75 % of the limit";
  EXPECT_EQ(Available({"--limit", "200M", "--gc-limit", "off"}), 200 * kMiB)
      << "the whole limit without --gc-container";
  EXPECT_EQ(Available({"--limit", "200M", "--gc-container"}, {{"DOTNET_GCHeapHardLimitPercent", "0x32"}}), 100 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(Collectors, ClrmemContainer,
                         testing::Combine(testing::Values(kNet8, kNet10),
                                          testing::Values(Collector{"itsown", nullptr}, Collector{"clrgc", "clrgc.dll"},
                                                          Collector{"clrgcexp", "clrgcexp.dll"})),
                         VariantName());

TEST_P(ClrmemTightLimit, ContainerGcRefusesBeforeTheManager) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const RunWithSummary run =
      RunProgram({"--limit", "128M", "--gc-container"}, ProgramPath(GetParam(), "AllocateUntilOom"));
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  EXPECT_LE(MiBAfter(run.process.out, "OutOfMemoryException after "), 96) << run.process.out;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_EQ(run.summary["refusals"]["task_critical"]["total"], 0) << run.summary.dump(2);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
}

// With W^X, code is mapped twice and charged once. Without W^X, code is in private pages and nothing is mapped.
TEST_P(ClrmemTightLimit, AccountsExactlyForCodeUnderAnyMapping) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  for (const std::string twice : {"0", "1"}) {
    if (twice == "1" && IsEmulated()) continue;
    for (const char* program : {"SmallObjects", "LoadAssemblies"}) {
      const bool frees_code = std::string(program) == "LoadAssemblies";
      if (frees_code && twice == "1" && !FreesMappedCode(GetParam())) continue;
      SCOPED_TRACE(program + (" with W^X " + twice));
      const RunWithSummary run = RunProgram({"--limit", "256M"}, ProgramPath(GetParam(), program), {},
                                            {{"DOTNET_EnableWriteXorExecute", twice}});
      EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
      ASSERT_TRUE(run.summary.is_object());
      EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0) << run.summary.dump(2);
      EXPECT_EQ(run.summary["memory"]["mapped_bytes"] > 0, twice == "1") << run.summary["memory"].dump();
      EXPECT_EQ(run.summary["memory"]["stale_regions"], 0);
    }
  }
}

TEST_P(ClrmemTightLimit, BridgesNamedModulesAndRefusesUnsupportedOnes) {
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const std::string app = ProgramPath(GetParam(), "Hello");
  const RunWithSummary run = RunProgram({"--limit", "100M", "--bridge", "clrgc.dll", "--bridge", "not_there.dll"}, app,
                                        {}, {{"DOTNET_GCName", "clrgc.dll"}});
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  // coreclr.dll, clrjit.dll and the requested clrgc.dll.
  EXPECT_EQ(run.summary["bridge"]["modules"].size(), 3u) << run.summary["bridge"].dump(2);
  const RunWithSummary refused = RunProgram({"--bridge", "kernel32.dll"}, app);
  EXPECT_EQ(refused.process.exit_code, 2u);
  EXPECT_THAT(refused.process.error, HasSubstr("kernel32.dll cannot be bridged"));
}

TEST_P(ClrmemTightLimit, HoldsForA32BitGcThatTakesNoLimit) {
  if (sizeof(void*) != 4) GTEST_SKIP() << "64-bit GCs take a limit; the x86 builds run this";
  if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  const RunWithSummary run = RunProgram({"--limit", "128M"}, ProgramPath(GetParam(), "AllocateUntilOom"), {"400"});
  EXPECT_EQ(run.process.exit_code, 42u) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object());
  EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], 128 * kMiB);
  EXPECT_GT(run.summary["refusals"]["task_critical"]["total"], 0) << "the manager's limit, not the GC's";
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0);
  EXPECT_THAT(run.process.error, HasSubstr("none, a 32-bit GC takes no limit"));
}

}  // namespace
}  // namespace clrhm_test
