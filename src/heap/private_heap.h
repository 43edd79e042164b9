// A private heap: the blocks behind IHostMalloc, in memory of the engine's, so that each page it has committed is
// charged.
//
// Up to 16 KiB a block comes from a slab of its size class, up to 512 KiB it is a run of an arena's units, and above
// that a region of its own. Slabs and runs are committed when they are needed and decommitted when they are empty; each
// class keeps the slab that emptied last, and the heap a few short runs while the limit is far off. Which region a
// pointer lies in, and that it is this heap's, the ledger's page map says.
//
// Threads: any number, at any time, whatever the heap's kind, and a thread may be suspended anywhere: no function waits
// for another. A block costs one atomic operation when it is given out, and one when it comes back. When the host holds
// the manager still, or it is down, nothing is given out; blocks come back in every state.
//
// Pages that the host has pinned: no block that touches one is given out, and Free refuses one. Discard takes it back
// all the same. What is empty but pinned stays committed, and is given back once it is not pinned any more: by the next
// slab or run that is formed or emptied, or by Trim.
//
// A pointer that is no block of this heap is told for sure, whatever its value, and a block that was freed already as
// long as its slab is not retired at the same moment (and nobody was given it since).
#ifndef CLRHM_HEAP_PRIVATE_HEAP_H
#define CLRHM_HEAP_PRIVATE_HEAP_H

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/outcome.h"
#include "base/stack_shard.h"
#include "engine/engine.h"
#include "heap/allocation_sites.h"
#include "heap/arena_table.h"

namespace clr_host_memory {

struct [[nodiscard]] BlockOutcome {
  Outcome outcome;
  void* block = nullptr;  // null unless outcome.ok()
};

// Bits, as MALLOC_TYPE.
enum class HeapKind : std::uint32_t { kThreadSafe = 1, kExecutable = 2 };

// What a heap has now. Counted when it is asked for, while others go on.
struct HeapFigures {
  Bytes reserved;
  Bytes committed;
  Bytes live;  // of blocks that are given out, as GetSize has them
  std::uint64_t blocks = 0;
};

class PrivateHeap {
 public:
  static constexpr std::size_t kLargestRun = kArenaSize / 2;
  // Runs that came back and are still committed: so many at most, each of so many bytes at most, and only while a
  // request of the lowest level could have so many bytes besides.
  static constexpr std::size_t kMostKeptRuns = 4;
  static constexpr std::size_t kLargestKeptRun = std::size_t{128} << 10;
  static constexpr std::uint64_t kRoomToKeepRuns = std::uint64_t{16} * kMostKeptRuns * kLargestKeptRun;

  // engine outlives the heap. kind: bits of HeapKind. shards: how many threads may take blocks of one size without
  // meeting, 1 to kStackShards.
  PrivateHeap(Engine& engine, std::uint32_t kind, std::size_t shards = kStackShards);
  // Gives back all there is. Nobody may be inside.
  ~PrivateHeap();
  PrivateHeap(const PrivateHeap&) = delete;
  PrivateHeap& operator=(const PrivateHeap&) = delete;

  // Gets the address space of the first arena; once, before anything else.
  Outcome Open(Criticality level);

  // What a new block holds, as far as anybody may use it.
  enum class Fill : std::uint8_t {
    kAnything,
    kZeroBeyond,  // zero beyond the size that was asked for
    kZero,
  };
  // A block of no bytes is a block, too.
  BlockOutcome Allocate(std::size_t size, Criticality level);
  BlockOutcome Allocate(std::size_t size, Criticality level, Fill fill);
  // As realloc, with what `fill` says of the bytes beyond the old block. in_place: it is not moved, or refused.
  // kNotOurs: no block of this heap. kNotOwner: it would have to be moved from a pinned page. block is unchanged unless
  // it is done.
  BlockOutcome Reallocate(void* block, std::size_t size, Criticality level, Fill fill, bool in_place);
  // As Allocate, and keeps where it was asked for. file may be null.
  BlockOutcome AllocateAt(std::size_t size, Criticality level, const char* file, int line);
  // Null is done. kNotOurs: no block of this heap. kNotOwner: it touches a pinned page, and is unchanged.
  Outcome Free(void* block);
  // The same for callers that take no refusal: a block that touches a pinned page is gone, too.
  Outcome Discard(void* block);
  // Gives back regions of heaps that ended while they were pinned; after something was unpinned.
  static void FreeOrphans(Engine& engine);
  // How much of it may be used, at least what was asked for; 0: no block of this heap.
  [[nodiscard]] std::size_t SizeOf(const void* block) const;

  [[nodiscard]] HeapFigures Figures() const;
  [[nodiscard]] const AllocationSites& sites() const { return sites_; }
  // Decommits what is empty, what is kept, and what is not pinned any more. True: there was something.
  bool Trim();

 private:
  enum class IfSealed : std::uint8_t { kRefuse, kPark };

  struct alignas(64) ClassState {
    std::array<std::atomic<Slab*>, kStackShards> current{};  // where blocks are taken first
    std::atomic<Slab*> spare = nullptr;                      // the one that emptied last
  };
  // A block as the heap finds it. slab null: a region of its own.
  struct Place {
    Slab* slab = nullptr;
    SlabState state;
    std::uint32_t slot = 0;
    std::size_t size = 0;     // 0: no block of this heap
    std::uint64_t owner = 0;  // of the region
  };
  [[nodiscard]] static Place AsBlock(Slab& run, Pages pages) {
    return {.slab = &run, .state = SlabState::OfRun(pages), .size = static_cast<std::size_t>(pages.InBytes().value)};
  }
  struct Units {
    Arena* arena = nullptr;
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    [[nodiscard]] std::uint64_t Mask() const {
      return (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << first;
    }
    [[nodiscard]] Slab& Head() const { return arena->slabs[first]; }
    [[nodiscard]] Address Base() const { return arena->base.load(std::memory_order_relaxed) + first * kUnitSize; }
  };

  [[nodiscard]] std::size_t Shard() const { return shards_ == 1 ? 0 : StackShard() % shards_; }
  BlockOutcome AllocateSmall(std::size_t index, Criticality level);
  // may_reuse: it need not be zero.
  BlockOutcome AllocateRun(std::size_t size, Criticality level, bool may_reuse);
  BlockOutcome AllocateLarge(std::size_t size, Criticality level);
  [[nodiscard]] bool IsSealed(const void* block, const Place& place) const;
  Outcome FreeAt(const Place& place, void* block, IfSealed if_sealed);
  Outcome FreeLarge(const Place& place, Address address, IfSealed if_sealed);
  // For a block that was taken without asking the engine, when that is not clear: waits as long as the level may, or
  // gives it back, and takes another when it is pinned.
  Outcome AwaitOpen(void* block, Criticality level);
  BlockOutcome GiveOutSlowly(void* block, std::size_t index, std::size_t shard, Criticality level);
  BlockOutcome TakeUnsealed(std::size_t index, std::size_t shard, Criticality level);
  // When the fast path has nothing.
  BlockOutcome Refill(std::size_t index, std::size_t shard, Criticality level);
  BlockOutcome FormSlab(std::size_t index, std::size_t shard, Criticality level);
  enum class Sealed : std::uint8_t { kTaken, kPassedOver };  // blocks that touch a pinned page
  template <Sealed kSealed = Sealed::kTaken>
  [[nodiscard]] void* TakeFrom(Slab& slab, std::size_t index);
  [[nodiscard]] std::uint64_t SealedBlocks(const Slab& slab, std::size_t index, std::uint32_t word) const;
  [[nodiscard]] void* TakeFromOtherShards(std::size_t index);
  [[nodiscard]] Slab* AdoptPartial(std::size_t index);
  void MakeCurrent(Slab& slab, std::size_t index, std::size_t shard);
  void MarkPartial(Slab& slab, std::size_t index);
  // False: it is free already.
  [[nodiscard]] bool ReturnSlot(Slab& slab, std::size_t index, std::uint32_t slot);
  void NoteEmpty(Slab& slab, std::size_t index);
  [[nodiscard]] bool IsCurrent(const Slab& slab, std::size_t index) const;
  // Decommits it if no block of it is out and nothing of it pinned. False: it stays as it is.
  bool Retire(Slab& slab);
  void OpenSlab(Slab& slab, std::size_t index, std::uint64_t but);
  bool ClaimAll(Slab& slab, std::size_t index);

  // A run of that many pages, or a few more, that was kept. Null: there is none.
  [[nodiscard]] Slab* TakeKeptRun(Pages pages);
  // Not near the limit, nor what the host pins, nor when somebody waits for memory or nobody could have it again.
  [[nodiscard]] bool IsWorthKeeping(const Slab& run, Pages pages) const;
  // run: the caller's alone, and nobody's block any more; so it stays if the OS will not take it back.
  Outcome KeepOrRetireRun(Slab& run, Pages pages);
  Outcome RetireRun(Slab& run, Pages pages);

  // ---- what is empty, but was pinned when it was to be given back
  // unpins: Engine::Unpins from before it was found pinned.
  void NoteParked(std::uint64_t unseals);
  void ParkRun(Slab& run, Pages pages);
  // Gives back what is not pinned any more. One look when nothing is parked, or nothing was unpinned since.
  void Reap() {
    if (parked_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      ReapParked();
  }
  void ReapParked();
  bool ReapArena(Arena& arena);

  // Units whose first `bytes` are committed.
  Outcome ClaimCommitted(std::uint32_t count, std::uint64_t bytes, Criticality level, Units* units);
  Outcome ClaimUnits(std::uint32_t count, Criticality level, Units* units);
  // Units that touch a pinned page.
  [[nodiscard]] std::uint64_t SealedUnits(const Arena& arena) const;
  [[nodiscard]] bool ClaimUnitsIn(Arena& arena, std::uint32_t count, Units* units);
  void ReleaseUnits(const Units& units);
  Outcome MakeArena(Criticality level, Arena** made);
  void NoteEmptyArena(Arena& arena);
  bool RetireArena(Arena& arena);
  // Whether giving up memory may help: not when the host holds the manager still, or it is down.
  [[nodiscard]] static bool WantsMemory(const Outcome& outcome);
  // Commits pages, giving up what this heap keeps first if the limit or the OS wants it.
  Outcome Commit(Address address, std::uint64_t size, Criticality level);
  [[nodiscard]] Outcome Decommit(Address address, std::uint64_t size);
  void CountCommitted(std::uint64_t bytes);
  void CountDecommitted(std::uint64_t bytes);

  [[nodiscard]] Place Locate(const void* block) const;
  [[nodiscard]] std::uint64_t OwnerOf(const Arena& arena) const { return tag_ | arena.index; }
  void KeepSite(void* block, AllocationSites::Index site);
  [[nodiscard]] Arena::Site* SitesOf(Arena& arena);
  void ForgetSite(const Place& place);

  Engine& engine_;
  const std::uint32_t protect_;
  const std::size_t shards_;
  const std::uint64_t tag_;  // in the owner's word of each region of this heap
  std::array<ClassState, kClassCount> classes_{};
  std::array<std::atomic<Slab*>, kMostKeptRuns> kept_runs_{};
  std::atomic<std::size_t> oldest_kept_run_ = 0;  // counts on; about the oldest
  std::atomic<Arena*> spare_arena_ = nullptr;
  std::atomic<std::uint64_t> parked_ = 0;  // one more than Unpins when something was parked first; 0: nothing is
  std::atomic<std::uint64_t> committed_ = 0;
  std::atomic<std::uint64_t> parked_large_ = 0;  // bytes of regions that are parked
  std::atomic<std::uint64_t> large_bytes_ = 0;
  std::atomic<std::uint64_t> large_blocks_ = 0;
  ArenaTable arenas_;
  AllocationSites sites_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_PRIVATE_HEAP_H
