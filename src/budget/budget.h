// How much memory is held on the CLR's behalf, how much more may be, and who waits for some.
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

  // Who serves the requests that wait; before any waits. Woken when charge is returned while some do.
  void SetDispatcher(Waker* server) { dispatcher_.store(server); }

  // Charges amount if the policy admits it at this level; otherwise changes nothing. While requests of the same or a
  // higher level wait for memory, nobody passes them.
  [[nodiscard]] Admission TryCharge(Bytes amount, Criticality level) {
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      WakeForArrivals();
      if (amount != Bytes{} && AnyWaitingFrom(level)) return Admission::kBehindQueue;
    }
    // Relaxed: who acts on figures that are being changed is one who came a moment earlier.
    return ChargeIfAdmitted(amount, level, {}, std::memory_order_relaxed);
  }
  // The same, and a process-critical request may use what was given up of the emergency reserve; when it is shared,
  // any.
  [[nodiscard]] Admission TryChargeWithReserve(Bytes amount, Criticality level) {
    if (amount != Bytes{} && AnyWaitingFrom(level)) {
      WakeForArrivals();
      return Admission::kBehindQueue;
    }
    return TryChargeAheadOfQueue(amount, level);
  }
  // The same for a request whose turn it is.
  //
  // What these two charge is pending until Confirm or CancelPending: the OS may refuse it yet, so it is no peak.
  [[nodiscard]] Admission TryChargeAheadOfQueue(Bytes amount, Criticality level) {
    // In the one order with Return and SetLimits: what a waiter's try does not see, wakes the server again.
    constexpr auto kOrder = std::memory_order_seq_cst;
    const bool may_exceed_limit = level == Criticality::kProcess || ReserveIsShared();
    AddPending(amount);
    while (true) {
      const Bytes beyond = may_exceed_limit && amount != Bytes{} ? Allowance() : Bytes{};
      const Admission verdict = ChargeIfAdmitted(amount, level, beyond, kOrder);
      if (verdict != Admission::kAdmitted) SubtractPending(amount);
      if (verdict != Admission::kAdmitted || beyond == Bytes{} || FitsAllowance()) return verdict;
      CancelCharge(amount);  // some of it has been taken back meanwhile
    }
  }
  // Whether TryChargeWithReserve would admit it now; charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount, Criticality level) const {
    if (amount == Bytes{}) return true;
    const bool may_exceed_limit = level == Criticality::kProcess || ReserveIsShared();
    const Bytes ceiling = Ceiling(level, may_exceed_limit ? Allowance() : Bytes{});
    return !AnyWaitingFrom(level) && Admit({amount, level}, {Charged()}, ceiling) == Admission::kAdmitted;
  }
  // The OS has granted what a pending charge was for.
  void Confirm(Bytes amount) {
    SubtractPending(amount);
    NotePeak();
  }
  // The OS has refused it.
  void CancelPending(Bytes amount) {
    CancelCharge(amount);
    DropPending(amount);
  }
  // The same where the charge was returned already.
  void DropPending(Bytes amount) {
    SubtractPending(amount);
    NotePeak();
  }
  // Charges what is committed already, whatever the limit says: the ledger follows the facts.
  void Charge(Bytes amount) { charged_.fetch_add(amount.value); }
  // Of memory that went back to the OS.
  void Uncharge(Bytes amount) {
    charged_.fetch_sub(amount.value);
    // A waiter is counted before its turn is tried: either it is seen here, or its try sees the charge returned.
    if (waiting_.load() != 0) [[unlikely]] {
      returns_.fetch_add(1);
      dispatcher_.load()->Wake();
    }
  }
  // Of memory that the OS refused: others may be charged for it, but a request the OS refused need not try again. (Two
  // of them would wake each other for ever.)
  void CancelCharge(Bytes amount) {
    charged_.fetch_sub(amount.value);
    WakeDispatcherIfNeeded();
  }

  // After every change that may be a new peak. Of requests that the OS is asked for at this moment, those of at most 64
  // pages in one region count already.
  void NotePeak() {
    if (charged_.load(std::memory_order_relaxed) > peak_.load(std::memory_order_relaxed)) [[unlikely]]
      RaisePeak();
  }

  // ---- requests that wait, announced to the server; at most 2^16 - 1
  // Announces a request by the name of its record, 1 to 2^16 - 1, and counts it if it waits for memory: in one step,
  // since its thread may be suspended between any two. before(next) is called first, to tell it who was announced
  // before it.
  template <typename Before>
  void Enqueue(std::uint16_t name, Criticality level, bool for_memory, Before before) {
    const std::uint64_t one = for_memory ? std::uint64_t{1} << ShiftOf(level) : 0;
    std::uint64_t waiting = waiting_.load();
    do {
      before(static_cast<std::uint16_t>(waiting & kArrivalMask));
    } while (!waiting_.compare_exchange_weak(waiting, ((waiting & ~kArrivalMask) | name) + one));
  }
  // For the server: who was announced last, and leads to those before; 0: nobody. All of them are the server's now.
  [[nodiscard]] std::uint16_t TakeArrivals() {
    return static_cast<std::uint16_t>(waiting_.fetch_and(~kArrivalMask) & kArrivalMask);
  }
  // Whether anybody has been since the server took them.
  [[nodiscard]] bool HasArrivals() const { return (waiting_.load() & kArrivalMask) != 0; }
  // For the server: a request that was counted waits no more.
  void RemoveWaiting(Criticality level) { waiting_.fetch_sub(std::uint64_t{1} << ShiftOf(level)); }
  // Whether any of this level or a higher one waits for memory.
  [[nodiscard]] bool AnyWaitingFrom(Criticality level) const {
    return waiting_.load(std::memory_order_relaxed) >> ShiftOf(level) != 0;
  }
  // How many wait for memory.
  [[nodiscard]] std::uint64_t Waiting() const {
    std::uint64_t sum = 0;
    for (std::uint64_t rest = waiting_.load() >> 16; rest != 0; rest >>= 16) sum += rest & 0xFFFF;
    return sum;
  }
  // Changes whenever memory went back to the OS while requests waited.
  [[nodiscard]] std::uint64_t UnchargeCount() const { return returns_.load(); }

  // ---- the emergency reserve: what process-critical requests may use above the limit, since it was given up. Who
  // takes some back subtracts it first and then looks whether what is charged still fits; who uses it charges first and
  // then looks: one of them sees the other, and together they never have more than limit and reserve.
  void RaiseAllowance(Bytes given_up) {
    allowance_.fetch_add(given_up.value);
    WakeDispatcherIfNeeded();
  }
  void LowerAllowance(Bytes taken_back) { allowance_.fetch_sub(taken_back.value); }
  [[nodiscard]] bool FitsAllowance() const {
    return Charged() <= Ceiling(Criticality::kProcess, Allowance(), std::memory_order_seq_cst);
  }
  [[nodiscard]] Bytes Allowance() const { return {allowance_.load()}; }

  // ---- limits. All take effect for the next request, each level by itself. A limit below what is in use admits
  // nothing for lower levels; process-critical requests may use again what comes back of it, until SettleCeilings.
  // limits: valid by Validate.
  // reserve: of what was taken while process-critical requests might exceed the limit, so much has the emergency
  // reserve to pay for instead of the ceilings. How much that is.
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
  // Until SetLimits, process-critical requests are not held to the limit.
  void SuspendProcessCriticalLimit() {
    {
      const std::lock_guard lock(limits_lock_);
      process_unlimited_ = true;
      StoreCeilings(Charged());
    }
    WakeDispatcherIfNeeded();
  }
  // Before any request: the emergency reserve is for every level.
  void ShareReserve() { shared_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool ReserveIsShared() const { return shared_.load(std::memory_order_relaxed); }
  // Memory that counts against the limit without being charged: what the process has besides.
  void SetUncharged(Bytes outside) {
    {
      const std::lock_guard lock(limits_lock_);
      uncharged_ = outside;
      StoreCeilings(Charged());
    }
    WakeDispatcherIfNeeded();
  }
  // From time to time: what has come back of an excess over the limit stays back.
  void SettleCeilings() {
    const std::lock_guard lock(limits_lock_);
    StoreCeilings(Charged());
  }
  [[nodiscard]] Limits CurrentLimits() const {
    const std::lock_guard lock(limits_lock_);
    return limits_;
  }
  // How the limit stands, without the lock: for the GC, which asks at every collection.
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
  // Of pending_: pages, and above them how often it was changed.
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

  // Of waiting_: the name last announced, and above it how many wait, a level in 16 bits.
  static constexpr std::uint64_t kArrivalMask = 0xFFFF;
  [[nodiscard]] static constexpr unsigned ShiftOf(Criticality level) { return 16 + 16 * static_cast<unsigned>(level); }

  // order: of the loads that a refusal rests on.
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
  // Whoever announced a request may be suspended before it could wake the server.
  void WakeForArrivals() {
    if (HasArrivals()) dispatcher_.load()->Wake();
  }
  // charged: what is in use. paid: of that, by the emergency reserve.
  void StoreCeilings(Bytes charged, Bytes paid = {}) {
    whole_limit_.store(limits_.limit.value, std::memory_order_relaxed);
    counted_uncharged_.store(uncharged_.value, std::memory_order_relaxed);
    headroom_.store((limits_.app_domain_headroom + limits_.process_headroom).value, std::memory_order_relaxed);
    Ceilings ceilings = CeilingsOf(limits_);
    for (Bytes& ceiling : ceilings) {
      if (ceiling != kUnlimited) ceiling = ceiling - std::min(ceiling, uncharged_);
    }
    // What is in use is in use: to go on with it, and with the emergency reserve above it, is what the process must be
    // able to do.
    const Bytes held = std::min(charged, Ceiling(Criticality::kProcess));
    const Bytes in_use = held - std::min(held, paid);
    ceilings.back() = process_unlimited_ ? kUnlimited : std::max(ceilings.back(), in_use);
    for (std::size_t i = 0; i < ceilings.size(); ++i) ceilings_[i].store(ceilings[i].value);
  }

  mutable std::mutex limits_lock_;  // for whoever sets or reports limits; no request takes it
  Limits limits_;
  Bytes uncharged_;
  bool process_unlimited_ = false;
  std::atomic<Waker*> dispatcher_ = nullptr;
  std::atomic<std::uint64_t> whole_limit_ = 0;
  std::atomic<std::uint64_t> counted_uncharged_ = 0;
  std::atomic<std::uint64_t> headroom_ = 0;
  // Apart from the limits, which every request reads and hardly anyone writes.
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
