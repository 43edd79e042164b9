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

  // Charges amount if the policy admits it at this level. If it refuses, changes nothing. While requests of the same
  // or a higher level wait for memory, no request overtakes them.
  [[nodiscard]] Admission TryCharge(Bytes amount, Criticality level) {
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      WakeForArrivals();
      if (amount != Bytes{} && AnyWaitingFrom(level)) return Admission::kBehindQueue;
    }
    // Relaxed is enough. A request that acts on figures in change acts as if it had come a moment earlier.
    return ChargeIfAdmitted(amount, level, {}, std::memory_order_relaxed);
  }
  // Charges as TryCharge does. A process-critical request may also use the allowance. If the reserve is shared, any
  // request may.
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
    constexpr auto kOrder = std::memory_order_seq_cst;
    const bool may_exceed_limit = level == Criticality::kProcess || ReserveIsShared();
    AddPending(amount);
    while (true) {
      const Bytes beyond = may_exceed_limit && amount != Bytes{} ? Allowance() : Bytes{};
      const Admission verdict = ChargeIfAdmitted(amount, level, beyond, kOrder);
      if (verdict != Admission::kAdmitted) SubtractPending(amount);
      if (verdict != Admission::kAdmitted || beyond == Bytes{} || FitsAllowance()) return verdict;
      CancelCharge(amount);  // part of the allowance was recommitted meanwhile
    }
  }
  // Returns whether TryChargeWithReserve would admit it now. Charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount, Criticality level) const {
    if (amount == Bytes{}) return true;
    const bool may_exceed_limit = level == Criticality::kProcess || ReserveIsShared();
    const Bytes ceiling = Ceiling(level, may_exceed_limit ? Allowance() : Bytes{});
    return !AnyWaitingFrom(level) && Admit({amount, level}, {Charged()}, ceiling) == Admission::kAdmitted;
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

  // ---- the allowance: the part of the emergency reserve that was decommitted, for use above the limit. A thread that
  // recommits a part lowers the allowance first, and then checks that the charge still fits. A thread that uses the
  // allowance charges first, and then checks. So one of them sees the other. Together they never have more than limit
  // and reserve.
  void RaiseAllowance(Bytes given_up) {
    allowance_.fetch_add(given_up.value);
    WakeDispatcherIfNeeded();
  }
  void LowerAllowance(Bytes taken_back) { allowance_.fetch_sub(taken_back.value); }
  [[nodiscard]] bool FitsAllowance() const {
    return Charged() <= Ceiling(Criticality::kProcess, Allowance(), std::memory_order_seq_cst);
  }
  [[nodiscard]] Bytes Allowance() const { return {allowance_.load()}; }

  // ---- limits. All take effect for the next request, each level's limit by itself. A limit below the charged bytes
  // admits nothing for lower levels. Process-critical requests may reuse the uncharged part of the excess, until
  // SettleCeilings.
  // limits: valid by Validate.
  // reserve: bytes that the emergency reserve can pay, instead of the ceilings. It pays for what was charged while
  // process-critical requests were not held to the limit. Returns how much it has to pay.
  Bytes SetLimits(const Limits& limits, Bytes reserve = {}) {
    Bytes to_pay;
    {
      const std::lock_guard lock(limits_lock_);
      limits_ = limits;
      const Bytes charged = Charged();
      if (std::exchange(process_unlimited_, false)) {
        to_pay = std::min(charged - std::min(charged, limits.limit), reserve);
      }
      StoreCeilings(charged, to_pay);
    }
    WakeDispatcherIfNeeded();
    return to_pay;
  }
  // Lets process-critical requests exceed the limit until SetLimits.
  void SuspendProcessCriticalLimit() {
    {
      const std::lock_guard lock(limits_lock_);
      process_unlimited_ = true;
      StoreCeilings(Charged());
    }
    WakeDispatcherIfNeeded();
  }
  // Opens the emergency reserve to every level. Call before any request.
  void ShareReserve() { shared_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool ReserveIsShared() const { return shared_.load(std::memory_order_relaxed); }
  // Sets the memory that counts against the limit without being charged: the rest of the process's memory.
  void SetUncharged(Bytes outside) {
    {
      const std::lock_guard lock(limits_lock_);
      uncharged_ = outside;
      StoreCeilings(Charged());
    }
    WakeDispatcherIfNeeded();
  }
  // Lowers the process-critical ceiling to the charge, but not below the limit. Excess that was uncharged cannot be
  // used again. Call periodically.
  void SettleCeilings() {
    const std::lock_guard lock(limits_lock_);
    StoreCeilings(Charged());
  }
  [[nodiscard]] Limits CurrentLimits() const {
    const std::lock_guard lock(limits_lock_);
    return limits_;
  }
  // Returns how the limit stands. Takes no lock: the GC asks at every collection.
  [[nodiscard]] LimitUse Use() const {
    return {.limit = {whole_limit_.load(std::memory_order_relaxed)},
            .charged = Charged(),
            .outside = {counted_uncharged_.load(std::memory_order_relaxed)},
            .headroom = {headroom_.load(std::memory_order_relaxed)}};
  }

  [[nodiscard]] Bytes Ceiling(Criticality level, Bytes beyond = {},
                              std::memory_order order = std::memory_order_relaxed) const {
    const std::uint64_t ceiling = ceilings_[static_cast<std::size_t>(level)].load(order);
    return {ceiling + std::min(beyond.value, kUnlimited.value - ceiling)};
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

  // The layout of waiting_: the name last announced, and above it the number of waiting requests, 16 bits per level.
  static constexpr std::uint64_t kArrivalMask = 0xFFFF;
  [[nodiscard]] static constexpr unsigned ShiftOf(Criticality level) { return 16 + 16 * static_cast<unsigned>(level); }

  // order: memory order of the loads that a refusal is based on.
  [[nodiscard]] Admission ChargeIfAdmitted(Bytes amount, Criticality level, Bytes beyond, std::memory_order order) {
    const Request request{amount, level};
    std::uint64_t charged = charged_.load(order);
    const Bytes ceiling = Ceiling(level, beyond, order);
    do {
      const Admission verdict = Admit(request, {{charged}}, ceiling);
      if (verdict != Admission::kAdmitted) return verdict;
    } while (!charged_.compare_exchange_weak(charged, charged + amount.value));
    return Admission::kAdmitted;
  }
  void WakeDispatcherIfNeeded() {
    if (waiting_.load() != 0) [[unlikely]]
      dispatcher_.load()->Wake();
  }
  // The thread that announced a request may be suspended before it wakes the dispatcher.
  void WakeForArrivals() {
    if (HasArrivals()) dispatcher_.load()->Wake();
  }
  // charged: bytes in use. paid: how many of them the emergency reserve pays for.
  void StoreCeilings(Bytes charged, Bytes paid = {}) {
    whole_limit_.store(limits_.limit.value, std::memory_order_relaxed);
    counted_uncharged_.store(uncharged_.value, std::memory_order_relaxed);
    headroom_.store((limits_.app_domain_headroom + limits_.process_headroom).value, std::memory_order_relaxed);
    Ceilings ceilings = CeilingsOf(limits_);
    for (Bytes& ceiling : ceilings) {
      if (ceiling != kUnlimited) ceiling = ceiling - std::min(ceiling, uncharged_);
    }
    // Bytes in use stay admitted. The process must be able to continue with them, and with the emergency reserve above
    // them.
    const Bytes held = std::min(charged, Ceiling(Criticality::kProcess));
    const Bytes in_use = held - std::min(held, paid);
    ceilings.back() = process_unlimited_ ? kUnlimited : std::max(ceilings.back(), in_use);
    for (std::size_t i = 0; i < ceilings.size(); ++i) ceilings_[i].store(ceilings[i].value);
  }

  mutable std::mutex limits_lock_;  // for threads that set or report limits; no request takes it
  Limits limits_;
  Bytes uncharged_;
  bool process_unlimited_ = false;
  std::atomic<Waker*> dispatcher_ = nullptr;
  std::atomic<std::uint64_t> whole_limit_ = 0;
  std::atomic<std::uint64_t> counted_uncharged_ = 0;
  std::atomic<std::uint64_t> headroom_ = 0;
  // On another cache line than the limits, which every request reads and few threads write.
  alignas(64) std::atomic<std::uint64_t> charged_ = 0;
  std::atomic<std::uint64_t> peak_ = 0;
  alignas(64) std::array<std::atomic<std::uint64_t>, kCriticalityCount> ceilings_{};
  std::atomic<std::uint64_t> waiting_ = 0;
  std::atomic<std::uint64_t> returns_ = 0;
  std::atomic<std::uint64_t> allowance_ = 0;
  std::atomic<std::uint64_t> pending_ = 0;
  std::atomic<bool> shared_ = false;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_BUDGET_H
