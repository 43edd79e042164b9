// Sizes and addresses as types, so that pages and bytes cannot be confused.
//
// Addresses are 64-bit values in every build. The portable layers compute with them and never dereference them. So
// tests on Linux may use any address, and a 32-bit build cannot overflow.
#ifndef CLRHM_BASE_UNITS_H
#define CLRHM_BASE_UNITS_H

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>

namespace clr_host_memory {

using Address = std::uint64_t;

// Windows has 4 KiB pages and 64 KiB allocation granularity on x86, x64 and ARM64.
inline constexpr unsigned kPageShift = 12;
inline constexpr unsigned kGranuleShift = 16;
inline constexpr std::uint64_t kPageSize = std::uint64_t{1} << kPageShift;
inline constexpr std::uint64_t kGranuleSize = std::uint64_t{1} << kGranuleShift;

struct Bytes {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(Bytes, Bytes) = default;
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return {a.value + b.value}; }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return {a.value - b.value}; }
  friend constexpr Bytes operator*(Bytes a, std::uint64_t times) { return {a.value * times}; }
};

inline constexpr Bytes kUnlimited{std::numeric_limits<std::uint64_t>::max()};

struct Pages {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(Pages, Pages) = default;
  friend constexpr Pages operator+(Pages a, Pages b) { return {a.value + b.value}; }
  friend constexpr Pages operator-(Pages a, Pages b) { return {a.value - b.value}; }
  constexpr Pages& operator+=(Pages other) {
    value += other.value;
    return *this;
  }
  [[nodiscard]] constexpr Bytes InBytes() const { return {value << kPageShift}; }
};

[[nodiscard]] constexpr Address RoundDownToPage(Address address) { return address & ~(kPageSize - 1); }
[[nodiscard]] constexpr Address RoundDownToGranule(Address address) { return address & ~(kGranuleSize - 1); }
[[nodiscard]] constexpr bool IsGranuleAligned(Address address) { return (address & (kGranuleSize - 1)) == 0; }

// A range of whole pages. It never wraps round the end of the address space.
struct PageRange {
  std::uint64_t first = 0;  // page number: address >> kPageShift
  Pages count;

  [[nodiscard]] constexpr std::uint64_t end() const { return first + count.value; }
  [[nodiscard]] constexpr Address Start() const { return first << kPageShift; }
  [[nodiscard]] constexpr bool Contains(PageRange other) const { return other.first >= first && other.end() <= end(); }

  // Returns the pages that hold at least one byte of [address, address + size), as VirtualAlloc, VirtualFree and
  // VirtualProtect round. Returns none if the sum overflows or the range is empty.
  [[nodiscard]] static constexpr std::optional<PageRange> Covering(Address address, std::uint64_t size) {
    constexpr Address kLast = std::numeric_limits<Address>::max() - kPageSize;
    if (size == 0 || address > kLast || size > kLast - address) return std::nullopt;
    const std::uint64_t first = address >> kPageShift;
    const std::uint64_t end = (address + size + kPageSize - 1) >> kPageShift;
    return PageRange{first, {end - first}};
  }
};

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_UNITS_H
