#include "notify/monitor.h"

#include <algorithm>
#include <utility>

namespace clr_host_memory {
namespace {

// Charge and limit are read at least this often, since that needs no system call, even if the OS is asked less often.
constexpr Milliseconds kLook{100};
// The longest time that a lowered limit waits for the GC.
constexpr Milliseconds kGrace{2000};

}  // namespace

Monitor::Monitor(Budget& budget, LoadSampler& sampler, Reserves& reserves, Listener& listener, const Settings& settings,
                 Milliseconds now)
    : budget_(budget), sampler_(sampler), reserves_(reserves), listener_(listener), orders_{settings},
      pressure_(settings.thresholds, now), thrash_(settings.thrash, now) {}

template <typename Change>
void Monitor::Order(Change change) {
  {
    const std::lock_guard lock(orders_lock_);
    change(orders_);
  }
  if (waker_ != nullptr) waker_->Wake();
}

void Monitor::SetThresholds(const PressureThresholds& thresholds) {
  Order([&](Orders& orders) { orders.settings.thresholds = thresholds; });
}

void Monitor::SetSampling(Milliseconds interval) {
  Order([&](Orders&) { sampler_.SetInterval(interval); });
}

void Monitor::SetCountWholeProcess(bool count_whole_process) {
  Order([&](Orders& orders) { orders.settings.count_whole_process = count_whole_process; });
}

void Monitor::SetThrash(const ThrashSettings& settings) {
  Order([&](Orders& orders) { orders.settings.thrash = settings; });
}

void Monitor::Repeat() {
  Order([](Orders& orders) { orders.repeat = true; });
}

Monitor::Orders Monitor::TakeOrders() {
  const std::lock_guard lock(orders_lock_);
  const Orders orders = orders_;
  orders_.repeat = false;
  return orders;
}

// Returns whether the sampling interval had passed. If the OS fails to answer, the last reading stays valid.
bool Monitor::Sample(Milliseconds now) {
  if (sampled_at_ && now - *sampled_at_ < sampler_.interval()) return false;
  sampled_at_ = now;
  const Bytes charged_before = budget_.Charged();
  if (sampler_.Refresh(&load_) != win32::kSuccess) return true;
  os_tells_high_ = os_tells_high_ || load_.high_signalled;
  // Charge may change between the reads. The greater charge counts, so that memory charged or uncharged meanwhile is
  // never mistaken for uncharged memory of the process.
  const Bytes known = std::max(charged_before, budget_.Charged()) + reserves_.Held();
  uncharged_.store((load_.process_private - std::min(known, load_.process_private)).value);
  return true;
}

LimitUse Monitor::LookAtLimit(bool count_whole_process, Milliseconds now) {
  const Bytes counted = count_whole_process ? Uncharged() : Bytes{};
  if (counted != counted_uncharged_) {
    counted_uncharged_ = counted;
    budget_.SetUncharged(counted);
  }
  if (!budget_.IsInGrace()) {
    grace_began_.reset();
  } else if (!grace_began_) {
    grace_began_ = now;
  } else if (now - *grace_began_ >= kGrace) {
    budget_.EndGrace();
    grace_began_.reset();
  }
  if (budget_.IsBoundRaised()) budget_.SettleBound();
  budget_.CloseLastResort();
  return budget_.Use();
}

PressureReading Monitor::Read(const PressureSources& sources, bool exhausted) const {
  return {.sources = sources,
          .os_says_low = load_.low_signalled || exhausted,
          .os_denies_high = os_tells_high_ && !load_.high_signalled};
}

void Monitor::Say(Availability availability) {
  if (finished_.load()) return;
  told_.store(availability);
  listener_.OnPressure(availability, available_percent_);
}

void Monitor::SayWhetherItFits(Bytes over) {
  const Bytes before{over_limit_.exchange(over.value)};
  if (finished_.load() || (before == Bytes{}) == (over == Bytes{})) return;
  listener_.OnOverLimit(over);
}

void Monitor::LookForThrashing(const ThrashSettings& settings, const LimitUse& use, Milliseconds now) {
  if (activity_ == nullptr) return;
  const ThrashReading reading{
      .counts = activity_->CountsNow(), .charged = use.charged, .ceiling = budget_.Ceiling(Criticality::kTask)};
  auto report = thrash_.Observe(reading, now);
  const std::optional<GcReading> gc = activity_->LastGcReading();
  if (const auto of_gc = gc ? gc_thrash_.Observe(*gc, settings.window) : std::nullopt; !report) report = of_gc;
  if (report && !finished_.load()) listener_.OnThrash(*report);
}

Milliseconds Monitor::Run(Milliseconds now) {
  if (finished_.load()) return kForever;
  const Orders orders = TakeOrders();
  pressure_.SetThresholds(orders.settings.thresholds);
  thrash_.SetSettings(orders.settings.thrash);
  const bool sampled = Sample(now);
  const LimitUse use = LookAtLimit(orders.settings.count_whole_process, now);
  const Bytes given_before = std::exchange(reserves_given_, reserves_.GivenSoFar());
  const Bytes given = reserves_given_ - given_before;

  // Waiting requests and the use of a reserve both mean that no memory was left, even if the last reading shows some.
  const bool exhausted = given != Bytes{} || budget_.Waiting() != 0;
  const PressureSources sources = SourcesOf(load_, use);
  const PressureReading reading = Read(sources, exhausted);
  auto message = pressure_.Observe(reading, now);
  available_percent_ = AvailablePercent(reading);
  if (!message && orders.repeat) message = pressure_.Repeat(now);

  if (given != Bytes{}) {
    reserves_whole_ = false;
    listener_.OnReserveUsed(given);
  }
  SayWhetherItFits(clr_host_memory::OverLimit(use));
  if (message) Say(*message);
  LookForThrashing(orders.settings.thrash, use, now);
  // Usage above the limit counts as Low, too.
  const bool pressed = pressure_.state() == Availability::kLow;
  if (!reserves_whole_ && sampled && !pressed && !finished_.load() && reserves_.TakeBack()) {
    reserves_whole_ = true;
    listener_.OnReserveRestored();
  }
  if (!finished_.load()) listener_.OnRound(now);
  return std::min(std::max(*sampled_at_ + sampler_.interval() - now, Milliseconds{1}), kLook);
}

void Monitor::Finish(Milliseconds now) {
  if (finished_.exchange(true)) return;
  (void)pressure_.Finish(now);
  if (told_.load() != Availability::kLow) return;
  told_.store(Availability::kNeutral);
  listener_.OnPressure(Availability::kNeutral, available_percent_);
}

}  // namespace clr_host_memory
