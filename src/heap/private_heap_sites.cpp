// The allocation sites of blocks: kept for AllocateAt, and forgotten when the block is freed.
#include "heap/private_heap.h"

#include <memory>

namespace clr_host_memory {

BlockOutcome PrivateHeap::AllocateAt(std::size_t size, Criticality level, const char* file, int line) {
  const BlockOutcome result = Allocate(size, level);
  if (result.outcome.ok()) {
    if (const AllocationSites::Index site = sites_.Find(file, line); site != AllocationSites::kNone) {
      KeepSite(result.block, site);
    }
  }
  return result;
}

Arena::Site* PrivateHeap::SitesOf(Arena& arena) {
  Arena::Site* sites = arena.sites.load();
  if (sites != nullptr) return sites;
  void* memory = nullptr;
  if (!engine_.AllocateMetadata(ArenaTable::kSitesSize, Criticality::kTask, &memory).ok()) return nullptr;
  auto* made = static_cast<Arena::Site*>(memory);
  std::uninitialized_value_construct_n(made, kArenaUnits * kMostSlots);
  if (arena.sites.compare_exchange_strong(sites, made)) return made;
  engine_.FreeMetadata(memory, ArenaTable::kSitesSize);
  return sites;
}

void PrivateHeap::KeepSite(void* block, AllocationSites::Index site) {
  const Place place = Locate(block);
  if (place.slab == nullptr) {
    engine_.ChangeOwner(ToAddress(block), place.owner, place.owner | site);
  } else {
    Arena::Site* sites = SitesOf(*place.slab->arena);
    if (sites == nullptr) return;
    sites[place.slab->unit * kMostSlots + place.slot].store(site);
  }
  sites_.Add(site, place.size);
}

void PrivateHeap::ForgetSite(const Place& place) {
  std::uint16_t site = AllocationSites::kNone;
  if (place.slab == nullptr) {
    site = static_cast<std::uint16_t>(place.owner & 0xFFFF);
  } else if (Arena::Site* sites = place.slab->arena->sites.load(); sites != nullptr) {
    site = sites[place.slab->unit * kMostSlots + place.slot].exchange(AllocationSites::kNone);
  }
  if (site != AllocationSites::kNone) sites_.Subtract(site, place.size);
}

}  // namespace clr_host_memory
