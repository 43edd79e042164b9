#include "benchmark/run_ending.h"

#include <algorithm>
#include <string_view>

namespace clrhm_test {
namespace {

// The exit code of a process that ends by an unhandled managed exception.
constexpr std::uint32_t kManagedException = 0xE0434352;
// clrmem's exit code for its own errors (docs/tool.md).
constexpr std::uint32_t kClrmemError = 2;

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
    case Ending::kDidNotStart: return "no start";
    case Ending::kKilled: return "killed";
    case Ending::kFailed: return "fails";
    case Ending::kFailFast: return "fail-fast";
    case Ending::kHangs: return "hangs";
  }
  return "unknown";
}

Ending EndingOf(const ProcessResult& process, std::uint32_t exit_code) {
  if (process.timed_out) return Ending::kHangs;
  const bool no_memory = Has(process.out, "OutOfMemoryException") || Has(process.error, "OutOfMemoryException");
  if (process.exit_code == exit_code && !no_memory) return Ending::kPasses;

  const std::string line = ClrmemLine(process.error);
  if (process.exit_code == kClrmemError && !line.empty()) {
    return Has(line, "needs to start") ? Ending::kRefused : Ending::kDidNotStart;
  }
  // If the exception is unhandled, the process ends with the exception's code. If the program catches the exception, it
  // ends with its own small exit code, which is no code of the OS.
  const bool by_the_program = process.exit_code < 256;
  if (!by_the_program && process.exit_code != kManagedException) return Ending::kFailFast;
  // The runtime prints "Out of memory" if there is no memory left for the exception's own message.
  if (no_memory || (!by_the_program && Has(process.error, "Out of memory"))) return Ending::kOutOfMemory;
  return Ending::kFailed;
}

std::string WhatIsUnsound(const nlohmann::json& summary) {
  const auto bytes = [&](const char* group, const char* key) { return summary.at(group).at(key).get<std::uint64_t>(); };
  std::string what;
  const auto add = [&what](std::uint64_t count, const char* of) {
    if (count != 0) what += (what.empty() ? "" : ", ") + std::to_string(count) + of;
  };
  add(bytes("audit", "mismatch_bytes"), " bytes of audit mismatch");
  add(bytes("bound", "exceeded_by_bytes"), " bytes above the bound");
  if (const nlohmann::json& limit = summary.at("limit_bytes"); !limit.is_null()) {
    const std::uint64_t used = bytes("memory", "peak_charged_bytes") + bytes("committed_headroom", "held_bytes");
    add(used - std::min(used, limit.get<std::uint64_t>()), " bytes above the limit at the peak");
  }
  return what;
}

}  // namespace clrhm_test
