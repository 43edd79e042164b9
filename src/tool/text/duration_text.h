// Lengths of time as people write and read them.
#ifndef CLRHM_TOOL_TEXT_DURATION_TEXT_H
#define CLRHM_TOOL_TEXT_DURATION_TEXT_H

#include <cstdint>
#include <string>
#include <string_view>

namespace clr_host_memory::tool {

// "500ms", "2s", "1.5s", "1m", "1h", any case, and "250", which is milliseconds: milliseconds. Zero is a length, too.
// Throws ToolError, which names option, for anything else: no number, a unit it does not know, a negative one, a
// fraction of a millisecond, more than 1,000 hours.
[[nodiscard]] std::uint64_t ParseDuration(std::string_view text, std::string_view option);

// "1.5 s": one decimal, rounded to nearest.
[[nodiscard]] std::string FormatSeconds(std::uint64_t milliseconds);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_DURATION_TEXT_H
