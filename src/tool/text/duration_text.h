// Parses and formats durations.
#ifndef CLRHM_TOOL_TEXT_DURATION_TEXT_H
#define CLRHM_TOOL_TEXT_DURATION_TEXT_H

#include <cstdint>
#include <string>
#include <string_view>

namespace clr_host_memory::tool {

// Parses a duration into milliseconds: "500ms", "2s", "1.5s", "1m", "1h", in any case. "250" is milliseconds. Zero is
// a valid duration. Throws ToolError, which names option, for other text. Invalid are: no number, an unknown unit, a
// negative value, a fraction of a millisecond, more than 1,000 hours.
[[nodiscard]] std::uint64_t ParseDuration(std::string_view text, std::string_view option);

// Formats milliseconds as "1.5 s": one decimal, rounded to nearest.
[[nodiscard]] std::string FormatSeconds(std::uint64_t milliseconds);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_DURATION_TEXT_H
