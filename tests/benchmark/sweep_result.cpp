#include "benchmark/sweep_result.h"

#include <algorithm>

namespace clrhm_test {

bool Trial::Passes() const {
  return !endings.empty() &&
         std::all_of(endings.begin(), endings.end(), [](Ending ending) { return ending == Ending::kPasses; });
}

const Trial* Cell::Least() const {
  const Trial* least = nullptr;
  for (const Trial& trial : trials) {
    if (trial.Passes() && (least == nullptr || trial.total < least->total)) least = &trial;
  }
  return least;
}

const Trial* Cell::Edge() const {
  const Trial* edge = nullptr;
  for (const Trial& trial : trials) {
    if (trial.Passes() && (edge == nullptr || trial.parameter < edge->parameter)) edge = &trial;
  }
  return edge;
}

const Trial* Cell::Below() const {
  const Trial* edge = Edge();
  const Trial* below = nullptr;
  for (const Trial& trial : trials) {
    if (edge != nullptr && trial.parameter >= edge->parameter) continue;
    if (!trial.Passes() && (below == nullptr || trial.parameter > below->parameter)) below = &trial;
  }
  return below;
}

std::optional<double> Row::Ratio() const {
  const Trial* ours = cells[kLimit].Least();
  std::uint64_t best = UINT64_MAX;
  for (std::size_t policy = kHardLimit; policy < cells.size(); ++policy) {
    if (const Trial* trial = cells[policy].Least()) best = std::min(best, trial->total);
  }
  if (ours == nullptr || best == UINT64_MAX) return std::nullopt;
  return static_cast<double>(ours->total) / static_cast<double>(best);
}

std::string EndingsText(const Trial& trial) {
  std::vector<Ending> endings = trial.endings;
  std::sort(endings.rbegin(), endings.rend());
  endings.erase(std::unique(endings.begin(), endings.end()), endings.end());
  std::string text;
  for (const Ending ending : endings) text += (text.empty() ? "" : ", ") + std::string(EndingName(ending));
  return text;
}

std::string SweepNotes(const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) {
    for (std::size_t policy = 0; policy < kPolicies.size(); ++policy) {
      std::vector<Trial> trials = row.cells[policy].trials;
      std::sort(trials.begin(), trials.end(),
                [](const Trial& one, const Trial& other) { return one.parameter < other.parameter; });
      text += row.program + ", .NET " + row.runtime + ", " + kPolicies[policy].name + "\n";
      for (const Trial& trial : trials) {
        text += "  N " + std::to_string(trial.parameter) + ", total " + std::to_string(trial.total) + ", " +
                std::to_string(trial.endings.size()) + " runs: " + EndingsText(trial) + "\n";
      }
    }
  }
  return text;
}

}  // namespace clrhm_test
