// Classifies how a run of a program under a limit ended, for the limit sweep.
#ifndef CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
#define CLRHM_TESTS_BENCHMARK_RUN_ENDING_H

#include <cstdint>
#include <string>

#include "integration/clrmem_process.h"

namespace clrhm_test {

// Ordered from best to worst, from a user's view.
enum class Ending {
  kPasses,       // as without a limit
  kOutOfMemory,  // a managed OutOfMemoryException, caught or unhandled
  kRefused,      // clrmem refused to start the program and named the least sufficient limit
  kStopped,      // clrmem's thrash guard ended the program and reported why
  kDidNotStart,  // the runtime did not start, and the error names no sufficient limit
  kFailed,       // all other ends: a fail-fast, a native exception, an exit code by which the program reports failure
  kHangs,        // still running at the timeout
};

// Returns the text for a cell of the table, such as "passes" or "OOM".
[[nodiscard]] const char* EndingName(Ending ending) noexcept;

// The result of a run without a limit.
struct Undisturbed {
  std::uint32_t exit_code = 0;
};

// Classifies the result of `clrmem run`, with --no-bridge or without.
[[nodiscard]] Ending EndingOf(const ProcessResult& process, const Undisturbed& undisturbed);

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
