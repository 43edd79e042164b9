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

constexpr std::array<Unit, 14> kUnits{{{"", 1},
                                       {"b", 1},
                                       {"k", std::uint64_t{1} << 10},
                                       {"kb", std::uint64_t{1} << 10},
                                       {"kib", std::uint64_t{1} << 10},
                                       {"m", kMiB},
                                       {"mb", kMiB},
                                       {"mib", kMiB},
                                       {"g", kGiB},
                                       {"gb", kGiB},
                                       {"gib", kGiB},
                                       {"t", std::uint64_t{1} << 40},
                                       {"tb", std::uint64_t{1} << 40},
                                       {"tib", std::uint64_t{1} << 40}}};

}  // namespace

std::uint64_t ParseSize(std::string_view text, std::string_view option) {
  const auto fail = [&](std::string_view wrong, std::string_view remedy) {
    return ToolError(std::string(option) + " " + std::string(text) + " " + std::string(wrong), std::string(remedy));
  };
  const std::string_view example = "write it like 256M, 1.5G, 512K or 268435456";

  const Quantity bytes = ParseQuantity(text, kUnits);
  switch (bytes.problem) {
    case QuantityProblem::kNone: break;
    case QuantityProblem::kNotANumber: throw fail("is not a size", example);
    case QuantityProblem::kTooManyDecimals: throw fail("has more than six decimals", example);
    case QuantityProblem::kNotWhole: throw fail("is not a whole number of bytes", example);
    case QuantityProblem::kTooLarge: break;
  }
  if (bytes.problem == QuantityProblem::kTooLarge || bytes.value > kLargestSize) {
    throw fail("is larger than any address space", "give a smaller size");
  }
  if (bytes.value == 0) throw fail("is zero", example);
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
