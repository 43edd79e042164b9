#include "tool/limit_schedule.h"

#include "tool/tool_error.h"

#include <system_error>

namespace clr_host_memory::tool {

LimitSchedule::LimitSchedule(const MemoryManager& manager, const PolicyOptions& policy)
    : manager_(manager), headroom_(policy.HeadroomToKeep()) {
  for (const LimitChange& change : policy.limit_changes) entries_.emplace_back().change = change;
  try {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  } catch (const std::system_error&) {
    throw ToolError("the thread that changes the limit cannot be started", "close other programs and try again");
  }
}

void LimitSchedule::Begin() noexcept {
  const std::lock_guard lock(lock_);
  began_ = Clock::now();
  for (Entry& entry : entries_) {
    if (entry.change.after_ms == 0) Apply(entry);
  }
  changed_.notify_all();
}

void LimitSchedule::Run(const std::stop_token& stop) {
  std::unique_lock lock(lock_);
  if (!changed_.wait(lock, stop, [this] { return began_.has_value(); })) return;
  for (Entry& entry : entries_) {
    if (entry.outcome.load() != ChangeOutcome::kNotReached) continue;  // by Begin
    const Clock::time_point due = *began_ + std::chrono::milliseconds(entry.change.after_ms);
    changed_.wait_until(lock, stop, due, [&] { return Clock::now() >= due; });
    if (stop.stop_requested()) return;
    Apply(entry);
  }
}

void LimitSchedule::Apply(Entry& entry) {
  const Limit& limit = entry.change.limit;
  entry.answer = limit ? manager_.SetLimit(*limit, headroom_.app_domain, headroom_.process)
                       : manager_.SetLimit(CLR_HOST_MEMORY_NO_LIMIT);
  entry.applied_ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - *began_).count();
  entry.outcome.store(FAILED(entry.answer) ? ChangeOutcome::kRefused : ChangeOutcome::kApplied,
                      std::memory_order_release);
}

std::vector<LimitChangeFigures> LimitSchedule::Figures() const {
  std::vector<LimitChangeFigures> figures;
  for (const Entry& entry : entries_) {
    LimitChangeFigures& one = figures.emplace_back();
    one.change = entry.change;
    one.outcome = entry.outcome.load(std::memory_order_acquire);
    if (one.outcome == ChangeOutcome::kNotReached) continue;
    one.applied_ms = entry.applied_ms;
    one.answer = entry.answer;
  }
  return figures;
}

}  // namespace clr_host_memory::tool
