#include "heap/arena_table.h"

namespace clr_host_memory {

Outcome ArenaTable::EnsureChunk(std::size_t index, Criticality level) {
  if (chunks_[index].load() != nullptr) return Outcome::Done();
  void* memory = nullptr;
  if (const Outcome outcome = engine_.AllocateMetadata(sizeof(ArenaChunk), level, &memory); !outcome.ok())
    return outcome;
  ArenaChunk* nobody = nullptr;
  if (!chunks_[index].compare_exchange_strong(nobody, new (memory) ArenaChunk)) {
    engine_.FreeMetadata(memory, sizeof(ArenaChunk));
  }
  return Outcome::Done();
}

Outcome ArenaTable::TakeVacant(Criticality level, Arena** arena) {
  const bool found = FindChunk([&](ArenaChunk& chunk) {
    return chunk.vacant.FindUp([&](std::size_t bit) {
      if (!chunk.vacant.Remove(bit)) return false;
      *arena = chunk.arenas[bit].load();
      return true;
    });
  });
  if (found) return Outcome::Done();

  // Takes the next number. It counts only once its descriptor exists, so a failure uses up no number.
  void* memory = nullptr;
  Outcome outcome = engine_.AllocateMetadata(sizeof(Arena), level, &memory);
  if (!outcome.ok()) return outcome;
  outcome = Outcome::NoMetadata();
  for (std::size_t index = arenas_.load(); index < kMostArenas; index = arenas_.load()) {
    outcome = EnsureChunk(index / ArenaSet::kSize, level);
    if (!outcome.ok()) break;
    outcome = Outcome::NoMetadata();
    Arena* nobody = nullptr;
    auto* made = new (memory) Arena(static_cast<std::uint32_t>(index));
    std::atomic<Arena*>& place = chunks_[index / ArenaSet::kSize].load()->arenas[index % ArenaSet::kSize];
    const bool taken = place.compare_exchange_strong(nobody, made);
    std::size_t expected = index;
    arenas_.compare_exchange_strong(expected, index + 1);  // the thread that took it may be suspended
    if (!taken) continue;
    *arena = made;
    return Outcome::Done();
  }
  engine_.FreeMetadata(memory, sizeof(Arena));
  return outcome;
}

}  // namespace clr_host_memory
