// clrmem's command line.
#ifndef CLRHM_TOOL_OPTIONS_H
#define CLRHM_TOOL_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace clr_host_memory::tool {

struct RunOptions {
  std::optional<std::uint64_t> limit;  // bytes; none: no limit
  std::string runtime = "auto";        // "auto", or a path
  std::optional<std::string> summary;  // path of the JSON file
  bool no_bridge = false;
  std::string app;
  std::vector<std::string> arguments;  // the app's own, untouched
};

struct InfoOptions {
  std::string runtime = "auto";
};

struct ScriptedOptions {
  std::optional<std::uint64_t> limit;
  std::optional<std::string> summary;
};

// --help or --version: what to print.
struct PrintText {
  std::string text;
};

using Options = std::variant<RunOptions, InfoOptions, ScriptedOptions, PrintText>;

// The least --limit `clrmem run` takes, in bytes: below it neither .NET 8 nor .NET 10 gets a hello world started
// (measured peaks: docs/tool.md).
inline constexpr std::uint64_t kLeastLimit = std::uint64_t{4} << 20;

// arguments are UTF-8, without the program's own name. Throws ToolError.
[[nodiscard]] Options ParseOptions(const std::vector<std::string>& arguments);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_OPTIONS_H
