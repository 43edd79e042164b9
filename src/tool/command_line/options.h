// clrmem's command line.
#ifndef CLRHM_TOOL_COMMAND_LINE_OPTIONS_H
#define CLRHM_TOOL_COMMAND_LINE_OPTIONS_H

#include "tool/command_line/policy_options.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace clr_host_memory::tool {

struct RunOptions {
  Limit limit;
  PolicyOptions policy;
  std::string runtime = "auto";        // "auto", or a path
  std::optional<std::string> summary;  // path of the JSON file
  bool quiet = false;
  bool accounting = false;  // report at the end where the process's memory is
  bool no_bridge = false;
  bool gc_container = false;
  std::vector<std::string> bridged_modules;  // file names of the additional modules to bridge
  bool agent = false;                        // run any app in another process
  bool children = false;                     // put the programs that the app starts under a manager, too
  bool is_child = false;                     // a program under clrmem has started it; see ChildOrNot
  std::string app;
  std::vector<std::string> arguments;     // passed to the app unchanged
  std::vector<std::string> command_line;  // the command, its options and the app, without the app's arguments
};

// Options for a program that is running already. Those of `run` that need its start keep their defaults.
struct AttachOptions {
  std::uint32_t process = 0;  // its id
  RunOptions run;
  std::vector<std::string> command_line;  // clrmem's, as given
};

struct InfoOptions {
  std::string runtime = "auto";
};

struct ScriptedOptions {
  Limit limit;
  std::optional<std::string> summary;
};

// The text to print for --help or --version.
struct PrintText {
  std::string text;
};

using Options = std::variant<RunOptions, AttachOptions, InfoOptions, ScriptedOptions, PrintText>;

// Parses the command line. arguments are UTF-8, without the program's own name. Throws ToolError.
[[nodiscard]] Options ParseOptions(const std::vector<std::string>& arguments);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_COMMAND_LINE_OPTIONS_H
