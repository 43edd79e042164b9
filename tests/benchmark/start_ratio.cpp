// What clrmem costs a program that does nothing: hello world with the bridge and without it, in turns, in one process's
// run, so that the machine's moods fall on both. Prints medians and their ratio; no pass or fail on time.
//   start_ratio [ROUNDS]     default 9
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "integration/clrmem_process.h"

namespace {

using clrhm_test::Runtime;

double Milliseconds(const std::vector<std::string>& options, const std::string& program, std::uint32_t* exit_code) {
  std::vector<std::string> arguments{"run"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(program);
  const auto start = std::chrono::steady_clock::now();
  const clrhm_test::ProcessResult result = clrhm_test::RunClrmem(arguments);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  *exit_code = std::max(*exit_code, result.exit_code);
  return elapsed.count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

bool Measure(const Runtime& runtime, int rounds) {
  if (const auto why = clrhm_test::WhyNotRunnable(runtime)) {
    std::printf(".NET %s: not measured, %s\n", runtime.version, why->c_str());
    return true;
  }
  const std::string program = clrhm_test::ProgramPath(runtime, "Hello");
  std::vector<double> with_bridge;
  std::vector<double> without;
  std::uint32_t exit_code = 0;
  Milliseconds({}, program, &exit_code);  // files into the cache
  for (int round = 0; round < rounds; ++round) {
    with_bridge.push_back(Milliseconds({}, program, &exit_code));
    without.push_back(Milliseconds({"--no-bridge"}, program, &exit_code));
  }
  std::printf(".NET %s, hello world, medians of %d: %.1f ms with the bridge, %.1f ms without, ratio %.3f\n",
              runtime.version, rounds, Median(with_bridge), Median(without), Median(with_bridge) / Median(without));
  return exit_code == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  bool all_ran = true;
  for (const Runtime& runtime : {clrhm_test::kNet8, clrhm_test::kNet10}) all_ran = Measure(runtime, rounds) && all_ran;
  if (!all_ran) std::printf("hello world did not end with exit code 0\n");
  return all_ran ? 0 : 1;
}
