#include "tool/text/size_text.h"

#include "tool/text/quantity_text.h"
#include "tool/text/tool_error.h"

#include <array>
#include <cstddef>

namespace clr_host_memory::tool {
namespace {

constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 63;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

constexpr std::array<Unit, 18> kUnits{{{"", 1},
                                       {"b", 1},
                                       {"k", std::uint64_t{1} << 10},
                                       {"kb", std::uint64_t{1} << 10},
                                       {"ki", std::uint64_t{1} << 10},
                                       {"kib", std::uint64_t{1} << 10},
                                       {"m", kMiB},
                                       {"mb", kMiB},
                                       {"mi", kMiB},
                                       {"mib", kMiB},
                                       {"g", kGiB},
                                       {"gb", kGiB},
                                       {"gi", kGiB},
                                       {"gib", kGiB},
                                       {"t", std::uint64_t{1} << 40},
                                       {"tb", std::uint64_t{1} << 40},
                                       {"ti", std::uint64_t{1} << 40},
                                       {"tib", std::uint64_t{1} << 40}}};

constexpr const char* kExample = "write it like 256M, 1.5G, 512K or 268435456";

ToolError Wrong(std::string_view option, std::string_view text, std::string_view wrong, const char* remedy = kExample) {
  return {std::string(option) + " " + std::string(text) + " " + std::string(wrong), remedy};
}

}  // namespace

std::uint64_t ParseSize(std::string_view text, std::string_view option) {
  const std::uint64_t bytes = ParseSizeOrZero(text, option);
  if (bytes == 0) throw Wrong(option, text, "is zero");
  return bytes;
}

std::uint64_t ParseSizeOrZero(std::string_view text, std::string_view option) {
  const Quantity bytes = ParseQuantity(text, kUnits);
  switch (bytes.problem) {
    case QuantityProblem::kNone: break;
    case QuantityProblem::kNotANumber: throw Wrong(option, text, "is not a size");
    case QuantityProblem::kTooManyDecimals: throw Wrong(option, text, "has more than six decimals");
    case QuantityProblem::kNotWhole: throw Wrong(option, text, "is not a whole number of bytes");
    case QuantityProblem::kTooLarge: break;
  }
  if (bytes.problem == QuantityProblem::kTooLarge || bytes.value > kLargestSize) {
    throw Wrong(option, text, "is larger than any address space", "give a smaller size");
  }
  return bytes.value;
}

std::string FormatSize(std::uint64_t bytes) {
  const bool large = bytes >= 10 * kGiB;
  const std::uint64_t unit = large ? kGiB : kMiB;
  const std::uint64_t whole = bytes / unit;
  const std::uint64_t tenths = ((bytes % unit) * 10 + unit / 2) / unit;
  return FormatCount(whole + tenths / 10) + "." + std::to_string(tenths % 10) + (large ? " GiB" : " MiB");
}

std::string FormatCount(std::uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string grouped;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at != 0 && (digits.size() - at) % 3 == 0) grouped += ',';
    grouped += digits[at];
  }
  return grouped;
}

}  // namespace clr_host_memory::tool
