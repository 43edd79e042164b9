// The slabs of small blocks: formed, found again when they have free blocks, and retired when they are empty.
#include "heap/private_heap.h"

#include <bit>

namespace clr_host_memory {

BlockOutcome PrivateHeap::FormSlab(std::size_t index, std::size_t shard, Criticality level) {
  const SizeClass& sizes = kClasses[index];
  Units units;
  if (const Outcome outcome = ClaimCommitted(sizes.units, sizes.committed, level, &units); !outcome.ok())
    return {outcome};
  const Address base = units.Base();
  Slab& slab = units.Head();
  slab.base.store(base, std::memory_order_relaxed);
  slab.search_from.store(0, std::memory_order_relaxed);
  // One block is for this request: the one that TakeFrom would take.
  const auto own = static_cast<std::uint32_t>(std::bit_width(sizes.AllFree(0))) - 1;
  OpenSlab(slab, index, std::uint64_t{1} << own);
  MakeCurrent(slab, index, shard);
  return {Outcome::Done(), ToPointer(base + std::uint64_t{own} * sizes.size)};
}

// Makes all blocks of the slab free, except those of the first word in `but`.
void PrivateHeap::OpenSlab(Slab& slab, std::size_t index, std::uint64_t but) {
  const SizeClass& sizes = kClasses[index];
  // Store the state before the bits: a thread that takes a bit reads the state after it.
  slab.state.store(SlabState::OfClass(index).word());
  slab.free[0].store(sizes.AllFree(0) & ~but);
  for (std::uint32_t word = 1; word < sizes.words; ++word) slab.free[word].store(sizes.AllFree(word));
}

void PrivateHeap::MakeCurrent(Slab& slab, std::size_t index, std::size_t shard) {
  Slab* before = classes_[index].current[shard].exchange(&slab);
  if (before == nullptr || before == &slab || !before->HasFree(kClasses[index])) return;
  // Blocks were freed meanwhile, or another thread has just made the slab current.
  MarkPartial(*before, index);
  if (before->IsEmpty(kClasses[index])) NoteEmpty(*before, index);
}

bool PrivateHeap::IsCurrent(const Slab& slab, std::size_t index) const {
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    if (classes_[index].current[shard].load(std::memory_order_relaxed) == &slab) return true;
  }
  return false;
}

void PrivateHeap::MarkPartial(Slab& slab, std::size_t index) {
  Arena& arena = *slab.arena;
  const std::uint64_t mask = std::uint64_t{1} << slab.unit;
  if ((arena.partial[index].load() & mask) == 0) arena.partial[index].fetch_or(mask);
  arenas_.ChunkOf(arena).partial[index].Add(arena.index % ArenaSet::kSize);
}

Slab* PrivateHeap::AdoptPartial(std::size_t index) {
  Slab* adopted = nullptr;
  arenas_.FindChunk([&](ArenaChunk& chunk) {
    return chunk.partial[index].FindUp([&](std::size_t bit) {
      Arena& arena = *chunk.arenas[bit].load();
      std::atomic<std::uint64_t>& units = arena.partial[index];
      for (std::uint64_t set = units.load(); set != 0; set = units.load()) {
        const std::uint64_t mask = set & (~set + 1);
        if ((units.fetch_and(~mask) & mask) == 0) continue;
        adopted = &arena.slabs[static_cast<std::size_t>(std::countr_zero(mask))];
        return true;
      }
      // No unit is left: remove the arena from the set. If a unit was added meanwhile, add the arena again.
      if (chunk.partial[index].Remove(bit) && units.load() != 0) chunk.partial[index].Add(bit);
      return false;
    });
  });
  return adopted;
}

void PrivateHeap::NoteEmpty(Slab& slab, std::size_t index) {
  Reap();
  std::atomic<Slab*>& spare = classes_[index].spare;
  if (IsCurrent(slab, index) || spare.load() == &slab) return;
  // Keep the slab that emptied last: it is likely to be needed again, and committing pages is expensive.
  Slab* before = spare.exchange(&slab);
  if (before != nullptr && before != &slab) Retire(*before);
}

// Takes all blocks of the slab. False: at least one of them is given out.
bool PrivateHeap::ClaimAll(Slab& slab, std::size_t index) {
  const SizeClass& sizes = kClasses[index];
  do {
    std::uint32_t claimed = 0;
    for (; claimed < sizes.words; ++claimed) {
      std::uint64_t all = sizes.AllFree(claimed);
      if (!slab.free[claimed].compare_exchange_strong(all, 0)) break;
    }
    // With one word taken the slab cannot become anything else. It may have become something else before.
    const bool same = slab.State().word() == SlabState::OfClass(index).word();
    if (claimed == sizes.words && same) return true;
    if (claimed == 0) return false;
    for (std::uint32_t word = 0; word < claimed; ++word) slab.free[word].fetch_or(sizes.AllFree(word));
    // Meanwhile another thread may have found the slab exhausted, or its last block may have been freed.
    if (const SlabState state = slab.State(); state.HasClass()) MarkPartial(slab, state.Class());
    if (!same) return false;
  } while (slab.IsEmpty(sizes));
  return false;
}

bool PrivateHeap::Retire(Slab& slab) {
  const SlabState state = slab.State();
  if (!state.HasClass()) return false;
  const std::size_t index = state.Class();
  const SizeClass& sizes = kClasses[index];
  const std::uint64_t unseals = engine_.Unseals();
  if (engine_.TouchesSealed(slab.base.load(std::memory_order_relaxed), sizes.committed)) [[unlikely]] {
    MarkPartial(slab, index);
    NoteParked(unseals);
    return false;
  }
  if (!ClaimAll(slab, index)) return false;
  // Only this thread can change the slab now. Other threads that still look at it find no free bit.
  slab.state.store(0);
  Arena& arena = *slab.arena;
  arena.partial[index].fetch_and(~(std::uint64_t{1} << slab.unit));
  const auto forget = [&](std::atomic<Slab*>& place) {
    Slab* expected = &slab;
    place.compare_exchange_strong(expected, nullptr);
  };
  for (std::size_t shard = 0; shard < shards_; ++shard) forget(classes_[index].current[shard]);
  forget(classes_[index].spare);
  const Outcome outcome = Decommit(slab.base.load(std::memory_order_relaxed), sizes.committed);
  if (outcome.verdict == Verdict::kNotOwner) [[unlikely]] {  // sealed meanwhile
    OpenSlab(slab, index, 0);
    MarkPartial(slab, index);
    NoteParked(unseals);
    return false;
  }
  // If the OS refused the decommit, the pages stay charged, and the slab's units stay in use.
  if (outcome.ok()) ReleaseUnits({&arena, slab.unit, sizes.units});
  return true;
}

}  // namespace clr_host_memory
