// Changes of the limit at set times while the program runs, by a thread of its own.
#ifndef CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H
#define CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H

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
  kNotReached,  // its time had not come
  kApplied,
  kRefused,  // the manager answered with an error
};

struct LimitChangeFigures {
  LimitChange change;
  ChangeOutcome outcome = ChangeOutcome::kNotReached;
  std::int64_t applied_ms = 0;  // when it was applied or refused, in milliseconds since Begin
  HRESULT answer = S_OK;        // the manager's
};

class LimitSchedule {
 public:
  // manager outlives the schedule; headroom goes with every limit that is one. Throws ToolError: no thread or event.
  LimitSchedule(const MemoryManager& manager, const PolicyOptions& policy);
  LimitSchedule(const LimitSchedule&) = delete;
  LimitSchedule& operator=(const LimitSchedule&) = delete;
  // What is not due yet is not applied.
  ~LimitSchedule();

  // Times count from now on. What is due at 0 has been applied when it returns. Once.
  void Begin() noexcept;

  // Any thread at any time, also when the schedule's was killed: no lock. Throws std::bad_alloc.
  [[nodiscard]] std::vector<LimitChangeFigures> Figures() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    LimitChange change;
    std::int64_t applied_ms = 0;
    HRESULT answer = S_OK;
    std::atomic<ChangeOutcome> outcome = ChangeOutcome::kNotReached;  // says that the rest is complete
  };

  struct CloseEvent {
    void operator()(HANDLE event) const noexcept { ::CloseHandle(event); }
  };

  void Run() noexcept;
  // Under the lock. Applies what is due; when the next change is due, none: no more.
  std::optional<Clock::time_point> ApplyDue() noexcept;
  void Apply(Entry& entry) noexcept;

  const MemoryManager& manager_;
  const Headroom headroom_;
  std::deque<Entry> entries_;  // by time
  std::mutex lock_;
  std::optional<Clock::time_point> began_;
  // Wakes the thread. A condition variable of MinGW's lost a wakeup once in some ten test runs on a busy machine.
  std::unique_ptr<void, CloseEvent> changed_{::CreateEventW(nullptr, FALSE, FALSE, nullptr)};
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_LIMIT_SCHEDULE_H
