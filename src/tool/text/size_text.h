// Parses and formats sizes. M is MiB (2^20 bytes) throughout, as in DOTNET_GCHeapHardLimit's documentation.
#ifndef CLRHM_TOOL_TEXT_SIZE_TEXT_H
#define CLRHM_TOOL_TEXT_SIZE_TEXT_H

#include <cstdint>
#include <string>
#include <string_view>

namespace clr_host_memory::tool {

// Parses a size into bytes: "4096", "512K", "1.5G", "64MiB", "64MB", in any case. Throws ToolError, which names
// option, for other text. Invalid are: no number, an unknown unit, a negative or zero size, a fraction of a byte,
// more than 2^63 bytes.
[[nodiscard]] std::uint64_t ParseSize(std::string_view text, std::string_view option);
// Does the same, and accepts zero.
[[nodiscard]] std::uint64_t ParseSizeOrZero(std::string_view text, std::string_view option);

// Formats bytes as "128.0 MiB", and from 10 GiB on as "256.0 GiB": one decimal, rounded to nearest.
[[nodiscard]] std::string FormatSize(std::uint64_t bytes);

// Formats a count as "1,234,567".
[[nodiscard]] std::string FormatCount(std::uint64_t count);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_SIZE_TEXT_H
