#include "benchmark/sweep_result.h"

#include <gtest/gtest.h>

namespace clrhm_test {
namespace {

constexpr auto kGood = Ending::kPasses;

Cell CellOf(std::vector<Trial> trials) { return {.trials = std::move(trials)}; }

// Returns a row in which (a) needs ours, (b) passes nowhere, and (c) and (d) need 100 and 110 MiB.
Row RowOf(std::uint64_t ours) {
  constexpr std::uint64_t kMebibyte = 1 << 20;
  Row row{.program = "Program", .runtime = "8.0.33", .total = 200 * kMebibyte};
  row.cells[kLimit] = CellOf({{ours * kMebibyte, {kGood}, ours * kMebibyte}, {kMebibyte, {Ending::kRefused}, 0}});
  row.cells[kHardLimit] = CellOf({{kMebibyte, {Ending::kHangs}, 0}});
  row.cells[kHardLimitConserving] =
      CellOf({{50 * kMebibyte, {kGood}, 100 * kMebibyte}, {40 * kMebibyte, {Ending::kOutOfMemory}, 0}});
  row.cells[kContainer] = CellOf({{120 * kMebibyte, {kGood}, 110 * kMebibyte}});
  return row;
}

TEST(SweepCell, LeastIsTheLeastTotalOfPassingTrials) {
  const Cell cell = CellOf({{80, {kGood, kGood}, 70},
                            {60, {kGood, kGood}, 65},
                            {50, {kGood, kGood}, 66},
                            {45, {kGood, Ending::kOutOfMemory}, 40},
                            {20, {Ending::kRefused}, 0}});
  ASSERT_NE(cell.Least(), nullptr);
  EXPECT_EQ(cell.Least()->parameter, 60U);
  ASSERT_NE(cell.Edge(), nullptr);
  EXPECT_EQ(cell.Edge()->parameter, 50U);
  ASSERT_NE(cell.Below(), nullptr);
  EXPECT_EQ(cell.Below()->parameter, 45U);
}

TEST(SweepCell, HasNoLeastOrBelowIfAllFailOrPass) {
  EXPECT_EQ(CellOf({{80, {Ending::kHangs}, 70}}).Least(), nullptr);
  EXPECT_EQ(CellOf({{80, {Ending::kHangs}, 70}}).Edge(), nullptr);
  EXPECT_EQ(CellOf({{80, {kGood}, 70}}).Below(), nullptr);
}

TEST(SweepRow, RatioComparesWithTheBestOfTheOthers) {
  EXPECT_DOUBLE_EQ(RowOf(90).Ratio().value(), 0.9);
  Row row = RowOf(90);
  row.cells[kLimit] = {};
  EXPECT_FALSE(row.Ratio());
}

TEST(SweepTrial, NamesEachEndingOnce) {
  EXPECT_EQ(EndingsText({.endings = {Ending::kHangs, Ending::kOutOfMemory, Ending::kHangs}}), "hangs, OOM");
}

TEST(SweepPage, MarksTheRowsInWhichTheLimitIsWorse) {
  const std::string page = SweepPage({RowOf(90), RowOf(102), RowOf(103)}, {});
  EXPECT_NE(
      page.find("| Program | 8.0.33 | 200.0 | 90.0 refused | never hangs | 100.0 OOM | 110.0 always passes | 0.900 "
                "|\n"),
      std::string::npos)
      << page;
  EXPECT_NE(page.find("| 1.020 |\n"), std::string::npos);
  EXPECT_NE(page.find("| **1.030 worse** |\n"), std::string::npos);
  EXPECT_NE(page.find("In 2 of 3 rows"), std::string::npos);
}

TEST(SweepPage, GivesTheSpreadOfParameterToTotal) {
  const std::string page = SweepPage({RowOf(90), RowOf(100)}, {});
  EXPECT_NE(page.find(std::string("| (c) ") + kPolicies[kHardLimitConserving].name + " | 0.50 | 0.50 |\n"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find(std::string("| (d) ") + kPolicies[kContainer].name + " | 1.09 | 1.09 |\n"), std::string::npos);
}

TEST(SweepChart, HasAMarkForEachPassingCell) {
  const auto count = [](const std::string& chart) {
    std::size_t marks = 0;
    for (std::size_t at = chart.find("<title>"); at != std::string::npos; at = chart.find("<title>", at + 1)) ++marks;
    return marks;
  };
  // Four marks are the legend's.
  EXPECT_EQ(count(SweepChart({})), 4U);
  EXPECT_EQ(count(SweepChart({RowOf(90)})), 7U);
}

}  // namespace
}  // namespace clrhm_test
