// The page of the limit sweep, in Markdown.
#include <algorithm>
#include <sstream>

#include "benchmark/sweep_result.h"

namespace clrhm_test {
namespace {

std::string Fixed(double value, int digits) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(digits);
  text << value;
  return text.str();
}

std::string Mebibytes(std::uint64_t bytes) { return Fixed(static_cast<double>(bytes) / (1 << 20), 1); }

void AddTable(std::ostringstream& page, const std::vector<Row>& rows) {
  page << "| program | .NET | no limit |";
  for (const Policy& policy : kPolicies) page << " (" << policy.letter << ") |";
  page << " (a) / best |\n|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : rows) {
    page << "| " << row.program << " | " << row.runtime << " | " << Mebibytes(row.total) << " |";
    for (const Cell& cell : row.cells) {
      const Trial* least = cell.Least();
      const Trial* below = cell.Below();
      page << " " << (least == nullptr ? "never" : Mebibytes(least->total)) << " "
           << (below == nullptr ? "always passes" : EndingsText(*below)) << " |";
    }
    const auto ratio = row.Ratio();
    const std::string text = ratio ? Fixed(*ratio, 3) : "none";
    page << (!ratio || *ratio > kGoodRatio ? " **" + text + " worse** |\n" : " " + text + " |\n");
  }
}

void AddOutcome(std::ostringstream& page, const std::vector<Row>& rows) {
  std::size_t good = 0;
  std::size_t better = 0;
  for (const Row& row : rows) {
    const auto ratio = row.Ratio();
    if (ratio && *ratio <= kGoodRatio) ++good;
    if (ratio && *ratio < 1) ++better;
  }
  page << "In " << good << " of " << rows.size() << " rows (a) needs at most " << Fixed(kGoodRatio, 2)
       << " times the best of the others. In " << better
       << " rows it needs less than all\nothers. Rows marked *worse*: " << rows.size() - good << ".\n\n";
}

// Adds by what factor of the total a user must choose the parameter of a policy: the least and the most of all rows.
void AddSpread(std::ostringstream& page, const std::vector<Row>& rows, PolicyIndex policy) {
  double least = 0;
  double most = 0;
  for (const Row& row : rows) {
    const Trial* trial = row.cells[policy].Edge();
    if (trial == nullptr || trial->total == 0) continue;
    const double ratio = static_cast<double>(trial->parameter) / static_cast<double>(trial->total);
    least = least == 0 ? ratio : std::min(least, ratio);
    most = std::max(most, ratio);
  }
  page << "| (" << kPolicies[policy].letter << ") " << kPolicies[policy].name << " | " << Fixed(least, 2) << " | "
       << Fixed(most, 2) << " |\n";
}

}  // namespace

std::string SweepPage(const std::vector<Row>& rows, const PageSettings& settings) {
  std::ostringstream page;
  page << R"(# The limit sweep

This page shows the least memory in total with which each sample program passes, under four policies. The samples'
arguments stand beside their names. `cmake -P cmake/sweep.cmake` writes it)"
       << (settings.wine != 0 ? ", here under Wine " + std::to_string(settings.wine) + ".\n\n" : ".\n\n");
  for (const Policy& policy : kPolicies) page << "- **(" << policy.letter << ")** " << policy.name << "\n";
  page << R"(
## Method

1. A total is the most that the manager has on account in a run: heap, code, types and native blocks. Under (b) to (d)
   clrmem has no limit and only counts.
2. (d) has the GC's rule for containers: a heap of 75 % of N, at least 20 MiB. The kernel kills what exceeds N in total.
3. A bisection finds the least N with which a program passes, to 1/)"
       << settings.precision << " of N.\n4. A value of N passes if " << settings.repeats << " of " << settings.repeats
       << R"( runs end as without a limit. Its total is the most of these runs.
5. A cell has the least total of all passing values, in MiB. Then it has the endings just below the least passing N.

The endings, best first:

- **OOM**: a managed OutOfMemoryException, caught or not;
- **refused**: clrmem refuses at the start and names the least limit that is enough;
- **no start**: the runtime gave up while starting;
- **killed**: the container ends the program;
- **fails**: the program reports a failure by its own exit code;
- **fail-fast**: the runtime's, or a native exception;
- **hangs**: for )"
       << settings.timeout_seconds << R"( seconds or more.

A cell with *passes* beside another ending had both.

LoadAssemblies, NativeHeavy, CollectibleContexts and WebHello run with DOTNET_EnableWriteXorExecute=0 everywhere. With
W^X .NET 10 does not survive them under Wine 8, under any host.

## Result

)";
  AddOutcome(page, rows);
  AddTable(page, rows);
  page << "\n![The least total of each program under each policy](" << settings.chart << R"()

## What did I have to know

N of (a) bounds the total. N of (b) and (c) is the GC's share of the total, which the user must guess. The share depends
on the program: code, types and native blocks take the rest. N of (d) bounds the total, too, but by a kill. Its GC
leaves a quarter to the rest, which may need more or less.

This is N / total over all rows, each at the least N that passes:

| policy | least | most |
|---|---|---|
)";
  for (const PolicyIndex policy : {kLimit, kHardLimit, kHardLimitConserving, kContainer}) {
    AddSpread(page, rows, policy);
  }
  return page.str();
}

}  // namespace clrhm_test
