#include "tool/text/quantity_text.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>

namespace clr_host_memory::tool {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::optional<std::uint64_t> MultiplyAdd(std::uint64_t value, std::uint64_t factor, std::uint64_t addend) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  if (factor != 0 && value > (most - addend) / factor) return std::nullopt;
  return value * factor + addend;
}

const Unit* FindUnit(std::string_view name, gsl::span<const Unit> units) {
  const auto found = std::find_if(units.begin(), units.end(), [&](const Unit& unit) {
    return std::equal(unit.name.begin(), unit.name.end(), name.begin(), name.end(),
                      [](char ours, char c) { return ours == Lower(c); });
  });
  return found == units.end() ? nullptr : &*found;
}

}  // namespace

Quantity ParseQuantity(std::string_view text, gsl::span<const Unit> units) noexcept {
  constexpr std::size_t kMostDecimals = 6;
  std::size_t at = 0;
  std::optional<std::uint64_t> whole = 0;
  while (at < text.size() && IsDigit(text[at])) {
    if (whole) whole = MultiplyAdd(*whole, 10, static_cast<std::uint64_t>(text[at] - '0'));
    ++at;
  }
  if (at == 0) return {0, QuantityProblem::kNotANumber};
  std::uint64_t fraction = 0;
  std::uint64_t scale = 1;
  if (at < text.size() && text[at] == '.') {
    const std::size_t first = ++at;
    while (at < text.size() && IsDigit(text[at])) {
      if (at - first == kMostDecimals) return {0, QuantityProblem::kTooManyDecimals};
      fraction = fraction * 10 + static_cast<std::uint64_t>(text[at++] - '0');
      scale *= 10;
    }
    if (at == first) return {0, QuantityProblem::kNotANumber};
  }
  const Unit* unit = FindUnit(text.substr(at), units);
  if (unit == nullptr) return {0, QuantityProblem::kNotANumber};
  if (unit->value == 1 && fraction != 0) return {0, QuantityProblem::kNotWhole};
  const std::optional<std::uint64_t> value =
      whole ? MultiplyAdd(*whole, unit->value, fraction * unit->value / scale) : std::nullopt;
  if (!value) return {0, QuantityProblem::kTooLarge};
  return {*value};
}

}  // namespace clr_host_memory::tool
