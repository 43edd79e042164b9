// The error that clrmem reports in one line: the fault and the remedy.
#ifndef CLRHM_TOOL_TEXT_TOOL_ERROR_H
#define CLRHM_TOOL_TEXT_TOOL_ERROR_H

#include <stdexcept>
#include <string>
#include <utility>

namespace clr_host_memory::tool {

// The exit code for every error of clrmem. Any other exit code is the app's, except kExitThrash.
inline constexpr int kExitUsage = 2;
// The exit code when clrmem stopped a program because its runtime thrashed. It equals the code that timeout(1)
// returns for a program it stops.
inline constexpr int kExitThrash = 124;

// An error thrown inside the tool and caught once, in RunClrMem. what() is "<fault>; <remedy>", UTF-8, without a line
// end. The fault may be a sentence of the library: its period is left out.
class ToolError : public std::runtime_error {
 public:
  ToolError(const std::string& wrong, const std::string& remedy)
      : std::runtime_error(wrong.substr(0, wrong.size() - (wrong.ends_with('.') ? 1 : 0)) + "; " + remedy) {}
  // Repeats the what() of another process's error.
  explicit ToolError(const std::string& what) : std::runtime_error(what) {}
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_TOOL_ERROR_H
