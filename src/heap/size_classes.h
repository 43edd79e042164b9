// The size classes of small blocks. Pure.
//
// Classes go up to 128 bytes in steps of 16, then by four classes for each doubling up to 16 KiB. A block is at most a
// fifth (or 15 bytes) larger than the requested size. All sizes are multiples of 16, so every block is aligned as
// malloc's blocks are on 64-bit Windows.
#ifndef CLRHM_HEAP_SIZE_CLASSES_H
#define CLRHM_HEAP_SIZE_CLASSES_H

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace clr_host_memory {

inline constexpr std::size_t kBlockAlignment = 16;
// Arenas are given out in units, and a slab is a few units. Units are small, so a class with few blocks wastes little.
inline constexpr unsigned kUnitShift = 14;
inline constexpr std::size_t kUnitSize = std::size_t{1} << kUnitShift;
inline constexpr std::size_t kLargestSmall = 16 * 1024;
inline constexpr std::size_t kClassCount = 36;
// Slots in 16 KiB of blocks of 16 bytes.
inline constexpr std::size_t kMostSlots = 1024;
inline constexpr std::size_t kMostWords = kMostSlots / 64;

// size: 1 to kLargestSmall.
[[nodiscard]] constexpr std::size_t ClassOf(std::size_t size) {
  if (size <= 128) return (size - 1) / 16;
  const auto last = static_cast<std::uint32_t>(size - 1);
  const auto width = static_cast<unsigned>(std::bit_width(last));  // 8 to 14
  return 8 + (width - 8) * 4 + (last >> (width - 3) & 3);
}

struct SizeClass {
  std::uint32_t size = 0;        // bytes of a block
  std::uint32_t slots = 0;       // blocks in a slab
  std::uint32_t units = 0;       // units of a slab
  std::uint32_t words = 0;       // words of 64 slots
  std::uint32_t committed = 0;   // bytes committed in a slab, whole pages
  std::uint32_t reciprocal = 0;  // 2^32 / size, rounded up
  std::uint64_t last_word = 0;   // a bit for each slot in the last word; earlier words are all ones

  // Returns the slot at offset. offset: from the slab's base, below 64 KiB.
  [[nodiscard]] constexpr std::uint32_t SlotAt(std::uint32_t offset) const {
    return static_cast<std::uint32_t>(std::uint64_t{offset} * reciprocal >> 32);
  }
  [[nodiscard]] constexpr std::uint64_t AllFree(std::size_t word) const {
    return word + 1 == words ? last_word : ~std::uint64_t{0};
  }
};

[[nodiscard]] constexpr SizeClass MakeClass(std::size_t index) {
  const std::size_t group = index < 8 ? 0 : (index - 8) / 4;
  const std::size_t step = index < 8 ? 0 : (index - 8) % 4 + 1;
  const std::size_t size =
      index < 8 ? 16 * (index + 1) : (std::size_t{128} << group) + step * (std::size_t{32} << group);
  SizeClass made;
  made.size = static_cast<std::uint32_t>(size);
  made.units = size <= 1024 ? 1 : size <= 4096 ? 2 : 4;
  made.slots = static_cast<std::uint32_t>(made.units * kUnitSize / size);
  made.words = (made.slots + 63) / 64;
  made.committed = static_cast<std::uint32_t>((made.slots * size + kPageSize - 1) / kPageSize * kPageSize);
  made.reciprocal =
      static_cast<std::uint32_t>((std::uint64_t{1} << 32) / size + ((std::uint64_t{1} << 32) % size != 0));
  const std::uint32_t in_last = made.slots - (made.words - 1) * 64;
  made.last_word = in_last == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << in_last) - 1;
  return made;
}

inline constexpr std::array<SizeClass, kClassCount> kClasses = [] {
  std::array<SizeClass, kClassCount> classes{};
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = MakeClass(i);
  return classes;
}();
static_assert(kClasses.front().size == kBlockAlignment && kClasses.front().slots == kMostSlots);
static_assert(kClasses.back().size == kLargestSmall && ClassOf(kLargestSmall) == kClassCount - 1);

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_SIZE_CLASSES_H
