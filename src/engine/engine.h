// The engine: serves one request from admission to settlement. Each function reads admit → charge → act → settle, and
// has its rollback in the same place. If memory is lacking, PrepareRetry helps the request as the host allows: with
// the committed headroom, and by waiting.
//
// Threads: any number, at any time. A request takes no lock and allocates from no heap. It waits only if the host has
// set a bound for its level. Frees, queries and protections never wait. A thread suspended anywhere inside blocks no
// other thread.
#ifndef CLRHM_ENGINE_ENGINE_H
#define CLRHM_ENGINE_ENGINE_H

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/outcome.h"
#include "base/time.h"
#include "base/waker.h"
#include "budget/headroom_pool.h"
#include "budget/request_charge.h"
#include "budget/wait_list.h"
#include "engine/address_space_reserve.h"
#include "engine/earlier_reservations.h"
#include "engine/sealed_regions.h"
#include "ledger/ledger.h"
#include "os/load_sampler.h"
#include "os/memory_system.h"
#include "os/thread_system.h"
#include "policy/admission.h"
#include "policy/memory_status.h"

namespace clr_host_memory {

struct [[nodiscard]] StatusOutcome {
  Outcome outcome;
  MemoryStatus status;
};

struct [[nodiscard]] SectionOutcome {
  Outcome outcome;
  SectionName section = 0;
};

// The figures of limit, charge and ledger, each as of the moment it was read.
struct EngineFigures {
  Limits limits;
  LimitUse use;
  Bytes peak_charged;
  Bytes bound;            // see Budget
  Bytes most_over_bound;  // see Budget
  Bytes heap_bytes;       // part of the charge: pages of private heaps
  LedgerFigures ledger;
};

// Why the engine serves no new request. The first cause is kept.
enum class LatchCause : std::uint8_t { kNone, kOs, kException };
struct Latched {
  LatchCause cause = LatchCause::kNone;
  std::uint8_t method = 0;  // the caller's index of the method that latched it
  win32::Error error = win32::kSuccess;
};

// The stage of the manager's life.
enum class Stage : std::uint8_t { kRunning, kDraining, kStopped };

class Engine final : private WaitList::Reserve {
 public:
  // os and threads outlive the engine. limits: accepted by Validate. sampling: the greatest age of the OS's memory
  // figures.
  Engine(MemorySystem& os, ThreadSystem& threads, const Limits& limits, Milliseconds sampling = kDefaultSampling)
      : os_(os), threads_(threads), ledger_(os, limits), sampler_(os, threads, sampling),
        waits_(os, threads, ledger_.budget(), this), headroom_pool_(os, ledger_.budget()), address_space_(os) {}
  static constexpr Milliseconds kDefaultSampling{100};

  // For tests, which look inside. The layers above call the functions below.
  [[nodiscard]] Ledger& ledger() { return ledger_; }
  [[nodiscard]] const Ledger& ledger() const { return ledger_; }
  [[nodiscard]] MemorySystem& os() { return os_; }
  // What the monitor watches.
  [[nodiscard]] Budget& budget() { return ledger_.budget(); }
  [[nodiscard]] LoadSampler& sampler() { return sampler_; }

  // VirtualAlloc with all its flags. Charges committed pages at `level`. Reserving is free.
  AddressOutcome Allocate(const AllocateRequest& request, Criticality level);
  // VirtualFree, in every stage. Memory the manager did not allocate is kNotOurs and stays unchanged.
  Outcome Free(Address address, std::uint64_t size, std::uint32_t type);
  Outcome Query(Address address, void* buffer, std::size_t length, std::size_t* written);
  Outcome Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect);
  // Returns memory as bounded by limit, job, physical memory and commit charge. The OS's figures are at most one
  // sampling interval old.
  StatusOutcome Status();
  // Returns how often Status was called. A GC calls it at each collection.
  [[nodiscard]] std::uint64_t StatusQuestions() const { return questions_.load(std::memory_order_relaxed); }
  // Registers a section backed by the paging file before the OS makes it, with one reference for its handle. Its
  // committed pages are charged once, however often it is mapped. If it is committed as a whole, charges all its
  // pages now.
  SectionOutcome AddSection(std::uint64_t size, bool committed, Criticality level);
  // Adds and drops a handle's reference, in every stage. kNotOurs: no such section is alive.
  Outcome KeepSection(SectionName section) {
    return ledger_.sections().Keep(section) ? Outcome::Done() : Outcome::NotOurs();
  }
  Outcome DropSection(SectionName section);
  // Registers a view that was mapped at base: of section from offset on (a multiple of the granule), or of anything
  // else. kOsRefused: no view can lie there. If the manager knows a reservation there, asks the OS.
  Outcome AcquireView(Address base, std::uint64_t size, SectionName section = 0, std::uint64_t offset = 0);
  // Unregisters an unmapped view and uncharges the pages committed in it, unless a section has them. If the OS still
  // has a view at base, the call came late or early: the view stays registered, and UnchargeFreedElsewhere notices
  // its end. Registered views are released in every stage. For any other base, kUnavailable after Shutdown or Latch.
  Outcome ReleaseView(Address base);
  // Uncharges memory that was freed or unmapped without the manager; see Ledger. Returns whether there was any.
  bool UnchargeFreedElsewhere() { return ledger_.UnchargeFreedElsewhere(); }
  // The same, at most once in that time.
  bool UnchargeFreedElsewhere(Milliseconds at_most_every);
  // Calls unmap() → bool for the view that holds address, uncharges the view if it returns true, and returns its
  // result.
  template <typename Unmap>
  bool UnmapView(Address address, Unmap unmap) {
    std::optional<Region> view = FindMappedView(address);
    // Removes the record first: once the view is unmapped, the OS may give its address to another thread.
    if (view) view = ledger_.RemoveRegion(*view);
    const bool unmapped = unmap();
    if (view && unmapped) ledger_.UnchargeUnmappedView(*view);
    if (view && !unmapped) ledger_.RestoreRegion(*view);
    return unmapped;
  }
  // Makes address space for a view of that size. Done: the caller may try again.
  Outcome MakeRoom(Address base, std::uint64_t size);

  // Serves allocations other than pages. attempt(RequestCharge&) → Result with an `outcome`; it runs again after
  // PrepareRetry found help. The gate is checked as for an allocation of pages.
  template <typename Result, typename Attempt>
  Result AllocateNonPages(Criticality level, Attempt attempt) {
    RequestCharge request_charge(ledger_.budget(), level);
    RetryState retry;
    Result result;
    do {
      const AllocationInProgress visit(*this);
      const Outcome closed = CheckGate();
      result = closed.ok() ? attempt(request_charge) : Result{closed};
    } while (!result.outcome.ok() && PrepareRetry(&result.outcome, request_charge, &retry));
    return result;
  }

  // ---- for the heaps, which divide what they allocate here into blocks
  // Whether requests of every thread may proceed. An operation that began before this returned true counts as done
  // before the gate closed.
  [[nodiscard]] bool IsOpen() const { return (gate_.load() & (kDown | kHeld)) == 0; }
  // Waits, as long as the level may, until a request of this thread may proceed. Done: it may.
  Outcome AwaitOpen(Criticality level);
  // Whether the charge and `amount` more fit the level's ceiling, without the reserves.
  [[nodiscard]] bool HasRoom(Bytes amount, Criticality level) const {
    const Bytes ceiling = ledger_.budget().Ceiling(level);
    return amount <= ceiling - std::min(ceiling, ledger_.budget().Charged());
  }
  // Allocates zeroed memory for the caller's tables. It is counted as metadata and not charged. *memory: null on
  // failure.
  Outcome AllocateMetadata(std::size_t size, Criticality level, void** memory);
  void FreeMetadata(void* memory, std::size_t size);
  // Whether the gate is open and no region is sealed.
  [[nodiscard]] bool IsClear() const { return gate_.load() == 0; }
  // Whether any region is sealed; cheap.
  [[nodiscard]] bool AnySealed() const { return (gate_.load(std::memory_order_relaxed) & kSealed) != 0; }
  [[nodiscard]] bool TouchesSealed(Address address, std::uint64_t size) const {
    const auto range = AnySealed() ? PageRange::Covering(address, size) : std::nullopt;
    return range && seals_.Touches(*range);
  }
  // Returns how often a region was unsealed. If it has grown, memory found sealed before may be unsealed now.
  [[nodiscard]] std::uint64_t Unseals() const { return unseals_.load(); }
  // Decommits memory of an owned region, for its owner: Free refuses it to the CLR. To release such a region, its
  // owner first gives up ownership (ChangeOwner) and then calls Free.
  Outcome DecommitOwned(Address address, std::uint64_t size);
  // The owners of regions: see Ledger.
  [[nodiscard]] std::uint32_t NewOwner() { return ledger_.NewOwner(); }
  [[nodiscard]] OwnedRegion OwnedAt(Address address) const { return ledger_.OwnedAt(address); }
  bool ChangeOwner(Address base, std::uint64_t from, std::uint64_t owner) {
    return ledger_.ChangeOwner(base, from, owner);
  }
  template <typename Visitor>
  void ForEachOwned(Visitor visit) const {
    ledger_.ForEachOwned(visit);
  }
  // Counts the charged pages that belong to heaps.
  void AddHeapBytes(Bytes amount) { ledger_.AddHeapBytes(amount); }
  void SubtractHeapBytes(Bytes amount) { ledger_.SubtractHeapBytes(amount); }

  // ---- the host's side; from any thread. May wait for other threads of the host, never for a request

  // Commits a part of the process headroom and reserves the address space reserve; once, before any request.
  // committed_headroom: at most the process headroom, unless there is no limit. Returns the OS's error.
  [[nodiscard]] win32::Error OpenReserves(Bytes committed_headroom, Bytes address_space);
  // Takes the given-up reserves back as soon as the charged memory fits the limit without them. True: both are whole.
  bool TakeBackReserves();
  // Sets the limits for the next request; see Budget. limits: accepted by Validate. The pool keeps at most the process
  // headroom. While the budget's bound is raised above the limit, the caller has to keep the monitor running.
  void SetLimits(Limits limits, bool with_grace = false);
  // Lets process-critical requests exceed the limit until EndStart.
  void BeginStart() { ledger_.budget().BeginStart(); }
  // Applies the limit. False: no start was in progress.
  bool EndStart() { return ledger_.budget().EndStart(); }
  // Returns how the limit stands, without a lock.
  [[nodiscard]] LimitUse Use() const { return ledger_.budget().Use(); }
  // Returns how many requests wait for memory.
  [[nodiscard]] std::uint64_t Waiting() const { return ledger_.budget().Waiting(); }
  [[nodiscard]] EngineFigures Figures() const;
  // Compares the ledger with the OS, without memory that was freed elsewhere; see Ledger.
  LedgerAudit Audit();
  // Returns how many pages of range, which is tracked, are charged.
  [[nodiscard]] Pages ChargedIn(PageRange range) const { return ledger_.ChargedIn(range); }
  // Returns the known region that holds address. Asks the ledger only.
  [[nodiscard]] std::optional<Region> FindRegion(Address address) const { return ledger_.FindRegion(address); }
  // What GCs had reserved before; see there.
  [[nodiscard]] EarlierReservations& earlier_reservations() { return earlier_; }
  [[nodiscard]] const EarlierReservations& earlier_reservations() const { return earlier_; }
  // Returns the charged bytes in what GCs have reserved, now and earlier. Visits every region.
  [[nodiscard]] Bytes GcCharged() const;
  // Whether a private heap divides the region into blocks.
  [[nodiscard]] bool IsOwned(const Region& region) const { return ledger_.IsOwned(region); }
  // Calls visit(Region) for every known region.
  template <typename Visitor>
  void ForEachRegion(Visitor visit) const {
    ledger_.ForEachRegionIn(PageMap::kEverything, visit);
  }
  [[nodiscard]] const HeadroomPool& headroom_pool() const { return headroom_pool_; }
  [[nodiscard]] const AddressSpaceReserve& address_space() const { return address_space_; }

  // Sets the waker to call when a request is refused, waits, or uses a reserve; before any request.
  void SetAlarm(Waker* alarm) { alarm_ = alarm; }
  // Prepares waiting; once, before the first SetWait. dispatcher: woken when ServeWaiters has work. False: no memory.
  [[nodiscard]] bool OpenWaits(Waker* dispatcher) { return waits_.Open(dispatcher); }
  void SetWait(Criticality level, Milliseconds bound) { BoundOf(level).store(bound.count()); }
  void CancelWaits() { waits_.Abandon(false); }
  [[nodiscard]] Milliseconds ServeWaiters(Milliseconds now) { return waits_.Serve(now); }
  [[nodiscard]] const WaitList& waits() const { return waits_; }

  // Exclusive sections: while a thread owns one, other threads' allocations wait or are kExclusiveElsewhere. See
  // IClrHostMemoryControl.
  Outcome EnterExclusive(Milliseconds bound);
  Outcome LeaveExclusive();

  [[nodiscard]] SealedRegions::Result Seal(PageRange range);
  bool Unseal(Address address);
  [[nodiscard]] const SealedRegions& seals() const { return seals_; }

  // Whether the engine serves new requests: false after Shutdown or Latch.
  [[nodiscard]] bool Serving() const { return (gate_.load(std::memory_order_relaxed) & kDown) == 0; }
  // Whether the range touches a sealed region or a reserve. size 0: the whole region at address.
  [[nodiscard]] bool IsHostOwned(Address address, std::uint64_t size) const;
  // Starts draining: refuses new requests and ends all waits.
  void Shutdown();
  // Gives up the reserves, after the manager's threads have ended. Only frees may follow.
  void NoteStopped();
  [[nodiscard]] Stage stage() const { return stage_.load(); }
  // Records a broken invariant and refuses new requests from now on.
  void Latch(const Latched& cause);
  [[nodiscard]] Latched latched() const;

 private:
  // Reasons for a request to leave the fast path. Nearly always 0, so a request pays one load.
  enum Gate : std::uint32_t { kDown = 1, kHeld = 2, kSealed = 4 };

  // Counts a request that no page word counts, for exclusive sections.
  class AllocationInProgress {
   public:
    explicit AllocationInProgress(Engine& engine) : engine_(engine) { engine_.allocations_in_progress_.fetch_add(1); }
    ~AllocationInProgress() { engine_.allocations_in_progress_.fetch_sub(1); }
    AllocationInProgress(const AllocationInProgress&) = delete;
    AllocationInProgress& operator=(const AllocationInProgress&) = delete;

   private:
    Engine& engine_;
  };

  // The help one refused request has received.
  struct RetryState {
    std::uint64_t room = 0;  // address space it reserves anywhere; 0: none, or at a given address
    bool possible = true;    // ordinary memory can help it
    bool helped_a_little = false;
    bool looked_for_freed = false;
    bool waited = false;
    std::uint64_t ticket = 0;  // valid if it has waited
    Milliseconds deadline{};
  };

  // Serves every allocation that the fast path of Allocate does not.
  AddressOutcome AllocateWithRetries(const AllocateRequest& request, Criticality level);
  // Continues a commit whose first attempt was refused. requested: the pages it charged for.
  AddressOutcome RetryAllocation(const AllocateRequest& request, Criticality level, AddressOutcome first,
                                 Pages requested);
  // Repeats the attempt while PrepareRetry finds help. result: of the attempt so far.
  AddressOutcome RetryUntilDone(const AllocateRequest& request, RequestCharge& request_charge, AddressOutcome result);
  // Attempts the request once: checks the gate, then dispatches by the kind of memory.
  AddressOutcome AllocateOnce(const AllocateRequest& request, RequestCharge& request_charge);
  AddressOutcome AllocateRegion(const AllocateRequest& request, RequestCharge& request_charge);
  AddressOutcome ReserveRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as);
  // Records a region that the OS gave for the request, or gives it back. conflicts: read before the OS was asked.
  // committed: the OS has also committed its pages, which the caller has charged.
  [[nodiscard]] Outcome RecordRegion(const AllocateRequest& request, const Region& region, std::uint64_t conflicts,
                                     bool committed);
  AddressOutcome CommitNewRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as,
                                 RequestCharge& request_charge);
  AddressOutcome CommitInKnownRegion(const AllocateRequest& request, PageRange range, Region::Kind kind,
                                     RequestCharge& request_charge);
  AddressOutcome CommitInSection(const AllocateRequest& request, PageRange range, const Region& view,
                                 RequestCharge& request_charge);
  [[nodiscard]] std::optional<Region> FindMappedView(Address address);
  AddressOutcome CommitInForeignMemory(const AllocateRequest& request, PageRange range, RequestCharge& request_charge);
  AddressOutcome Forward(const AllocateRequest& request);
  // Looks for help after a refusal. True: try the request again. False: *refused is the result.
  bool PrepareRetry(Outcome* refused, RequestCharge& request_charge, RetryState* retry);
  bool RetryWithHeadroom(bool by_os, RequestCharge& request_charge, RetryState* retry);
  bool RetryAfterFreedElsewhere(Criticality level, RetryState* retry);
  [[nodiscard]] bool CoverFromHeadroom(Bytes asked);
  bool CoverForWaiter(Bytes asked) override { return CoverFromHeadroom(asked); }
  void UpdateSealGate();
  bool RetryAfterWaiting(Outcome* refused, bool by_os, RequestCharge& request_charge, RetryState* retry);

  Outcome FreeWithHostChecks(Address address, std::uint64_t size, std::uint32_t type);
  Outcome ReleaseRegion(Address address, std::uint64_t size);
  Outcome Decommit(Address address, std::uint64_t size, bool by_owner = false);
  // Decommits pages that do not lie in one word of one region. removals: read before the pages were located.
  Outcome DecommitWidely(Address address, std::uint64_t size, bool by_owner, std::uint64_t removals);
  Outcome DecommitElsewhere(Address address, std::uint64_t size);
  // Returns the pages if they lie in one region reserved through the manager. size 0: the region that begins there.
  [[nodiscard]] std::optional<PageRange> RangeInOwnRegion(Address address, std::uint64_t size) const;

  // Whether a request of this thread may proceed: Done, Unavailable or ExclusiveElsewhere.
  [[nodiscard]] Outcome CheckGate() const;
  [[nodiscard]] bool AnyAllocationInProgress() const {
    return allocations_in_progress_.load() != 0 || ledger_.AnyCommitInProgress();
  }
  [[nodiscard]] std::atomic<Milliseconds::rep>& BoundOf(Criticality level) {
    return bounds_[static_cast<std::size_t>(level)];
  }
  void Alarm() {
    if (alarm_ != nullptr) alarm_->Wake();
  }

  MemorySystem& os_;
  ThreadSystem& threads_;
  std::atomic<std::uint32_t> gate_ = 0;
  std::atomic<bool> host_owns_ = false;  // ever sealed or reserved anything: frees and protections check for it
  Ledger ledger_;

  // Below: not used by a request that is granted at once.
  LoadSampler sampler_;
  WaitList waits_;
  HeadroomPool headroom_pool_;
  AddressSpaceReserve address_space_;
  SealedRegions seals_;
  EarlierReservations earlier_;
  Waker* alarm_ = nullptr;
  std::atomic<std::uint64_t> unseals_ = 0;
  std::mutex seals_lock_;  // serialises the host's threads
  std::mutex pool_lock_;   // serialises what the host and the monitor do with the pool; no request takes it
  std::array<std::atomic<Milliseconds::rep>, kCriticalityCount> bounds_{};
  std::atomic<std::uint64_t> questions_ = 0;
  std::atomic<std::uint64_t> allocations_in_progress_ = 0;
  std::atomic<Milliseconds::rep> looked_for_freed_at_ = 0;
  std::atomic<std::uint64_t> owner_ = 0;  // thread of the exclusive section; 0: none
  std::uint32_t depth_ = 0;               // its nesting depth; used by the owner only
  std::atomic<Stage> stage_ = Stage::kRunning;
  std::atomic<std::uint64_t> latched_ = 0;  // a Latched packed into one word; 0: none
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_ENGINE_H
