#include "benchmark/run_ending.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "benchmark/edge_search.h"

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
  EXPECT_EQ(EndingOf(Ran(0, "allocated 64 MiB\n", kSummary), 0), Ending::kPasses);
  EXPECT_EQ(
      EndingOf(Ran(0xE0434352, "", std::string("Unhandled exception. System.InvalidOperationException\n")), 0xE0434352),
      Ending::kPasses);
}

TEST(RunEnding, IsOutOfMemoryForCaughtAndUnhandledExceptions) {
  EXPECT_EQ(EndingOf(Ran(42, "OutOfMemoryException after 36 MiB\n", kSummary), 0), Ending::kOutOfMemory);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Unhandled exception. System.OutOfMemoryException: ...\n"), 0),
            Ending::kOutOfMemory);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Out of memory.\n"), 0), Ending::kOutOfMemory);
  // This program ends by an exception in any case, but by another one.
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Unhandled exception. System.OutOfMemoryException: ...\n"), 0xE0434352),
            Ending::kOutOfMemory);
}

TEST(RunEnding, DistinguishesARefusalFromAFailedStart) {
  EXPECT_EQ(
      EndingOf(Ran(2, "", "clrmem: --limit 1M is below the 3892K that a CLR needs to start; give at least 3892K\n"), 0),
      Ending::kRefused);
  EXPECT_EQ(EndingOf(Ran(2, "",
                         "clrmem: the limit of 4.0 MiB is less than .NET 8.0.33 needs to start: 9.2 MiB are in use "
                         "before Main; give --limit 12M or more\n"),
                     0),
            Ending::kRefused);
  EXPECT_EQ(EndingOf(Ran(2, "", "clrmem: the runtime did not start: 0x8007000E; install it again\n"), 0),
            Ending::kDidNotStart);
}

TEST(RunEnding, IsAFailFastForOtherCodesOfTheRuntimeAndTheOs) {
  EXPECT_EQ(EndingOf(Ran(0x80131506, "", "Fatal error. Internal CLR error. (0x80131506)\n"), 0), Ending::kFailFast);
  EXPECT_EQ(EndingOf(Ran(0xC00000FD, "", "System.OutOfMemoryException\n"), 0), Ending::kFailFast);
}

TEST(RunEnding, FailsIfTheProgramReportsIt) {
  EXPECT_EQ(EndingOf(Ran(1, "object 3 was changed\n", kSummary), 0), Ending::kFailed);
  EXPECT_EQ(EndingOf(Ran(0xE0434352, "", "Unhandled exception. System.InvalidOperationException\n"), 0),
            Ending::kFailed);
  // The program's own exit code 2 with clrmem's summary is not a refusal.
  EXPECT_EQ(EndingOf(Ran(2, "", kSummary), 0), Ending::kFailed);
}

TEST(RunEnding, HangsAfterTheTimeout) {
  ProcessResult result = Ran(99, "OutOfMemoryException", "");
  result.timed_out = true;
  EXPECT_EQ(EndingOf(result, 99), Ending::kHangs);
}

TEST(RunEnding, IsKilledInAContainerThatIsTooSmall) {
  EXPECT_EQ(EndingInContainer(Ending::kPasses, 101, 100), Ending::kKilled);
  EXPECT_EQ(EndingInContainer(Ending::kOutOfMemory, 101, 100), Ending::kKilled);
  EXPECT_EQ(EndingInContainer(Ending::kPasses, 100, 100), Ending::kPasses);
  EXPECT_EQ(EndingInContainer(Ending::kHangs, 100, 100), Ending::kHangs);
}

nlohmann::json SummaryOf(const nlohmann::json& limit, int peak, int held, int exceeded, int mismatch) {
  return {{"limit_bytes", limit},
          {"memory", {{"peak_charged_bytes", peak}}},
          {"committed_headroom", {{"held_bytes", held}}},
          {"bound", {{"exceeded_by_bytes", exceeded}}},
          {"audit", {{"mismatch_bytes", mismatch}}}};
}

TEST(RunSoundness, HoldsIfPeakAndHeldHeadroomFitInTheLimit) {
  EXPECT_EQ(WhatIsUnsound(SummaryOf(100, 90, 10, 0, 0)), "");
  EXPECT_EQ(WhatIsUnsound(SummaryOf(100, 90, 11, 0, 0)), "1 bytes above the limit at the peak");
  EXPECT_EQ(WhatIsUnsound(SummaryOf(nullptr, 90, 11, 0, 0)), "");
}

TEST(RunSoundness, NamesEachBrokenPromise) {
  EXPECT_EQ(WhatIsUnsound(SummaryOf(100, 104, 0, 3, 2)),
            "2 bytes of audit mismatch, 3 bytes above the bound, 4 bytes above the limit at the peak");
}

// Runs the search against a program that passes from an edge on. Returns the values tried.
std::vector<std::uint64_t> Search(const SearchRange& range, std::uint64_t edge) {
  std::vector<std::uint64_t> tried;
  SearchEdge(range, [&](std::uint64_t value) {
    tried.push_back(value);
    return value >= edge;
  });
  return tried;
}

TEST(EdgeSearch, EnclosesTheEdgeToItsPrecision) {
  constexpr SearchRange kRange{.least = 256, .first = 20000, .most = 80000};
  for (const std::uint64_t edge : {257U, 300U, 5000U, 19999U, 20001U, 33333U, 79999U}) {
    const std::vector<std::uint64_t> tried = Search(kRange, edge);
    std::uint64_t high = kRange.most;
    std::uint64_t low = 0;
    for (const std::uint64_t value : tried) {
      if (value >= edge) high = std::min(high, value);
      if (value < edge) low = std::max(low, value);
    }
    EXPECT_LE(high - low, std::max<std::uint64_t>(1, high / 64)) << edge;
    EXPECT_LE(tried.size(), 14U) << edge;
    EXPECT_EQ(std::set<std::uint64_t>(tried.begin(), tried.end()).size(), tried.size()) << edge;
  }
}

TEST(EdgeSearch, EndsAtTheEndsOfTheRange) {
  constexpr SearchRange kRange{.least = 10, .first = 100, .most = 350};
  EXPECT_EQ(Search(kRange, 1), (std::vector<std::uint64_t>{100, 10}));
  EXPECT_EQ(Search(kRange, 351), (std::vector<std::uint64_t>{100, 200, 350}));
  EXPECT_EQ(Search({.least = 10, .first = 10, .most = 10}, 1), (std::vector<std::uint64_t>{10}));
}

}  // namespace
}  // namespace clrhm_test
