// How a run of a program under a limit has ended: what the limit sweep compares.
#ifndef CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
#define CLRHM_TESTS_BENCHMARK_RUN_ENDING_H

#include <cstdint>
#include <string>

#include "integration/clrmem_process.h"

namespace clrhm_test {

// Best first: what a user would rather have.
enum class Ending {
  kPasses,       // as without a limit
  kOutOfMemory,  // a managed OutOfMemoryException, caught by the program or by nobody
  kRefused,      // clrmem did not let it start, and named the least limit that would do
  kStopped,      // clrmem's thrash guard ended it, and said why
  kDidNotStart,  // the runtime did not start, and nobody said with how much it would
  kFailed,       // anything else: a fail-fast, a native exception, an exit code of the program's that means failure
  kHangs,        // still running when the time was over
};

// "passes", "OOM": a cell of the table.
[[nodiscard]] const char* EndingName(Ending ending) noexcept;

// What a run does that no limit disturbs.
struct Undisturbed {
  std::uint32_t exit_code = 0;
};

// process: of `clrmem run`, with --no-bridge or without.
[[nodiscard]] Ending EndingOf(const ProcessResult& process, const Undisturbed& undisturbed);

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
