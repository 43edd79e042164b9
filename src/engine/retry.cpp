// Help for a request that was refused for lack of memory: reconciliation, the reserves, and waiting.
#include <algorithm>
#include <utility>

#include "base/error_family.h"
#include "engine/engine.h"

namespace clr_host_memory {

bool Engine::PrepareRetry(Outcome* refused, RequestCharge& request_charge, RetryState* retry) {
  const bool by_os = refused->verdict == Verdict::kNoMetadata ||  // the OS had no memory for the manager's tables
                     (refused->verdict == Verdict::kOsRefused && FamilyOf(refused->error) == ErrorFamily::kMemory);
  const bool held = refused->verdict == Verdict::kExclusiveElsewhere;
  if (!by_os && !held && refused->verdict != Verdict::kOverLimit) return false;
  // Exceeds every address space: nothing helps, and sums would wrap.
  constexpr Bytes kAnySpace{std::uint64_t{1} << PageMap::kAddressBits};
  const bool possible = retry->possible && request_charge.requested() < kAnySpace;
  if (refused->verdict == Verdict::kOverLimit && possible && RetryAfterFreedElsewhere(request_charge.level(), retry))
    return true;
  if (possible && !held && RetryWithHeadroom(by_os, request_charge, retry)) return true;
  const bool again = possible && RetryAfterWaiting(refused, by_os, request_charge, retry);
  if (again) return true;
  if (refused->verdict == Verdict::kOverLimit && request_charge.level() == Criticality::kProcess) {
    ledger_.budget().OpenLastResort();
  }
  Alarm();
  return false;
}

// The charge may include memory that was freed without the manager. A process-critical request always looks for such
// memory, because its refusal costs the most.
bool Engine::RetryAfterFreedElsewhere(Criticality level, RetryState* retry) {
  constexpr Milliseconds kBetweenLooks{100};
  if (std::exchange(retry->looked_for_freed, true)) return false;
  return level == Criticality::kProcess ? UnchargeFreedElsewhere() : UnchargeFreedElsewhere(kBetweenLooks);
}

bool Engine::UnchargeFreedElsewhere(Milliseconds at_most_every) {
  const Milliseconds::rep now = threads_.Now().count();
  Milliseconds::rep before = looked_for_freed_at_.load(std::memory_order_relaxed);
  if (now - before < at_most_every.count()) return false;
  return looked_for_freed_at_.compare_exchange_strong(before, now) && UnchargeFreedElsewhere();
}

bool Engine::RetryWithHeadroom(bool by_os, RequestCharge& request_charge, RetryState* retry) {
  const AllocationInProgress visit(*this);  // an exclusive section also forbids the use of the reserves
  if (!CheckGate().ok()) return false;
  const bool may_use_headroom = request_charge.level() == Criticality::kProcess && headroom_pool_.Size() != Bytes{};
  bool given = false;
  if (by_os) {
    // The OS does not tell whether it lacks address space or memory. A request without pages, such as a heap's, may
    // lack a little memory for its tables, and receives that once.
    const bool some =
        request_charge.requested() != Bytes{} || (retry->room == 0 && !std::exchange(retry->helped_a_little, true));
    const Bytes wanted = std::max(request_charge.requested(), Bytes{kGranuleSize});
    given = (retry->room != 0 && address_space_.GiveUp({retry->room})) ||
            (some && may_use_headroom && headroom_pool_.GiveUp(wanted));
  } else if (may_use_headroom) {
    const Bytes lacks = request_charge.requested() - std::min(request_charge.requested(), request_charge.credit());
    if (!ledger_.budget().AnyWaitingFrom(Criticality::kProcess)) {
      given = CoverFromHeadroom(lacks);
    } else {
      // A request that gives up all it needs from the pool takes nothing from the queue.
      given = headroom_pool_.GiveUp(lacks);
      if (given) request_charge.SkipQueue();
    }
  }
  if (given) Alarm();
  return given;
}

// Gives up as much of the pool as a process-critical request lacks.
bool Engine::CoverFromHeadroom(Bytes asked) {
  const Budget& budget = ledger_.budget();
  Bytes lacking;
  for (Bytes before = kUnlimited;; before = lacking) {
    const Bytes allowed = budget.WholeCeiling(Criticality::kProcess);
    const Bytes needed = budget.Charged() + asked;
    if (needed <= allowed) return true;
    lacking = needed - allowed;
    // Other threads charge and give up meanwhile, so figures of two moments may demand more than exists.
    if (lacking == before) return false;
    if (headroom_pool_.GiveUp(lacking)) return true;
  }
}

bool Engine::RetryAfterWaiting(Outcome* refused, bool by_os, RequestCharge& request_charge, RetryState* retry) {
  const Criticality level = request_charge.level();
  const Milliseconds bound{BoundOf(level).load(std::memory_order_relaxed)};
  if (bound <= Milliseconds::zero()) return false;
  // This thread owns the exclusive section, so no wait can end before it leaves.
  if ((gate_.load() & kHeld) != 0 && owner_.load() == threads_.CurrentThread()) return false;
  const bool held = refused->verdict == Verdict::kExclusiveElsewhere;
  const Bytes asked =
      held ? Bytes{} : request_charge.requested() - std::min(request_charge.requested(), request_charge.credit());
  // Waiting yields memory, but no address space, and never more than the limit with nothing in use.
  const Bytes all = ledger_.budget().Ceiling(level);
  const Bytes beyond = level == Criticality::kProcess ? headroom_pool_.Size() : Bytes{};
  if (!held && (asked == Bytes{} || (asked > all && asked - all > beyond))) return false;
  const Milliseconds now = threads_.Now();
  if (!retry->waited) {
    retry->waited = true;
    retry->ticket = waits_.TakeTicket();
    retry->deadline = now + bound;
  }
  const WaitResult result = waits_.Wait({.bytes = asked,
                                         .level = level,
                                         .deadline = retry->deadline - now,
                                         .ticket = retry->ticket,
                                         .refused_by_os = by_os});
  switch (result) {
    case WaitResult::kGranted: request_charge.AddCredit(asked); return true;
    case WaitResult::kTimedOut: *refused = Outcome::TimedOut(); return false;
    case WaitResult::kAbandoned: *refused = Outcome::Abandoned(); return false;
    case WaitResult::kNoRoom: break;
  }
  return false;
}

Outcome Engine::MakeRoom(Address base, std::uint64_t size) {
  const AllocationInProgress visit(*this);
  if (const Outcome closed = CheckGate(); !closed.ok()) return closed;
  // A given address can become free only inside the reserve.
  const auto wanted = PageRange::Covering(base, std::max<std::uint64_t>(size, 1));
  const bool helps = base == 0 || (wanted && address_space_.Range().Contains(*wanted));
  if (!helps || !address_space_.GiveUp({size})) return Outcome::OsRefused(win32::kNotEnoughMemory);
  Alarm();
  return Outcome::Done();
}

}  // namespace clr_host_memory
