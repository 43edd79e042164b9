// Requests that wait for memory, and the one who serves them.
//
// A request waits on its own thread, which may be suspended at any time; so nobody waits for a waiter, and no waiter holds
// anything others need. One server (a thread of the manager's own, which no CLR suspends) owns the order: by level, then
// first come, and nobody is passed by a later or lower one. It pays for a request before it lets it go: what was returned
// goes straight to the head of the line. A record changes hands by compare-exchange of its state alone:
//
//   free -> waiting                    by its thread, in Wait
//   waiting -> granted or abandoned    by the server
//   waiting -> left                    by its thread, at its deadline; the server then frees it
//
// Threads: Wait from any; Serve from one at a time; the rest from any.
#ifndef CLRHM_WAIT_WAIT_LIST_H
#define CLRHM_WAIT_WAIT_LIST_H

#include <array>
#include <atomic>
#include <cstdint>

#include "base/outcome.h"
#include "base/time.h"
#include "base/units.h"
#include "base/waker.h"
#include "ledger/budget.h"
#include "os/memory_system.h"
#include "os/thread_system.h"

namespace clr_host_memory {

struct WaitRequest {
  Bytes bytes;  // to be charged; 0: it only waits to be let through
  Criticality level = Criticality::kTask;
  Milliseconds deadline{};
  std::uint64_t ticket = 0;  // of WaitList::TakeTicket: its place in the line, kept when it has to wait again
  bool refused_by_os = false;  // it fits the limit, but the OS had none: tried again after a while, or after a return
};

enum class WaitResult : std::uint8_t {
  kGranted,    // bytes are charged; they are the caller's to use or to return
  kTimedOut,   // at the deadline
  kAbandoned,  // cancelled
  kNoRoom,     // it did not wait: no record or no event to wait with
};

// What a level's waits came to; each counter exact.
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

  // All outlive the list.
  WaitList(os::MemorySystem& memory, os::ThreadSystem& threads, Budget& budget)
      : memory_(memory), threads_(threads), budget_(budget) {}
  // Nobody waits any more.
  ~WaitList();
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  // Makes the records; once, before the first Wait. server: woken when Serve has something to do. False: no memory.
  [[nodiscard]] bool Open(Waker* server);

  [[nodiscard]] std::uint64_t TakeTicket();
  // On the caller's thread, until the request is granted, abandoned, or its deadline has come.
  [[nodiscard]] WaitResult Wait(const WaitRequest& request);

  // Ends the waits of every ticket taken so far as abandoned; of every ticket ever, when for_good.
  void Abandon(bool for_good);
  // While held nobody is granted anything.
  void Hold(bool held);
  // What process-critical requests may use above their ceiling (the emergency reserve that was given up).
  void SetBeyond(Bytes beyond);

  // One round of the server: grants what can be granted now. Returns how long it may sleep unless it is woken.
  [[nodiscard]] Milliseconds Serve(Milliseconds now);

  [[nodiscard]] WaitCounts Counts(Criticality level) const;
};

}  // namespace clr_host_memory

#endif  // CLRHM_WAIT_WAIT_LIST_H
