// The engine: one request from admission to settlement. Each function reads admit → charge → act → settle, with its
// rollback in the same place. What is refused for want of memory is then helped as the host allows: by the emergency
// reserve, and by waiting (Relieve).
//
// Threads: any number, at any time. A request takes no lock and allocates from no heap, and waits only when the host
// has set a bound for its level; frees, queries and protections never wait. A thread may be suspended anywhere inside
// without holding up another.
#ifndef CLRHM_ENGINE_ENGINE_H
#define CLRHM_ENGINE_ENGINE_H

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/outcome.h"
#include "base/time.h"
#include "base/waker.h"
#include "budget/emergency_pool.h"
#include "budget/request_charge.h"
#include "budget/wait_list.h"
#include "engine/address_space_reserve.h"
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

// Why the engine serves nothing new any more: the first cause is kept.
enum class LatchCause : std::uint8_t { kNone, kOs, kException };
struct Latched {
  LatchCause cause = LatchCause::kNone;
  std::uint8_t method = 0;  // as the one who latched it counts methods
  win32::Error error = win32::kSuccess;
};

// Where the manager is in its life.
enum class Stage : std::uint8_t { kRunning, kDraining, kStopped };

class Engine final : private WaitList::Reserve {
 public:
  // os and threads outlive the engine. limits: valid by Validate. sampling: how old what the OS says of memory
  // may be.
  Engine(MemorySystem& os, ThreadSystem& threads, const Limits& limits, Milliseconds sampling = kDefaultSampling)
      : os_(os), threads_(threads), ledger_(os, limits), sampler_(os, threads, sampling),
        waits_(os, threads, ledger_.budget(), this), emergency_(os, ledger_.budget()), address_space_(os) {}
  static constexpr Milliseconds kDefaultSampling{100};

  [[nodiscard]] Ledger& ledger() { return ledger_; }
  [[nodiscard]] const Ledger& ledger() const { return ledger_; }
  [[nodiscard]] MemorySystem& os() { return os_; }
  [[nodiscard]] LoadSampler& sampler() { return sampler_; }

  // VirtualAlloc with all its flags. What commits is charged at `level`; reserving is free.
  AddressOutcome Allocate(const AllocateRequest& request, Criticality level);
  // VirtualFree. Memory the manager did not give out is kNotOurs and stays as it is. Works in every state.
  Outcome Free(Address address, std::uint64_t size, std::uint32_t type);
  Outcome Query(Address address, void* buffer, std::size_t length, std::size_t* written);
  Outcome Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect);
  // Limit, job, physical memory and commit charge together; of the OS's no older than the sampling interval.
  StatusOutcome Status();
  // How often Status was asked: a GC does so at each collection.
  [[nodiscard]] std::uint64_t StatusQuestions() const { return questions_.load(std::memory_order_relaxed); }
  // A section backed by the paging file is to be made: what it will have committed is charged to it, once, however
  // often it is mapped; all of it here, when it is committed as a whole. It has one reference then, a handle's.
  SectionOutcome AddSection(std::uint64_t size, bool committed, Criticality level);
  // Another handle to it, and the end of one, in every state. kNotOurs: no such section is alive.
  Outcome KeepSection(SectionName section) {
    return ledger_.sections().Keep(section) ? Outcome::Done() : Outcome::NotOurs();
  }
  Outcome DropSection(SectionName section);
  // A view was mapped at base, of section from offset on (a granule's begin), or of anything else. kOsRefused: not
  // where a view can be; the OS is asked when a reservation of the manager's is known there.
  Outcome AcquireView(Address base, std::uint64_t size, SectionName section = 0, std::uint64_t offset = 0);
  // A view is gone, and with it what was committed in it, unless that is a section's. Where the OS has a view at base,
  // the word came late, or early: that view stays known, and UnchargeFreedElsewhere sees its end.
  Outcome ReleaseView(Address base);
  // Returns the charge for what others have freed or unmapped without a word; see Ledger. True: there was some.
  bool UnchargeFreedElsewhere() { return ledger_.UnchargeFreedElsewhere(); }
  // The same, but only when it was not done for that long.
  bool UnchargeFreedElsewhere(Milliseconds at_most_every);
  // Has unmap() → bool unmap the view that holds address, and believes it. Its answer.
  template <typename Unmap>
  bool UnmapView(Address address, Unmap unmap) {
    std::optional<Region> view = FindMappedView(address);
    // Unknown from now on: as soon as it is unmapped another thread may be given its address.
    if (view) view = ledger_.RemoveRegion(*view);
    const bool unmapped = unmap();
    if (view && unmapped) ledger_.UnchargeUnmappedView(*view);
    if (view && !unmapped) ledger_.RestoreRegion(*view);
    return unmapped;
  }
  // A view of that size found no room: done when there may be some now.
  Outcome MakeRoom(Address base, std::uint64_t size);

  // For allocations that are not pages: attempt(Payer&) → Result with an `outcome`, called again when its refusal was
  // relieved. It runs between the checks an allocation of pages meets, too.
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

  // ---- for heaps, which give out parts of what they allocate here
  // Whether requests may go on, whoever makes them: what was begun before it was true counts as done before it was not.
  [[nodiscard]] bool IsOpen() const { return (gate_.load() & (kDown | kHeld)) == 0; }
  // For a request of this thread, when it is not: waits as long as the level may. Done: it may go on.
  Outcome AwaitOpen(Criticality level);
  // Zeroed memory for the caller's tables, not charged but counted as the manager's own. *memory: null on failure.
  Outcome AllocateMetadata(std::size_t size, Criticality level, void** memory);
  void FreeMetadata(void* memory, std::size_t size);
  // Nothing stands in the way of any request: neither is it closed, nor is anything pinned.
  [[nodiscard]] bool IsClear() const { return gate_.load() == 0; }
  // Whether anything is pinned; cheap.
  [[nodiscard]] bool AnySealed() const { return (gate_.load(std::memory_order_relaxed) & kSealed) != 0; }
  [[nodiscard]] bool TouchesSealed(Address address, std::uint64_t size) const {
    const auto range = AnySealed() ? PageRange::Covering(address, size) : std::nullopt;
    return range && seals_.Touches(*range);
  }
  // How often something was unpinned: what was found pinned may not be so any more when it has grown.
  [[nodiscard]] std::uint64_t Unseals() const { return unseals_.load(); }
  // Memory of a region that has an owner is not the CLR's to free: for its owner, who disowns it (Ledger::ChangeOwner)
  // before he releases it with Free.
  Outcome DecommitOwned(Address address, std::uint64_t size);

  // ---- the host's side; from any thread, may wait for other threads of the host's, never for a request

  // Commits and reserves what is kept back; once. The error when the OS has not that much.
  [[nodiscard]] win32::Error OpenReserves(Bytes emergency, Bytes address_space);
  // Takes back what was given up, once what is charged fits the limit without it. True: all is whole again.
  bool TakeBackReserves();
  // Whether what is charged may be `above` the limit from here on: by so much of the emergency reserve, given up now or
  // before.
  bool PayFromReserve(Bytes above);
  [[nodiscard]] const EmergencyPool& emergency() const { return emergency_; }
  [[nodiscard]] const AddressSpaceReserve& address_space() const { return address_space_; }

  // Who is woken when a request is refused, waits, or uses a reserve; before any request.
  void SetAlarm(Waker* alarm) { alarm_ = alarm; }
  // server: woken when ServeWaiters has something to do. False: no memory. Once, before the first SetWait.
  [[nodiscard]] bool OpenWaits(Waker* server) { return waits_.Open(server); }
  void SetWait(Criticality level, Milliseconds bound) { BoundOf(level).store(bound.count()); }
  void CancelWaits() { waits_.Abandon(false); }
  [[nodiscard]] Milliseconds ServeWaiters(Milliseconds now) { return waits_.Serve(now); }
  [[nodiscard]] const WaitList& waits() const { return waits_; }

  // Exclusive sections: while a thread owns one, allocations of others are kExclusiveElsewhere or wait. See
  // IClrHostMemoryControl.
  Outcome EnterExclusive(Milliseconds bound);
  Outcome LeaveExclusive();

  [[nodiscard]] SealedRegions::Result Seal(PageRange range);
  bool Unseal(Address address);
  [[nodiscard]] std::uint64_t SealedCount() const { return seals_.Count(); }

  // False after Shutdown or Latch: nothing new is served.
  [[nodiscard]] bool Serving() const { return (gate_.load(std::memory_order_relaxed) & kDown) == 0; }
  // Whether it would touch what is pinned or kept in reserve. size 0: the whole region at address.
  [[nodiscard]] bool IsHostOwned(Address address, std::uint64_t size) const;
  // Draining from now on: nothing new is served, and nobody waits any more.
  void Shutdown();
  // Nothing but frees comes any more, and no thread of the manager's own runs: gives the reserves up.
  void NoteStopped();
  [[nodiscard]] Stage stage() const { return stage_.load(); }
  // An invariant broke: the manager serves nothing new from now on.
  void Latch(const Latched& cause);
  [[nodiscard]] Latched latched() const;

 private:
  // Why requests may not simply go on. Zero nearly always: one look is all it costs them.
  enum Gate : std::uint32_t { kDown = 1, kHeld = 2, kSealed = 4 };

  // Counts a request that is not counted by its page words, for exclusive sections.
  class AllocationInProgress {
   public:
    explicit AllocationInProgress(Engine& engine) : engine_(engine) { engine_.allocations_in_progress_.fetch_add(1); }
    ~AllocationInProgress() { engine_.allocations_in_progress_.fetch_sub(1); }
    AllocationInProgress(const AllocationInProgress&) = delete;
    AllocationInProgress& operator=(const AllocationInProgress&) = delete;

   private:
    Engine& engine_;
  };

  // What was done so far for one refused request.
  struct RetryState {
    std::uint64_t room = 0;  // address space it wants reserved; 0: none, or at a certain place
    bool possible = true;    // by memory of the usual kind
    bool helped_a_little = false;
    bool looked_for_freed = false;
    bool waited = false;
    std::uint64_t ticket = 0;  // meaningful when it has waited
    Milliseconds deadline{};
  };

  // What is not a commit that is granted at once. result, asked: of the attempt so far; kExclusiveElsewhere: there was
  // none.
  AddressOutcome AllocateWithRetries(const AllocateRequest& request, Criticality level);
  AddressOutcome AllocateWithRetries(const AllocateRequest& request, Criticality level, AddressOutcome result,
                                     Pages asked);
  AddressOutcome AllocateOnce(const AllocateRequest& request, RequestCharge& request_charge);
  AddressOutcome AllocateRegion(const AllocateRequest& request, RequestCharge& request_charge);
  AddressOutcome ReserveRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as,
                               RequestCharge& request_charge);
  AddressOutcome CommitInKnownRegion(const AllocateRequest& request, PageRange range, Region::Kind kind,
                                     RequestCharge& request_charge);
  AddressOutcome CommitWidely(const AllocateRequest& request, PageRange range, RequestCharge& request_charge);
  AddressOutcome CommitInSection(const AllocateRequest& request, PageRange range, const Region& view,
                                 RequestCharge& request_charge);
  [[nodiscard]] std::optional<Region> FindMappedView(Address address);
  AddressOutcome CommitInForeignMemory(const AllocateRequest& request, PageRange range, RequestCharge& request_charge);
  AddressOutcome Forward(const AllocateRequest& request);
  // After a refusal. True: the request is to be tried again. False: *refused is the answer.
  bool PrepareRetry(Outcome* refused, RequestCharge& request_charge, RetryState* retry);
  bool RetryWithReserve(bool by_os, RequestCharge& request_charge, RetryState* retry);
  bool RetryAfterFreedElsewhere(Criticality level, RetryState* retry);
  // Whether requests of this level may use, above the limit, what is given up of the emergency reserve.
  [[nodiscard]] bool MayExceedLimit(Criticality level) const {
    return level == Criticality::kProcess || ledger_.budget().ReserveIsShared();
  }
  [[nodiscard]] bool CoverFromReserve(Bytes asked, Criticality level);
  bool CoverForWaiter(Bytes asked) override { return CoverFromReserve(asked, Criticality::kProcess); }
  void UpdateSealGate();
  bool RetryAfterWaiting(Outcome* refused, bool by_os, RequestCharge& request_charge, RetryState* retry);

  Outcome FreeWithHostChecks(Address address, std::uint64_t size, std::uint32_t type);
  Outcome ReleaseRegion(Address address, std::uint64_t size);
  Outcome Decommit(Address address, std::uint64_t size, bool by_owner = false);
  Outcome DecommitElsewhere(Address address, std::uint64_t size);
  [[nodiscard]] std::optional<PageSpan> LocateInOwnRegion(Address address, std::uint64_t size) const;

  // Whether a request of this thread may go on; Done, Unavailable or ExclusiveElsewhere.
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
  std::atomic<bool> host_owns_ = false;  // anything, now or before: frees and protections have to look
  Ledger ledger_;

  // Below: off the path of a request that is granted at once.
  LoadSampler sampler_;
  WaitList waits_;
  EmergencyPool emergency_;
  AddressSpaceReserve address_space_;
  SealedRegions seals_;
  Waker* alarm_ = nullptr;
  std::atomic<std::uint64_t> unseals_ = 0;
  std::mutex seals_lock_;  // for the host's threads
  std::array<std::atomic<Milliseconds::rep>, kCriticalityCount> bounds_{};
  std::atomic<std::uint64_t> questions_ = 0;
  std::atomic<std::uint64_t> allocations_in_progress_ = 0;
  std::atomic<Milliseconds::rep> looked_for_freed_at_ = 0;
  std::atomic<std::uint64_t> owner_ = 0;  // thread of the exclusive section; 0: none
  std::uint32_t depth_ = 0;               // of its nesting; the owner's
  std::atomic<Stage> stage_ = Stage::kRunning;
  std::atomic<std::uint64_t> latched_ = 0;  // a Latched in one word; 0: none
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_ENGINE_H
