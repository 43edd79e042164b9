#include "budget/budget.h"

namespace clr_host_memory {

// Raises the peak. Separate from NotePeak, which most requests call and which then has nothing to do.
void Budget::RaisePeak() {
  // A pending charge is added to pending_ before it is charged. It is subtracted only when it is confirmed, or after
  // it is uncharged. So between two equal readings of pending_, the pending part of the charge is known.
  const std::uint64_t changes = changes_ended_.load();
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
  NoteTotal({now}, changes);
}

// Notes by how much the bound was exceeded. changes: the ended ones, read before the charge. If others have begun by
// now, the figures do not belong together.
void Budget::NoteTotal(Bytes charged, std::uint64_t changes) {
  const Bytes total = charged + Held();
  const Bytes bound = Bound();
  if (total <= bound || changes_begun_.load() != changes) return;
  const std::uint64_t over = (total - bound).value;
  std::uint64_t most = over_bound_.load();
  while (over > most && !over_bound_.compare_exchange_weak(most, over)) {
  }
}

}  // namespace clr_host_memory
