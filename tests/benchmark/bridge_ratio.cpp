// Measures what the bridge costs a program: hello world from start to end, and the steady state of a program that
// allocates all the time. Each runs with the bridge and without it in turns, so that a slow phase of the machine
// affects both. Prints medians and their ratio. Never fails on time.
//   bridge_ratio [ROUNDS [OPTION...]]     default 9 rounds; options (--limit 512M) apply to the runs with the bridge
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmark/timing.h"
#include "integration/clrmem_process.h"

namespace {

using clrhm_test::Median;
using clrhm_test::Now;
using clrhm_test::Runtime;

struct Run {
  bool as_expected = false;
  double milliseconds = 0;
};

// Measures the whole process, with its start and its end.
Run HelloWorld(const Runtime& runtime, std::vector<std::string> arguments) {
  arguments.push_back(clrhm_test::ProgramPath(runtime, "Hello"));
  const double start = Now();
  const clrhm_test::ProcessResult result = clrhm_test::RunClrmem(arguments);
  return {result.exit_code == 0, (Now() - start) / 1e6};
}

// Takes the time that the program itself measures once it is warm.
Run SteadyState(const Runtime& runtime, std::vector<std::string> arguments) {
  arguments.push_back(clrhm_test::ProgramPath(runtime, "SteadyAllocations"));
  const clrhm_test::ProcessResult result = clrhm_test::RunClrmem(arguments);
  const std::string word = "steady ";
  if (result.exit_code != 0 || result.out.rfind(word, 0) != 0) return {};
  return {true, std::strtod(result.out.c_str() + word.size(), nullptr)};
}

bool Measure(const char* what, Run (*run)(const Runtime&, std::vector<std::string>), const Runtime& runtime, int rounds,
             const std::vector<std::string>& options) {
  // --quiet: the summary belongs to clrmem, not to the bridge. A host that embeds the bridge writes none.
  std::vector<std::string> with_bridge{"run", "--quiet"};
  with_bridge.insert(with_bridge.end(), options.begin(), options.end());
  const std::vector<std::string> without_bridge{"run", "--quiet", "--no-bridge"};
  std::vector<double> with;
  std::vector<double> without;
  bool as_expected = run(runtime, with_bridge).as_expected;  // warms up: the program's files are then in the cache
  for (int round = 0; round < rounds; ++round) {
    // The second run finds a warmer machine, so the order alternates.
    const bool bridge_first = round % 2 == 0;
    for (const bool bridge : {bridge_first, !bridge_first}) {
      const Run result = run(runtime, bridge ? with_bridge : without_bridge);
      as_expected = as_expected && result.as_expected;
      (bridge ? with : without).push_back(result.milliseconds);
    }
  }
  std::vector<double> ratios;  // one per turn: a slow phase of the machine affects both runs of a turn
  for (std::size_t i = 0; i < with.size(); ++i) ratios.push_back(with[i] / without[i]);
  std::sort(ratios.begin(), ratios.end());
  std::printf(
      ".NET %s, %s, medians of %d: %.1f ms with the bridge, %.1f ms without, ratio %.3f; of the turns' ratios "
      "%.3f, half of them %.3f to %.3f\n",
      runtime.version, what, rounds, Median(with), Median(without), Median(with) / Median(without), Median(ratios),
      ratios[ratios.size() / 4], ratios[ratios.size() * 3 / 4]);
  if (!as_expected) std::printf(".NET %s, %s: a run did not end as it should\n", runtime.version, what);
  return as_expected;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  const std::vector<std::string> options(argv + std::min(argc, 2), argv + argc);
  bool all_ran = true;
  for (const Runtime& runtime : {clrhm_test::kNet8, clrhm_test::kNet10}) {
    if (const auto why = clrhm_test::WhyNotRunnable(runtime)) {
      std::printf(".NET %s: not measured, %s\n", runtime.version, why->c_str());
      continue;
    }
    all_ran = Measure("hello world", HelloWorld, runtime, rounds, options) && all_ran;
    all_ran = Measure("steady allocation", SteadyState, runtime, rounds, options) && all_ran;
  }
  return all_ran ? 0 : 1;
}
