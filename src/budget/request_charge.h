// Everything one request charges passes through here. So the helpers of a refused request (the reserve, the queue of
// waiters) know what it asked for, and can hand over what it needs. It lives on the request's stack.
#ifndef CLRHM_BUDGET_REQUEST_CHARGE_H
#define CLRHM_BUDGET_REQUEST_CHARGE_H

#include <algorithm>
#include <utility>

#include "budget/budget.h"

namespace clr_host_memory {

class RequestCharge {
 public:
  // asked: the amount that was tried already, and refused. A larger value does no harm.
  RequestCharge(Budget& budget, Criticality level, Bytes asked = {})
      : budget_(budget), level_(level), requested_(asked) {}
  ~RequestCharge() {
    if (credit_ != Bytes{}) budget_.CancelPending(credit_);
  }
  RequestCharge(const RequestCharge&) = delete;
  RequestCharge& operator=(const RequestCharge&) = delete;

  // Charges amount, from the credit first. False: refused, and nothing has changed.
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
  // Returns whether TryCharge would admit it now. Charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount) {
    requested_ = amount;
    return skips_queue_ || budget_.WouldAdmit(amount - std::min(credit_, amount), level_);
  }
  // Cancel: the OS has refused the charged memory. Confirm: the OS has granted it.
  void Cancel(Bytes amount) { budget_.CancelPending(amount); }
  void Confirm(Bytes amount) { budget_.Confirm(amount); }
  // Drop: the OS has refused the memory, which was uncharged already.
  void Drop(Bytes amount) { budget_.DropPending(amount); }

  [[nodiscard]] Criticality level() const { return level_; }
  // Returns what the last TryCharge asked for.
  [[nodiscard]] Bytes requested() const { return requested_; }
  // Returns the bytes already charged for the next TryCharge to use. The destructor cancels the rest.
  [[nodiscard]] Bytes credit() const { return credit_; }
  // Makes the next TryCharge ignore the queue. For use when that much more memory has become available.
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
