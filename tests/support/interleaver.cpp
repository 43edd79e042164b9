#include "support/interleaver.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "support/switcher.h"

namespace clr_host_memory::test {
namespace {

class Scheduler;
thread_local Scheduler* current_scheduler = nullptr;

// One exploration: its contexts, and the choices of the current schedule.
class Scheduler {
 public:
  Scheduler(std::size_t tasks, int preemptions)
      : preemptions_(preemptions), caller_(tasks), running_(tasks),
        switcher_(tasks, [this](std::size_t task) { Work(task); }) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  std::string Play(InterleavedWorld* world, std::vector<std::function<void()>> operations) {
    world_ = world;
    operations_ = std::move(operations);
    finished_.assign(operations_.size(), false);
    suspended_.assign(operations_.size(), false);
    waits_for_.assign(operations_.size(), nullptr);
    position_ = 0;
    used_ = 0;
    steps_.clear();
    current_scheduler = this;  // in case the operations run in this thread
    static_cast<void>(SwitchTo(Choose(Ready())));
    current_scheduler = nullptr;
    return Describe();
  }

  // Selects the next schedule. Returns false after the last one.
  bool Advance() {
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().options) choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().taken;
    return true;
  }

  void Point() {
    if (running_ == caller_ || time_passes_) return;
    ++steps_.back().points;
    if (used_ == preemptions_) return;
    std::vector<std::size_t>& options = Ready();
    if (options.size() == 1) return;
    // The first choice is that no other operation interrupts.
    const auto own = std::find(options.begin(), options.end(), running_);
    std::rotate(options.begin(), own, own + 1);
    const std::size_t next = Choose(options);
    if (next == running_) return;
    ++used_;
    suspended_[running_] = true;
    static_cast<void>(SwitchTo(next));
  }

  [[nodiscard]] std::size_t running() const { return running_; }

  void Wait(const std::function<bool()>& ready) {
    if (running_ == caller_) return;
    const std::size_t task = running_;
    while (!ready()) {
      waits_for_[task] = &ready;
      const std::size_t next = NextAfterStop();
      if (next == task) {
        steps_.push_back({.task = task});
      } else {
        static_cast<void>(SwitchTo(next));
      }
      waits_for_[task] = nullptr;
    }
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

  // Plays one operation each time the context is entered for a new schedule.
  void Work(std::size_t task) {
    current_scheduler = this;
    do {
      operations_[task]();
      finished_[task] = true;
    } while (SwitchTo(NextAfterStop()));
  }

  // Chooses what runs after the running operation has ended or begun to wait.
  std::size_t NextAfterStop() {
    bool more_time = true;
    while (std::find(finished_.begin(), finished_.end(), false) != finished_.end()) {
      std::vector<std::size_t>& options = Ready();
      const bool idle = std::all_of(options.begin(), options.end(), [this](std::size_t i) { return suspended_[i]; });
      if (idle && more_time && SomeoneWaits()) options.push_back(caller_);  // stands for the passing of time
      if (options.empty()) {
        std::fputs("Interleaver: operations wait for each other\n", stderr);
        std::abort();
      }
      const std::size_t next = Choose(options);
      if (next != caller_) return next;
      steps_.push_back({.task = caller_});
      time_passes_ = true;
      more_time = world_->PassTime();
      time_passes_ = false;
    }
    return caller_;
  }

  [[nodiscard]] bool SwitchTo(std::size_t next) {
    if (next != caller_) {
      steps_.push_back({.task = next});
      suspended_[next] = false;
    }
    return switcher_.Transfer(std::exchange(running_, next), next);
  }

  // Returns the operations that can continue, including suspended ones. The next call overwrites the result.
  [[nodiscard]] std::vector<std::size_t>& Ready() {
    ready_.clear();
    for (std::size_t i = 0; i < finished_.size(); ++i) {
      if (!finished_[i] && (waits_for_[i] == nullptr || (*waits_for_[i])())) ready_.push_back(i);
    }
    return ready_;
  }

  [[nodiscard]] bool SomeoneWaits() const {
    return std::any_of(waits_for_.begin(), waits_for_.end(), [](const auto* ready) { return ready != nullptr; });
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
      if (step.task == caller_) {
        text += "time";
        continue;
      }
      text += "operation " + std::to_string(step.task) + " for " + std::to_string(step.points) + " points";
    }
    return text;
  }

  const int preemptions_;
  const std::size_t caller_;
  std::size_t running_;
  std::vector<std::function<void()>> operations_;
  InterleavedWorld* world_ = nullptr;
  std::vector<bool> finished_;
  std::vector<bool> suspended_;  // suspended at an interleaving point
  std::vector<const std::function<bool()>*> waits_for_;
  std::vector<std::size_t> ready_;
  std::vector<Choice> choices_;
  std::size_t position_ = 0;
  int used_ = 0;
  bool time_passes_ = false;  // PassTime runs: its interleaving points belong to no operation
  std::vector<Step> steps_;
  Switcher switcher_;  // destroyed first: its threads use the other members
};

}  // namespace

void InterleavingPoint() {
  if (current_scheduler != nullptr) current_scheduler->Point();
}

void InterleavingWait(const std::function<bool()>& ready) {
  if (current_scheduler != nullptr) current_scheduler->Wait(ready);
}

std::size_t InterleavingOperation() { return current_scheduler->running(); }

Exploration Explore(const MakeWorld& make_world, int preemptions, std::uint64_t max_schedules) {
  Exploration exploration;
  std::unique_ptr<InterleavedWorld> world = make_world();
  std::vector<std::function<void()>> operations = world->Operations();
  Scheduler scheduler(operations.size(), preemptions);
  while (true) {
    const std::string schedule = scheduler.Play(world.get(), std::move(operations));
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
