// The page of the limit sweep, in Markdown.
#include <algorithm>
#include <sstream>

#include "benchmark/sweep_result.h"

namespace clrhm_test {
namespace {

std::string Fixed(double value) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(2);
  text << value;
  return text.str();
}

std::string Mebibytes(std::uint64_t bytes) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(1);
  text << static_cast<double>(bytes) / (1 << 20);
  return text.str();
}

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
    const std::string text = ratio ? Fixed(*ratio) : "none";
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
  page << "In " << good << " of " << rows.size() << " rows (a) needs at most " << Fixed(kGoodRatio)
       << " of the best of the others. In " << better << " rows (a) needs less than\nall of them. The other "
       << rows.size() - good << " rows are marked *worse*.\n\n";
}

// Adds by what factor of the total a user must choose the parameter of a policy.
void AddSpread(std::ostringstream& page, const std::vector<Row>& rows, PolicyIndex policy) {
  double least = 0;
  double most = 0;
  for (const Row& row : rows) {
    const Trial* trial = row.cells[policy].Least();
    if (trial == nullptr || trial->total == 0) continue;
    const double ratio = static_cast<double>(trial->parameter) / static_cast<double>(trial->total);
    least = least == 0 ? ratio : std::min(least, ratio);
    most = std::max(most, ratio);
  }
  page << "| (" << kPolicies[policy].letter << ") " << kPolicies[policy].name << " | " << Fixed(least) << " | "
       << Fixed(most) << " |\n";
}

}  // namespace

std::string SweepPage(const std::vector<Row>& rows, const PageSettings& settings) {
  std::ostringstream page;
  page << "# The limit sweep\n\n"
       << "This page shows the least memory in total with which each sample program passes, under four policies.\n"
       << "`cmake -P cmake/sweep.cmake` writes it" << (settings.wine ? ", here under Wine" : "")
       << ". The samples' arguments stand beside their names.\n\n";
  for (const Policy& policy : kPolicies) page << "- **(" << policy.letter << ")** " << policy.name << "\n";
  page
      << "\n## Method\n\n"
      << "1. A total is the most that the manager has on account in a run: heap, code, types and native blocks. Under "
         "(b) to (d)\n"
      << "   clrmem has no limit and only counts.\n"
      << "2. (d) is the GC's rule for a container: its limit is 75 % of N, at least 20 MiB. The kernel kills the "
         "container if the\n"
      << "   total exceeds N.\n"
      << "3. A bisection finds the least N with which a program passes, to 1/" << settings.precision << " of N.\n"
      << "4. A value passes if " << settings.repeats << " of " << settings.repeats
      << " runs end as without a limit. Its total is the most of these runs.\n"
      << "5. Each cell has the least total of all passing values, in MiB, and the endings just below the least passing "
         "N.\n\n"
      << "The endings: **OOM**, an OutOfMemoryException, caught or not; **refused**, clrmem names the least limit to "
         "start with;\n"
      << "**no start**, the runtime gives up while starting; **killed**, by the container; **fails**, by the program's "
         "own exit\n"
      << "code; **fail-fast**, by the runtime or a native exception; **hangs**, for " << settings.timeout_seconds
      << " seconds or more.\n\n"
      << "LoadAssemblies, NativeHeavy, CollectibleContexts and WebHello run with DOTNET_EnableWriteXorExecute=0 "
         "everywhere.\n"
      << "With W^X .NET 10 does not survive them under Wine 8, under any host.\n\n"
      << "## Result\n\n";
  AddOutcome(page, rows);
  AddTable(page, rows);
  page
      << "\n![The least total of each program under each policy](" << settings.chart << ")\n\n"
      << "## What did I have to know\n\n"
      << "The parameter of (a) is the total. The parameter of (b) and (c) is the GC's share of it, which the user must "
         "guess.\n"
      << "The share depends on the program: code, types and native blocks take the rest. The spread of N / total at "
         "the least\n"
      << "total of each row:\n\n"
      << "| policy | least | most |\n|---|---|---|\n";
  for (const PolicyIndex policy : {kLimit, kHardLimit, kHardLimitConserving, kContainer}) {
    AddSpread(page, rows, policy);
  }
  return page.str();
}

}  // namespace clrhm_test
