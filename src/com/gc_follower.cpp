#include "com/gc_follower.h"

#include <algorithm>

#include "policy/gc_limit.h"

namespace clr_host_memory {
namespace {

// The rest of the charge is looked at this often. A look visits the known regions, and takes some microseconds.
constexpr Milliseconds kLook{100};
constexpr Milliseconds kBetweenOrders{100};
// While the headroom is in use, the time between looks and orders is only so long.
constexpr Milliseconds kUrgent{10};
// A collection that returns nothing is not ordered again at once.
constexpr Milliseconds kBetweenCollections{2000};

}  // namespace

GcFollower::~GcFollower() {
  if (const EventHandle event = event_.load(); event != nullptr) threads_.CloseEvent(event);
}

EventHandle GcFollower::Event() {
  EventHandle event = event_.load();
  if (event != nullptr) return event;
  EventHandle made = threads_.MakeEvent();
  if (made == nullptr || event_.compare_exchange_strong(event, made)) return made;
  threads_.CloseEvent(made);
  return event;
}

void GcFollower::Wake() noexcept {
  if (const EventHandle event = event_.load(); event != nullptr) threads_.Signal(event);
}

std::optional<GcReading> GcFollower::LastReading() const {
  const std::lock_guard lock(lock_);
  return reading_;
}

std::optional<bool> GcFollower::Follow(const ClrHostMemoryGcReading& reading, Milliseconds at_most,
                                       ClrHostMemoryGcOrder* order) {
  const Milliseconds began = threads_.Now();
  gc_limit_.store(reading.gc_limit, std::memory_order_relaxed);
  {
    const std::lock_guard lock(lock_);
    reading_ = {.at = began,
                .paused = Milliseconds{reading.pause_ms},
                .collections = reading.collections,
                .allocated = {reading.allocated},
                .heap = {reading.heap}};
  }
  const EventHandle event = Event();
  while (engine_.Serving()) {
    const Milliseconds looked = threads_.Now();
    if (Look(reading, at_most == Milliseconds::zero(), order)) return true;
    const Milliseconds passed = threads_.Now() - began;
    if (passed >= at_most) return false;
    const Milliseconds sleep = std::min(kLook, at_most - passed);
    if (event == nullptr) {
      threads_.Sleep(sleep);
    } else {
      (void)threads_.WaitFor(event, sleep);
      const Milliseconds since = threads_.Now() - looked;
      if (since < kUrgent) threads_.Sleep(kUrgent - since);  // signals may come with every request
    }
  }
  return std::nullopt;
}

// Returns whether there is an order. at_once: regardless of the time since the last order.
bool GcFollower::Look(const ClrHostMemoryGcReading& reading, bool at_once, ClrHostMemoryGcOrder* order) {
  engine_.budget().TakeHeadroomUse();
  const bool in_grace = engine_.budget().IsInGrace();  // read before the limit that it is for
  const LimitUse use = engine_.Use();
  const Bytes of_gc = engine_.GcCharged();
  // A GC counts what it had committed before it was put under the manager, too.
  const Bytes earlier = engine_.earlier_reservations().Committed();
  order->gc_charged = (of_gc + earlier).value;
  const Bytes left = GcLimitNow(use, of_gc);
  const Bytes could_have = left == kUnlimited ? left : left + earlier;
  const Bytes others = InUse(use) - std::min(InUse(use), of_gc);
  const std::lock_guard lock(lock_);
  // The rest of the charge may grow as much again before the next look.
  const Bytes growth = others - std::min(others, others_);
  const Bytes to_tell = reading.follows != 0
                            ? GcLimitToTell({{reading.gc_limit}, could_have, of_gc + earlier, growth}, use.limit)
                            : Bytes{};
  // A GC whose companion follows collects by itself when its limit falls below what it has.
  const bool collect = reading.follows == 0 && OverLimit(use) != Bytes{};
  if ((to_tell == Bytes{} && !collect) || at_once) others_ = others;
  const bool keeps_to_it = !collect && (reading.follows == 0 || Bytes{reading.gc_limit} <= could_have);
  if (in_grace && keeps_to_it) engine_.budget().EndGrace();
  if (to_tell == Bytes{} && !collect) return false;

  const Milliseconds now = threads_.Now();
  const bool urgent = InUse(use) + use.headroom > use.limit && to_tell < Bytes{reading.gc_limit};
  const Milliseconds between = collect ? kBetweenCollections : urgent ? kUrgent : kBetweenOrders;
  if (ordered_ && now - ordered_at_ < between && !at_once) return false;
  ordered_ = true;
  ordered_at_ = now;
  order->collect = collect ? 1 : 0;
  order->gc_limit = to_tell == Bytes{} ? reading.gc_limit : to_tell.value;
  return true;
}

}  // namespace clr_host_memory
