#include "benchmark/run_ending.h"

#include <gtest/gtest.h>

namespace clrhm_test {
namespace {

ProcessResult Ran(std::uint32_t exit_code, const std::string& out, const std::string& error) {
  ProcessResult result;
  result.exit_code = exit_code;
  result.out = out;
  result.error = error;
  return result;
}

constexpr const char* kSummary = "clrmem: .NET 8.0.33\n  limit    128.0 MiB\n";

TEST(RunEnding, PassesIfItEndsAsWithoutALimit) {
  EXPECT_EQ(EndingOf(Ran(0, "allocated 64 MiB\n", kSummary), {0}), Ending::kPasses);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", std::string("Unhandled exception. System.InvalidOperationException\n")),
                     {0xE0434352}),
            Ending::kPasses);
}

TEST(RunEnding, IsOutOfMemoryForCaughtAndUnhandledExceptions) {
  EXPECT_EQ(EndingOf(Ran(42, "OutOfMemoryException after 36 MiB\n", kSummary), {0}), Ending::kOutOfMemory);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Unhandled exception. System.OutOfMemoryException: ...\n"), {0}),
            Ending::kOutOfMemory);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Out of memory.\n"), {0}), Ending::kOutOfMemory);
  // This program ends by an exception in any case, but by another one.
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Unhandled exception. System.OutOfMemoryException: ...\n"), {0xE0434352}),
            Ending::kOutOfMemory);
}

TEST(RunEnding, DistinguishesARefusalFromAFailedStart) {
  EXPECT_EQ(
      EndingOf(Ran(2, "", "clrmem: --limit 1M is below the 3892K that a CLR needs to start; give at least 3892K\n"),
               {0}),
      Ending::kRefused);
  EXPECT_EQ(EndingOf(Ran(2, "",
                         "clrmem: the limit of 4.0 MiB is less than .NET 8.0.33 needs to start: 9.2 MiB are in use "
                         "before Main; give --limit 12M or more\n"),
                     {0}),
            Ending::kRefused);
  EXPECT_EQ(EndingOf(Ran(2, "", "clrmem: the runtime did not start: 0x8007000E; install it again\n"), {0}),
            Ending::kDidNotStart);
}

TEST(RunEnding, IsStoppedIfTheThrashGuardReportsIt) {
  const std::string line = "clrmem: the app is stopped because its runtime spins at its limit; give a higher --limit\n";
  EXPECT_EQ(EndingOf(Ran(124, "", line + kSummary), {0}), Ending::kStopped);
  EXPECT_EQ(EndingOf(Ran(124, "", kSummary), {0}), Ending::kFailed);
}

TEST(RunEnding, FailsForAnythingElse) {
  EXPECT_EQ(EndingOf(Ran(0x80131506, "", "Fatal error. Internal CLR error. (0x80131506)\n"), {0}), Ending::kFailed);
  EXPECT_EQ(EndingOf(Ran(0xC00000FD, "", "System.OutOfMemoryException\n"), {0}), Ending::kFailed);
  EXPECT_EQ(EndingOf(Ran(1, "object 3 was changed\n", kSummary), {0}), Ending::kFailed);
  // The program's own exit code 2 with clrmem's summary is not a refusal.
  EXPECT_EQ(EndingOf(Ran(2, "", kSummary), {0}), Ending::kFailed);
}

TEST(RunEnding, HangsAfterTheTimeout) {
  ProcessResult result = Ran(99, "OutOfMemoryException", "");
  result.timed_out = true;
  EXPECT_EQ(EndingOf(result, {99}), Ending::kHangs);
}

}  // namespace
}  // namespace clrhm_test
