// What a heap keeps of the memory it gives out. Out of line: nothing is written into the memory itself, so that whoever
// writes past a block cannot mislead the heap, and no page is touched that nobody uses.
//
// Descriptors live in the OS's metadata memory until their heap ends: whoever still has a pointer to one may read it.
#ifndef CLRHM_HEAP_ARENA_H
#define CLRHM_HEAP_ARENA_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "heap/size_classes.h"

namespace clr_host_memory {

// An arena is one region of address space: 64 units, a bit each in one word.
inline constexpr std::size_t kArenaUnits = 64;
inline constexpr std::size_t kArenaSize = kArenaUnits * kUnitSize;

// What begins at a unit.
class SlabState {
 public:
  constexpr SlabState() = default;
  explicit constexpr SlabState(std::uint64_t word) : word_(word) {}
  [[nodiscard]] static constexpr SlabState OfClass(std::size_t index) { return SlabState(index + 1); }
  // One block of whole pages.
  [[nodiscard]] static constexpr SlabState OfRun(Pages pages) { return SlabState(kRun | pages.value << 8); }
  // One that came back and is still committed.
  [[nodiscard]] static constexpr SlabState OfKeptRun(Pages pages) { return SlabState(kKeptRun | pages.value << 8); }

  // One that came back while the host had pinned pages of it: no block of anyone's, and still committed.
  [[nodiscard]] static constexpr SlabState OfParkedRun(Pages pages) { return SlabState(kParkedRun | pages.value << 8); }

  [[nodiscard]] constexpr std::uint64_t word() const { return word_; }
  [[nodiscard]] constexpr bool IsRun() const { return (word_ & 0xFF) == kRun; }
  [[nodiscard]] constexpr bool IsKeptRun() const { return (word_ & 0xFF) == kKeptRun; }
  [[nodiscard]] constexpr bool IsParkedRun() const { return (word_ & 0xFF) == kParkedRun; }
  [[nodiscard]] constexpr bool HasClass() const { return word_ != 0 && (word_ & 0xFF) < kParkedRun; }
  [[nodiscard]] constexpr std::size_t Class() const { return static_cast<std::size_t>(word_ - 1); }
  [[nodiscard]] constexpr Pages RunPages() const { return {word_ >> 8}; }

 private:
  static constexpr std::uint64_t kRun = 0xFF;
  static constexpr std::uint64_t kKeptRun = 0xFE;
  static constexpr std::uint64_t kParkedRun = 0xFD;
  std::uint64_t word_ = 0;  // 0: nothing, or on its way in or out
};

struct Arena;

// Blocks of one class, a bit each: set while the block is free. Bits beyond the class' slots are never set.
//
// Who has taken a bit keeps the slab as it is: it is retired only by one who has taken them all. So the order is: take
// a bit, then look whether the slab is still what one believed it was, and if not give the bit back.
struct alignas(64) Slab {
  std::atomic<std::uint64_t> state = 0;  // SlabState
  std::atomic<Address> base = 0;
  std::atomic<std::uint32_t> search_from = 0;  // the word in which a free block was found last
  std::uint32_t unit = 0;                      // in its arena; does not change
  Arena* arena = nullptr;                      // the same
  std::array<std::atomic<std::uint64_t>, kMostWords> free{};

  [[nodiscard]] SlabState State() const { return SlabState(state.load(std::memory_order_acquire)); }
  [[nodiscard]] bool HasFree(const SizeClass& sizes) const {
    for (std::size_t word = 0; word < sizes.words; ++word) {
      if (free[word].load() != 0) return true;
    }
    return false;
  }
  [[nodiscard]] bool IsEmpty(const SizeClass& sizes) const {
    for (std::size_t word = 0; word < sizes.words; ++word) {
      if (free[word].load() != sizes.AllFree(word)) return false;
    }
    return true;
  }
};

struct Arena {
  using Site = std::atomic<std::uint16_t>;  // AllocationSites::Index of a block

  explicit Arena(std::uint32_t own_index) : index(own_index) {
    for (std::size_t unit = 0; unit < kArenaUnits; ++unit) {
      slabs[unit].arena = this;
      slabs[unit].unit = static_cast<std::uint32_t>(unit);
    }
  }

  const std::uint32_t index;                           // in its heap
  std::atomic<Address> base = 0;                       // 0: it has no memory now
  std::atomic<std::uint64_t> used{~std::uint64_t{0}};  // units that are given out
  std::atomic<Site*> sites = nullptr;  // by unit and slot, for blocks whose site is kept; null: none ever was
  std::array<std::atomic<std::uint8_t>, kArenaUnits> head{};  // where the slab that a unit belongs to begins
  // For each class the units whose slabs may have free blocks and are nobody's first choice. A hint: whoever finds a
  // slab exhausted has cleared its bit before, and whoever frees a block where there was none sets it.
  std::array<std::atomic<std::uint64_t>, kClassCount> partial{};
  std::array<Slab, kArenaUnits> slabs;
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_ARENA_H
