#include "com/gc_follower.h"

#include <algorithm>

#include "policy/gc_limit.h"

namespace clr_host_memory {
namespace {

// The rest of the charge is looked at this often. A look visits the known regions, and takes some microseconds.
constexpr Milliseconds kLook{100};
constexpr Milliseconds kBetweenOrders{100};
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
    if (Look(reading, order)) return true;
    const Milliseconds passed = threads_.Now() - began;
    if (passed >= at_most) return false;
    const Milliseconds sleep = std::min(kLook, at_most - passed);
    if (event == nullptr) {
      threads_.Sleep(sleep);
    } else {
      threads_.WaitFor(event, sleep);
    }
  }
  return std::nullopt;
}

// Returns whether there is an order.
bool GcFollower::Look(const ClrHostMemoryGcReading& reading, ClrHostMemoryGcOrder* order) {
  const LimitUse use = engine_.Use();
  const Bytes of_gc = engine_.GcCharged();
  const Bytes could_have = GcLimitNow(use, of_gc);
  const Bytes to_tell = reading.follows != 0 ? GcLimitToTell({reading.gc_limit}, could_have, use.limit) : Bytes{};
  // A GC whose companion follows collects by itself when its limit falls below what it has.
  const bool collect = reading.follows == 0 && OverLimit(use) != Bytes{};
  if (to_tell == Bytes{} && !collect) return false;

  const Milliseconds now = threads_.Now();
  const std::lock_guard lock(lock_);
  const Milliseconds between = collect ? kBetweenCollections : kBetweenOrders;
  if (ordered_ && now - ordered_at_ < between) return false;
  ordered_ = true;
  ordered_at_ = now;
  order->collect = collect ? 1 : 0;
  order->gc_limit = to_tell == Bytes{} ? reading.gc_limit : to_tell.value;
  return true;
}

}  // namespace clr_host_memory
