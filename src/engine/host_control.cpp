// The host's side of the engine: reserves, exclusive sections, sealed regions, shutdown and latch.
#include <algorithm>

#include "base/gc_reservation.h"
#include "engine/engine.h"

namespace clr_host_memory {

win32::Error Engine::OpenReserves(Bytes committed_headroom, Bytes address_space) {
  if (committed_headroom != Bytes{} || address_space != Bytes{}) host_owns_.store(true);
  Limits limits = ledger_.budget().CurrentLimits();
  limits.committed_headroom = HeadroomPool::SizeFor(committed_headroom);
  ledger_.budget().SetLimits(limits);
  if (const win32::Error error = headroom_pool_.Open(committed_headroom); error != win32::kSuccess) {
    limits.committed_headroom = {};
    ledger_.budget().SetLimits(limits);
    return error;
  }
  return address_space_.Open(address_space);
}

void Engine::SetLimits(Limits limits, bool with_grace) {
  const std::lock_guard lock(pool_lock_);
  const Bytes size = headroom_pool_.Size();
  const Bytes most = limits.limit == kUnlimited ? size : std::min(size, limits.process_headroom);
  // The pool shrinks before the limits do, so that what is held fits both. If the OS does not take a part back, it
  // stays, and counts.
  (void)headroom_pool_.ShrinkTo(most);
  limits.committed_headroom = std::max(most, headroom_pool_.Held());
  const Bytes left = limits.process_headroom - std::min(limits.process_headroom, limits.committed_headroom);
  limits.last_resort = std::min(limits.last_resort, left);
  ledger_.budget().SetLimits(limits, with_grace);
}

EngineFigures Engine::Figures() const {
  const Budget& budget = ledger_.budget();
  return {.limits = budget.CurrentLimits(),
          .use = budget.Use(),
          .peak_charged = budget.Peak(),
          .bound = budget.Bound(),
          .most_over_bound = budget.MostOverBound(),
          .heap_bytes = ledger_.HeapBytes(),
          .ledger = ledger_.Figures()};
}

Bytes Engine::GcCharged() const {
  Pages pages;
  ForEachRegion([&](const Region& region) {
    const bool is_reserved = region.kind == Region::Kind::kReserved;
    if (is_reserved && IsReservedByGc(region.reserved_as) && !IsOwned(region)) pages += ChargedIn(region.Range());
  });
  earlier_.ForEach([&](PageRange range) { pages += ChargedIn(range); });
  return pages.InBytes();
}

LedgerAudit Engine::Audit() {
  (void)UnchargeFreedElsewhere();
  return ledger_.Audit();
}

bool Engine::TakeBackReserves() {
  const std::lock_guard lock(pool_lock_);
  const bool whole = headroom_pool_.TakeBack();
  return address_space_.TakeBack() && whole;
}

Outcome Engine::EnterExclusive(Milliseconds bound) {
  const std::uint64_t self = threads_.CurrentThread();
  if (owner_.load() == self) {
    ++depth_;
    return Outcome::Done();
  }
  constexpr Milliseconds kPoll{1};
  const Milliseconds deadline = threads_.Now() + bound;
  for (std::uint64_t nobody = 0; Serving() && !owner_.compare_exchange_strong(nobody, self); nobody = 0) {
    if (bound <= Milliseconds::zero()) return Outcome::ExclusiveElsewhere();
    if (threads_.Now() >= deadline) return Outcome::TimedOut();
    threads_.Sleep(kPoll);
  }
  if (owner_.load() != self) return Outcome::Unavailable();
  depth_ = 1;
  waits_.Hold(true);
  gate_.fetch_or(kHeld);
  while (AnyAllocationInProgress()) {
    if (threads_.Now() >= deadline) {
      (void)LeaveExclusive();
      return Outcome::TimedOut();
    }
    threads_.Sleep(kPoll);
  }
  return Outcome::Done();
}

Outcome Engine::LeaveExclusive() {
  if (owner_.load() != threads_.CurrentThread()) return Outcome::NotOwner();
  if (--depth_ != 0) return Outcome::Done();
  gate_.fetch_and(~std::uint32_t{kHeld});
  waits_.Hold(false);
  owner_.store(0);
  return Outcome::Done();
}

SealedRegions::Result Engine::Seal(PageRange range) {
  const std::lock_guard lock(seals_lock_);
  const SealedRegions::Result result = seals_.Seal(range);
  UpdateSealGate();
  return result;
}

bool Engine::Unseal(Address address) {
  const std::lock_guard lock(seals_lock_);
  const bool unsealed = seals_.Unseal(address >> kPageShift);
  UpdateSealGate();
  if (unsealed) unseals_.fetch_add(1);
  return unsealed;
}

void Engine::UpdateSealGate() {
  const bool any = seals_.Count() != 0;
  host_owns_.store(any || headroom_pool_.Size() != Bytes{} || address_space_.Size() != Bytes{});
  if (any) {
    gate_.fetch_or(kSealed);
  } else {
    gate_.fetch_and(~std::uint32_t{kSealed});
  }
}

void Engine::Shutdown() {
  Stage running = Stage::kRunning;
  stage_.compare_exchange_strong(running, Stage::kDraining);
  gate_.fetch_or(kDown);
  waits_.Abandon(true);
}

void Engine::NoteStopped() {
  stage_.store(Stage::kStopped);
  headroom_pool_.Close();
  address_space_.Close();
}

void Engine::Latch(const Latched& cause) {
  std::uint64_t none = 0;
  const std::uint64_t packed =
      std::uint64_t{cause.error} << 16 | std::uint64_t{cause.method} << 8 | static_cast<std::uint64_t>(cause.cause);
  latched_.compare_exchange_strong(none, packed);
  gate_.fetch_or(kDown);
  waits_.Abandon(true);
  Alarm();
}

Latched Engine::latched() const {
  const std::uint64_t packed = latched_.load();
  return {static_cast<LatchCause>(packed & 0xFF), static_cast<std::uint8_t>(packed >> 8 & 0xFF),
          static_cast<win32::Error>(packed >> 16)};
}

}  // namespace clr_host_memory
