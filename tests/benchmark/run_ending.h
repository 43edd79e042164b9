// Classifies how a run of a program ended, and whether the manager kept its promises in it, for the limit sweep.
#ifndef CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
#define CLRHM_TESTS_BENCHMARK_RUN_ENDING_H

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "integration/clrmem_process.h"

namespace clrhm_test {

// Ordered from best to worst, from a user's view.
enum class Ending {
  kPasses,       // as without a limit
  kOutOfMemory,  // a managed OutOfMemoryException, caught or unhandled
  kRefused,      // clrmem refused to start the program and named the least sufficient limit
  kDidNotStart,  // the runtime did not start, and the error names no sufficient limit
  kKilled,       // a container would have ended it, since its total exceeded the container's memory
  kFailed,       // an exit code or another exception by which the program reports failure
  kFailFast,     // a fail-fast of the runtime, a native exception
  kHangs,        // still running at the timeout
};

// Returns the text for a cell of the table, such as "passes" or "OOM".
[[nodiscard]] const char* EndingName(Ending ending) noexcept;

// Classifies the result of `clrmem run`. exit_code is the program's own without a limit.
[[nodiscard]] Ending EndingOf(const ProcessResult& process, std::uint32_t exit_code);

// Returns how the same run would have ended in a container with so many bytes of memory, if the run had this total. The
// kernel ends a process whose container exceeds its memory.
[[nodiscard]] constexpr Ending EndingInContainer(Ending ending, std::uint64_t total, std::uint64_t memory) noexcept {
  return total > memory ? Ending::kKilled : ending;
}

// Returns what is wrong with a run by clrmem's summary; an empty text if nothing is. Charged bytes at the peak and the
// headroom that is held must fit in the limit. The bound must never have been exceeded, and the audit must agree.
[[nodiscard]] std::string WhatIsUnsound(const nlohmann::json& summary);

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BENCHMARK_RUN_ENDING_H
