#include "com/notifier.h"

namespace clr_host_memory {

static_assert(static_cast<int>(Availability::kLow) == eMemoryAvailableLow &&
              static_cast<int>(Availability::kNeutral) == eMemoryAvailableNeutral &&
              static_cast<int>(Availability::kHigh) == eMemoryAvailableHigh);
static_assert(static_cast<int>(Stage::kRunning) == kClrHostMemoryRunning &&
              static_cast<int>(Stage::kDraining) == kClrHostMemoryDraining &&
              static_cast<int>(Stage::kStopped) == kClrHostMemoryStopped);

Notifier::Notifier(Engine& engine, ThreadSystem& threads, const CallCounters& counters,
                   const Monitor::Settings& settings)
    : engine_(engine), threads_(threads), counters_(counters), began_(threads.Now()), gc_follower_(engine, threads),
      callback_(&EndLow, this), monitor_(engine.budget(), engine.sampler(), *this, *this, settings, began_),
      watcher_(threads, monitor_), wait_dispatch_(*this), dispatcher_(threads, wait_dispatch_) {
  monitor_.SetWaker(&watcher_);
  monitor_.SetActivity(this);
  engine_.SetAlarm(this);
  engine_.budget().SetHeadroomWaker(&gc_follower_);
}

bool Notifier::StartDispatcher() {
  const std::lock_guard lock(waits_lock_);
  if (!waits_open_ && !engine_.OpenWaits(&dispatcher_)) return false;
  waits_open_ = true;
  return dispatcher_.Start() && Watch();
}

bool Notifier::SetCallback(ICLRMemoryNotificationCallback* callback) {
  if (callback != nullptr && !Watch()) return false;
  if (!callback_.Set(callback)) return false;
  if (callback != nullptr) monitor_.Repeat();
  return true;
}

bool Notifier::SetSink(IClrHostMemoryEventSink* sink) {
  if (sink != nullptr && !Watch()) return false;
  if (!sink_.Set(sink)) return false;
  if (sink != nullptr) Wake();  // the next round reports the latch and detached bridges that no sink received
  return true;
}

HRESULT Notifier::Notify(EMemoryAvailable available) {
  const auto effect = available == eMemoryAvailableLow ? Standing::Effect::kLeaves : Standing::Effect::kEnds;
  const auto call = [available](ICLRMemoryNotificationCallback& callback) {
    return callback.OnMemoryNotification(available);
  };
  const HRESULT hr = callback_.Call(call, effect);
  if (hr != S_FALSE) CountNotification(available);
  return hr;
}

// Notifies the CLR of Neutral when another callback replaces its callback, and at the end. Otherwise Low would stay in
// effect for that CLR forever.
void Notifier::EndLow(void* notifier, ICLRMemoryNotificationCallback& callback) {
  auto& it = *static_cast<Notifier*>(notifier);
  (void)callback.OnMemoryNotification(eMemoryAvailableNeutral);
  it.CountNotification(eMemoryAvailableNeutral);
  // The same callback may have been registered again and notified of Low before this Neutral. So repeat the state.
  it.monitor_.Repeat();
}

void Notifier::CountNotification(EMemoryAvailable available) {
  notifications_[static_cast<std::size_t>(available - eMemoryAvailableLow)].fetch_add(1, std::memory_order_relaxed);
}

void Notifier::Wake() noexcept {
  watcher_.Wake();
  gc_follower_.Wake();
}

void Notifier::Stop() {
  gc_follower_.Wake();
  dispatcher_.Stop();  // safe to wait for inside a callback: the dispatcher's thread calls neither CLR nor host
  // The dispatcher has ended, so only this thread serves the queue. Engine::Shutdown abandoned the waiting requests;
  // this removes them from the queue.
  if (!stopping_.exchange(true)) (void)engine_.ServeWaiters(threads_.Now());
  bool ended = false;
  if (CallsUnderWay::IsThisThreadInside()) {
    ended = watcher_.StopWithoutWaiting();
  } else {
    watcher_.Stop();
    ended = !watcher_.IsCurrentThread();
  }
  // The watcher may never have started, and then it calls no OnEnd.
  if (ended) OnEnd();
}

void Notifier::OnEnd() {
  if (ended_.exchange(true)) return;
  OnRound(threads_.Now());
  monitor_.Finish(threads_.Now());
  callback_.Close();
  engine_.NoteStopped();
  TellStage();
  sink_.Close();
}

Milliseconds Notifier::WaitDispatch::Run(Milliseconds now) {
  const Milliseconds sleep = owner_.engine_.ServeWaiters(now);
  // The remaining waiting requests ask for memory: the watcher looks at pressure and reserves.
  if (owner_.engine_.Waiting() != 0) owner_.watcher_.Wake();
  return sleep;
}

Bytes Notifier::GivenSoFar() {
  const AddressSpaceReserve& address_space = engine_.address_space();
  return engine_.headroom_pool().GivenSoFar() + address_space.Size() * address_space.Uses();
}

void Notifier::OnPressure(Availability availability, std::uint32_t available_percent) {
  available_percent_ = available_percent;
  const auto available = static_cast<EMemoryAvailable>(availability);
  (void)Notify(available);
  Tell(EventOf(kClrHostMemoryEventPressure));
}

void Notifier::OnOverLimit(Bytes over) {
  ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventOverLimit);
  event.bytes = over.value;
  Tell(event);
}

void Notifier::OnReserveUsed(Bytes given) {
  ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventReserveUsed);
  event.bytes = given.value;
  Tell(event);
}

void Notifier::OnReserveRestored() { Tell(EventOf(kClrHostMemoryEventReserveRestored)); }

void Notifier::OnThrash(const ThrashReport& report) {
  thrashes_.fetch_add(1, std::memory_order_relaxed);
  ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventThrash);
  event.bytes = report.obtained.value;
  event.count = report.refusals;
  event.window_ms = static_cast<std::uint32_t>(report.window.count());
  event.collections = report.collections;
  Tell(event);
}

// Leaves out process-critical requests. They must not fail, so their refusals are no sign of a program that retries.
ThrashCounts Notifier::CountsNow() {
  return {.refusals = counters_.LimitRefusals(Criticality::kTask) + counters_.LimitRefusals(Criticality::kAppDomain),
          .grants = counters_.Calls(kClrHostMemoryVirtualAlloc, kClrHostMemoryOk),
          .without_gain = counters_.WithoutGain(),
          .collections = engine_.StatusQuestions()};
}

void Notifier::OnRound(Milliseconds /*now*/) {
  constexpr Milliseconds kBetweenLooksForGone{1000};
  engine_.UnchargeFreedElsewhere(kBetweenLooksForGone);
  TellRefusals();
  TellPlacements();
  TellLatch();
  TellDetached();
  TellStage();
}

ClrHostMemoryEvent Notifier::EventOf(ClrHostMemoryEventKind kind) {
  const LimitUse use = engine_.Use();
  ClrHostMemoryEvent event{};
  event.size = sizeof(event);
  event.kind = kind;
  event.milliseconds = static_cast<std::uint64_t>((threads_.Now() - began_).count());
  event.charged = use.charged.value;
  event.limit = use.limit.value;
  event.availability = static_cast<std::uint32_t>(monitor_.Told());
  event.available_percent = available_percent_;
  event.state = static_cast<std::uint32_t>(engine_.stage());
  return event;
}

void Notifier::Tell(const ClrHostMemoryEvent& event) {
  (void)sink_.Call([&event](IClrHostMemoryEventSink& sink) { return sink.OnEvent(&event); });
}

void Notifier::TellRefusals() {
  const RefusalCounts now = counters_.Refusals();
  for (std::size_t level = 0; level < now.size(); ++level) {
    for (std::size_t code = 0; code < now[level].size(); ++code) {
      const std::uint64_t more = now[level][code] - told_refusals_[level][code];
      if (more == 0) continue;
      told_refusals_[level][code] = now[level][code];
      ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventRefusal);
      event.level = static_cast<std::uint32_t>(level);
      event.code = HresultOf(static_cast<ClrHostMemoryCode>(code));
      event.count = more;
      Tell(event);
    }
  }
}

void Notifier::TellPlacements() {
  const std::uint64_t more = counters_.PlacementRefusals() - told_placements_;
  if (more == 0) return;
  told_placements_ += more;
  ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventPlacement);
  event.count = more;
  Tell(event);
}

void Notifier::TellLatch() {
  if (told_latch_ || engine_.latched().cause == LatchCause::kNone || !sink_.IsSet()) return;
  told_latch_ = true;
  Tell(EventOf(kClrHostMemoryEventLatch));
}

void Notifier::NoteDetached() {
  detached_.fetch_add(1, std::memory_order_relaxed);
  Wake();
}

void Notifier::TellDetached() {
  const std::uint64_t detached = detached_.load(std::memory_order_relaxed);
  if (told_detached_ == detached || !sink_.IsSet()) return;
  ClrHostMemoryEvent event = EventOf(kClrHostMemoryEventDetached);
  event.count = detached - told_detached_;
  told_detached_ = detached;
  Tell(event);
}

void Notifier::TellStage() {
  if (told_stage_ == engine_.stage()) return;
  told_stage_ = engine_.stage();
  Tell(EventOf(kClrHostMemoryEventState));
}

void Notifier::CopyTo(ClrHostMemoryStatistics* statistics) const {
  statistics->availability = static_cast<std::uint32_t>(monitor_.Told());
  statistics->outside = monitor_.Uncharged().value;
  statistics->thrashes = thrashes_.load(std::memory_order_relaxed);
  statistics->gc_limit = gc_follower_.GcLimit().value;
  for (std::size_t i = 0; i < notifications_.size(); ++i) {
    statistics->notifications[i] = notifications_[i].load(std::memory_order_relaxed);
  }
}

}  // namespace clr_host_memory
