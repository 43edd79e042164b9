// Changes the limit at set times while the program runs, on its own thread.
#ifndef CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H
#define CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H

#include "os/windows/srw_lock.h"
#include "tool/command_line/policy_options.h"

#include <clr_host_memory/memory_manager.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace clr_host_memory::tool {

enum class ChangeOutcome {
  kNotReached,  // not due yet
  kApplied,
  kRefused,  // the manager answered with an error
};

struct LimitChangeFigures {
  LimitChange change;
  ChangeOutcome outcome = ChangeOutcome::kNotReached;
  std::int64_t applied_ms = 0;  // time of applying or refusing, milliseconds since Begin
  HRESULT answer = S_OK;        // the manager's answer
};

class LimitSchedule {
 public:
  // Starts the thread. manager must outlive the schedule. The policy's headroom applies to each limit set. Throws
  // ToolError if the thread or event cannot be created.
  LimitSchedule(const MemoryManager& manager, const PolicyOptions& policy);
  LimitSchedule(const LimitSchedule&) = delete;
  LimitSchedule& operator=(const LimitSchedule&) = delete;
  // Stops the thread. Changes that are not due yet are not applied.
  ~LimitSchedule();

  // Starts the clock of the schedule. Changes due at 0 are applied when it returns. Call once.
  void Begin() noexcept;

  // Returns the outcome of each change. Runs on any thread at any time, also when the schedule's thread was killed:
  // it takes no lock. Throws std::bad_alloc.
  [[nodiscard]] std::vector<LimitChangeFigures> Figures() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    LimitChange change;
    std::int64_t applied_ms = 0;
    HRESULT answer = S_OK;
    std::atomic<ChangeOutcome> outcome = ChangeOutcome::kNotReached;  // set last: the rest is then complete
  };

  struct CloseEvent {
    void operator()(HANDLE event) const noexcept { ::CloseHandle(event); }
  };

  void Run() noexcept;
  // Applies every change that is due. Returns the time of the next change; nothing if none is left. Call with lock_
  // held.
  std::optional<Clock::time_point> ApplyDue() noexcept;
  void Apply(Entry& entry) noexcept;

  const MemoryManager& manager_;
  const Headroom headroom_;
  std::deque<Entry> entries_;  // sorted by time
  SrwLock lock_;
  std::optional<Clock::time_point> began_;
  // Wakes the thread. An event is used because MinGW's condition variable lost a wakeup about once in ten test runs
  // on a busy machine.
  std::unique_ptr<void, CloseEvent> changed_{::CreateEventW(nullptr, FALSE, FALSE, nullptr)};
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H
