// What one request charges goes through here, so that those who help a refused request (the reserve, the line of
// waiters) know what it wanted and can hand it what it needs. Lives on the request's stack.
#ifndef CLRHM_BUDGET_REQUEST_CHARGE_H
#define CLRHM_BUDGET_REQUEST_CHARGE_H

#include <algorithm>
#include <utility>

#include "budget/budget.h"

namespace clr_host_memory {

// Of a request that nobody has helped, as nearly all.
struct FirstCharge {
  Budget& budget;
  const Criticality level;

  // False: refused, and nothing has changed.
  [[nodiscard]] bool TryCharge(Bytes amount) { return budget.TryCharge(amount, level) == Admission::kAdmitted; }
  // The OS has refused the memory, or granted it.
  void Cancel(Bytes amount) { budget.CancelCharge(amount); }
  void Confirm(Bytes /*amount*/) {}
};

class RequestCharge {
 public:
  // asked: what was tried already, and refused; more than that does no harm.
  RequestCharge(Budget& budget, Criticality level, Bytes asked = {})
      : budget_(budget), level_(level), requested_(asked) {}
  ~RequestCharge() {
    if (credit_ != Bytes{}) budget_.CancelPending(credit_);
  }
  RequestCharge(const RequestCharge&) = delete;
  RequestCharge& operator=(const RequestCharge&) = delete;

  // Charges amount, from what was handed over first. False: refused, and nothing has changed.
  [[nodiscard]] bool TryCharge(Bytes amount) {
    requested_ = amount;
    if (credit_ != Bytes{}) [[unlikely]] {
      const Bytes paid = std::min(credit_, amount);
      if (budget_.TryChargeAheadOfQueue(amount - paid, level_) != Admission::kAdmitted) return false;
      credit_ = credit_ - paid;
      return true;
    }
    const Admission verdict = std::exchange(skips_queue_, false) ? budget_.TryChargeAheadOfQueue(amount, level_)
                                                                 : budget_.TryChargeWithReserve(amount, level_);
    return verdict == Admission::kAdmitted;
  }
  // Whether TryCharge would admit it now. Charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount) {
    requested_ = amount;
    return skips_queue_ || budget_.WouldAdmit(amount - std::min(credit_, amount), level_);
  }
  // The OS has refused the memory that was charged for, or granted it.
  void Cancel(Bytes amount) { budget_.CancelPending(amount); }
  void Confirm(Bytes amount) { budget_.Confirm(amount); }
  // The OS has refused it, and the charge was returned already.
  void Drop(Bytes amount) { budget_.DropPending(amount); }

  [[nodiscard]] Criticality level() const { return level_; }
  // What the last TryCharge asked for.
  [[nodiscard]] Bytes requested() const { return requested_; }
  // What is charged already for the next TryCharge to use; the rest is returned at the end.
  [[nodiscard]] Bytes credit() const { return credit_; }
  // The next TryCharge is made as if nobody waited: there is so much more now.
  void SkipQueue() { skips_queue_ = true; }
  void AddCredit(Bytes charged) { credit_ = credit_ + charged; }

 private:
  Budget& budget_;
  const Criticality level_;
  Bytes requested_;
  Bytes credit_;
  bool skips_queue_ = false;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_REQUEST_CHARGE_H
