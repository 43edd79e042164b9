// Parses a number with a unit, such as "1.5G" or "500ms"; shared by sizes and durations.
#ifndef CLRHM_TOOL_TEXT_QUANTITY_TEXT_H
#define CLRHM_TOOL_TEXT_QUANTITY_TEXT_H

#include <cstdint>
#include <gsl/span>
#include <string_view>

namespace clr_host_memory::tool {

struct Unit {
  std::string_view name;  // in lower case; empty for no unit
  std::uint64_t value;    // in the smallest unit; at most 2^40, so that six decimals of it fit in 64 bits
};

enum class QuantityProblem { kNone, kNotANumber, kTooManyDecimals, kNotWhole, kTooLarge };

struct Quantity {
  std::uint64_t value = 0;  // in the smallest unit, rounded down
  QuantityProblem problem = QuantityProblem::kNone;
};

// Parses digits, at most six decimals, and one of units in any case. Refuses any other text, including signs and
// blanks. Reports kNotWhole for a fraction of the smallest unit, and kTooLarge for 2^64 and above.
[[nodiscard]] Quantity ParseQuantity(std::string_view text, gsl::span<const Unit> units) noexcept;

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_QUANTITY_TEXT_H
