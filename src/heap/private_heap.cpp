#include "heap/private_heap.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>

namespace clr_host_memory {
namespace {

constexpr std::uint32_t kPageReadWrite = 0x04;
constexpr std::uint32_t kPageExecuteReadWrite = 0x40;

// The owner word. The upper half is the heap. The lower half is either kLarge with the block's site, or an arena's
// number.
constexpr std::uint64_t kLarge = std::uint64_t{1} << 31;
constexpr std::uint64_t kParkedLarge = std::uint64_t{1} << 30;  // and no block any more
constexpr std::uint64_t kHeapMask = ~std::uint64_t{0} << 32;
// Owner of a region whose heap ended while the region was sealed. No heap's number is 0.
constexpr std::uint64_t kOrphan = 1;

[[nodiscard]] Address ToAddress(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
[[nodiscard]] void* ToPointer(Address address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }
[[nodiscard]] std::uint64_t RoundUpToPage(std::uint64_t size) { return (size + kPageSize - 1) & ~(kPageSize - 1); }

}  // namespace

PrivateHeap::PrivateHeap(Engine& engine, std::uint32_t kind, std::size_t shards)
    : engine_(engine), protect_((kind & static_cast<std::uint32_t>(HeapKind::kExecutable)) != 0 ? kPageExecuteReadWrite
                                                                                                : kPageReadWrite),
      shards_(shards), tag_(std::uint64_t{engine.NewOwner()} << 32), arenas_(engine), sites_(engine) {}

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

Outcome PrivateHeap::Open(Criticality level) {
  Arena* arena = nullptr;
  return MakeArena(level, &arena);
}

// ---- blocks

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
  const BlockOutcome formed = FormSlab(index, shard, level);
  if (formed.outcome.ok() || !WantsMemory(formed.outcome)) return formed;
  void* block = TakeFromOtherShards(index);
  return block == nullptr ? formed : BlockOutcome{Outcome::Done(), block};
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

void PrivateHeap::MarkPartial(Slab& slab, std::size_t index) {
  Arena& arena = *slab.arena;
  const std::uint64_t mask = std::uint64_t{1} << slab.unit;
  if ((arena.partial[index].load() & mask) == 0) arena.partial[index].fetch_or(mask);
  arenas_.ChunkOf(arena).partial[index].Add(arena.index % ArenaSet::kSize);
}

void PrivateHeap::MakeCurrent(Slab& slab, std::size_t index, std::size_t shard) {
  Slab* before = classes_[index].current[shard].exchange(&slab);
  if (before == nullptr || before == &slab || !before->HasFree(kClasses[index])) return;
  // Blocks were freed meanwhile, or another thread has just made the slab current.
  MarkPartial(*before, index);
  if (before->IsEmpty(kClasses[index])) NoteEmpty(*before, index);
}

void* PrivateHeap::TakeFromOtherShards(std::size_t index) {
  for (auto& current : classes_[index].current) {
    Slab* slab = current.load();
    if (void* block = slab == nullptr ? nullptr : TakeFrom(*slab, index); block != nullptr) return block;
  }
  return nullptr;
}

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

BlockOutcome PrivateHeap::AllocateLarge(std::size_t size, Criticality level) {
  Reap();
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

// ---- empty slabs

bool PrivateHeap::IsCurrent(const Slab& slab, std::size_t index) const {
  for (const auto& current : classes_[index].current) {
    if (current.load(std::memory_order_relaxed) == &slab) return true;
  }
  return false;
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
  for (auto& current : classes_[index].current) forget(current);
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

bool PrivateHeap::Trim() {
  const std::uint64_t before = committed_.load();
  Reap();
  for (ClassState& state : classes_) {
    for (auto& current : state.current) {
      if (Slab* slab = current.load(); slab != nullptr) Retire(*slab);
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

// ---- parked memory

void PrivateHeap::NoteParked(std::uint64_t unseals) {
  std::uint64_t nothing = 0;
  parked_.compare_exchange_strong(nothing, unseals + 1);
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

// ---- allocation sites

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
