// Requests that wait for memory, and the one who serves them.
//
// A request waits on its own thread, which may be suspended at any time; so nobody waits for a waiter, and no waiter
// holds anything others need. One server (a thread of the manager's own, which no CLR suspends) owns the order: by
// level, then first come, and nobody is passed by a later or lower one. It pays for a request before it lets it go:
// what was returned goes straight to the head of the line. A record changes hands by compare-exchange of its state
// alone:
//
//   free -> waiting                                by its thread, in Wait
//   waiting -> granted, abandoned or timed out     by the server; its thread then frees it
//   waiting -> left                                by its thread, at its deadline; the server then frees it
//
// A request that needs no new memory takes nothing from anyone: it is let through wherever it stands.
// Threads: Wait from any; Serve from one at a time; the rest from any. Why it is so: docs/decisions/0005.
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
  std::uint64_t ticket = 0;    // of WaitList::TakeTicket: its place in the line, kept when it has to wait again
  bool refused_by_os = false;  // it fits the limit, but the OS had none: tried again after a while, or after a return
};

enum class WaitResult : std::uint8_t {
  kGranted,    // bytes are charged; they are the caller's to use, to Return or to Withdraw
  kTimedOut,   // at the deadline
  kAbandoned,  // cancelled
  kNoRoom,     // it did not wait: no record or no event to wait with
};

// What a level's waits came to, each exact; waits less the rest are under way.
struct WaitCounts {
  std::uint64_t waits = 0;
  std::uint64_t granted = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t abandoned = 0;
};

class WaitList {
 public:
  static constexpr std::uint32_t kMostWaiters = 1024;
  // How long a request the OS refused waits before it is tried again, if nothing was returned before.
  static constexpr Milliseconds kOsRetry{50};

  // The emergency reserve, for process-critical requests whose turn it is.
  class Reserve {
   public:
    // Gives up what `asked` lacks, if the reserve has it. On the server's thread.
    virtual bool CoverForWaiter(Bytes asked) = 0;

   protected:
    ~Reserve() = default;
  };

  // All outlive the list. reserve may be null.
  WaitList(MemorySystem& memory, ThreadSystem& threads, Budget& budget, Reserve* reserve = nullptr)
      : memory_(memory), threads_(threads), budget_(budget), reserve_(reserve) {}
  // Nobody waits any more, and nobody serves.
  ~WaitList();
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  // Makes the records; once, before the first Wait. server: woken when Serve has something to do. False: no memory.
  [[nodiscard]] bool Open(Waker* server);

  [[nodiscard]] std::uint64_t TakeTicket() { return last_ticket_.fetch_add(1) + 1; }
  // On the caller's thread, until the request is granted, abandoned, or its deadline has come. A request that could not
  // even be charged if nothing else was had better not come here: those behind it wait for it, until its deadline.
  [[nodiscard]] WaitResult Wait(const WaitRequest& request);

  // Ends the waits of every ticket taken so far as abandoned, also such as begin later; of every ticket ever, when
  // for_good. Then Serve is to run once more before the server ends: nobody who waits stays behind.
  void Abandon(bool for_good);
  // While held nobody is granted anything but what Serve was about to grant when it began.
  void Hold(bool held);

  // One round of the server: grants what can be granted now. Returns how long it may sleep unless it is woken.
  [[nodiscard]] Milliseconds Serve(Milliseconds now);

  [[nodiscard]] WaitCounts Counts(Criticality level) const;
  // Records that nobody uses. Exact at a quiet moment, when all waits have ended and Serve has run since.
  [[nodiscard]] std::uint32_t FreeRecords() const;

 private:
  using Name = std::uint16_t;  // of a record: its index + 1; 0: nobody
  static_assert(kMostWaiters < 0xFFFF, "names and counts have 16 bits");

  enum class State : std::uint8_t { kFree, kWaiting, kGranted, kTimedOut, kAbandoned, kLeft };
  static_assert(std::atomic<State>::is_always_lock_free && std::atomic<Name>::is_always_lock_free);

  // All but state and next belong to the waiter before it is announced, and to the server until the state says
  // otherwise.
  struct Record {
    std::atomic<State> state;
    std::atomic<Name> next;  // that was freed, or announced, before this one
    EventHandle event;       // made by the first to use it, kept for the rest; may be signalled for no reason
    WaitRequest request;
    Milliseconds end{};              // the deadline as a point of the clock
    Milliseconds os_retry{};         // likewise
    std::uint64_t returns_seen = 0;  // Budget::Returns when it began
  };
  struct Tables {
    std::array<Record, kMostWaiters> records;
    std::array<Name, kMostWaiters> line;  // the server's: first the one whose turn it is
  };
  struct Counters {
    std::atomic<std::uint64_t> waits = 0;
    std::atomic<std::uint64_t> granted = 0;
    std::atomic<std::uint64_t> timed_out = 0;
    std::atomic<std::uint64_t> abandoned = 0;
  };
  // One walk down the line.
  struct Round {
    Milliseconds now{};
    bool held = false;
    bool blocked = false;  // somebody before waits for memory
    bool again = false;    // others have been announced meanwhile
    Milliseconds sleep = kForever;
  };

  [[nodiscard]] Record& RecordOf(Name name) const { return tables_.load()->records[name - 1u]; }
  [[nodiscard]] Name TakeRecord();
  void FreeRecord(Name name);
  [[nodiscard]] bool IsWithdrawn(std::uint64_t ticket) const { return ticket <= abandoned_through_.load(); }
  [[nodiscard]] State Sleep(Name name);
  [[nodiscard]] WaitResult Count(Criticality level, State ended);
  void WakeDispatcher();

  // The server's.
  void TakeIn();
  [[nodiscard]] bool Settle(Name name, Round* round);
  [[nodiscard]] bool TryGrant(Name name, Round* round);
  bool End(Name name, State outcome);

  MemorySystem& memory_;
  ThreadSystem& threads_;
  Budget& budget_;
  Reserve* const reserve_;
  std::atomic<Tables*> tables_ = nullptr;  // set last of all in Open
  std::atomic<Waker*> dispatcher_ = nullptr;
  std::uint32_t length_ = 0;  // of the line
  // The name last freed, and above it how often one was taken: a record that was taken and freed meanwhile shows.
  std::atomic<std::uint64_t> free_ = 0;
  std::atomic<std::uint64_t> last_ticket_ = 0;
  std::atomic<std::uint64_t> abandoned_through_ = 0;  // the last ticket whose waits are withdrawn
  std::atomic<bool> held_ = false;
  std::array<Counters, kCriticalityCount> counters_{};
};

}  // namespace clr_host_memory

#endif  // CLRHM_BUDGET_WAIT_LIST_H
