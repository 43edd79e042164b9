// The arenas of a heap by number, with sets of those that may have room. The table only grows while the heap lives. It
// is lock-free.
#ifndef CLRHM_HEAP_ARENA_TABLE_H
#define CLRHM_HEAP_ARENA_TABLE_H

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include "engine/engine.h"
#include "heap/arena.h"

namespace clr_host_memory {

// A set of arenas: one bit for each arena of a chunk.
class ArenaSet {
 public:
  static constexpr std::size_t kSize = 256;

  void Add(std::size_t bit) {
    if ((words_[bit / 64].load() >> (bit % 64) & 1) == 0) words_[bit / 64].fetch_or(std::uint64_t{1} << (bit % 64));
  }
  // Removes the bit. True: it was set. Exactly one of several concurrent callers gets true.
  bool Remove(std::size_t bit) {
    const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
    return (words_[bit / 64].fetch_and(~mask) & mask) != 0;
  }
  // Calls visit(bit) upward until it returns true. Returns whether it did.
  template <typename Visitor>
  bool FindUp(Visitor visit) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t set = words_[i].load(); set != 0; set &= set - 1) {
        if (visit(i * 64 + static_cast<std::size_t>(std::countr_zero(set)))) return true;
      }
    }
    return false;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kSize / 64> words_{};
};

struct ArenaChunk {
  std::array<std::atomic<Arena*>, ArenaSet::kSize> arenas{};
  ArenaSet roomy;                               // arenas that may have free units
  ArenaSet vacant;                              // numbers of arenas that have no memory now
  std::array<ArenaSet, kClassCount> partial{};  // arenas whose Arena::partial may have a bit for the class
};

class ArenaTable {
 public:
  // 128 GiB of arenas. In 32-bit builds: all of the address space.
  static constexpr std::size_t kMostChunks = sizeof(void*) == 8 ? 512 : 16;
  static constexpr std::size_t kMostArenas = kMostChunks * ArenaSet::kSize;

  explicit ArenaTable(Engine& engine) : engine_(engine) {}
  ~ArenaTable() {
    ForEach([&](Arena& arena) {
      if (Arena::Site* sites = arena.sites.load(); sites != nullptr) engine_.FreeMetadata(sites, kSitesSize);
      engine_.FreeMetadata(&arena, sizeof(Arena));
    });
    for (auto& chunk : chunks_) {
      if (chunk.load() != nullptr) engine_.FreeMetadata(chunk.load(), sizeof(ArenaChunk));
    }
  }
  ArenaTable(const ArenaTable&) = delete;
  ArenaTable& operator=(const ArenaTable&) = delete;

  static constexpr std::size_t kSitesSize = kArenaUnits * kMostSlots * sizeof(Arena::Site);

  // Returns the arena with that number. Null: it was never created.
  [[nodiscard]] Arena* At(std::size_t index) const {
    if (index >= kMostArenas) return nullptr;
    ArenaChunk* chunk = chunks_[index / ArenaSet::kSize].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : chunk->arenas[index % ArenaSet::kSize].load(std::memory_order_acquire);
  }
  [[nodiscard]] ArenaChunk& ChunkOf(const Arena& arena) const { return *chunks_[arena.index / ArenaSet::kSize].load(); }

  // Takes an arena without memory. It belongs to the caller alone until the caller makes it roomy or vacant.
  Outcome TakeVacant(Criticality level, Arena** arena);
  void MakeVacant(Arena& arena) { ChunkOf(arena).vacant.Add(arena.index % ArenaSet::kSize); }

  // Calls visit(ArenaChunk&) upward until it returns true. Returns whether it did.
  template <typename Visitor>
  bool FindChunk(Visitor visit) const {
    const std::size_t count = (arenas_.load() + ArenaSet::kSize - 1) / ArenaSet::kSize;
    for (std::size_t i = 0; i < count && i < kMostChunks; ++i) {
      ArenaChunk* chunk = chunks_[i].load();
      if (chunk != nullptr && visit(*chunk)) return true;
    }
    return false;
  }
  // Calls visit(Arena&) upward until it returns true. Returns whether it did.
  template <typename Visitor>
  bool FindArena(Visitor visit) const {
    return FindChunk([&](ArenaChunk& chunk) {
      for (auto& place : chunk.arenas) {
        if (Arena* arena = place.load(); arena != nullptr && visit(*arena)) return true;
      }
      return false;
    });
  }
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    FindArena([&](Arena& arena) {
      visit(arena);
      return false;
    });
  }

 private:
  Outcome EnsureChunk(std::size_t index, Criticality level);

  Engine& engine_;
  std::atomic<std::size_t> arenas_ = 0;  // numbers given out so far
  std::array<std::atomic<ArenaChunk*>, kMostChunks> chunks_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_ARENA_TABLE_H
