// How much memory is held on the CLR's behalf, how much more may be, and who waits for some.
// Threads: any, lock-free; a thread may be suspended anywhere.
#ifndef CLRHM_LEDGER_BUDGET_H
#define CLRHM_LEDGER_BUDGET_H

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/units.h"
#include "base/waker.h"
#include "policy/admission.h"

namespace clr_host_memory {

class Budget {
 public:
  explicit Budget(const policy::Limits& limits) { SetLimits(limits); }

  // Who serves the requests that wait; before any waits. Woken when charge is returned while some do.
  void SetServer(Waker* server) { server_ = server; }

  // Charges amount if the policy admits it at this level; otherwise changes nothing. While requests of the same or a
  // higher level wait for memory, nobody passes them. beyond: what this request may use above its level's ceiling.
  [[nodiscard]] policy::Admission TryCharge(Bytes amount, Criticality level, Bytes beyond = {}) {
    if (amount != Bytes{} && WaitingFrom(level)) [[unlikely]] return policy::Admission::kBehindOthers;
    return TryChargeForWaiter(amount, level, beyond);
  }
  // The same for a request whose turn it is.
  [[nodiscard]] policy::Admission TryChargeForWaiter(Bytes amount, Criticality level, Bytes beyond = {}) {
    const policy::Request request{amount, level};
    std::uint64_t charged = charged_.load(std::memory_order_relaxed);
    const Bytes ceiling = Ceiling(level, beyond);
    do {
      const policy::Admission verdict = policy::Admit(request, {{charged}}, ceiling);
      if (verdict != policy::Admission::kAdmitted) return verdict;
    } while (!charged_.compare_exchange_weak(charged, charged + amount.value));
    return policy::Admission::kAdmitted;
  }
  // Charges what is committed already, whatever the limit says: the ledger follows the facts.
  void Charge(Bytes amount) { charged_.fetch_add(amount.value); }
  void Return(Bytes amount) {
    charged_.fetch_sub(amount.value);
    // A waiter is counted before its turn is tried: either it is seen here, or its try sees the charge returned.
    if (waiting_.load() != 0) [[unlikely]] server_->Wake();
  }

  void NotePeak() {
    const std::uint64_t now = charged_.load(std::memory_order_relaxed);
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }

  // ---- requests that wait: counted for as long as they do, at most 2^16 - 1 of a level
  void AddWaiting(Criticality level) { waiting_.fetch_add(std::uint64_t{1} << ShiftOf(level)); }
  void RemoveWaiting(Criticality level) { waiting_.fetch_sub(std::uint64_t{1} << ShiftOf(level)); }
  // Whether any of this level or a higher one does.
  [[nodiscard]] bool WaitingFrom(Criticality level) const {
    return waiting_.load(std::memory_order_relaxed) >> ShiftOf(level) != 0;
  }
  [[nodiscard]] std::uint64_t Waiting() const {
    const std::uint64_t all = waiting_.load(std::memory_order_relaxed);
    return (all & 0xFFFF) + (all >> 16 & 0xFFFF) + (all >> 32 & 0xFFFF);
  }

  // ---- limits. Both take effect for the next request, each level by itself.
  // limits: valid by policy::Validate.
  void SetLimits(const policy::Limits& limits) {
    {
      const std::lock_guard lock(limits_lock_);
      limits_ = limits;
      StoreCeilings();
    }
    if (waiting_.load() != 0) server_->Wake();
  }
  // Memory that counts against the limit without being charged: what the process has besides.
  void SetOutside(Bytes outside) {
    const std::lock_guard lock(limits_lock_);
    outside_ = outside;
    StoreCeilings();
  }
  [[nodiscard]] policy::Limits CurrentLimits() const {
    const std::lock_guard lock(limits_lock_);
    return limits_;
  }

  // The most that may be charged, all levels included, without the lock: the limit less what counts besides.
  [[nodiscard]] Bytes Limit() const { return {ceilings_.back().load(std::memory_order_relaxed)}; }
  [[nodiscard]] Bytes Ceiling(Criticality level, Bytes beyond = {}) const {
    const std::uint64_t ceiling = ceilings_[static_cast<std::size_t>(level)].load(std::memory_order_relaxed);
    return {ceiling + std::min(beyond.value, kUnlimited.value - ceiling)};
  }
  [[nodiscard]] Bytes Charged() const { return {charged_.load()}; }
  [[nodiscard]] Bytes Peak() const { return {peak_.load()}; }

 private:
  [[nodiscard]] static constexpr unsigned ShiftOf(Criticality level) { return 16 * static_cast<unsigned>(level); }
  void StoreCeilings() {
    const policy::Ceilings ceilings = policy::CeilingsOf(limits_);
    for (std::size_t i = 0; i < ceilings.size(); ++i) {
      const bool none = ceilings[i] == kUnlimited;
      ceilings_[i].store(none ? ceilings[i].value : (ceilings[i] - std::min(ceilings[i], outside_)).value);
    }
  }

  mutable std::mutex limits_lock_;  // for whoever sets or reports limits; no request takes it
  policy::Limits limits_;
  Bytes outside_;
  Waker* server_ = nullptr;
  // Apart from the limits, which every request reads and hardly anyone writes.
  alignas(64) std::atomic<std::uint64_t> charged_ = 0;
  std::atomic<std::uint64_t> peak_ = 0;
  alignas(64) std::array<std::atomic<std::uint64_t>, kCriticalityCount> ceilings_{};
  std::atomic<std::uint64_t> waiting_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_BUDGET_H
