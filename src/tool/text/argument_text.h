// Command lines as one text, quoted as the C run-time splits them.
#ifndef CLRHM_TOOL_TEXT_ARGUMENT_TEXT_H
#define CLRHM_TOOL_TEXT_ARGUMENT_TEXT_H

#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

// Joins arguments, UTF-8. SplitArguments, and every program's C run-time, gets them back unchanged.
[[nodiscard]] std::wstring JoinArguments(const std::vector<std::string>& arguments);

// Splits a text into arguments, UTF-8. Quotes and backslashes mean what they mean in a program's command line.
[[nodiscard]] std::vector<std::string> SplitArguments(std::wstring_view text);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_ARGUMENT_TEXT_H
