// Blocks of every size: giving them out, taking them back, and what the heap tells of them. The path of small blocks is
// here as a whole, so that the compiler can inline it.
#include "heap/private_heap.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace clr_host_memory {
namespace {

constexpr std::uint32_t kPageReadWrite = 0x04;
constexpr std::uint32_t kPageExecuteReadWrite = 0x40;

}  // namespace

PrivateHeap::PrivateHeap(Engine& engine, std::uint32_t kind, std::size_t shards)
    : engine_(engine), protect_((kind & static_cast<std::uint32_t>(HeapKind::kExecutable)) != 0 ? kPageExecuteReadWrite
                                                                                                : kPageReadWrite),
      shards_(shards), tag_(std::uint64_t{engine.NewOwner()} << 32), arenas_(engine), sites_(engine) {}

Outcome PrivateHeap::Open(Criticality level) {
  Arena* arena = nullptr;
  return MakeArena(level, &arena);
}

BlockOutcome PrivateHeap::Allocate(std::size_t size, Criticality level) {
  if (size <= kLargestSmall) [[likely]]
    return AllocateSmall(ClassOf(size + (size == 0)), level);
  return size <= kLargestRun ? AllocateRun(size, level, true) : AllocateLarge(size, level);
}

BlockOutcome PrivateHeap::Allocate(std::size_t size, Criticality level, Fill fill) {
  if (fill == Fill::kAnything) return Allocate(size, level);
  // Newly committed pages are zero already.
  if (size > kLargestRun) return AllocateLarge(size, level);
  if (size > kLargestSmall) {
    const BlockOutcome run = AllocateRun(size, level, fill != Fill::kZero);
    if (run.outcome.ok() && fill == Fill::kZeroBeyond) {
      std::memset(static_cast<char*>(run.block) + size, 0, SizeOf(run.block) - size);
    }
    return run;
  }
  const BlockOutcome result = Allocate(size, level);
  if (!result.outcome.ok()) return result;
  const std::size_t from = fill == Fill::kZero ? 0 : size;
  std::memset(static_cast<char*>(result.block) + from, 0, kClasses[ClassOf(size + (size == 0))].size - from);
  return result;
}

BlockOutcome PrivateHeap::Reallocate(void* block, std::size_t size, Criticality level, Fill fill, bool in_place) {
  const std::size_t old_size = SizeOf(block);
  if (old_size == 0) return {Outcome::NotOurs()};
  char* const bytes = static_cast<char*>(block);
  const auto keep = [&]() -> BlockOutcome {
    if (fill != Fill::kAnything) std::memset(bytes + size, 0, old_size - size);
    return {Outcome::Done(), block};
  };
  if (size <= old_size && (in_place || size >= old_size / 2)) return keep();
  if (in_place) return {Outcome::OsRefused(win32::kNotEnoughMemory)};
  if (engine_.TouchesSealed(ToAddress(block), old_size))
    return size <= old_size ? keep() : BlockOutcome{Outcome::NotOwner()};
  const BlockOutcome moved = Allocate(size, level, fill == Fill::kZero ? Fill::kZeroBeyond : fill);
  if (!moved.outcome.ok()) return size <= old_size ? keep() : moved;
  std::memcpy(moved.block, block, std::min(size, old_size));
  if (fill == Fill::kZero && size > old_size)
    std::memset(static_cast<char*>(moved.block) + old_size, 0, size - old_size);
  // If the OS refuses to free the old block now, the new block is still the caller's.
  (void)Discard(block);
  return moved;
}

// ---- small blocks, given out

BlockOutcome PrivateHeap::AllocateSmall(std::size_t index, Criticality level) {
  const std::size_t shard = Shard();
  void* block = nullptr;
  if (Slab* slab = classes_[index].current[shard].load(std::memory_order_acquire); slab != nullptr) [[likely]] {
    block = TakeFrom(*slab, index);
  }
  if (block == nullptr) [[unlikely]] {
    const BlockOutcome refilled = Refill(index, shard, level);
    if (!refilled.outcome.ok()) return refilled;
    block = refilled.block;
  }
  // Take the block before reading the gate: if the gate reads clear, the block was given out before any exclusive
  // section.
  if (!engine_.IsClear()) [[unlikely]]
    return GiveOutSlowly(block, index, shard, level);
  return {Outcome::Done(), block};
}

Outcome PrivateHeap::AwaitOpen(void* block, Criticality level) {
  if (engine_.IsOpen()) return Outcome::Done();
  const Outcome closed = engine_.AwaitOpen(level);
  if (!closed.ok()) (void)Discard(block);
  return closed;
}

BlockOutcome PrivateHeap::GiveOutSlowly(void* block, std::size_t index, std::size_t shard, Criticality level) {
  if (const Outcome closed = AwaitOpen(block, level); !closed.ok()) return {closed};
  if (!engine_.TouchesSealed(ToAddress(block), kClasses[index].size)) return {Outcome::Done(), block};
  (void)Discard(block);
  return TakeUnsealed(index, shard, level);
}

// Looks at every slab of the class: this is rare. Leaves the partial hints unchanged.
BlockOutcome PrivateHeap::TakeUnsealed(std::size_t index, std::size_t shard, Criticality level) {
  BlockOutcome taken;
  const bool found = arenas_.FindArena([&](Arena& arena) {
    for (Slab& slab : arena.slabs) {
      if (slab.State().word() != SlabState::OfClass(index).word()) continue;
      taken.block = TakeFrom<Sealed::kPassedOver>(slab, index);
      if (taken.block == nullptr) continue;
      MakeCurrent(slab, index, shard);
      return true;
    }
    return false;
  });
  return found ? taken : FormSlab(index, shard, level);
}

std::uint64_t PrivateHeap::SealedBlocks(const Slab& slab, std::size_t index, std::uint32_t word) const {
  const SizeClass& sizes = kClasses[index];
  const Address base = slab.base.load(std::memory_order_relaxed);
  std::uint64_t sealed = 0;
  if (!engine_.TouchesSealed(base, sizes.committed)) return sealed;
  for (std::uint64_t bit = 0; bit < 64; ++bit) {
    if (engine_.TouchesSealed(base + (word * 64 + bit) * sizes.size, sizes.size)) sealed |= std::uint64_t{1} << bit;
  }
  return sealed;
}

template <PrivateHeap::Sealed kSealed>
void* PrivateHeap::TakeFrom(Slab& slab, std::size_t index) {
  const SizeClass& sizes = kClasses[index];
  std::uint32_t word = slab.search_from.load(std::memory_order_relaxed);
  if (word >= sizes.words) word = 0;
  for (std::uint32_t looked_at = 0; looked_at < sizes.words; ++looked_at) {
    std::atomic<std::uint64_t>& free = slab.free[word];
    std::uint64_t passed_over = 0;
    if constexpr (kSealed == Sealed::kPassedOver) passed_over = SealedBlocks(slab, index, word);
    for (std::uint64_t bits = free.load(); (bits & ~passed_over) != 0; bits = free.load()) {
      // Take the highest first. The lowest block begins a page. Much frequently read data begins a page, too (a TEB
      // does), and equal offsets in pages compete for the same cache lines. A CLR's first thread was measured to
      // allocate slower that way.
      const auto bit = static_cast<unsigned>(std::bit_width(bits & ~passed_over)) - 1;
      const std::uint64_t mask = std::uint64_t{1} << bit;
      if ((free.fetch_and(~mask) & mask) == 0) continue;  // another thread was faster
      const std::uint32_t slot = word * 64 + bit;
      if (const SlabState state = slab.State(); state.word() != SlabState::OfClass(index).word()) [[unlikely]] {
        // The slab was retired, and is something else by now. If it has a class again, return the bit as any other.
        if (state.HasClass()) (void)ReturnSlot(slab, state.Class(), slot);
        return nullptr;
      }
      if (looked_at != 0) slab.search_from.store(word, std::memory_order_relaxed);
      return ToPointer(slab.base.load(std::memory_order_relaxed) + std::uint64_t{slot} * sizes.size);
    }
    word = word + 1 == sizes.words ? 0 : word + 1;
  }
  return nullptr;
}

BlockOutcome PrivateHeap::Refill(std::size_t index, std::size_t shard, Criticality level) {
  while (Slab* slab = AdoptPartial(index)) {
    if (void* block = TakeFrom(*slab, index); block != nullptr) {
      MakeCurrent(*slab, index, shard);
      return {Outcome::Done(), block};
    }
  }
  if (void* block = Borrow(index, shard); block != nullptr) return {Outcome::Done(), block};
  const BlockOutcome formed = FormSlab(index, shard, level);
  if (formed.outcome.ok() || !WantsMemory(formed.outcome)) return formed;
  void* block = TakeFromOtherShards(index);
  return block == nullptr ? formed : BlockOutcome{Outcome::Done(), block};
}

// A thread that needs few blocks of the class gets no slab. Null: it gets its own.
void* PrivateHeap::Borrow(std::size_t index, std::size_t shard) {
  std::atomic<std::uint8_t>& borrowed = classes_[index].borrowed[shard];
  const std::uint8_t before = borrowed.load(std::memory_order_relaxed);
  if (before == kMostBorrowed || classes_[index].current[shard].load() != nullptr) return nullptr;
  borrowed.store(before + 1, std::memory_order_relaxed);
  return TakeFromOtherShards(index);
}

void* PrivateHeap::TakeFromOtherShards(std::size_t index) {
  for (std::size_t shard = 0; shard < shards_; ++shard) {
    Slab* slab = classes_[index].current[shard].load();
    if (void* block = slab == nullptr ? nullptr : TakeFrom(*slab, index); block != nullptr) return block;
  }
  return nullptr;
}

// ---- blocks of every size, taken back

// Locates a pointer of any value. Reads nothing at the address itself.
PrivateHeap::Place PrivateHeap::Locate(const void* block) const {
  const Address address = ToAddress(block);
  const OwnedRegion region = engine_.OwnedAt(address);
  Place place;
  if ((region.owner & kHeapMask) != tag_) return place;
  place.owner = region.owner;
  if ((region.owner & kLarge) != 0) {
    if (address == region.base && (region.owner & kParkedLarge) == 0)
      place.size = static_cast<std::size_t>(region.pages.InBytes().value);
    return place;
  }
  Arena* arena = arenas_.At(static_cast<std::size_t>(region.owner & (kLarge - 1)));
  const Address offset = address - arena->base.load(std::memory_order_relaxed);
  if (offset >= kArenaSize) return place;  // its memory was released meanwhile
  const std::uint8_t head = arena->head[static_cast<std::size_t>(offset >> kUnitShift)].load(std::memory_order_relaxed);
  place.slab = &arena->slabs[head];
  place.state = place.slab->State();
  const auto in_slab = static_cast<std::uint32_t>(offset) - (std::uint32_t{head} << kUnitShift);
  if (place.state.HasClass()) {
    const SizeClass& sizes = kClasses[place.state.Class()];
    place.slot = in_slab < sizes.committed ? sizes.SlotAt(in_slab) : sizes.slots;
    if (place.slot < sizes.slots && place.slot * sizes.size == in_slab) place.size = sizes.size;
  } else if (place.state.IsRun() && in_slab == 0) {
    place.size = static_cast<std::size_t>(place.state.RunPages().InBytes().value);
  }
  return place;
}

Outcome PrivateHeap::Free(void* block) {
  if (block == nullptr) return Outcome::Done();
  const Place place = Locate(block);
  if (engine_.AnySealed() && IsSealed(block, place)) [[unlikely]]
    return Outcome::NotOwner();
  return FreeAt(place, block, IfSealed::kRefuse);
}

Outcome PrivateHeap::Discard(void* block) {
  return block == nullptr ? Outcome::Done() : FreeAt(Locate(block), block, IfSealed::kPark);
}

// Returns whether it is a block that is given out and touches a sealed page.
bool PrivateHeap::IsSealed(const void* block, const Place& place) const {
  return place.size != 0 && engine_.TouchesSealed(ToAddress(block), place.size) && SizeOf(block) != 0;
}

inline Outcome PrivateHeap::FreeAt(const Place& place, void* block, IfSealed if_sealed) {
  if (place.size == 0) return Outcome::NotOurs();
  if (place.state.HasClass()) [[likely]] {
    if (place.slab->arena->sites.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
      ForgetSite(place);
    return ReturnSlot(*place.slab, place.state.Class(), place.slot) ? Outcome::Done() : Outcome::NotOurs();
  }
  if (place.slab == nullptr) return FreeLarge(place, ToAddress(block), if_sealed);
  std::uint64_t state = place.state.word();
  if (!place.slab->state.compare_exchange_strong(state, 0)) return Outcome::NotOurs();
  const Outcome outcome = KeepOrRetireRun(*place.slab, place.state.RunPages());
  if (outcome.verdict == Verdict::kNotOwner && if_sealed == IfSealed::kPark) {
    ForgetSite(place);
    ParkRun(*place.slab, place.state.RunPages());
    return Outcome::Done();
  }
  if (!outcome.ok()) place.slab->state.store(state);
  Reap();
  return outcome;
}

bool PrivateHeap::ReturnSlot(Slab& slab, std::size_t index, std::uint32_t slot) {
  const SizeClass& sizes = kClasses[index];
  const std::uint32_t word = slot / 64;
  const std::uint64_t mask = std::uint64_t{1} << (slot % 64);
  std::atomic<std::uint64_t>& free = slab.free[word];
  std::uint64_t before = free.load(std::memory_order_relaxed);
  do {
    if ((before & mask) != 0) return false;
  } while (!free.compare_exchange_weak(before, before | mask));
  // From here on the slab may be retired. Use only its descriptor.
  if (before == 0) MarkPartial(slab, index);
  if ((before | mask) == sizes.AllFree(word) && slab.IsEmpty(sizes)) NoteEmpty(slab, index);
  return true;
}

std::size_t PrivateHeap::SizeOf(const void* block) const {
  const Place place = Locate(block);
  if (place.slab == nullptr || !place.state.HasClass() || place.size == 0) return place.size;
  const bool is_free = (place.slab->free[place.slot / 64].load() >> (place.slot % 64) & 1) != 0;
  return is_free ? 0 : place.size;
}

HeapFigures PrivateHeap::Figures() const {
  const Bytes large{large_bytes_.load()};
  HeapFigures figures{.reserved = large + Bytes{parked_large_.load()},
                      .committed = {committed_.load()},
                      .live = large,
                      .blocks = large_blocks_.load()};
  arenas_.ForEach([&](const Arena& arena) {
    if (arena.base.load() == 0) return;
    figures.reserved = figures.reserved + Bytes{kArenaSize};
    for (const Slab& slab : arena.slabs) {
      const SlabState state = slab.State();
      if (state.IsRun()) {
        ++figures.blocks;
        figures.live = figures.live + state.RunPages().InBytes();
      } else if (state.HasClass()) {
        const SizeClass& sizes = kClasses[state.Class()];
        for (std::uint32_t word = 0; word < sizes.words; ++word) {
          const auto taken = static_cast<std::uint64_t>(std::popcount(sizes.AllFree(word) & ~slab.free[word].load()));
          figures.blocks += taken;
          figures.live = figures.live + Bytes{taken * sizes.size};
        }
      }
    }
  });
  return figures;
}

}  // namespace clr_host_memory
