// Blocks of whole pages: runs of an arena's units, the kept runs, and large blocks, which are regions by themselves.
#include "heap/private_heap.h"

#include <algorithm>

namespace clr_host_memory {

BlockOutcome PrivateHeap::AllocateRun(std::size_t size, Criticality level, bool may_reuse) {
  const std::uint64_t bytes = RoundUpToPage(size);
  if (may_reuse) {
    if (const Slab* kept = TakeKeptRun({bytes >> kPageShift}); kept != nullptr) {
      void* const block = ToPointer(kept->base.load(std::memory_order_relaxed));
      const Outcome closed = AwaitOpen(block, level);
      return closed.ok() ? BlockOutcome{closed, block} : BlockOutcome{closed};
    }
  }
  Units units;
  const auto count = static_cast<std::uint32_t>((bytes + kUnitSize - 1) >> kUnitShift);
  if (const Outcome outcome = ClaimCommitted(count, bytes, level, &units); !outcome.ok()) return {outcome};
  const Address base = units.Base();
  Slab& run = units.Head();
  run.base.store(base, std::memory_order_relaxed);
  run.state.store(SlabState::OfRun({bytes >> kPageShift}).word());
  return {Outcome::Done(), ToPointer(base)};
}

Slab* PrivateHeap::TakeKeptRun(Pages pages) {
  const auto fits = [pages](Pages has) { return has >= pages && has.value <= pages.value + pages.value / 4; };
  for (auto& kept : kept_runs_) {
    Slab* run = kept.load();
    if (run == nullptr || !fits(run->State().RunPages()) || !kept.compare_exchange_strong(run, nullptr)) continue;
    const Pages has = run->State().RunPages();
    if (engine_.TouchesSealed(run->base.load(std::memory_order_relaxed), has.InBytes().value)) {
      ParkRun(*run, has);
    } else if (fits(has)) {
      run->state.store(SlabState::OfRun(has).word());
      return run;
    } else if (!KeepOrRetireRun(*run, has).ok()) {  // it was taken, used and freed again meanwhile, with another size
      ParkRun(*run, has);
    }
  }
  return nullptr;
}

bool PrivateHeap::IsWorthKeeping(const Slab& run, Pages pages) const {
  return pages.InBytes() <= Bytes{kLargestKeptRun} && engine_.HasRoom({kRoomToKeepRuns}, Criticality::kTask) &&
         engine_.Waiting() == 0 && engine_.Serving() &&
         !engine_.IsHostOwned(run.base.load(std::memory_order_relaxed), pages.InBytes().value);
}

Outcome PrivateHeap::KeepOrRetireRun(Slab& run, Pages pages) {
  if (!IsWorthKeeping(run, pages)) return RetireRun(run, pages);
  // It is likely to be needed again, and committing pages is expensive.
  ForgetSite(AsBlock(run, pages));
  run.state.store(SlabState::OfKeptRun(pages).word());
  for (auto& kept : kept_runs_) {
    Slab* none = nullptr;
    if (kept.load() == nullptr && kept.compare_exchange_strong(none, &run)) return Outcome::Done();
  }
  Slab* before = kept_runs_[oldest_kept_run_.fetch_add(1) % kMostKeptRuns].exchange(&run);
  if (before == nullptr) return Outcome::Done();
  const Pages before_pages = before->State().RunPages();
  if (!RetireRun(*before, before_pages).ok()) ParkRun(*before, before_pages);
  return Outcome::Done();
}

Outcome PrivateHeap::RetireRun(Slab& run, Pages pages) {
  run.state.store(0);
  const Outcome outcome = Decommit(run.base.load(std::memory_order_relaxed), pages.InBytes().value);
  if (!outcome.ok()) return outcome;
  ForgetSite(AsBlock(run, pages));
  const std::uint64_t units = (pages.InBytes().value + kUnitSize - 1) >> kUnitShift;
  ReleaseUnits({run.arena, run.unit, static_cast<std::uint32_t>(units)});
  return Outcome::Done();
}

BlockOutcome PrivateHeap::AllocateLarge(std::size_t size, Criticality level) {
  Reap();
  // No process has so much: the first and the last granule are never given out.
  constexpr std::uint64_t kMost = PageMap::kEverything.count.InBytes().value - 2 * kGranuleSize;
  if (size > kMost) return {Outcome::OsRefused(win32::kNotEnoughMemory)};
  const auto allocate = [&] {
    return engine_.Allocate(
        {.address = 0, .size = size, .type = win32::kMemReserve | win32::kMemCommit, .protect = protect_}, level);
  };
  if (!engine_.HasRoom({size}, level)) [[unlikely]]  // as in Commit
    Trim();
  AddressOutcome region = allocate();
  if (!region.outcome.ok() && WantsMemory(region.outcome) && Trim()) region = allocate();
  if (!region.outcome.ok()) {
    // Only the size can be wrong here: it exceeds the address space.
    const bool too_much =
        region.outcome.verdict == Verdict::kOsRefused && region.outcome.error == win32::kInvalidParameter;
    return {too_much ? Outcome::OsRefused(win32::kNotEnoughMemory) : region.outcome};
  }
  const std::uint64_t bytes = RoundUpToPage(size);
  engine_.ChangeOwner(region.address, 0, tag_ | kLarge);
  CountCommitted(bytes);
  large_bytes_.fetch_add(bytes);
  large_blocks_.fetch_add(1);
  return {Outcome::Done(), ToPointer(region.address)};
}

Outcome PrivateHeap::FreeLarge(const Place& place, Address address, IfSealed if_sealed) {
  // Exactly one caller takes the region's ownership away. That caller frees the block.
  if (!engine_.ChangeOwner(address, place.owner, 0)) return Outcome::NotOurs();
  const Outcome outcome = engine_.Free(address, 0, win32::kMemRelease);
  const bool parks = outcome.verdict == Verdict::kNotOwner && if_sealed == IfSealed::kPark;
  if (!outcome.ok() && !parks) {
    engine_.ChangeOwner(address, 0, place.owner);
    return outcome;
  }
  ForgetSite(place);
  large_bytes_.fetch_sub(place.size);
  large_blocks_.fetch_sub(1);
  if (parks) {
    parked_large_.fetch_add(place.size);
    engine_.ChangeOwner(address, 0, tag_ | kLarge | kParkedLarge);
    NoteParked(0);
  } else {
    CountDecommitted(place.size);
    Reap();
  }
  return Outcome::Done();
}

}  // namespace clr_host_memory
