#include "ledger/page_map.h"

#include <cassert>

#include "ledger/metadata_node.h"

namespace clr_host_memory {
PageMap::~PageMap() {
  present_.ForEach(0, kMiddleCount, [&](std::size_t m) {
    Middle* middle = middles_[m].load();
    middle->present.ForEach(0, kLeavesPerMiddle,
                            [&](std::size_t l) { os_.FreeMetadata(middle->leaves[l].load(), sizeof(Leaf)); });
    os_.FreeMetadata(middle, sizeof(Middle));
  });
}

PageMap::Leaf* PageMap::EnsureLeaf(Address address) {
  const std::size_t m = static_cast<std::size_t>(address >> kMiddleShift);
  if (m >= kMiddleCount) return nullptr;
  Middle* middle = middles_[m].load();
  if (middle == nullptr) {
    middle = PublishNode(os_, middles_[m], metadata_, std::uint64_t{m} << kMiddleShift);
    if (middle == nullptr) return nullptr;
  }
  const std::size_t l = (address >> kLeafShift) % kLeavesPerMiddle;
  Leaf* leaf = middle->leaves[l].load();
  if (leaf == nullptr) {
    leaf = PublishNode(os_, middle->leaves[l], metadata_, address >> kLeafShift << kLeafShift);
    if (leaf == nullptr) return nullptr;
  }
  // Set the bits after publishing the node: a walk that sees the bit finds the node. Every thread sets them, not only
  // the node's creator. A thread that uses the node passes here first, so walks see every node that holds anything.
  present_.Set(m);
  middle->present.Set(l);
  return leaf;
}

PageWord* PageMap::TouchWord(std::uint64_t word) {
  Leaf* leaf = EnsureLeaf(word << PageWord::kShift);
  if (leaf == nullptr) return nullptr;
  leaf->touched.Set(word % kWordsPerLeaf);
  return &leaf->pages[word % kWordsPerLeaf];
}

bool PageMap::IsTouched(std::uint64_t word) const {
  const Leaf* leaf = FindLeaf(word << PageWord::kShift);
  return leaf != nullptr && leaf->touched.Test(word % kWordsPerLeaf);
}

std::optional<Region> PageMap::RegionAt(Address base) const {
  if (!IsGranuleAligned(base)) return std::nullopt;
  const Leaf* leaf = FindLeaf(base);
  return leaf == nullptr ? std::nullopt : leaf->regions[GranuleInLeaf(base)].Read();
}

const RegionSlot* PageMap::LastSlotIn(const Leaf& leaf, std::size_t end_granule) {
  const RegionSlot* last = nullptr;
  leaf.bases.FindDown(end_granule, [&](std::size_t g) {
    if (leaf.regions[g].packed.load() == 0) return false;  // in transition
    last = &leaf.regions[g];
    return true;
  });
  return last;
}

std::optional<Region> PageMap::FindRegionBelow(Address address, PageWord* word) const {
  const auto own_middle = static_cast<std::size_t>(address >> kMiddleShift);
  if (own_middle >= kMiddleCount) return std::nullopt;
  const auto own_leaf = static_cast<std::size_t>(address >> kLeafShift) % kLeavesPerMiddle;
  const RegionSlot* slot = nullptr;
  with_bases_.FindDown(own_middle + 1, [&](std::size_t m) {
    const Middle& middle = *middles_[m].load();
    const std::size_t end_leaf = m == own_middle ? own_leaf + 1 : kLeavesPerMiddle;
    return middle.with_bases.FindDown(end_leaf, [&](std::size_t l) {
      const bool own = m == own_middle && l == own_leaf;
      slot = LastSlotIn(*middle.leaves[l].load(), own ? GranuleInLeaf(address) + 1 : kGranulesPerLeaf);
      return slot != nullptr;
    });
  });
  if (slot == nullptr) return std::nullopt;
  const auto region = slot->Read();
  if (!region || address >> kPageShift >= region->Range().end()) return std::nullopt;
  if (word != nullptr && word->gate.load(std::memory_order_relaxed) != 0) {
    word->region.store(slot, std::memory_order_relaxed);
  }
  return region;
}

bool PageMap::AddRegion(const Region& region, std::optional<Region>* replaced, std::uint64_t* shown) {
  Leaf* leaf = EnsureLeaf(region.base);
  if (leaf == nullptr) return false;
  if constexpr (kLeavesWithRegion) {
    const std::uint64_t last = (region.Range().end() - 1) >> (kLeafShift - kPageShift);
    for (std::uint64_t next = (region.base >> kLeafShift) + 1; next <= last; ++next) {
      if (EnsureLeaf(next << kLeafShift) == nullptr) return false;
    }
  }
  RegionSlot& slot = leaf->regions[GranuleInLeaf(region.base)];
  slot.owner.store(0);
  *shown = slot.section_view.exchange(region.section_view);
  *replaced = slot.Unpack(slot.packed.exchange(RegionSlot::Pack(region)));
  MarkBase(*leaf, region.base);
  return true;
}

void PageMap::MarkBase(Leaf& leaf, Address base) {
  const auto m = static_cast<std::size_t>(base >> kMiddleShift);
  leaf.bases.Set(GranuleInLeaf(base));
  middles_[m].load()->with_bases.Set(static_cast<std::size_t>(base >> kLeafShift) % kLeavesPerMiddle);
  with_bases_.Set(m);
}

std::optional<Region> PageMap::RemoveRegion(Address base, Region::Kind kind) {
  Leaf* leaf = IsGranuleAligned(base) ? FindLeaf(base) : nullptr;
  if (leaf == nullptr) return std::nullopt;
  RegionSlot& slot = leaf->regions[GranuleInLeaf(base)];
  const std::int64_t packed = slot.packed.load();
  const auto region = slot.Unpack(packed);
  return region && region->kind == kind ? Take(slot, *leaf, packed) : std::nullopt;
}

std::optional<Region> PageMap::RemoveRegion(const Region& known) {
  Leaf* leaf = FindLeaf(known.base);
  return leaf == nullptr ? std::nullopt
                         : Take(leaf->regions[GranuleInLeaf(known.base)], *leaf, RegionSlot::Pack(known));
}

std::optional<Region> PageMap::Take(RegionSlot& slot, Leaf& leaf, std::int64_t packed) {
  auto region = slot.Unpack(packed);
  if (!slot.packed.compare_exchange_strong(packed, 0)) return std::nullopt;
  // A thread that replaces the record at this moment may have taken section_view already.
  std::uint64_t section_view = region->section_view;
  if (section_view != 0 && !slot.section_view.compare_exchange_strong(section_view, 0)) region->section_view = 0;
  const std::size_t granule = GranuleInLeaf(region->base);
  leaf.bases.Clear(granule);
  // The end of a view may be reported after the OS has given its address to another region, which is recorded by now.
  if (slot.packed.load() != 0) leaf.bases.Set(granule);
  return region;
}

void PageMap::RestoreRegion(const Region& region) {
  Leaf* leaf = FindLeaf(region.base);
  assert(leaf != nullptr);  // RemoveRegion found it there
  RegionSlot& slot = leaf->regions[GranuleInLeaf(region.base)];
  slot.section_view.store(region.section_view);
  slot.packed.store(RegionSlot::Pack(region));
  MarkBase(*leaf, region.base);
}

}  // namespace clr_host_memory
