#include "budget/wait_list.h"

#include <algorithm>
#include <limits>
#include <new>

namespace clr_host_memory {
namespace {

constexpr std::uint64_t kNameMask = 0xFFFF;
constexpr std::uint64_t kOneTake = kNameMask + 1;

[[nodiscard]] constexpr Milliseconds Later(Milliseconds now, Milliseconds by) {
  return by > kForever - now ? kForever : now + by;
}
[[nodiscard]] constexpr bool IsForMemory(const WaitRequest& request) { return request.bytes != Bytes{}; }
// Returns whether a is served before b.
[[nodiscard]] constexpr bool IsBefore(const WaitRequest& a, const WaitRequest& b) {
  return a.level != b.level ? a.level > b.level : a.ticket < b.ticket;
}

}  // namespace

WaitList::~WaitList() {
  Tables* const tables = tables_.load();
  if (tables == nullptr) return;
  for (Record& record : tables->records) {
    if (record.event != nullptr) threads_.CloseEvent(record.event);
  }
  tables->~Tables();
  memory_.FreeMetadata(tables, sizeof(Tables));
}

bool WaitList::Open(Waker* dispatcher) {
  void* const memory = memory_.AllocateMetadata(sizeof(Tables));
  if (memory == nullptr) return false;
  dispatcher_.store(dispatcher);
  budget_.SetDispatcher(dispatcher);
  tables_.store(new (memory) Tables{});
  for (Name name = kMostWaiters; name != 0; --name) FreeRecord(name);
  return true;
}

WaitList::Name WaitList::TakeRecord() {
  if (tables_.load() == nullptr) return 0;
  std::uint64_t head = free_.load();
  while (true) {
    const auto name = static_cast<Name>(head & kNameMask);
    if (name == 0) return 0;
    // Another thread may have taken the record by now and given it a new next. Then the head has changed, and is read
    // again.
    const std::uint64_t taken = ((head & ~kNameMask) + kOneTake) | RecordOf(name).next.load();
    if (free_.compare_exchange_weak(head, taken)) return name;
  }
}

void WaitList::FreeRecord(Name name) {
  Record& record = RecordOf(name);
  record.state.store(State::kFree);
  std::uint64_t head = free_.load();
  do {
    record.next.store(static_cast<Name>(head & kNameMask));
  } while (!free_.compare_exchange_weak(head, (head & ~kNameMask) | name));
}

std::uint32_t WaitList::FreeRecords() const {
  std::uint32_t count = 0;
  for (auto name = static_cast<Name>(free_.load() & kNameMask); name != 0; name = RecordOf(name).next.load()) ++count;
  return count;
}

WaitResult WaitList::Wait(const WaitRequest& request) {
  Counters& counters = counters_[static_cast<std::size_t>(request.level)];
  if (IsWithdrawn(request.ticket)) {
    counters.waits.fetch_add(1);
    return Count(request.level, State::kAbandoned);
  }
  const Name name = TakeRecord();
  if (name == 0) return WaitResult::kNoRoom;
  Record& record = RecordOf(name);
  if (record.event == nullptr) record.event = threads_.MakeEvent();
  if (record.event == nullptr) {
    FreeRecord(name);
    return WaitResult::kNoRoom;
  }
  const Milliseconds now = threads_.Now();
  record.request = request;
  record.end = Later(now, request.deadline);
  record.os_retry = Later(now, kOsRetry);
  record.returns_seen = budget_.UnchargeCount();
  record.state.store(State::kWaiting);
  counters.waits.fetch_add(1);
  budget_.Enqueue(name, request.level, IsForMemory(request), [&](Name before) { record.next.store(before); });
  WakeDispatcher();
  return Count(request.level, Sleep(name));
}

// Sleeps until the dispatcher has ended the wait, or the deadline has passed. The record no longer is the caller's
// then.
WaitList::State WaitList::Sleep(Name name) {
  Record& record = RecordOf(name);
  const std::uint64_t ticket = record.request.ticket;
  const Milliseconds end = record.end;
  while (true) {
    State state = record.state.load();
    if (state == State::kWaiting) {
      const Milliseconds now = threads_.Now();
      // Withdrawn: the dispatcher would end the wait, unless the dispatcher itself has ended.
      const bool withdrawn = IsWithdrawn(ticket);
      if (!withdrawn && now < end) {
        threads_.WaitFor(record.event, end == kForever ? kForever : end - now);
        continue;
      }
      if (record.state.compare_exchange_strong(state, State::kLeft)) {
        WakeDispatcher();
        return withdrawn ? State::kAbandoned : State::kTimedOut;
      }
    }
    FreeRecord(name);
    return state;
  }
}

WaitResult WaitList::Count(Criticality level, State ended) {
  Counters& counters = counters_[static_cast<std::size_t>(level)];
  if (ended == State::kGranted) {
    counters.granted.fetch_add(1);
    return WaitResult::kGranted;
  }
  if (ended == State::kAbandoned) {
    counters.abandoned.fetch_add(1);
    return WaitResult::kAbandoned;
  }
  counters.timed_out.fetch_add(1);
  return WaitResult::kTimedOut;
}

WaitCounts WaitList::Counts(Criticality level) const {
  const Counters& counters = counters_[static_cast<std::size_t>(level)];
  WaitCounts counts;
  counts.granted = counters.granted.load();
  counts.timed_out = counters.timed_out.load();
  counts.abandoned = counters.abandoned.load();
  counts.waits = counters.waits.load();  // last: never fewer than have ended
  return counts;
}

void WaitList::Abandon(bool for_good) {
  const std::uint64_t through = for_good ? std::numeric_limits<std::uint64_t>::max() : last_ticket_.load();
  std::uint64_t before = abandoned_through_.load();
  while (before < through && !abandoned_through_.compare_exchange_weak(before, through)) {
  }
  WakeDispatcher();
}

void WaitList::Hold(bool held) {
  held_.store(held);
  WakeDispatcher();
}

void WaitList::WakeDispatcher() {
  if (Waker* const waker = dispatcher_.load(); waker != nullptr) waker->Wake();
}

Milliseconds WaitList::Serve(Milliseconds now) {
  if (tables_.load() == nullptr) return kForever;
  Round round;
  do {
    TakeIn();
    round = {.now = now, .held = held_.load()};
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < length_; ++i) {
      const Name name = tables_.load()->line[i];
      if (Settle(name, &round)) continue;
      tables_.load()->line[kept++] = name;
      if (IsForMemory(RecordOf(name).request)) round.blocked = true;
    }
    length_ = kept;
  } while (round.again);
  return round.sleep;
}

// Moves the requests announced since the last time into the queue.
void WaitList::TakeIn() {
  for (Name name = budget_.TakeArrivals(); name != 0;) {
    const Record& record = RecordOf(name);
    Name* const begin = tables_.load()->line.data();
    Name* const end = begin + length_;
    Name* const place = std::upper_bound(
        begin, end, name, [&](Name a, Name b) { return IsBefore(RecordOf(a).request, RecordOf(b).request); });
    std::copy_backward(place, end, end + 1);
    *place = name;
    ++length_;
    name = record.next.load();
  }
}

// Grants or ends a request if possible. False: it stays in the queue.
bool WaitList::Settle(Name name, Round* round) {
  const Record& record = RecordOf(name);
  if (record.state.load() == State::kLeft) {
    End(name, State::kTimedOut);
    return true;
  }
  if (IsWithdrawn(record.request.ticket)) {
    End(name, State::kAbandoned);
    return true;
  }
  if (TryGrant(name, round)) return true;
  // The waiter's thread may be suspended. Requests behind it must not wait until that thread handles its own deadline.
  if (record.end <= round->now) {
    End(name, State::kTimedOut);
    return true;
  }
  if (record.end != kForever) round->sleep = std::min(round->sleep, record.end - round->now);
  return false;
}

bool WaitList::TryGrant(Name name, Round* round) {
  const Record& record = RecordOf(name);
  const WaitRequest request = record.request;
  if (round->held || (round->blocked && IsForMemory(request))) return false;
  if (request.refused_by_os && round->now < record.os_retry && budget_.UnchargeCount() == record.returns_seen) {
    round->sleep = std::min(round->sleep, record.os_retry - round->now);
    return false;
  }
  const auto charged = [&] {
    return budget_.TryChargeAheadOfQueue(request.bytes, request.level) == Admission::kAdmitted;
  };
  const bool may_use_reserve = request.level == Criticality::kProcess && reserve_ != nullptr;
  if (!charged() && !(may_use_reserve && reserve_->CoverForWaiter(request.bytes) && charged())) return false;
  // A request that comes first in the order may be among the arrivals, and may have waited before this memory was
  // uncharged. If there are no arrivals after the charge, all requests announced before the charge are in the queue.
  if (IsForMemory(request) && budget_.HasArrivals()) {
    budget_.CancelPending(request.bytes);
    round->again = true;
    return false;
  }
  if (!End(name, State::kGranted)) budget_.CancelPending(request.bytes);
  return true;
}

// Ends a wait. False: the waiter has left already.
bool WaitList::End(Name name, State outcome) {
  Record& record = RecordOf(name);
  // Remove the count first: a thread that continues must not be refused because of its own ended wait.
  if (IsForMemory(record.request)) budget_.RemoveWaiting(record.request.level);
  State state = State::kWaiting;
  if (record.state.compare_exchange_strong(state, outcome)) {
    threads_.Signal(record.event);  // the record may have a new waiter by now, which then wakes for no reason
    return true;
  }
  FreeRecord(name);
  return false;
}

}  // namespace clr_host_memory
