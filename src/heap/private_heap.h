// A private heap: the blocks behind IHostMalloc. Its memory comes from the engine, so each page it commits is charged.
//
// A block of up to 16 KiB comes from a slab of its size class. A block of up to 512 KiB is a run of an arena's units.
// A larger block is a region by itself. Slabs and runs are committed when needed and decommitted when empty. Each
// class keeps the slab that emptied last. The heap keeps a few short runs while the charge is far below the limit. The
// ledger's page map tells which region a pointer lies in and whether that region belongs to this heap.
//
// Threads: any number, at any time, for every kind of heap. A thread may be suspended anywhere, and no function waits
// for another. Giving out a block costs one atomic operation; freeing it costs one. During an exclusive section, or
// when the manager is down, the heap gives out nothing. It takes blocks back in every state.
//
// Sealed pages (sealed by the host): the heap gives out no block that touches one, and Free refuses such a block.
// Discard takes such a block back. Empty but sealed memory stays committed. Once it is unsealed, it is given back by
// the next slab or run that is formed or emptied, or by Trim.
//
// The heap always detects a pointer that is no block of this heap, for any pointer value. It detects a block that was
// freed already unless its slab is retired at the same moment, or the block was given out again since.
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

// Bits, as in MALLOC_TYPE.
enum class HeapKind : std::uint32_t { kThreadSafe = 1, kExecutable = 2 };

// The heap's current figures, counted while other threads run.
struct HeapFigures {
  Bytes reserved;
  Bytes committed;
  Bytes live;  // of blocks that are given out, by their usable size (SizeOf)
  std::uint64_t blocks = 0;
};

class PrivateHeap {
 public:
  static constexpr std::size_t kLargestRun = kArenaSize / 2;
  // Kept runs: freed runs that are still committed. The heap keeps at most kMostKeptRuns, each of at most
  // kLargestKeptRun bytes. It keeps one only while a request of the lowest level could still be charged
  // kRoomToKeepRuns bytes.
  static constexpr std::size_t kMostKeptRuns = 4;
  static constexpr std::size_t kLargestKeptRun = std::size_t{128} << 10;
  static constexpr std::uint64_t kRoomToKeepRuns = std::uint64_t{16} * kMostKeptRuns * kLargestKeptRun;

  // How many blocks of a size a thread takes from the slabs of others before it gets its own.
  static constexpr std::uint8_t kMostBorrowed = 64;

  // engine outlives the heap. kind: bits of HeapKind. shards: how many threads may take blocks of one size without
  // contention, 1 to kStackShards.
  PrivateHeap(Engine& engine, std::uint32_t kind, std::size_t shards = kStackShards);
  // Frees all memory of the heap. No other thread may use the heap.
  ~PrivateHeap();
  PrivateHeap(const PrivateHeap&) = delete;
  PrivateHeap& operator=(const PrivateHeap&) = delete;

  // Reserves the address space of the first arena. Call once, before anything else.
  Outcome Open(Criticality level);

  // What a new block contains, over its whole usable size.
  enum class Fill : std::uint8_t {
    kAnything,
    kZeroBeyond,  // zero beyond the requested size
    kZero,
  };
  // Allocates a block. A request of 0 bytes gets a block, too.
  BlockOutcome Allocate(std::size_t size, Criticality level);
  BlockOutcome Allocate(std::size_t size, Criticality level, Fill fill);
  // Resizes the block as realloc does. `fill` applies to the bytes beyond the old block. in_place: the block is not
  // moved; if it would have to move, the call is refused. kNotOurs: no block of this heap. kNotOwner: the block would
  // have to move from a sealed page. On failure the block is unchanged.
  BlockOutcome Reallocate(void* block, std::size_t size, Criticality level, Fill fill, bool in_place);
  // Allocates as Allocate does, and keeps the allocation site. file may be null.
  BlockOutcome AllocateAt(std::size_t size, Criticality level, const char* file, int line);
  // Frees the block. Null succeeds. kNotOurs: no block of this heap. kNotOwner: it touches a sealed page, and is
  // unchanged.
  Outcome Free(void* block);
  // Frees the block as Free does, for callers that cannot handle a refusal: it takes back a block on a sealed page,
  // too.
  Outcome Discard(void* block);
  // Frees regions of heaps that ended while their regions were sealed. Call it after an unseal.
  static void FreeOrphans(Engine& engine);
  // Returns the block's usable size, at least the requested size. 0: no block of this heap.
  [[nodiscard]] std::size_t SizeOf(const void* block) const;

  [[nodiscard]] HeapFigures Figures() const;
  [[nodiscard]] const AllocationSites& sites() const { return sites_; }
  // Decommits memory that is empty, kept, or parked and no longer sealed. True: some was decommitted.
  bool Trim();

 private:
  // The owner word of a region. The upper half is the heap. The lower half is either kLarge with the block's site, or
  // an arena's number.
  static constexpr std::uint64_t kLarge = std::uint64_t{1} << 31;
  static constexpr std::uint64_t kParkedLarge = std::uint64_t{1} << 30;  // and no block any more
  static constexpr std::uint64_t kHeapMask = ~std::uint64_t{0} << 32;
  // Owner of a region whose heap ended while the region was sealed. No heap's number is 0.
  static constexpr std::uint64_t kOrphan = 1;

  enum class IfSealed : std::uint8_t { kRefuse, kPark };

  struct alignas(64) ClassState {
    std::array<std::atomic<Slab*>, kStackShards> current{};  // by shard: the slab that blocks are taken from first
    std::atomic<Slab*> spare = nullptr;                      // the slab that emptied last
    // By shard without a slab: blocks that it took from the slabs of others.
    std::array<std::atomic<std::uint8_t>, kStackShards> borrowed{};
  };
  // A block as the heap finds it. slab is null if the block is a region by itself.
  struct Place {
    Slab* slab = nullptr;
    SlabState state;
    std::uint32_t slot = 0;
    std::size_t size = 0;     // 0: no block of this heap
    std::uint64_t owner = 0;  // owner word of the region
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

  [[nodiscard]] static Address ToAddress(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }
  [[nodiscard]] static void* ToPointer(Address address) {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
  }
  [[nodiscard]] static std::uint64_t RoundUpToPage(std::uint64_t size) { return RoundDownToPage(size + kPageSize - 1); }
  [[nodiscard]] std::size_t Shard() const { return shards_ == 1 ? 0 : StackShard() % shards_; }
  BlockOutcome AllocateSmall(std::size_t index, Criticality level);
  // Allocates a run. may_reuse: its bytes need not be zero.
  BlockOutcome AllocateRun(std::size_t size, Criticality level, bool may_reuse);
  BlockOutcome AllocateLarge(std::size_t size, Criticality level);
  [[nodiscard]] bool IsSealed(const void* block, const Place& place) const;
  Outcome FreeAt(const Place& place, void* block, IfSealed if_sealed);
  Outcome FreeLarge(const Place& place, Address address, IfSealed if_sealed);
  // For a block taken without asking the engine. If the gate is closed, waits as long as the level may. If the wait
  // fails, gives the block back.
  Outcome AwaitOpen(void* block, Criticality level);
  // For such a block, when the gate is not clear: does AwaitOpen. If the block is sealed, gives it back and takes
  // another.
  BlockOutcome GiveOutSlowly(void* block, std::size_t index, std::size_t shard, Criticality level);
  BlockOutcome TakeUnsealed(std::size_t index, std::size_t shard, Criticality level);
  // Finds a block when the fast path has no free block.
  BlockOutcome Refill(std::size_t index, std::size_t shard, Criticality level);
  BlockOutcome FormSlab(std::size_t index, std::size_t shard, Criticality level);
  enum class Sealed : std::uint8_t { kTaken, kPassedOver };  // what to do with blocks that touch a sealed page
  template <Sealed kSealed = Sealed::kTaken>
  [[nodiscard]] void* TakeFrom(Slab& slab, std::size_t index);
  [[nodiscard]] std::uint64_t SealedBlocks(const Slab& slab, std::size_t index, std::uint32_t word) const;
  [[nodiscard]] void* TakeFromOtherShards(std::size_t index);
  [[nodiscard]] void* Borrow(std::size_t index, std::size_t shard);
  [[nodiscard]] Slab* AdoptPartial(std::size_t index);
  void MakeCurrent(Slab& slab, std::size_t index, std::size_t shard);
  void MarkPartial(Slab& slab, std::size_t index);
  // Marks the slot as free. False: it is free already.
  [[nodiscard]] bool ReturnSlot(Slab& slab, std::size_t index, std::uint32_t slot);
  void NoteEmpty(Slab& slab, std::size_t index);
  [[nodiscard]] bool IsCurrent(const Slab& slab, std::size_t index) const;
  // Decommits the slab if none of its blocks is given out and none of its pages is sealed. False: the slab is
  // unchanged.
  bool Retire(Slab& slab);
  void OpenSlab(Slab& slab, std::size_t index, std::uint64_t but);
  bool ClaimAll(Slab& slab, std::size_t index);

  // Takes a kept run of that many pages, or a few more. Null: there is none.
  [[nodiscard]] Slab* TakeKeptRun(Pages pages);
  // Returns whether to keep the run committed. Refuses a run near the limit, one that the host seals, and any run
  // while a request waits for memory. Refuses also when the manager is down: then no request could use the run again.
  [[nodiscard]] bool IsWorthKeeping(const Slab& run, Pages pages) const;
  // run: belongs to the caller alone, and is no block any more. If the OS refuses the decommit, it stays so.
  Outcome KeepOrRetireRun(Slab& run, Pages pages);
  Outcome RetireRun(Slab& run, Pages pages);

  // ---- memory that is empty, but was sealed when it was to be given back
  // unseals: Engine::Unseals, read before the memory was found sealed.
  void NoteParked(std::uint64_t unseals);
  void ParkRun(Slab& run, Pages pages);
  // Gives back parked memory that is no longer sealed. Cheap when nothing is parked, or nothing was unsealed since.
  void Reap() {
    if (parked_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      ReapParked();
  }
  void ReapParked();
  bool ReapArena(Arena& arena);

  // Claims units, and commits their first `bytes`.
  Outcome ClaimCommitted(std::uint32_t count, std::uint64_t bytes, Criticality level, Units* units);
  Outcome ClaimUnits(std::uint32_t count, Criticality level, Units* units);
  // Returns the units that touch a sealed page.
  [[nodiscard]] std::uint64_t SealedUnits(const Arena& arena) const;
  [[nodiscard]] bool ClaimUnitsIn(Arena& arena, std::uint32_t count, Units* units);
  void ReleaseUnits(const Units& units);
  Outcome MakeArena(Criticality level, Arena** made);
  void NoteEmptyArena(Arena& arena);
  bool RetireArena(Arena& arena);
  // Returns whether giving up memory may help. It does not during an exclusive section, or when the manager is down.
  [[nodiscard]] static bool WantsMemory(const Outcome& outcome);
  // Commits pages. If the limit or the OS requires it, first gives up what this heap keeps.
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
  const std::uint64_t tag_;  // in the owner word of each region of this heap
  std::array<ClassState, kClassCount> classes_{};
  std::array<std::atomic<Slab*>, kMostKeptRuns> kept_runs_{};
  std::atomic<std::size_t> oldest_kept_run_ = 0;  // a running count; points roughly at the oldest
  std::atomic<Arena*> spare_arena_ = nullptr;
  std::atomic<std::uint64_t> parked_ = 0;  // 0: nothing is parked; else 1 + the smallest count in NoteParked
  std::atomic<std::uint64_t> committed_ = 0;
  std::atomic<std::uint64_t> parked_large_ = 0;  // bytes of regions that are parked
  std::atomic<std::uint64_t> large_bytes_ = 0;
  std::atomic<std::uint64_t> large_blocks_ = 0;
  ArenaTable arenas_;
  AllocationSites sites_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_PRIVATE_HEAP_H
