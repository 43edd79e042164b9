// The budget: how much memory is held on the CLR's behalf, how much more may be, and which requests wait for memory.
// Threads: any, lock-free; a thread may be suspended anywhere.
#ifndef CLRHM_BUDGET_BUDGET_H
#define CLRHM_BUDGET_BUDGET_H

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "base/units.h"
#include "base/waker.h"
#include "policy/admission.h"
#include "policy/memory_status.h"

namespace clr_host_memory {

class Budget {
 public:
  explicit Budget(const Limits& limits) { SetLimits(limits); }

  // Sets the waker of the dispatcher, which serves the requests that wait. Call before any request waits. The budget
  // wakes the dispatcher when memory is uncharged while requests wait.
  void SetDispatcher(Waker* dispatcher) { dispatcher_.store(dispatcher); }
  // Sets the waker of what can reduce the charge. The budget wakes it when a request uses the headroom, once until
  // TakeHeadroomUse. null: none.
  void SetHeadroomWaker(Waker* waker) { headroom_waker_.store(waker); }
  // Forgets that the headroom was used, so that the next use wakes again.
  void TakeHeadroomUse() { headroom_used_.store(false); }

  // Charges amount if the policy admits it at this level. If it refuses, changes nothing. While requests of the same
  // or a higher level wait for memory, no request overtakes them.
  [[nodiscard]] Admission TryCharge(Bytes amount, Criticality level) {
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      WakeForArrivals();
      if (amount != Bytes{} && AnyWaitingFrom(level)) return Admission::kBehindQueue;
    }
    // Relaxed is enough. A request that acts on figures in change acts as if it had come a moment earlier.
    return ChargeIfAdmitted({amount, level}, std::memory_order_relaxed,
                            [this, level](std::memory_order order) { return Ceiling(level, order); });
  }
  // Charges as TryCharge does. A process-critical request may also use the part of the committed headroom that was
  // decommitted.
  [[nodiscard]] Admission TryChargeWithReserve(Bytes amount, Criticality level) {
    if (amount != Bytes{} && AnyWaitingFrom(level)) {
      WakeForArrivals();
      return Admission::kBehindQueue;
    }
    return TryChargeAheadOfQueue(amount, level);
  }
  // Charges as TryChargeWithReserve does, for a request whose turn it is.
  //
  // The charge of these two functions is pending until Confirm or CancelPending: the OS may still refuse the memory.
  // So it does not count in the peak yet.
  [[nodiscard]] Admission TryChargeAheadOfQueue(Bytes amount, Criticality level) {
    // These loads are in one total order with Uncharge and SetLimits. If a waiter's try does not see such a change,
    // the change wakes the dispatcher again.
    AddPending(amount);
    const Admission verdict = ChargeIfAdmitted({amount, level}, std::memory_order_seq_cst,
                                               [this, level](std::memory_order) { return WholeCeiling(level); });
    if (verdict != Admission::kAdmitted) SubtractPending(amount);
    return verdict;
  }
  // Returns whether TryChargeWithReserve would admit it now. Charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount, Criticality level) const {
    if (amount == Bytes{}) return true;
    return !AnyWaitingFrom(level) && Admit({amount, level}, {Charged()}, WholeCeiling(level)) == Admission::kAdmitted;
  }
  // Confirms a pending charge: the OS has granted the memory.
  void Confirm(Bytes amount) {
    SubtractPending(amount);
    NotePeak();
  }
  // Cancels a pending charge: the OS has refused the memory.
  void CancelPending(Bytes amount) {
    CancelCharge(amount);
    DropPending(amount);
  }
  // Does the same where the memory was uncharged already.
  void DropPending(Bytes amount) {
    SubtractPending(amount);
    NotePeak();
  }
  // Charges memory that is committed already, above any limit: the ledger follows the facts.
  void Charge(Bytes amount) { charged_.fetch_add(amount.value); }
  // Uncharges memory that went back to the OS.
  void Uncharge(Bytes amount) {
    charged_.fetch_sub(amount.value);
    // A waiter is counted before its turn is tried. So either this load sees the waiter, or its try sees the memory
    // uncharged.
    if (waiting_.load() != 0) [[unlikely]] {
      returns_.fetch_add(1);
      dispatcher_.load()->Wake();
    }
  }
  // Uncharges memory that the OS refused. Other requests may be charged for it. A request that the OS refused need not
  // try again, so this does not change UnchargeCount. (Otherwise two such requests would wake each other forever.)
  void CancelCharge(Bytes amount) {
    charged_.fetch_sub(amount.value);
    WakeDispatcherIfNeeded();
  }

  // Raises the peak. Call after every change that may be a new peak. Among requests in progress in the OS, those of at
  // most 64 pages in one region count already.
  void NotePeak() {
    if (charged_.load(std::memory_order_relaxed) > peak_.load(std::memory_order_relaxed)) [[unlikely]]
      RaisePeak();
  }

  // ---- requests that wait, announced to the dispatcher; at most 2^16 - 1
  // Announces a request by the name of its record, 1 to 2^16 - 1. If it waits for memory, also counts it. Both happen
  // in one step, since its thread may be suspended between two steps. Calls before(next) first, with the name
  // announced before it.
  template <typename Before>
  void Enqueue(std::uint16_t name, Criticality level, bool for_memory, Before before) {
    const std::uint64_t one = for_memory ? std::uint64_t{1} << ShiftOf(level) : 0;
    std::uint64_t waiting = waiting_.load();
    do {
      before(static_cast<std::uint16_t>(waiting & kArrivalMask));
    } while (!waiting_.compare_exchange_weak(waiting, ((waiting & ~kArrivalMask) | name) + one));
  }
  // Takes the arrivals, for the dispatcher. Returns the name announced last, which leads to the earlier ones; 0: none.
  // All of them then belong to the dispatcher.
  [[nodiscard]] std::uint16_t TakeArrivals() {
    return static_cast<std::uint16_t>(waiting_.fetch_and(~kArrivalMask) & kArrivalMask);
  }
  // Returns whether a request was announced since the dispatcher took the arrivals.
  [[nodiscard]] bool HasArrivals() const { return (waiting_.load() & kArrivalMask) != 0; }
  // Ends the count of a request that waits no more. For the dispatcher.
  void RemoveWaiting(Criticality level) { waiting_.fetch_sub(std::uint64_t{1} << ShiftOf(level)); }
  // Returns whether a request of this level or a higher one waits for memory.
  [[nodiscard]] bool AnyWaitingFrom(Criticality level) const {
    return waiting_.load(std::memory_order_relaxed) >> ShiftOf(level) != 0;
  }
  // Returns how many requests wait for memory.
  [[nodiscard]] std::uint64_t Waiting() const {
    std::uint64_t sum = 0;
    for (std::uint64_t rest = waiting_.load() >> 16; rest != 0; rest >>= 16) sum += rest & 0xFFFF;
    return sum;
  }
  // Returns a count that changes whenever memory goes back to the OS while requests wait.
  [[nodiscard]] std::uint64_t UnchargeCount() const { return returns_.load(); }

  // ---- the committed headroom: the part of the process headroom that is committed ahead. It counts against the limit
  // while it is held: charged + held <= bound. A thread that recommits a part raises `held` first, and then checks that
  // the charge still fits. A thread that uses a decommitted part charges first, and then checks. So one of them sees
  // the other.
  void LowerHeld(Bytes decommitted) {
    held_.fetch_sub(decommitted.value);
    WakeDispatcherIfNeeded();
  }
  // Raises `held`, unless charged + held would exceed the bound, or held would exceed what the limits provide for.
  [[nodiscard]] bool TryRaiseHeld(Bytes recommitted) {
    changes_begun_.fetch_add(1);
    held_.fetch_add(recommitted.value);
    const bool fits = Held() <= CommittedHeadroom() && Charged() + Held() <= Bound();
    if (!fits) LowerHeld(recommitted);
    changes_ended_.fetch_add(1);
    return fits;
  }
  [[nodiscard]] Bytes Held() const { return {held_.load()}; }
  // Returns how much the limits provide for.
  [[nodiscard]] Bytes CommittedHeadroom() const { return {committed_headroom_.load()}; }

  // ---- limits. All take effect for the next request, each level's limit by itself. A limit below the charged bytes
  // admits nothing for lower levels. Process-critical requests may then have the process headroom on top of what is in
  // use: see Bound.
  // limits: valid by Validate. limits.committed_headroom is at least what is held. with_grace: if the bound has to
  // exceed the limit, a grace begins, in which lower levels may have what was in use. So the GC of a runtime can
  // collect before its threads are refused. It ends by EndGrace; until then SettleBound changes nothing.
  void SetLimits(const Limits& limits, bool with_grace = false) {
    {
      const std::lock_guard lock(limits_lock_);
      limits_ = limits;
      wants_grace_ = with_grace;
      StoreLimits();
      kept_.store(limits.last_resort.value);
      last_part_.store(LastPartOf(limits.last_resort).value);
    }
    WakeDispatcherIfNeeded();
  }
  // Lets process-critical requests exceed the limit until EndStart: a runtime that starts cannot be refused anything.
  void BeginStart() {
    {
      const std::lock_guard lock(limits_lock_);
      starting_ = true;
      StoreLimits();
    }
    WakeDispatcherIfNeeded();
  }
  // Applies the limit. False: no start was in progress, and nothing changes.
  bool EndStart() {
    const std::lock_guard lock(limits_lock_);
    if (!std::exchange(starting_, false)) return false;
    StoreLimits();
    return true;
  }
  // Sets the memory that counts against the limit without being charged: the rest of the process's memory.
  void SetUncharged(Bytes outside) {
    {
      const std::lock_guard lock(limits_lock_);
      uncharged_ = outside;
      StoreLimits();
    }
    WakeDispatcherIfNeeded();
  }
  // Lowers the bound as far as the memory in use has gone down. Excess that was uncharged cannot be used again. Call
  // periodically while there is an excess.
  void SettleBound() {
    const std::lock_guard lock(limits_lock_);
    if (!wants_grace_) StoreLimits();
  }
  // Returns whether there is a grace. A caller that sees it sees its limit, too.
  [[nodiscard]] bool IsInGrace() const { return is_in_grace_.load(); }
  void EndGrace() {
    const std::lock_guard lock(limits_lock_);
    if (std::exchange(wants_grace_, false)) StoreLimits();
  }
  // Opens the last resort except its last part, after a process-critical request was refused for lack of the limit's
  // memory. Lock-free.
  void OpenLastResort() {
    const std::uint64_t part = last_part_.load();
    std::uint64_t kept = kept_.load();
    while (kept > part && !kept_.compare_exchange_weak(kept, part)) {
    }
  }
  // Opens its last part, too, for a request whose refusal is fatal to the process. Lock-free.
  void OpenLastPart() { kept_.store(0); }
  // Closes it again, once the headroom is free again. Call periodically.
  void CloseLastResort() {
    if (kept_.load(std::memory_order_relaxed) > last_part_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(limits_lock_);
    if (limits_.limit == kUnlimited || Charged() + Held() + limits_.process_headroom > Bound()) return;
    kept_.store(limits_.last_resort.value);
  }
  // Returns the most that charged + held can be: the limit, less the uncharged memory that counts. A new limit
  // may leave less than the process headroom free. Then the bound is what was in use plus the process headroom, but
  // never more than the bound before. It goes down with the memory in use. kUnlimited during a start.
  [[nodiscard]] Bytes Bound() const { return {bound_.load()}; }
  // Whether the bound exceeds the limit, after the limit was set below what is in use.
  [[nodiscard]] bool IsBoundRaised() const {
    const std::uint64_t bound = bound_.load();
    return bound != kUnlimited.value &&
           bound + counted_uncharged_.load(std::memory_order_relaxed) > whole_limit_.load(std::memory_order_relaxed);
  }
  // Returns by how much charged + held ever exceeded the bound. It is 0 unless this class is wrong, or memory was
  // charged that was committed already (Charge).
  [[nodiscard]] Bytes MostOverBound() const { return {over_bound_.load()}; }
  [[nodiscard]] Limits CurrentLimits() const {
    const std::lock_guard lock(limits_lock_);
    return limits_;
  }
  // Returns how the limit stands. Takes no lock: the GC asks at every collection.
  [[nodiscard]] LimitUse Use() const {
    return {.limit = {whole_limit_.load(std::memory_order_relaxed)},
            .charged = Charged(),
            .outside = {counted_uncharged_.load(std::memory_order_relaxed)},
            .headroom = {headroom_.load(std::memory_order_relaxed)},
            .held = Held()};
  }

  // Returns what a request of this level may raise the charge to. WholeCeiling includes the decommitted part of the
  // committed headroom, and an open last resort.
  [[nodiscard]] Bytes Ceiling(Criticality level, std::memory_order order = std::memory_order_relaxed) const {
    return {ceilings_[static_cast<std::size_t>(level)].load(order)};
  }
  [[nodiscard]] Bytes WholeCeiling(Criticality level) const {
    if (level != Criticality::kProcess) return Ceiling(level, std::memory_order_seq_cst);
    const Bytes bound = Bound();
    return bound == kUnlimited ? bound : bound - std::min(bound, Held() + Bytes{kept_.load()});
  }
  [[nodiscard]] Bytes Charged() const { return {charged_.load()}; }
  [[nodiscard]] Bytes Pending() const { return {PendingIn(pending_.load())}; }
  [[nodiscard]] Bytes Peak() const { return {peak_.load()}; }

 private:
  // The layout of pending_: pages, and above them a count of its changes.
  static constexpr unsigned kPendingShift = 48;
  static constexpr std::uint64_t kPendingChange = std::uint64_t{1} << kPendingShift;
  [[nodiscard]] static constexpr std::uint64_t PendingIn(std::uint64_t pending) {
    return (pending & (kPendingChange - 1)) << kPageShift;
  }
  void AddPending(Bytes amount) {
    if (amount != Bytes{}) pending_.fetch_add(kPendingChange + (amount.value >> kPageShift));
  }
  void SubtractPending(Bytes amount) {
    if (amount != Bytes{}) pending_.fetch_add(kPendingChange - (amount.value >> kPageShift));
  }
  void RaisePeak();
  void NoteTotal(Bytes charged, std::uint64_t changes);

  // The layout of waiting_: the name last announced, and above it the number of waiting requests, 16 bits per level.
  static constexpr std::uint64_t kArrivalMask = 0xFFFF;
  [[nodiscard]] static constexpr unsigned ShiftOf(Criticality level) { return 16 + 16 * static_cast<unsigned>(level); }

  // order: memory order of the loads that a refusal is based on. ceiling(order) → Bytes: the ceiling now. It is read
  // again after the charge. So a request that a lowered ceiling overtook does not keep its charge.
  template <typename CeilingNow>
  [[nodiscard]] Admission ChargeIfAdmitted(const Request& request, std::memory_order order, CeilingNow ceiling) {
    std::uint64_t charged = charged_.load(order);
    do {
      do {
        const Admission verdict = Admit(request, {{charged}}, ceiling(order));
        if (verdict != Admission::kAdmitted) return verdict;
      } while (!charged_.compare_exchange_weak(charged, charged + request.bytes.value));
      const Bytes now = Bytes{charged} + request.bytes;
      // The ceiling of task level is the lowest. All above it is headroom.
      if (now <= Ceiling(Criticality::kTask, std::memory_order_seq_cst)) [[likely]]
        return Admission::kAdmitted;
      if (now <= ceiling(std::memory_order_seq_cst)) {
        NoteHeadroomUse();
        return Admission::kAdmitted;
      }
      if (request.bytes == Bytes{}) return Admission::kAdmitted;
      CancelCharge(request.bytes);
      charged = charged_.load();
    } while (true);
  }
  void NoteHeadroomUse() {
    Waker* const waker = headroom_waker_.load(std::memory_order_relaxed);
    if (waker != nullptr && !headroom_used_.exchange(true)) waker->Wake();
  }
  void WakeDispatcherIfNeeded() {
    if (waiting_.load() != 0) [[unlikely]]
      dispatcher_.load()->Wake();
  }
  // The thread that announced a request may be suspended before it wakes the dispatcher.
  void WakeForArrivals() {
    if (HasArrivals()) dispatcher_.load()->Wake();
  }
  // Stores what requests read, from limits_, uncharged_, starting_ and wants_grace_. Called under limits_lock_.
  void StoreLimits() {
    whole_limit_.store(limits_.limit.value, std::memory_order_relaxed);
    counted_uncharged_.store(uncharged_.value, std::memory_order_relaxed);
    headroom_.store((limits_.app_domain_headroom + limits_.process_headroom).value, std::memory_order_relaxed);
    committed_headroom_.store(limits_.committed_headroom.value);
    const Bytes before = Bound();
    // Bytes in use stay, and the process must be able to continue with them.
    const auto bound = [&] {
      const Bytes needed = Charged() + Held() + limits_.process_headroom;
      return starting_ ? kUnlimited : std::max(Within(limits_.limit), std::min(before, needed));
    };
    changes_begun_.fetch_add(1);
    // Requests may be charged while the bound is computed. Those that are charged later see the new ceilings.
    Bytes most = bound();
    do {
      most = std::max(most, bound());
      bound_.store(most.value);
      const Bytes apart = limits_.committed_headroom + limits_.last_resort;
      const Bytes least = most == kUnlimited ? most : most - std::min(most, apart);
      wants_grace_ = wants_grace_ && most > Within(limits_.limit) && most != kUnlimited;
      const Bytes was_in_use = most - std::min(most, limits_.process_headroom);
      const Bytes graced = wants_grace_ ? was_in_use : Bytes{};
      const Ceilings ceilings = CeilingsOf(limits_);
      for (std::size_t i = 0; i + 1 < ceilings.size(); ++i) {
        ceilings_[i].store(std::min(std::max(Within(ceilings[i]), graced), least).value);
      }
      ceilings_.back().store(least.value);
    } while (bound() > most);
    is_in_grace_.store(wants_grace_);
    changes_ended_.fetch_add(1);
  }
  // Returns what is left of a ceiling when the uncharged bytes are counted.
  [[nodiscard]] Bytes Within(Bytes ceiling) const {
    return ceiling == kUnlimited ? ceiling : ceiling - std::min(ceiling, uncharged_);
  }

  mutable std::mutex limits_lock_;  // for threads that set or report limits; no request takes it
  Limits limits_;
  Bytes uncharged_;
  bool starting_ = false;
  bool wants_grace_ = false;
  std::atomic<bool> is_in_grace_ = false;
  std::atomic<Waker*> dispatcher_ = nullptr;
  std::atomic<Waker*> headroom_waker_ = nullptr;
  std::atomic<bool> headroom_used_ = false;
  std::atomic<std::uint64_t> whole_limit_ = 0;
  std::atomic<std::uint64_t> counted_uncharged_ = 0;
  std::atomic<std::uint64_t> headroom_ = 0;
  std::atomic<std::uint64_t> committed_headroom_ = 0;
  std::atomic<std::uint64_t> bound_ = kUnlimited.value;
  std::atomic<std::uint64_t> changes_begun_ = 0;  // of the bound, and of what is held
  std::atomic<std::uint64_t> changes_ended_ = 0;
  std::atomic<std::uint64_t> over_bound_ = 0;
  // On another cache line than the limits, which every request reads and few threads write.
  alignas(64) std::atomic<std::uint64_t> charged_ = 0;
  std::atomic<std::uint64_t> peak_ = 0;
  alignas(64) std::array<std::atomic<std::uint64_t>, kCriticalityCount> ceilings_{};
  std::atomic<std::uint64_t> waiting_ = 0;
  std::atomic<std::uint64_t> returns_ = 0;
  std::atomic<std::uint64_t> held_ = 0;
  std::atomic<std::uint64_t> kept_ = 0;       // the part of the last resort that is not open
  std::atomic<std::uint64_t> last_part_ = 0;  // of the last resort
  std::atomic<std::uint64_t> pending_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_BUDGET_H
