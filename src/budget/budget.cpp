#include "budget/budget.h"

namespace clr_host_memory {

// Raises the peak. Separate from NotePeak, which most requests call and which then has nothing to do.
void Budget::RaisePeak() {
  // A pending charge is added to pending_ before it is charged. It is subtracted only when it is confirmed, or after
  // it is uncharged. So between two equal readings of pending_, the pending part of the charge is known.
  std::uint64_t pending = pending_.load();
  std::uint64_t now = charged_.load();
  for (std::uint64_t again = pending_.load(); again != pending; again = pending_.load()) {
    pending = again;
    now = charged_.load();
  }
  now -= std::min(now, PendingIn(pending));
  std::uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
  }
}

}  // namespace clr_host_memory
