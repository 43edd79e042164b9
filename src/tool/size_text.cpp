#include "tool/size_text.h"

#include "tool/tool_error.h"

#include <array>
#include <cstddef>
#include <limits>
#include <optional>

namespace clr_host_memory::tool {
namespace {

constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 63;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};
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

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::optional<std::uint64_t> UnitBytes(std::string_view name) {
  const std::string lower = Lower(name);
  for (const Unit& unit : kUnits) {
    if (unit.name == lower) return unit.bytes;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> MultiplyAdd(std::uint64_t value, std::uint64_t factor, std::uint64_t addend) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  if (factor != 0 && value > (most - addend) / factor) return std::nullopt;
  return value * factor + addend;
}

}  // namespace

std::uint64_t ParseSize(std::string_view text, std::string_view option) {
  const auto fail = [&](std::string_view wrong, std::string_view remedy) {
    return ToolError(std::string(option) + " " + std::string(text) + " " + std::string(wrong), std::string(remedy));
  };
  const std::string_view example = "write it like 256M, 1.5G, 512K or 268435456";

  std::size_t at = 0;
  std::optional<std::uint64_t> whole = 0;
  while (at < text.size() && IsDigit(text[at]) && whole) {
    whole = MultiplyAdd(*whole, 10, static_cast<std::uint64_t>(text[at++] - '0'));
  }
  std::uint64_t fraction = 0;
  std::uint64_t scale = 1;
  const std::size_t whole_digits = at;
  if (whole && at < text.size() && text[at] == '.') {
    ++at;
    const std::size_t first = at;
    // Six decimals of a tebibyte stay inside 64 bits.
    while (at < text.size() && IsDigit(text[at])) {
      if (at - first == 6) throw fail("has more than six decimals", example);
      fraction = fraction * 10 + static_cast<std::uint64_t>(text[at++] - '0');
      scale *= 10;
    }
    if (at == first) throw fail("is not a size", example);
  }
  if (whole_digits == 0) throw fail("is not a size", example);
  const std::optional<std::uint64_t> unit = whole ? UnitBytes(text.substr(at)) : std::nullopt;
  if (whole && !unit) throw fail("is not a size", example);

  std::optional<std::uint64_t> bytes;
  if (whole) {
    // At most 10^6 * 2^40, which fits.
    const std::uint64_t part = fraction * *unit;
    if (*unit == 1 && fraction != 0) throw fail("is not a whole number of bytes", example);
    bytes = MultiplyAdd(*whole, *unit, part / scale);
  }
  if (!bytes || *bytes > kLargestSize) throw fail("is larger than any address space", "name a smaller size");
  if (*bytes == 0) throw fail("is no memory at all", example);
  return *bytes;
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
