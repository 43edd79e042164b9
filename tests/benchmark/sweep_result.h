// The results of the limit sweep: what each program needs under each policy.
#ifndef CLRHM_TESTS_BENCHMARK_SWEEP_RESULT_H
#define CLRHM_TESTS_BENCHMARK_SWEEP_RESULT_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "benchmark/run_ending.h"

namespace clrhm_test {

// A way to bound a program's memory, by one parameter in bytes.
struct Policy {
  char letter;
  const char* name;  // of the parameter, as a user writes it
};
inline constexpr std::array<Policy, 4> kPolicies{{
    {'a', "clrmem --limit N"},
    {'b', "GCHeapHardLimit=N"},
    {'c', "GCHeapHardLimit=N, GCConserveMemory=7"},
    {'d', "container of N"},
}};
enum PolicyIndex : std::size_t { kLimit, kHardLimit, kHardLimitConserving, kContainer };

// One value of the parameter and the runs with it.
struct Trial {
  std::uint64_t parameter = 0;  // bytes
  std::vector<Ending> endings;  // of each run
  std::uint64_t total = 0;      // bytes on account at the peak; the most of the runs that have a summary

  [[nodiscard]] bool Passes() const;
};

// All trials of one program and runtime under one policy.
struct Cell {
  std::vector<Trial> trials;

  // Returns the passing trial with the least total; null if none passes.
  [[nodiscard]] const Trial* Least() const;
  // Returns the passing trial with the least parameter; null if none passes.
  [[nodiscard]] const Trial* Edge() const;
  // Returns the failing trial with the greatest parameter below all passing ones; null if there is none.
  [[nodiscard]] const Trial* Below() const;
};

struct Row {
  std::string program;
  std::string runtime;      // "8.0.33"
  std::uint64_t total = 0;  // without a limit
  std::uint32_t exit_code = 0;
  std::array<Cell, kPolicies.size()> cells;

  // Returns the total that (a) needs, divided by the least that (b), (c) or (d) need. Returns nothing if (a) passes
  // nowhere, or if none of the others does.
  [[nodiscard]] std::optional<double> Ratio() const;
};

// The ratio up to which (a) is as good as the best of the others.
inline constexpr double kGoodRatio = 1.02;

// Returns the endings of a trial, each once and the worst first: "hangs, OOM".
[[nodiscard]] std::string EndingsText(const Trial& trial);

struct PageSettings {
  std::uint64_t precision = 64;
  int repeats = 3;
  int timeout_seconds = 20;
  int wine = 0;                           // major version; 0: Windows
  std::string chart = "limit-sweep.svg";  // address of the chart, relative to the page
};
// Returns the page in Markdown, and its chart as SVG.
[[nodiscard]] std::string SweepPage(const std::vector<Row>& rows, const PageSettings& settings);
[[nodiscard]] std::string SweepChart(const std::vector<Row>& rows);
// Returns each trial of each row, one a line.
[[nodiscard]] std::string SweepNotes(const std::vector<Row>& rows);

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_SWEEP_RESULT_H
