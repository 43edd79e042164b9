// Percentages of sizes, exact for every 64-bit size.
#ifndef CLRHM_POLICY_PERCENT_H
#define CLRHM_POLICY_PERCENT_H

#include <cstdint>

#include "base/units.h"

namespace clr_host_memory {

// Returns part in percent of whole, rounded down; 100 if part exceeds whole. whole: not 0.
[[nodiscard]] constexpr std::uint32_t PercentOf(Bytes part, Bytes whole) {
  // Computes p percent of whole without overflow: whole is 100 * quotient + rest.
  const std::uint64_t quotient = whole.value / 100;
  const std::uint64_t rest = whole.value % 100;
  const auto least_with = [&](std::uint32_t p) { return p * quotient + (p * rest + 99) / 100; };
  std::uint32_t low = 0;  // part is at least this many percent
  std::uint32_t high = 101;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (least_with(middle) <= part.value ? low : high) = middle;
  }
  return low;
}

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_PERCENT_H
