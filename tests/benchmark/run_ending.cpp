#include "benchmark/run_ending.h"

#include <algorithm>
#include <string_view>

namespace clrhm_test {
namespace {

// The exit code of a process that ends by an unhandled managed exception.
constexpr std::uint32_t kManagedException = 0xE0434352;
// clrmem's exit codes for its own errors, and for an app that its thrash guard stopped (docs/tool.md).
constexpr std::uint32_t kClrmemError = 2;
constexpr std::uint32_t kStopped = 124;

bool Has(const std::string& text, std::string_view what) { return text.find(what) != std::string::npos; }

// Returns the line of clrmem's own error, "clrmem: <what>; <what to do>". Returns an empty text if there is none.
std::string ClrmemLine(const std::string& error) {
  constexpr std::string_view kPrefix = "clrmem: ";
  for (std::size_t at = 0; at < error.size();) {
    const std::size_t end = std::min(error.find('\n', at), error.size());
    const std::string line = error.substr(at, end - at);
    if (line.starts_with(kPrefix) && !line.starts_with("clrmem: .NET")) return line;
    at = end + 1;
  }
  return {};
}

}  // namespace

const char* EndingName(Ending ending) noexcept {
  switch (ending) {
    case Ending::kPasses: return "passes";
    case Ending::kOutOfMemory: return "OOM";
    case Ending::kRefused: return "refused";
    case Ending::kStopped: return "stopped";
    case Ending::kDidNotStart: return "no start";
    case Ending::kFailed: return "fails";
    case Ending::kHangs: return "hangs";
  }
  return "unknown";
}

Ending EndingOf(const ProcessResult& process, const Undisturbed& undisturbed) {
  if (process.timed_out) return Ending::kHangs;
  const bool no_memory = Has(process.out, "OutOfMemoryException") || Has(process.error, "OutOfMemoryException");
  if (process.exit_code == undisturbed.exit_code && !no_memory) return Ending::kPasses;

  const std::string line = ClrmemLine(process.error);
  if (process.exit_code == kStopped && Has(line, "the app is stopped because its runtime spins"))
    return Ending::kStopped;
  if (process.exit_code == kClrmemError && !line.empty()) {
    return Has(line, "needs to start") ? Ending::kRefused : Ending::kDidNotStart;
  }
  // If the exception is unhandled, the process ends with the exception's code. If the program catches the exception, it
  // ends with its own small exit code, which is no code of the OS.
  const bool by_the_program = process.exit_code < 256;
  if (no_memory && (process.exit_code == kManagedException || by_the_program)) return Ending::kOutOfMemory;
  // The runtime prints "Out of memory" if there is no memory left for the exception's own message.
  if (process.exit_code == kManagedException && Has(process.error, "Out of memory")) return Ending::kOutOfMemory;
  return Ending::kFailed;
}

}  // namespace clrhm_test
