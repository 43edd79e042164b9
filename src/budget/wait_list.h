// Requests that wait for memory, and the dispatcher that serves them.
//
// A request waits on its own thread, which may be suspended at any time. So no thread waits for a waiter, and no
// waiter holds anything that another thread needs. One dispatcher (a thread of the manager, which no CLR suspends)
// owns the order: by level, then by arrival. No later or lower request overtakes another. The dispatcher charges for a
// request before it releases the request's thread. So uncharged memory goes straight to the head of the queue. A
// record changes hands only by compare-exchange of its state:
//
//   free -> waiting                                by its thread, in Wait
//   waiting -> granted, abandoned or timed out     by the dispatcher; its thread then frees it
//   waiting -> left                                by its thread, at its deadline; the dispatcher then frees it
//
// A request that needs no new memory takes none from any other request: it is granted at any place in the queue.
// Threads: Wait from any; Serve from one at a time; the rest from any. The reasons: docs/decisions/0005.
#ifndef CLRHM_BUDGET_WAIT_LIST_H
#define CLRHM_BUDGET_WAIT_LIST_H

#include <array>
#include <atomic>
#include <cstdint>

#include "base/outcome.h"
#include "base/time.h"
#include "base/units.h"
#include "base/waker.h"
#include "budget/budget.h"
#include "os/memory_system.h"
#include "os/thread_system.h"

namespace clr_host_memory {

struct WaitRequest {
  Bytes bytes;  // to be charged; 0: it only waits to be let through
  Criticality level = Criticality::kTask;
  Milliseconds deadline{};     // from now
  std::uint64_t ticket = 0;    // from WaitList::TakeTicket: its place in the queue, kept when it waits again
  bool refused_by_os = false;  // it fits the limit, but the OS had no memory: tried again after a while, or an uncharge
};

enum class WaitResult : std::uint8_t {
  kGranted,    // bytes are charged and pending: the caller has to Confirm or CancelPending them
  kTimedOut,   // at the deadline
  kAbandoned,  // cancelled
  kNoRoom,     // it did not wait: no record, or no event to wait on
};

// Counts of a level's waits. Each is exact. waits minus the other counts: waits in progress.
struct WaitCounts {
  std::uint64_t waits = 0;
  std::uint64_t granted = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t abandoned = 0;
};

class WaitList {
 public:
  static constexpr std::uint32_t kMostWaiters = 1024;
  // How long a request that the OS refused waits before it is tried again, if nothing is uncharged earlier.
  static constexpr Milliseconds kOsRetry{50};

  // The committed headroom, for process-critical requests whose turn it is.
  class Reserve {
   public:
    // Decommits what `asked` lacks, if the reserve is large enough. Runs on the dispatcher's thread.
    virtual bool CoverForWaiter(Bytes asked) = 0;

   protected:
    ~Reserve() = default;
  };

  // All arguments outlive the list. reserve may be null.
  WaitList(MemorySystem& memory, ThreadSystem& threads, Budget& budget, Reserve* reserve = nullptr)
      : memory_(memory), threads_(threads), budget_(budget), reserve_(reserve) {}
  // No thread may still wait or serve.
  ~WaitList();
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  // Creates the records. Call once, before the first Wait. dispatcher: its waker, woken when Serve has
  // something to do. False: no memory.
  [[nodiscard]] bool Open(Waker* dispatcher);

  [[nodiscard]] std::uint64_t TakeTicket() { return last_ticket_.fetch_add(1) + 1; }
  // Waits on the caller's thread until the request is granted or abandoned, or its deadline has passed. Do not pass a
  // request that could not be charged even if nothing else were charged: requests behind it wait until its deadline.
  [[nodiscard]] WaitResult Wait(const WaitRequest& request);

  // Ends the waits of every ticket taken so far as abandoned, also waits that begin later. With for_good, does so for
  // every ticket ever. Serve must then run once more before the dispatcher ends, so that no waiter stays behind.
  void Abandon(bool for_good);
  // Holds or releases the queue. While it is held, Serve grants only what it was about to grant when the hold began.
  void Hold(bool held);

  // Runs one round of the dispatcher: grants what can be granted now. Returns how long the dispatcher may sleep unless
  // it is woken.
  [[nodiscard]] Milliseconds Serve(Milliseconds now);

  [[nodiscard]] WaitCounts Counts(Criticality level) const;
  // Returns the number of unused records. Exact when all waits have ended and Serve has run since.
  [[nodiscard]] std::uint32_t FreeRecords() const;

 private:
  using Name = std::uint16_t;  // of a record: its index + 1; 0: none
  static_assert(kMostWaiters < 0xFFFF, "names and counts have 16 bits");

  enum class State : std::uint8_t { kFree, kWaiting, kGranted, kTimedOut, kAbandoned, kLeft };
  static_assert(std::atomic<State>::is_always_lock_free && std::atomic<Name>::is_always_lock_free);

  // All fields but state and next belong to the waiter before it is announced. Then they belong to the dispatcher
  // until the state changes.
  struct Record {
    std::atomic<State> state;
    std::atomic<Name> next;  // the record freed, or announced, before this one
    EventHandle event;       // created on first use, and kept; may be signalled for no reason
    WaitRequest request;
    Milliseconds end{};              // the deadline as a point in time
    Milliseconds os_retry{};         // likewise: when to try again after the OS refused
    std::uint64_t returns_seen = 0;  // Budget::UnchargeCount when the wait began
  };
  struct Tables {
    std::array<Record, kMostWaiters> records;
    std::array<Name, kMostWaiters> line;  // the dispatcher's queue, head first
  };
  struct Counters {
    std::atomic<std::uint64_t> waits = 0;
    std::atomic<std::uint64_t> granted = 0;
    std::atomic<std::uint64_t> timed_out = 0;
    std::atomic<std::uint64_t> abandoned = 0;
  };
  // One pass over the queue.
  struct Round {
    Milliseconds now{};
    bool held = false;
    bool blocked = false;  // an earlier request waits for memory
    bool again = false;    // more requests have been announced meanwhile
    Milliseconds sleep = kForever;
  };

  [[nodiscard]] Record& RecordOf(Name name) const { return tables_.load()->records[name - 1u]; }
  [[nodiscard]] Name TakeRecord();
  void FreeRecord(Name name);
  [[nodiscard]] bool IsWithdrawn(std::uint64_t ticket) const { return ticket <= abandoned_through_.load(); }
  [[nodiscard]] State Sleep(Name name);
  [[nodiscard]] WaitResult Count(Criticality level, State ended);
  void WakeDispatcher();

  // For the dispatcher only.
  void TakeIn();
  [[nodiscard]] bool Settle(Name name, Round* round);
  [[nodiscard]] bool TryGrant(Name name, Round* round);
  bool End(Name name, State outcome);

  MemorySystem& memory_;
  ThreadSystem& threads_;
  Budget& budget_;
  Reserve* const reserve_;
  std::atomic<Tables*> tables_ = nullptr;  // set in Open, before the records are freed for use
  std::atomic<Waker*> dispatcher_ = nullptr;
  std::uint32_t length_ = 0;  // of the queue
  // The name last freed, and above it a count of takes. The count shows that a record was taken and freed meanwhile.
  std::atomic<std::uint64_t> free_ = 0;
  std::atomic<std::uint64_t> last_ticket_ = 0;
  std::atomic<std::uint64_t> abandoned_through_ = 0;  // waits up to this ticket are withdrawn
  std::atomic<bool> held_ = false;
  std::array<Counters, kCriticalityCount> counters_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_WAIT_LIST_H
