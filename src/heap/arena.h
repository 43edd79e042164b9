// Descriptors of the memory that a heap gives out. They are out of line: the heap writes nothing into the memory
// itself. So a write past a block cannot corrupt the heap's state, and unused pages stay untouched.
//
// Descriptors live in the OS's metadata memory until their heap ends. Any thread that still has a pointer to one may
// read it.
#ifndef CLRHM_HEAP_ARENA_H
#define CLRHM_HEAP_ARENA_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "heap/size_classes.h"

namespace clr_host_memory {

// An arena is one region of address space: 64 units, with one bit each in one word.
inline constexpr std::size_t kArenaUnits = 64;
inline constexpr std::size_t kArenaSize = kArenaUnits * kUnitSize;

// What begins at a unit: nothing, a slab or a run.
class SlabState {
 public:
  constexpr SlabState() = default;
  explicit constexpr SlabState(std::uint64_t word) : word_(word) {}
  [[nodiscard]] static constexpr SlabState OfClass(std::size_t index) { return SlabState(index + 1); }
  // A run: one block of whole pages.
  [[nodiscard]] static constexpr SlabState OfRun(Pages pages) { return SlabState(kRun | pages.value << 8); }
  // A kept run: freed, and still committed.
  [[nodiscard]] static constexpr SlabState OfKeptRun(Pages pages) { return SlabState(kKeptRun | pages.value << 8); }

  // A parked run: freed while the host had sealed pages of it. It is no block any more, and it is still committed.
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
  std::uint64_t word_ = 0;  // 0: nothing, or in transition
};

struct Arena;

// Blocks of one class, with one bit each: set while the block is free. Bits beyond the class' slots are never set.
//
// A thread that has taken a bit keeps the slab as it is: a thread must take all bits to retire the slab. So the order
// is: take a bit, then check that the slab still is what it was believed to be. If it is not, give the bit back.
struct alignas(64) Slab {
  std::atomic<std::uint64_t> state = 0;  // SlabState
  std::atomic<Address> base = 0;
  std::atomic<std::uint32_t> search_from = 0;  // the word where a free block was last found
  std::uint32_t unit = 0;                      // in its arena; constant
  Arena* arena = nullptr;                      // constant
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
  std::atomic<Address> base = 0;                       // 0: the arena has no memory now
  std::atomic<std::uint64_t> used{~std::uint64_t{0}};  // units that are given out
  std::atomic<Site*> sites = nullptr;  // by unit and slot, for blocks whose site is kept; null: none was kept yet
  std::array<std::atomic<std::uint8_t>, kArenaUnits> head{};  // where the slab that contains the unit begins
  // For each class, the units whose slabs may have free blocks and are not current. A hint. A thread that finds a slab
  // exhausted has cleared the slab's bit before. A thread that frees a block in a word without free blocks sets it.
  std::array<std::atomic<std::uint64_t>, kClassCount> partial{};
  std::array<Slab, kArenaUnits> slabs;
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_ARENA_H
