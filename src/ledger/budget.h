// The charge: how much memory is held on the CLR's behalf, and how much more may be.
// Threads: any, lock-free; a thread may be suspended anywhere.
#ifndef CLRHM_LEDGER_BUDGET_H
#define CLRHM_LEDGER_BUDGET_H

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/units.h"
#include "policy/admission.h"

namespace clr_host_memory {

class Budget {
 public:
  explicit Budget(const policy::Limits& limits) { SetLimits(limits); }

  // Charges amount if the policy admits it at this level; otherwise changes nothing.
  [[nodiscard]] policy::Admission TryCharge(Bytes amount, Criticality level) {
    const policy::Request request{amount, level};
    std::uint64_t charged = charged_.load(std::memory_order_relaxed);
    const Bytes ceiling{ceilings_[static_cast<std::size_t>(level)].load(std::memory_order_relaxed)};
    do {
      const policy::Admission verdict = policy::Admit(request, {{charged}}, ceiling);
      if (verdict != policy::Admission::kAdmitted) return verdict;
    } while (!charged_.compare_exchange_weak(charged, charged + amount.value));
    return policy::Admission::kAdmitted;
  }
  // Charges what is committed already, whatever the limit says: the ledger follows the facts.
  void Charge(Bytes amount) { charged_.fetch_add(amount.value); }
  void Return(Bytes amount) { charged_.fetch_sub(amount.value); }

  void NotePeak() {
    const std::uint64_t now = charged_.load(std::memory_order_relaxed);
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
    }
  }

  // limits: valid by policy::Validate. Takes effect for the next request, each level by itself.
  void SetLimits(const policy::Limits& limits) {
    const std::lock_guard lock(limits_lock_);
    const policy::Ceilings ceilings = policy::CeilingsOf(limits);
    for (std::size_t i = 0; i < ceilings.size(); ++i) ceilings_[i].store(ceilings[i].value);
  }
  // The limits as the ceilings have them, all of one SetLimits.
  [[nodiscard]] policy::Limits CurrentLimits() const {
    const std::lock_guard lock(limits_lock_);
    const policy::Ceilings ceilings = LoadCeilings();
    return {.limit = ceilings[2], .app_domain_headroom = ceilings[1] - ceilings[0],
            .process_headroom = ceilings[2] - ceilings[1]};
  }

  // The limit alone, without the lock.
  [[nodiscard]] Bytes Limit() const { return {ceilings_.back().load(std::memory_order_relaxed)}; }

  [[nodiscard]] Bytes Charged() const { return {charged_.load()}; }
  [[nodiscard]] Bytes Peak() const { return {peak_.load()}; }

 private:
  [[nodiscard]] policy::Ceilings LoadCeilings() const {
    return {Bytes{ceilings_[0].load(std::memory_order_relaxed)}, Bytes{ceilings_[1].load(std::memory_order_relaxed)},
            Bytes{ceilings_[2].load(std::memory_order_relaxed)}};
  }

  mutable std::mutex limits_lock_;  // for whoever sets or reports limits; no request takes it
  // Apart from the limits, which every request reads and hardly anyone writes.
  alignas(64) std::atomic<std::uint64_t> charged_ = 0;
  std::atomic<std::uint64_t> peak_ = 0;
  alignas(64) std::array<std::atomic<std::uint64_t>, kCriticalityCount> ceilings_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_BUDGET_H
