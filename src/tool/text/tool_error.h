// What clrmem says when it cannot do its job: one line, what is wrong and what to do about it.
#ifndef CLRHM_TOOL_TEXT_TOOL_ERROR_H
#define CLRHM_TOOL_TEXT_TOOL_ERROR_H

#include <stdexcept>
#include <string>
#include <utility>

namespace clr_host_memory::tool {

// clrmem's own exit code for every error of its own; any other exit code is the app's.
inline constexpr int kExitUsage = 2;
// And that of a program it has stopped because its runtime was thrashing; as timeout(1) has it for one that it stops.
inline constexpr int kExitThrash = 124;

// Thrown inside the tool, caught once in RunClrMem. what() is "<what is wrong>; <what to do>", UTF-8, no line end.
class ToolError : public std::runtime_error {
 public:
  ToolError(const std::string& wrong, const std::string& remedy) : std::runtime_error(wrong + "; " + remedy) {}
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_TOOL_ERROR_H
