// Gives back memory that is empty and still committed. That is what the heap keeps, what was sealed when it emptied,
// and what is left when the heap ends.
#include "heap/private_heap.h"

namespace clr_host_memory {

PrivateHeap::~PrivateHeap() {
  engine_.ForEachOwned([&](const OwnedRegion& region) {
    if ((region.owner & kHeapMask) != tag_ || !engine_.ChangeOwner(region.base, region.owner, 0)) return;
    // If the OS refuses the free, the region stays charged; nothing can be done about that. A sealed region is freed
    // later.
    if (engine_.Free(region.base, 0, win32::kMemRelease).verdict != Verdict::kNotOwner) return;
    engine_.ChangeOwner(region.base, 0, kOrphan);
    if (!engine_.TouchesSealed(region.base, region.pages.InBytes().value)) FreeOrphans(engine_);  // unsealed meanwhile
  });
  engine_.SubtractHeapBytes({committed_.load()});
}

void PrivateHeap::FreeOrphans(Engine& engine) {
  engine.ForEachOwned([&](const OwnedRegion& region) {
    if (region.owner != kOrphan || !engine.ChangeOwner(region.base, kOrphan, 0)) return;
    if (!engine.Free(region.base, 0, win32::kMemRelease).ok()) engine.ChangeOwner(region.base, 0, kOrphan);
  });
}

bool PrivateHeap::Trim() {
  const std::uint64_t before = committed_.load();
  Reap();
  for (ClassState& state : classes_) {
    for (std::size_t shard = 0; shard < shards_; ++shard) {
      if (Slab* slab = state.current[shard].load(); slab != nullptr) Retire(*slab);
    }
    if (Slab* slab = state.spare.load(); slab != nullptr) Retire(*slab);
  }
  for (auto& kept : kept_runs_) {
    Slab* run = kept.exchange(nullptr);
    if (run == nullptr) continue;
    const Pages pages = run->State().RunPages();
    if (RetireRun(*run, pages).ok()) continue;
    // If the OS refuses the decommit now, keep the run. If another thread has kept a run there meanwhile, park this
    // run.
    run->state.store(SlabState::OfKeptRun(pages).word());
    if (Slab* none = nullptr; !kept.compare_exchange_strong(none, run)) ParkRun(*run, pages);
  }
  return committed_.load() < before;
}

// The smallest count wins. Memory that was found sealed before the latest unseal may be unsealed by now, even if other
// memory was found sealed after it.
void PrivateHeap::NoteParked(std::uint64_t unseals) {
  std::uint64_t parked = parked_.load();
  while ((parked == 0 || parked > unseals + 1) && !parked_.compare_exchange_weak(parked, unseals + 1)) {
  }
}

// The Unseals count from before the run was found sealed is not known. With 0, the next Reap looks at the run (unless
// nothing was ever unsealed).
void PrivateHeap::ParkRun(Slab& run, Pages pages) {
  run.state.store(SlabState::OfParkedRun(pages).word());
  NoteParked(0);
}

void PrivateHeap::ReapParked() {
  const std::uint64_t unseals = engine_.Unseals();
  std::uint64_t parked = parked_.load();
  if (parked == 0 || parked == unseals + 1 || !parked_.compare_exchange_strong(parked, 0)) return;
  bool any_left = false;
  arenas_.ForEach([&](Arena& arena) { any_left = ReapArena(arena) || any_left; });
  const std::uint64_t owner = tag_ | kLarge | kParkedLarge;
  engine_.ForEachOwned([&](const OwnedRegion& region) {
    if (region.owner != owner || !engine_.ChangeOwner(region.base, owner, 0)) return;
    const std::uint64_t bytes = region.pages.InBytes().value;
    if (engine_.Free(region.base, 0, win32::kMemRelease).ok()) {
      parked_large_.fetch_sub(bytes);
      CountDecommitted(bytes);
    } else {
      engine_.ChangeOwner(region.base, 0, owner);
      any_left = true;
    }
  });
  if (any_left) NoteParked(unseals);
}

// True: something is left.
bool PrivateHeap::ReapArena(Arena& arena) {
  if (arena.base.load() == 0) return false;
  bool any_left = false;
  for (Slab& slab : arena.slabs) {
    const SlabState state = slab.State();
    if (state.IsParkedRun()) {
      std::uint64_t parked = state.word();
      if (!slab.state.compare_exchange_strong(parked, 0) || RetireRun(slab, state.RunPages()).ok()) continue;
      slab.state.store(state.word());
      any_left = true;
    } else if (state.HasClass() && slab.IsEmpty(kClasses[state.Class()]) && !IsCurrent(slab, state.Class()) &&
               classes_[state.Class()].spare.load() != &slab) {
      any_left = !Retire(slab) || any_left;
    }
  }
  if (arena.used.load() == 0 && spare_arena_.load() != &arena) any_left = !RetireArena(arena) || any_left;
  return any_left;
}

}  // namespace clr_host_memory
