// Watches what is left of limit, job, machine and commit charge, and says so: to the CLR as Low, Neutral or High, to
// the host as events. Takes the reserves back when pressure is over.
//
// One round is one step of a Worker. A round looks at charge and limit; the OS it asks once per sampling interval,
// however often it is woken, so that a storm of refusals is no storm of system calls.
// Threads: Run on one thread at a time; Finish on that thread, or when it has ended; the rest from any. The listener is
// called outside of all locks, and may call everything here but Run.
#ifndef CLRHM_NOTIFY_MONITOR_H
#define CLRHM_NOTIFY_MONITOR_H

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/time.h"
#include "base/units.h"
#include "base/waker.h"
#include "budget/budget.h"
#include "notify/worker.h"
#include "os/load_sampler.h"
#include "os/memory_system.h"
#include "policy/memory_status.h"
#include "policy/pressure.h"
#include "policy/thrash.h"

namespace clr_host_memory {

class Monitor final : public Worker::Step {
 public:
  class Listener {
   public:
    // Low is said again while it lasts. available_percent: of the tightest bound.
    virtual void OnPressure(Availability availability, std::uint32_t available_percent) = 0;
    // What is in use has come to be more than the limit, by `over`; 0: it fits again.
    virtual void OnOverLimit(Bytes over) = 0;
    // Reserves were given up since this was last said.
    virtual void OnReserveUsed(Bytes given) = 0;
    virtual void OnReserveRestored() = 0;
    // The CLR has spent a window in refusals and collections without progress.
    virtual void OnThrash(const ThrashReport& /*report*/) {}
    // The end of every round.
    virtual void OnRound(Milliseconds now) = 0;
    // After the last one, on the same thread.
    virtual void OnEnd() {}

   protected:
    ~Listener() = default;
  };

  // What the manager keeps back for the worst moment. Called on the monitor's thread.
  class Reserves {
   public:
    virtual Bytes GivenSoFar() = 0;  // each time counted; never less than before
    virtual Bytes Held() = 0;        // committed now, and not charged
    // Tries to get back what was given up. True: they are whole again.
    virtual bool TakeBack() = 0;

   protected:
    ~Reserves() = default;
  };

  // Who counts requests. Called on the monitor's thread.
  class Activity {
   public:
    virtual ThrashCounts CountsNow() = 0;

   protected:
    ~Activity() = default;
  };

  struct Settings {
    PressureThresholds thresholds;     // valid
    bool count_whole_process = false;  // what the process has besides counts against the limit
    ThrashSettings thrash;
  };

  // All outlive the monitor. The sampler's interval is the sampling interval. now: of the clock that Run is told.
  Monitor(Budget& budget, LoadSampler& sampler, Reserves& reserves, Listener& listener, const Settings& settings,
          Milliseconds now);
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Who is woken by what is set; before anything is.
  void SetWaker(Waker* waker) { waker_ = waker; }
  // Without one, nothing is known of thrashing. Before the first round; outlives the monitor.
  void SetActivity(Activity* activity) { activity_ = activity; }

  Milliseconds Run(Milliseconds now) override;
  void End(Milliseconds /*now*/) override { listener_.OnEnd(); }
  // A CLR that was told Low is told Neutral, and then nothing is said any more. Idempotent.
  void Finish(Milliseconds now);

  // From the next round on, which comes at once. thresholds: valid; interval: above 0.
  void SetThresholds(const PressureThresholds& thresholds);
  void SetSampling(Milliseconds interval);
  void SetCountWholeProcess(bool count_whole_process);
  void SetThrash(const ThrashSettings& settings);
  // Someone new listens, who is told the state at once.
  void Repeat();

  // As of the last round. Outside: private bytes of the process that are not charged, whether they count or not.
  [[nodiscard]] Availability Told() const { return told_.load(); }  // what the CLR is to believe
  [[nodiscard]] Bytes OverLimit() const { return {over_limit_.load()}; }
  [[nodiscard]] Bytes Uncharged() const { return {uncharged_.load()}; }

 private:
  // What is set by others.
  struct Orders {
    Settings settings;
    bool repeat = false;
  };
  [[nodiscard]] Orders TakeOrders();
  template <typename Change>
  void Order(Change change);

  [[nodiscard]] bool Sample(Milliseconds now);
  [[nodiscard]] LimitUse LookAtLimit(bool count_whole_process);
  [[nodiscard]] PressureReading Read(const PressureSources& sources, bool exhausted) const;
  void Say(Availability availability);
  void SayWhetherItFits(Bytes over);
  void LookForThrashing(const LimitUse& use, Milliseconds now);

  Budget& budget_;
  LoadSampler& sampler_;
  Reserves& reserves_;
  Listener& listener_;
  Waker* waker_ = nullptr;
  Activity* activity_ = nullptr;

  std::mutex orders_lock_;
  Orders orders_;

  // The rounds' own.
  Pressure pressure_;
  ThrashGuard thrash_;
  MemoryLoad load_;
  std::optional<Milliseconds> sampled_at_;
  bool os_tells_high_ = false;  // its high-memory notification has been seen signalled
  std::uint32_t available_percent_ = 100;
  Bytes counted_uncharged_;
  Bytes reserves_given_;
  bool reserves_whole_ = true;

  std::atomic<bool> finished_ = false;
  std::atomic<Availability> told_ = Availability::kNeutral;
  std::atomic<std::uint64_t> over_limit_ = 0;
  std::atomic<std::uint64_t> uncharged_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_NOTIFY_MONITOR_H
