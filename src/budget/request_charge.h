// What one request charges goes through here, so that those who help a refused request (the reserve, the line of
// waiters) know what it wanted and can hand it what it needs. Lives on the request's stack.
#ifndef CLRHM_BUDGET_REQUEST_CHARGE_H
#define CLRHM_BUDGET_REQUEST_CHARGE_H

#include <algorithm>
#include <utility>

#include "budget/budget.h"

namespace clr_host_memory {

// Of a request that nobody has helped, as nearly all.
struct Purse {
  Budget& budget;
  const Criticality level;

  // False: refused, and nothing has changed.
  [[nodiscard]] bool TryCharge(Bytes amount) { return budget.TryCharge(amount, level) == Admission::kAdmitted; }
  // The OS has refused the memory, or granted it.
  void Withdraw(Bytes amount) { budget.Withdraw(amount); }
  void Confirm(Bytes /*amount*/) {}
};

class Payer {
 public:
  // asked: what was tried already, and refused; more than that does no harm.
  Payer(Budget& budget, Criticality level, Bytes asked = {}) : budget_(budget), level_(level), asked_(asked) {}
  ~Payer() {
    if (credit_ != Bytes{}) budget_.WithdrawPending(credit_);
  }
  Payer(const Payer&) = delete;
  Payer& operator=(const Payer&) = delete;

  // Charges amount, from what was handed over first. False: refused, and nothing has changed.
  [[nodiscard]] bool TryCharge(Bytes amount) {
    asked_ = amount;
    if (credit_ != Bytes{}) [[unlikely]] {
      const Bytes paid = std::min(credit_, amount);
      if (budget_.TryChargeForWaiter(amount - paid, level_) != Admission::kAdmitted) return false;
      credit_ = credit_ - paid;
      return true;
    }
    const Admission verdict = std::exchange(passes_line_, false) ? budget_.TryChargeForWaiter(amount, level_)
                                                                         : budget_.TryChargeWithReserve(amount, level_);
    return verdict == Admission::kAdmitted;
  }
  // Whether TryCharge would admit it now. Charges nothing.
  [[nodiscard]] bool WouldAdmit(Bytes amount) {
    asked_ = amount;
    return passes_line_ || budget_.WouldAdmit(amount - std::min(credit_, amount), level_);
  }
  // The OS has refused the memory that was charged for, or granted it.
  void Withdraw(Bytes amount) { budget_.WithdrawPending(amount); }
  void Confirm(Bytes amount) { budget_.Confirm(amount); }
  // The OS has refused it, and the charge was returned already.
  void Forget(Bytes amount) { budget_.ForgetPending(amount); }

  [[nodiscard]] Criticality level() const { return level_; }
  // What the last TryCharge asked for.
  [[nodiscard]] Bytes asked() const { return asked_; }
  // What is charged already for the next TryCharge to use; the rest is returned at the end.
  [[nodiscard]] Bytes credit() const { return credit_; }
  // The next TryCharge is made as if nobody waited: there is so much more now.
  void PassLine() { passes_line_ = true; }
  void HandOver(Bytes charged) { credit_ = credit_ + charged; }

 private:
  Budget& budget_;
  const Criticality level_;
  Bytes asked_;
  Bytes credit_;
  bool passes_line_ = false;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_REQUEST_CHARGE_H
