// Where a private heap's slabs, runs and large blocks have their memory from: units of arenas, committed through the
// engine and given back to it.
#include <algorithm>
#include <bit>

#include "base/error_family.h"
#include "heap/private_heap.h"

namespace clr_host_memory {

using heap::Arena;
using heap::kArenaSize;

bool PrivateHeap::ClaimUnitsIn(Arena& arena, std::uint32_t count, Units* units) {
  std::uint64_t used = arena.used.load();
  while (true) {
    // Bit i of starts: i and the count - 1 units above it are free.
    std::uint64_t starts = ~used;
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
    const bool found = arenas_.FindChunk([&](heap::ArenaChunk& chunk) {
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
      // Units of what is kept may do.
      if (trimmed || !WantsMemory(outcome) || !Trim()) return outcome;
      trimmed = true;
      continue;
    }
    // Others may take what is in it first.
    if (ClaimUnitsIn(*made, count, units)) return Outcome::Done();
  }
}

void PrivateHeap::ReleaseUnits(const Units& units) {
  Arena& arena = *units.arena;
  const std::uint64_t before = arena.used.fetch_and(~units.Mask());
  arenas_.ChunkOf(arena).roomy.Add(arena.index % heap::ArenaSet::kSize);
  if (before == units.Mask()) NoteEmptyArena(arena);
}

Outcome PrivateHeap::MakeArena(Criticality level, Arena** made) {
  Arena* arena = nullptr;
  if (const Outcome outcome = arenas_.TakeVacant(level, &arena); !outcome.ok()) return outcome;
  // It asks for no pages, but the OS may lack a little memory of its own for it.
  const AddressOutcome region = engine_.AllocateOther<AddressOutcome>(level, [&](Payer&) {
    return engine_.Allocate({.address = 0, .size = kArenaSize, .type = win32::kMemReserve, .protect = protect_}, level);
  });
  if (!region.outcome.ok()) {
    arenas_.MakeVacant(*arena);
    return region.outcome;
  }
  arena->base.store(region.address);
  engine_.ledger().ChangeOwner(region.address, 0, OwnerOf(*arena));
  arena->used.store(0);
  arenas_.ChunkOf(*arena).roomy.Add(arena->index % heap::ArenaSet::kSize);
  *made = arena;
  return Outcome::Done();
}

void PrivateHeap::NoteEmptyArena(Arena& arena) {
  if (spare_arena_.load() == &arena) return;
  Arena* before = spare_arena_.exchange(&arena);
  if (before != nullptr && before != &arena) RetireArena(*before);
}

bool PrivateHeap::RetireArena(Arena& arena) {
  std::uint64_t none = 0;
  if (!arena.used.compare_exchange_strong(none, ~std::uint64_t{0})) return false;
  const Address base = arena.base.load();
  Ledger& ledger = engine_.ledger();
  ledger.ChangeOwner(base, OwnerOf(arena), 0);
  arena.base.store(0);
  if (engine_.Free(base, 0, win32::kMemRelease).ok()) {
    arenas_.MakeVacant(arena);
    return true;
  }
  arena.base.store(base);
  ledger.ChangeOwner(base, 0, OwnerOf(arena));
  arena.used.store(0);
  return false;
}

Outcome PrivateHeap::Commit(Address address, std::uint64_t size, Criticality level) {
  const auto commit = [&] {
    return engine_
        .Allocate({.address = address, .size = size, .type = win32::kMemCommit, .protect = protect_}, level)
        .outcome;
  };
  // What is kept for later is given up before anyone is refused, has to wait, or takes from the reserve for it.
  const Budget& budget = engine_.ledger().budget();
  if (budget.Charged() + Bytes{size} > budget.Ceiling(level)) [[unlikely]] Trim();
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
  engine_.ledger().AddHeapBytes({bytes});
}

void PrivateHeap::CountDecommitted(std::uint64_t bytes) {
  committed_.fetch_sub(bytes);
  engine_.ledger().SubtractHeapBytes({bytes});
}

bool PrivateHeap::WantsMemory(const Outcome& outcome) {
  return outcome.verdict == Verdict::kOverLimit || outcome.verdict == Verdict::kNoTracking ||
         outcome.verdict == Verdict::kTimedOut ||
         (outcome.verdict == Verdict::kOsRefused && FamilyOf(outcome.error) == ErrorFamily::kMemory);
}

}  // namespace clr_host_memory
