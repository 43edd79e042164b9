#include "tool/run/limit_schedule.h"

#include "tool/text/tool_error.h"

#include <algorithm>
#include <system_error>

namespace clr_host_memory::tool {

LimitSchedule::LimitSchedule(const MemoryManager& manager, const PolicyOptions& policy)
    : manager_(manager), headroom_(policy.headroom) {
  constexpr char kNoThread[] = "the thread that changes the limit cannot be started";
  constexpr char kAdvice[] = "close other programs and try again";
  if (changed_ == nullptr) throw ToolError(kNoThread, kAdvice);
  for (const LimitChange& change : policy.limit_changes) entries_.emplace_back().change = change;
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {
    throw ToolError(kNoThread, kAdvice);
  }
}

LimitSchedule::~LimitSchedule() {
  ending_.store(true);
  ::SetEvent(changed_.get());
  thread_.join();
}

void LimitSchedule::Begin() noexcept {
  const std::lock_guard lock(lock_);
  began_ = Clock::now();
  ApplyDue();
  ::SetEvent(changed_.get());
}

void LimitSchedule::Run() noexcept {
  constexpr std::int64_t kLongest = 0x7FFFFFFF;  // the longest single wait; the loop then checks again
  while (!ending_.load()) {
    DWORD wait = INFINITE;
    {
      const std::lock_guard lock(lock_);
      if (began_) {
        const std::optional<Clock::time_point> due = ApplyDue();
        if (!due) return;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
        wait = static_cast<DWORD>(std::clamp<std::int64_t>(left, 0, kLongest));
      }
    }
    ::WaitForSingleObject(changed_.get(), wait);
  }
}

std::optional<LimitSchedule::Clock::time_point> LimitSchedule::ApplyDue() noexcept {
  for (Entry& entry : entries_) {
    if (entry.outcome.load(std::memory_order_relaxed) != ChangeOutcome::kNotReached) continue;
    const Clock::time_point due = *began_ + std::chrono::milliseconds(entry.change.after_ms);
    if (Clock::now() < due) return due;
    Apply(entry);
  }
  return std::nullopt;
}

void LimitSchedule::Apply(Entry& entry) noexcept {
  const Limit& limit = entry.change.limit;
  const auto set = limit ? manager_.SetLimit(*limit, headroom_.app_domain, headroom_.process)
                         : manager_.SetLimit(CLR_HOST_MEMORY_NO_LIMIT);
  entry.answer = set.error().code();
  entry.applied_ms = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - *began_).count();
  entry.outcome.store(set ? ChangeOutcome::kApplied : ChangeOutcome::kRefused, std::memory_order_release);
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
