#include "support/interleaver.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "support/switcher.h"

namespace clr_host_memory::test {
namespace {

class Scheduler;
thread_local Scheduler* current_scheduler = nullptr;

// One exploration: its contexts, and the choices of the schedule being played.
class Scheduler {
 public:
  Scheduler(std::size_t tasks, int preemptions)
      : preemptions_(preemptions), caller_(tasks), running_(tasks), switcher_(tasks, [this](std::size_t task) {
          Work(task);
        }) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  std::string Play(std::vector<std::function<void()>> operations) {
    operations_ = std::move(operations);
    finished_.assign(operations_.size(), false);
    position_ = 0;
    used_ = 0;
    steps_.clear();
    current_scheduler = this;  // in case the operations run in this thread
    static_cast<void>(SwitchTo(Choose(Unfinished())));
    current_scheduler = nullptr;
    return Describe();
  }

  // Goes on to the next schedule; false: that was the last.
  bool Advance() {
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().options) choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
  }

  void Point() {
    if (running_ == caller_) return;
    ++steps_.back().points;
    if (used_ == preemptions_) return;
    std::vector<std::size_t> options{running_};
    for (const std::size_t other : Unfinished()) {
      if (other != running_) options.push_back(other);
    }
    if (options.size() == 1) return;
    const std::size_t next = Choose(options);
    if (next == running_) return;
    ++used_;
    static_cast<void>(SwitchTo(next));
  }

 private:
  struct Choice {
    std::size_t taken = 0;
    std::size_t options = 0;
  };
  struct Step {
    std::size_t task = 0;
    std::size_t points = 0;
  };

  // Plays one operation each time it is transferred to anew.
  void Work(std::size_t task) {
    current_scheduler = this;
    do {
      operations_[task]();
      finished_[task] = true;
    } while (SwitchTo(NextAfterEnd()));
  }

  std::size_t NextAfterEnd() {
    const std::vector<std::size_t> rest = Unfinished();
    return rest.empty() ? caller_ : Choose(rest);
  }

  [[nodiscard]] bool SwitchTo(std::size_t next) {
    if (next != caller_) steps_.push_back({.task = next});
    return switcher_.Transfer(std::exchange(running_, next), next);
  }

  [[nodiscard]] std::vector<std::size_t> Unfinished() const {
    std::vector<std::size_t> tasks;
    for (std::size_t i = 0; i < finished_.size(); ++i) {
      if (!finished_[i]) tasks.push_back(i);
    }
    return tasks;
  }

  std::size_t Choose(const std::vector<std::size_t>& options) {
    if (position_ == choices_.size()) choices_.push_back({.options = options.size()});
    const Choice& choice = choices_[position_++];
    if (choice.options != options.size()) {
      std::fputs("Interleaver: operations behave differently when run again\n", stderr);
      std::abort();
    }
    return options[choice.taken];
  }

  [[nodiscard]] std::string Describe() const {
    std::string text;
    for (const Step& step : steps_) {
      if (!text.empty()) text += ", ";
      text += "operation " + std::to_string(step.task) + " for " + std::to_string(step.points) + " points";
    }
    return text;
  }

  const int preemptions_;
  const std::size_t caller_;
  std::size_t running_;
  std::vector<std::function<void()>> operations_;
  std::vector<bool> finished_;
  std::vector<Choice> choices_;
  std::size_t position_ = 0;
  int used_ = 0;
  std::vector<Step> steps_;
  Switcher switcher_;  // ends first: its threads use the rest
};

}  // namespace

void InterleavingPoint() {
  if (current_scheduler != nullptr) current_scheduler->Point();
}

Exploration Explore(const MakeWorld& make_world, int preemptions, std::uint64_t max_schedules) {
  Exploration exploration;
  std::unique_ptr<InterleavedWorld> world = make_world();
  std::vector<std::function<void()>> operations = world->Operations();
  Scheduler scheduler(operations.size(), preemptions);
  while (true) {
    const std::string schedule = scheduler.Play(std::move(operations));
    ++exploration.schedules;
    exploration.passed = world->Check(schedule);
    if (!exploration.passed || !scheduler.Advance()) break;
    if (exploration.schedules == max_schedules) {
      exploration.complete = false;
      break;
    }
    world = make_world();
    operations = world->Operations();
  }
  return exploration;
}

}  // namespace clr_host_memory::test
