#include "com/statistics.h"

#include <algorithm>
#include <cstring>

namespace clr_host_memory {
namespace {

void FillCharge(const EngineFigures& figures, ClrHostMemoryStatistics* ours) {
  ours->limit = figures.limits.limit.value;
  ours->app_domain_headroom = figures.limits.app_domain_headroom.value;
  ours->process_headroom = figures.limits.process_headroom.value;
  ours->heap_bytes = figures.heap_bytes.value;
  ours->charged = figures.use.charged.value;
  ours->peak_charged = figures.peak_charged.value;
  ours->page_bytes = ours->charged - std::min(ours->charged, ours->heap_bytes);
  ours->over_limit = OverLimit(figures.use).value;
  ours->committed_headroom = figures.limits.committed_headroom.value;
  ours->bound = figures.bound.value;
  ours->over_bound = figures.most_over_bound.value;
}

void FillLedger(const LedgerFigures& figures, ClrHostMemoryStatistics* ours) {
  ours->reserved = figures.reserved.value;
  ours->peak_reserved = figures.peak_reserved.value;
  ours->mapped = figures.mapped.value;
  ours->metadata = figures.metadata.value;
  ours->regions = figures.regions;
  ours->stale_regions = figures.stale;
}

void FillState(const Engine& engine, ClrHostMemoryStatistics* ours) {
  const Latched latched = engine.latched();
  ours->state = static_cast<uint32_t>(engine.stage());
  ours->latch_cause = static_cast<uint32_t>(latched.cause);
  ours->latch_method = latched.method;
  ours->latch_error = latched.error;
  ours->sealed_regions = engine.seals().Count();
}

void FillWaits(const Engine& engine, ClrHostMemoryStatistics* ours) {
  ours->waiting = engine.Waiting();
  for (std::size_t level = 0; level < kCriticalityCount; ++level) {
    const WaitCounts counts = engine.waits().Counts(static_cast<Criticality>(level));
    ours->waits[level] = counts.waits;
    ours->waits_granted[level] = counts.granted;
    ours->waits_timed_out[level] = counts.timed_out;
    ours->waits_abandoned[level] = counts.abandoned;
  }
}

void FillReserves(const HeadroomPool& headroom, const AddressSpaceReserve& space, ClrHostMemoryStatistics* ours) {
  ours->headroom_held = headroom.Held().value;
  ours->headroom_given = headroom.GivenSoFar().value;
  ours->headroom_uses = headroom.Uses();
  ours->headroom_taken_back = headroom.TakenBackSoFar().value;
  ours->address_space_reserve = space.Size().value;
  ours->address_space_held = space.Held().value;
  ours->address_space_uses = space.Uses();
}

ClrHostMemoryStatistics ReadOnce(const Engine& engine, const CallCounters& counters, const Notifier& notifier) {
  ClrHostMemoryStatistics ours{};
  ours.version = 5;
  const EngineFigures figures = engine.Figures();
  FillCharge(figures, &ours);
  FillLedger(figures.ledger, &ours);
  counters.CopyTo(&ours);
  FillState(engine, &ours);
  FillWaits(engine, &ours);
  FillReserves(engine.headroom_pool(), engine.address_space(), &ours);
  notifier.CopyTo(&ours);
  return ours;
}

}  // namespace

ClrHostMemoryStatistics ReadStatistics(Engine& engine, const CallCounters& counters,
                                       const Notifier& notifier) noexcept {
  // Every call is counted. So two successive readings that agree in every counter show one moment.
  constexpr int kAttempts = 20;
  engine.UnchargeFreedElsewhere();
  ClrHostMemoryStatistics ours = ReadOnce(engine, counters, notifier);
  Bytes gc_charged;
  for (int attempt = 0; attempt < kAttempts && ours.consistent == 0; ++attempt) {
    // This walk visits every region. If the readings around it agree, it is of their moment.
    gc_charged = engine.GcCharged();
    const ClrHostMemoryStatistics again = ReadOnce(engine, counters, notifier);
    const bool agree = std::memcmp(&ours, &again, sizeof(ours)) == 0;
    ours = again;
    ours.consistent = agree ? 1 : 0;
  }
  ours.gc_charged = gc_charged.value;
  return ours;
}

}  // namespace clr_host_memory
