// The memory of a private heap: units of arenas, committed and decommitted through the engine.
#include "heap/private_heap.h"

#include <algorithm>
#include <bit>

#include "base/error_family.h"

namespace clr_host_memory {

bool PrivateHeap::ClaimUnitsIn(Arena& arena, std::uint32_t count, Units* units) {
  const std::uint64_t sealed = SealedUnits(arena);
  std::uint64_t used = arena.used.load();
  while (true) {
    // Bit i of starts: unit i and the count - 1 units above it are free.
    std::uint64_t starts = ~(used | sealed);
    for (std::uint32_t have = 1; have < count && starts != 0;) {
      const std::uint32_t more = std::min(have, count - have);
      starts &= starts >> more;
      have += more;
    }
    if (starts == 0) return false;
    *units = {&arena, static_cast<std::uint32_t>(std::countr_zero(starts)), count};
    if (arena.used.compare_exchange_weak(used, used | units->Mask())) return true;
  }
}

Outcome PrivateHeap::ClaimUnits(std::uint32_t count, Criticality level, Units* units) {
  for (bool trimmed = false;;) {
    const bool found = arenas_.FindChunk([&](ArenaChunk& chunk) {
      return chunk.roomy.FindUp([&](std::size_t bit) {
        Arena& arena = *chunk.arenas[bit].load();
        if (ClaimUnitsIn(arena, count, units)) return true;
        constexpr std::uint64_t kAll = ~std::uint64_t{0};
        if (arena.used.load() == kAll && chunk.roomy.Remove(bit) && arena.used.load() != kAll) chunk.roomy.Add(bit);
        return false;
      });
    });
    if (found) return Outcome::Done();
    Arena* made = nullptr;
    if (const Outcome outcome = MakeArena(level, &made); !outcome.ok()) {
      // Trim frees units that were kept, which may be enough.
      if (trimmed || !WantsMemory(outcome) || !Trim()) return outcome;
      trimmed = true;
      continue;
    }
    // Other threads may take the arena's units first.
    if (ClaimUnitsIn(*made, count, units)) return Outcome::Done();
  }
}

std::uint64_t PrivateHeap::SealedUnits(const Arena& arena) const {
  const Address base = arena.base.load(std::memory_order_relaxed);
  std::uint64_t sealed = 0;
  if (!engine_.TouchesSealed(base, kArenaSize)) [[likely]]
    return sealed;
  for (std::uint64_t unit = 0; unit < kArenaUnits; ++unit) {
    if (engine_.TouchesSealed(base + unit * kUnitSize, kUnitSize)) sealed |= std::uint64_t{1} << unit;
  }
  return sealed;
}

Outcome PrivateHeap::ClaimCommitted(std::uint32_t count, std::uint64_t bytes, Criticality level, Units* units) {
  Reap();
  constexpr int kAttempts = 8;  // units may be sealed between claim and commit, but not each time
  Outcome outcome = Outcome::NotOwner();
  for (int attempt = 0; attempt < kAttempts && outcome.verdict == Verdict::kNotOwner; ++attempt) {
    outcome = ClaimUnits(count, level, units);
    if (!outcome.ok()) return outcome;
    outcome = Commit(units->Base(), bytes, level);
    if (!outcome.ok()) ReleaseUnits(*units);
  }
  for (std::uint32_t unit = 0; outcome.ok() && unit < count; ++unit) {
    units->arena->head[units->first + unit].store(static_cast<std::uint8_t>(units->first), std::memory_order_relaxed);
  }
  return outcome;
}

void PrivateHeap::ReleaseUnits(const Units& units) {
  Arena& arena = *units.arena;
  const std::uint64_t before = arena.used.fetch_and(~units.Mask());
  arenas_.ChunkOf(arena).roomy.Add(arena.index % ArenaSet::kSize);
  if (before == units.Mask()) NoteEmptyArena(arena);
}

Outcome PrivateHeap::MakeArena(Criticality level, Arena** made) {
  Arena* arena = nullptr;
  if (const Outcome outcome = arenas_.TakeVacant(level, &arena); !outcome.ok()) return outcome;
  // This reserves no pages, but the OS may lack a little memory for its own records.
  const AddressOutcome region = engine_.AllocateNonPages<AddressOutcome>(level, [&](RequestCharge&) {
    return engine_.Allocate({.address = 0, .size = kArenaSize, .type = win32::kMemReserve, .protect = protect_}, level);
  });
  if (!region.outcome.ok()) {
    arenas_.MakeVacant(*arena);
    return region.outcome;
  }
  arena->base.store(region.address);
  engine_.ChangeOwner(region.address, 0, OwnerOf(*arena));
  arena->used.store(0);
  arenas_.ChunkOf(*arena).roomy.Add(arena->index % ArenaSet::kSize);
  *made = arena;
  return Outcome::Done();
}

void PrivateHeap::NoteEmptyArena(Arena& arena) {
  if (spare_arena_.load() == &arena) return;
  Arena* before = spare_arena_.exchange(&arena);
  if (before != nullptr && before != &arena) RetireArena(*before);
}

bool PrivateHeap::RetireArena(Arena& arena) {
  const std::uint64_t unseals = engine_.Unseals();
  if (engine_.TouchesSealed(arena.base.load(), kArenaSize)) [[unlikely]] {
    NoteParked(unseals);
    return false;
  }
  std::uint64_t none = 0;
  if (!arena.used.compare_exchange_strong(none, ~std::uint64_t{0})) return false;
  const Address base = arena.base.load();
  engine_.ChangeOwner(base, OwnerOf(arena), 0);
  arena.base.store(0);
  const Outcome outcome = engine_.Free(base, 0, win32::kMemRelease);
  if (outcome.ok()) {
    arenas_.MakeVacant(arena);
    return true;
  }
  arena.base.store(base);
  engine_.ChangeOwner(base, 0, OwnerOf(arena));
  arena.used.store(0);
  // Threads that looked for units meanwhile may have found the arena full.
  arenas_.ChunkOf(arena).roomy.Add(arena.index % ArenaSet::kSize);
  if (outcome.verdict == Verdict::kNotOwner) NoteParked(unseals);
  return false;
}

Outcome PrivateHeap::Commit(Address address, std::uint64_t size, Criticality level) {
  const auto commit = [&] {
    return engine_.Allocate({.address = address, .size = size, .type = win32::kMemCommit, .protect = protect_}, level)
        .outcome;
  };
  // Give up what the heap keeps before a request is refused, waits, or uses the committed headroom for it.
  if (!engine_.HasRoom({size}, level)) [[unlikely]]
    Trim();
  Outcome outcome = commit();
  if (!outcome.ok() && WantsMemory(outcome) && Trim()) outcome = commit();
  if (outcome.ok()) CountCommitted(size);
  return outcome;
}

Outcome PrivateHeap::Decommit(Address address, std::uint64_t size) {
  const Outcome outcome = engine_.DecommitOwned(address, size);
  if (outcome.ok()) CountDecommitted(size);
  return outcome;
}

void PrivateHeap::CountCommitted(std::uint64_t bytes) {
  committed_.fetch_add(bytes);
  engine_.AddHeapBytes({bytes});
}

void PrivateHeap::CountDecommitted(std::uint64_t bytes) {
  committed_.fetch_sub(bytes);
  engine_.SubtractHeapBytes({bytes});
}

bool PrivateHeap::WantsMemory(const Outcome& outcome) {
  return outcome.verdict == Verdict::kOverLimit || outcome.verdict == Verdict::kNoMetadata ||
         outcome.verdict == Verdict::kTimedOut ||
         (outcome.verdict == Verdict::kOsRefused && FamilyOf(outcome.error) == ErrorFamily::kMemory);
}

}  // namespace clr_host_memory
