#include "tool/text/duration_text.h"

#include "tool/text/quantity_text.h"
#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <array>

namespace clr_host_memory::tool {
namespace {

constexpr std::uint64_t kSecond = 1000;
constexpr std::uint64_t kMinute = 60 * kSecond;
constexpr std::uint64_t kHour = 60 * kMinute;
constexpr std::uint64_t kLongest = 1000 * kHour;

constexpr std::array<Unit, 6> kUnits{
    {{"", 1}, {"ms", 1}, {"s", kSecond}, {"m", kMinute}, {"min", kMinute}, {"h", kHour}}};

}  // namespace

std::uint64_t ParseDuration(std::string_view text, std::string_view option) {
  const auto fail = [&](std::string_view wrong, std::string_view remedy) {
    return ToolError(std::string(option) + " " + std::string(text) + " " + std::string(wrong), std::string(remedy));
  };
  const std::string_view example = "write it like 500ms, 2s, 1.5s or 1m";

  const Quantity milliseconds = ParseQuantity(text, kUnits);
  switch (milliseconds.problem) {
    case QuantityProblem::kNone: break;
    case QuantityProblem::kNotANumber: throw fail("is not a duration", example);
    case QuantityProblem::kTooManyDecimals: throw fail("has more than six decimals", example);
    case QuantityProblem::kNotWhole: throw fail("is not a whole number of milliseconds", example);
    case QuantityProblem::kTooLarge: break;
  }
  if (milliseconds.problem == QuantityProblem::kTooLarge || milliseconds.value > kLongest) {
    throw fail("is longer than 1,000 hours", "give a shorter time");
  }
  return milliseconds.value;
}

std::string FormatSeconds(std::uint64_t milliseconds) {
  const std::uint64_t tenths = (milliseconds + 50) / 100;
  return FormatCount(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace clr_host_memory::tool
