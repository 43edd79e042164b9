// A number and its unit, "1.5G" or "500ms": what sizes and durations have in common.
#ifndef CLRHM_TOOL_TEXT_QUANTITY_TEXT_H
#define CLRHM_TOOL_TEXT_QUANTITY_TEXT_H

#include <cstdint>
#include <gsl/span>
#include <string_view>

namespace clr_host_memory::tool {

struct Unit {
  std::string_view name;  // in lower case; empty: no unit
  std::uint64_t value;    // in the smallest unit; at most 2^40, so that six decimals of it stay inside 64 bits
};

enum class QuantityProblem { kNone, kNotANumber, kTooManyDecimals, kNotWhole, kTooLarge };

struct Quantity {
  std::uint64_t value = 0;  // in the smallest unit, rounded down
  QuantityProblem problem = QuantityProblem::kNone;
};

// Digits, at most six decimals, and one of units in any case; nothing else, no sign and no blank. The smallest unit has
// no fractions (kNotWhole); kTooLarge: 2^64 and above.
[[nodiscard]] Quantity ParseQuantity(std::string_view text, gsl::span<const Unit> units) noexcept;

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_QUANTITY_TEXT_H
