#include "ledger/sections.h"

#include <algorithm>
#include <cassert>

#include "ledger/metadata_node.h"

namespace clr_host_memory {

Sections::~Sections() {
  for (auto& place : chunks_) {
    Chunk* chunk = place.load();
    if (chunk == nullptr) continue;
    for (Section& section : chunk->sections) {
      // The section is still alive: a CLR that outlived the manager has views and handles.
      if ((section.state.load() & kFree) == 0) End(section);
    }
    Free(chunk);
  }
}

template <typename Node>
void Sections::Free(Node* node) {
  os_.FreeMetadata(node, sizeof(Node));
  metadata_.fetch_sub(sizeof(Node), std::memory_order_relaxed);
}

SectionName Sections::Add(Pages size, Pages charged) {
  if (size.InBytes() > kLargest) return 0;
  for (std::size_t index = 0; index < kMost; ++index) {
    auto& place = chunks_[index / kPerChunk];
    Chunk* chunk = place.load();
    if (chunk == nullptr) chunk = PublishNode(os_, place, metadata_);
    if (chunk == nullptr) return 0;
    Section& section = chunk->sections[index % kPerChunk];
    std::uint64_t state = section.state.load();
    // The first use is 1, so that no name is 0.
    const std::uint64_t use = std::max<std::uint64_t>((UseOf(state) + 1) % kUses, 1);
    if ((state & kFree) == 0 || !section.state.compare_exchange_strong(state, use << 32 | 1)) continue;
    // No other thread has its name yet.
    section.size = size;
    section.whole = charged != Pages{};
    section.charged.store(charged.value);
    charged_.fetch_add(charged.value);
    return static_cast<SectionName>(use << kIndexBits | index);
  }
  return 0;
}

Sections::Section* Sections::Find(SectionName name) const {
  const std::size_t index = name % kMost;
  Chunk* chunk = chunks_[index / kPerChunk].load();
  return chunk == nullptr ? nullptr : &chunk->sections[index % kPerChunk];
}

bool Sections::Keep(SectionName name) {
  Section* section = name == 0 ? nullptr : Find(name);
  if (section == nullptr) return false;
  std::uint64_t state = section->state.load();
  do {
    if (UseOf(state) != UseOf(name) || (state & kFree) != 0 || (state & kReferences) == 0) return false;
  } while (!section->state.compare_exchange_weak(state, state + 1));
  return true;
}

void Sections::Drop(SectionName name) {
  Section* section = Find(name);
  assert(section != nullptr);  // the caller holds a reference
  if ((section->state.fetch_sub(1) & kReferences) != 1) return;
  End(*section);
  section->state.store(UseOf(name) << 32 | kFree);
}

void Sections::End(Section& section) {
  for (auto& place : section.middles) {
    Middle* middle = place.exchange(nullptr);
    if (middle == nullptr) continue;
    for (auto& leaf : middle->leaves) {
      if (leaf.load() != nullptr) Free(leaf.load());
    }
    Free(middle);
  }
  const Pages charged{section.charged.exchange(0)};
  charged_.fetch_sub(charged.value);
  if (charged != Pages{}) budget_.Uncharge(charged.InBytes());
}

bool Sections::Prepare(Section& section, PageRange range) {
  if (section.whole) return true;
  if (range.end() > section.size.value) return false;
  const std::uint64_t last = (range.end() - 1) >> (6 + kWordsPerLeafShift);
  for (std::uint64_t leaf = range.first >> (6 + kWordsPerLeafShift); leaf <= last; ++leaf) {
    auto& middle_place = section.middles[static_cast<std::size_t>(leaf >> kLeavesPerMiddleShift)];
    Middle* middle = middle_place.load();
    if (middle == nullptr) middle = PublishNode(os_, middle_place, metadata_);
    if (middle == nullptr) return false;
    auto& leaf_place = middle->leaves[static_cast<std::size_t>(leaf) % middle->leaves.size()];
    if (leaf_place.load() == nullptr && PublishNode(os_, leaf_place, metadata_) == nullptr) return false;
  }
  return true;
}

std::atomic<std::uint64_t>* Sections::FindWord(const Section& section, std::uint64_t word) {
  const std::uint64_t leaf_index = word >> kWordsPerLeafShift;
  const std::uint64_t middle_index = leaf_index >> kLeavesPerMiddleShift;
  if (middle_index >= kMiddles) return nullptr;
  const Middle* middle = section.middles[static_cast<std::size_t>(middle_index)].load();
  if (middle == nullptr) return nullptr;
  Leaf* leaf = middle->leaves[static_cast<std::size_t>(leaf_index) % middle->leaves.size()].load();
  return leaf == nullptr ? nullptr : &leaf->words[static_cast<std::size_t>(word) % leaf->words.size()];
}

template <typename Visitor>
void Sections::ForEachWord(const Section& section, PageRange range, Visitor visit) {
  for (std::uint64_t word = range.first / 64; word * 64 < range.end(); ++word) {
    const std::uint64_t low = std::max(range.first, word * 64) - word * 64;
    const std::uint64_t high = std::min(range.end(), word * 64 + 64) - word * 64;
    const std::uint64_t below_high = high == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << high) - 1;
    visit(FindWord(section, word), below_high & (~std::uint64_t{0} << low));
  }
}

Pages Sections::Use::Missing(PageRange range) const {
  Pages missing;
  if (section_->whole) return missing;
  ForEachWord(*section_, range, [&](const std::atomic<std::uint64_t>* word, std::uint64_t mask) {
    const std::uint64_t charged = word == nullptr ? 0 : word->load();
    missing += {static_cast<std::uint64_t>(std::popcount(mask & ~charged))};
  });
  return missing;
}

Pages Sections::Use::Mark(PageRange range) {
  Pages marked;
  if (section_->whole) return marked;
  ForEachWord(*section_, range, [&](std::atomic<std::uint64_t>* word, std::uint64_t mask) {
    assert(word != nullptr);  // prepared
    marked += {static_cast<std::uint64_t>(std::popcount(mask & ~word->fetch_or(mask)))};
  });
  section_->charged.fetch_add(marked.value);
  sections_.charged_.fetch_add(marked.value);
  return marked;
}

std::uint64_t Sections::Use::Charged(std::uint64_t word) const {
  const std::atomic<std::uint64_t>* found = FindWord(*section_, word);
  return found == nullptr ? 0 : found->load();
}

}  // namespace clr_host_memory
