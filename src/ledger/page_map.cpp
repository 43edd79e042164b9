#include "ledger/page_map.h"

#include <gsl/gsl>
#include <new>

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kKindMask = 0xFF;
constexpr unsigned kPagesShift = 8;

}  // namespace

PageMap::~PageMap() {
  present_.ForEach(0, kMiddleCount, [&](std::size_t m) {
    Middle* middle = middles_[m].load();
    middle->present.ForEach(0, kLeavesPerMiddle,
                            [&](std::size_t l) { os_.FreeMetadata(middle->leaves[l].load(), sizeof(Leaf)); });
    os_.FreeMetadata(middle, sizeof(Middle));
  });
}

template <typename Node>
Node* PageMap::Publish(std::atomic<Node*>& place) {
  void* memory = os_.AllocateMetadata(sizeof(Node));
  if (memory == nullptr) return nullptr;
  Node* node = new (memory) Node;
  Node* winner = nullptr;
  if (!place.compare_exchange_strong(winner, node)) {
    os_.FreeMetadata(memory, sizeof(Node));
    return winner;
  }
  metadata_.fetch_add(sizeof(Node), std::memory_order_relaxed);
  return node;
}

PageMap::Leaf* PageMap::FindLeaf(Address address) const {
  const std::size_t m = static_cast<std::size_t>(address >> kMiddleShift);
  if (m >= kMiddleCount) return nullptr;
  const Middle* middle = middles_[m].load();
  if (middle == nullptr) return nullptr;
  return middle->leaves[(address >> kLeafShift) % kLeavesPerMiddle].load();
}

PageMap::Leaf* PageMap::EnsureLeaf(Address address) {
  const std::size_t m = static_cast<std::size_t>(address >> kMiddleShift);
  if (m >= kMiddleCount) return nullptr;
  Middle* middle = middles_[m].load();
  if (middle == nullptr) {
    middle = Publish(middles_[m]);
    if (middle == nullptr) return nullptr;
  }
  const std::size_t l = (address >> kLeafShift) % kLeavesPerMiddle;
  Leaf* leaf = middle->leaves[l].load();
  if (leaf == nullptr) {
    leaf = Publish(middle->leaves[l]);
    if (leaf == nullptr) return nullptr;
  }
  // Set after the node, by whoever comes: a walk that sees the bit finds the node. Whoever uses the node passes here
  // first, so nothing is ever in a node that walks do not see.
  present_.Set(m);
  middle->present.Set(l);
  return leaf;
}

PageWord* PageMap::FindWord(std::uint64_t word) const {
  Leaf* leaf = FindLeaf(word << PageWord::kShift);
  return leaf == nullptr ? nullptr : &leaf->pages[word % kWordsPerLeaf];
}

PageWord* PageMap::EnsureWord(std::uint64_t word) {
  Leaf* leaf = EnsureLeaf(word << PageWord::kShift);
  if (leaf == nullptr) return nullptr;
  leaf->touched.Set(word % kWordsPerLeaf);
  return &leaf->pages[word % kWordsPerLeaf];
}

bool PageMap::IsTouched(std::uint64_t word) const {
  const Leaf* leaf = FindLeaf(word << PageWord::kShift);
  return leaf != nullptr && leaf->touched.Test(word % kWordsPerLeaf);
}

std::uint64_t PageMap::Pack(const Region& region) {
  return (region.pages.value << kPagesShift) | static_cast<std::uint64_t>(region.kind);
}

std::optional<Region> PageMap::Unpack(std::uint64_t packed, Address base) {
  if (packed == 0) return std::nullopt;
  return Region{base, {packed >> kPagesShift}, static_cast<Region::Kind>(packed & kKindMask)};
}

std::optional<Region> PageMap::RegionAt(Address base) const {
  if (!IsGranuleAligned(base)) return std::nullopt;
  const Leaf* leaf = FindLeaf(base);
  if (leaf == nullptr) return std::nullopt;
  return Unpack(leaf->regions[(base >> kGranuleShift) % kGranulesPerLeaf].load(), base);
}

std::optional<Region> PageMap::FindRegion(Address address) const {
  const std::uint64_t page = address >> kPageShift;
  PageWord* word = FindWord(page / 64);
  if (word != nullptr) {
    // A live region at the remembered base that reaches this far is the one: regions do not overlap.
    const Address base = word->region_base.load(std::memory_order_relaxed);
    if (base != 0 && base <= address) {
      const auto region = RegionAt(base);
      if (region && page < region->Range().end()) return region;
    }
  }
  const auto region = FindRegionBelow(address);
  if (!region || page >= region->Range().end()) return std::nullopt;
  if (word != nullptr) word->region_base.store(region->base, std::memory_order_relaxed);
  return region;
}

std::optional<Region> PageMap::LastRegionIn(const Leaf& leaf, std::size_t end_granule, Address leaf_start) {
  std::optional<Region> found;
  leaf.bases.FindDown(end_granule, [&](std::size_t g) {
    found = Unpack(leaf.regions[g].load(), leaf_start + (std::uint64_t{g} << kGranuleShift));
    return found.has_value();
  });
  return found;
}

std::optional<Region> PageMap::FindRegionBelow(Address address) const {
  const std::size_t own_middle = static_cast<std::size_t>(address >> kMiddleShift);
  if (own_middle >= kMiddleCount) return std::nullopt;
  const std::size_t own_leaf = (address >> kLeafShift) % kLeavesPerMiddle;
  std::optional<Region> found;
  with_bases_.FindDown(own_middle + 1, [&](std::size_t m) {
    const Middle& middle = *middles_[m].load();
    const std::size_t end_leaf = m == own_middle ? own_leaf + 1 : kLeavesPerMiddle;
    return middle.with_bases.FindDown(end_leaf, [&](std::size_t l) {
      const Leaf& leaf = *middle.leaves[l].load();
      const bool own = m == own_middle && l == own_leaf;
      const std::size_t end_granule = own ? (address >> kGranuleShift) % kGranulesPerLeaf + 1 : kGranulesPerLeaf;
      found = LastRegionIn(leaf, end_granule, (std::uint64_t{m} << kMiddleShift) + (std::uint64_t{l} << kLeafShift));
      return found.has_value();
    });
  });
  return found;
}

bool PageMap::AddRegion(const Region& region, std::optional<Region>* replaced) {
  Leaf* leaf = EnsureLeaf(region.base);
  if (leaf == nullptr) return false;
  const std::size_t granule = (region.base >> kGranuleShift) % kGranulesPerLeaf;
  *replaced = Unpack(leaf->regions[granule].exchange(Pack(region)), region.base);
  MarkBase(*leaf, region.base);
  return true;
}

void PageMap::MarkBase(Leaf& leaf, Address base) {
  const std::size_t m = static_cast<std::size_t>(base >> kMiddleShift);
  leaf.bases.Set((base >> kGranuleShift) % kGranulesPerLeaf);
  middles_[m].load()->with_bases.Set((base >> kLeafShift) % kLeavesPerMiddle);
  with_bases_.Set(m);
}

std::optional<Region> PageMap::TakeRegion(Address base, Region::Kind kind) {
  if (!IsGranuleAligned(base)) return std::nullopt;
  Leaf* leaf = FindLeaf(base);
  if (leaf == nullptr) return std::nullopt;
  const std::size_t granule = (base >> kGranuleShift) % kGranulesPerLeaf;
  std::uint64_t packed = leaf->regions[granule].load();
  const auto region = Unpack(packed, base);
  if (!region || region->kind != kind) return std::nullopt;
  if (!leaf->regions[granule].compare_exchange_strong(packed, 0)) return std::nullopt;
  leaf->bases.Clear(granule);
  // A view's end may be told after the OS has given its address to someone else, who is known by now.
  if (leaf->regions[granule].load() != 0) leaf->bases.Set(granule);
  return region;
}

void PageMap::RestoreRegion(const Region& region) {
  Leaf* leaf = FindLeaf(region.base);
  Expects(leaf != nullptr);  // TakeRegion found it there
  const std::size_t granule = (region.base >> kGranuleShift) % kGranulesPerLeaf;
  leaf->regions[granule].store(Pack(region));
  MarkBase(*leaf, region.base);
}

}  // namespace clr_host_memory
