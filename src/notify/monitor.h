// The watch over memory pressure. It observes what limit, job, machine and commit charge leave. It notifies the CLR
// with Low, Neutral or High, and the host with events. When pressure is over, it takes the reserves back.
//
// One round is one step of a Worker. Every round reads charge and limit. It asks the OS once per sampling interval,
// however often it is woken, so that a storm of refusals causes no storm of system calls.
// Threads: Run on one thread at a time. Finish on that thread, or after it has ended. The rest from any thread. The
// listener is called without a lock held, and may call every function here but Run.
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
    // Low is repeated while it lasts. available_percent: of the tightest bound.
    virtual void OnPressure(Availability availability, std::uint32_t available_percent) = 0;
    // The memory in use began to exceed the limit, by `over` bytes. 0: it fits again.
    virtual void OnOverLimit(Bytes over) = 0;
    // Reserves were given up since the last call: `given` bytes.
    virtual void OnReserveUsed(Bytes given) = 0;
    virtual void OnReserveRestored() = 0;
    // The CLR has spent a window in refusals and collections without progress.
    virtual void OnThrash(const ThrashReport& /*report*/) {}
    // Called at the end of every round.
    virtual void OnRound(Milliseconds now) = 0;
    // Called after the last round, on the same thread.
    virtual void OnEnd() {}

   protected:
    ~Listener() = default;
  };

  // The manager's reserves for emergencies. Called on the monitor's thread.
  class Reserves {
   public:
    virtual Bytes GivenSoFar() = 0;  // bytes given up so far, every time counted; never decreases
    virtual Bytes Held() = 0;        // bytes committed now, but not charged
    // Tries to take back what was given up. Returns true if the reserves are complete again.
    virtual bool TakeBack() = 0;

   protected:
    ~Reserves() = default;
  };

  // The counters of requests. Called on the monitor's thread.
  class Activity {
   public:
    virtual ThrashCounts CountsNow() = 0;
    // Returns the last reading of the running GC; nullopt: nothing reads it.
    virtual std::optional<GcReading> LastGcReading() { return std::nullopt; }

   protected:
    ~Activity() = default;
  };

  struct Settings {
    PressureThresholds thresholds;     // valid
    bool count_whole_process = false;  // uncharged memory of the process counts against the limit
    ThrashSettings thrash;
  };

  // All referenced objects outlive the monitor. The sampling interval is the sampler's interval. now: a time of the
  // clock whose times Run receives.
  Monitor(Budget& budget, LoadSampler& sampler, Reserves& reserves, Listener& listener, const Settings& settings,
          Milliseconds now);
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Sets the waker that the setters below wake. Called before any of them.
  void SetWaker(Waker* waker) { waker_ = waker; }
  // Sets the counters. Without them thrashing is not detected. Called before the first round; activity outlives the
  // monitor.
  void SetActivity(Activity* activity) { activity_ = activity; }

  Milliseconds Run(Milliseconds now) override;
  void End(Milliseconds /*now*/) override { listener_.OnEnd(); }
  // If the CLR received Low last, notifies it of Neutral. After that, sends no more notifications. Idempotent.
  void Finish(Milliseconds now);

  // These setters take effect with the next round, and wake the thread for it. thresholds: valid; interval: above 0.
  void SetThresholds(const PressureThresholds& thresholds);
  void SetSampling(Milliseconds interval);
  void SetCountWholeProcess(bool count_whole_process);
  void SetThrash(const ThrashSettings& settings);
  // Orders the current state to be sent again, for a new callback. The next round sends it.
  void Repeat();

  // Values as of the last round. Uncharged: private bytes of the process that are not charged, whether they count
  // against the limit or not.
  [[nodiscard]] Availability Told() const { return told_.load(); }  // the last state sent to the CLR
  [[nodiscard]] Bytes OverLimit() const { return {over_limit_.load()}; }
  [[nodiscard]] Bytes Uncharged() const { return {uncharged_.load()}; }

 private:
  // Settings made by other threads.
  struct Orders {
    Settings settings;
    bool repeat = false;
  };
  [[nodiscard]] Orders TakeOrders();
  template <typename Change>
  void Order(Change change);

  [[nodiscard]] bool Sample(Milliseconds now);
  [[nodiscard]] LimitUse LookAtLimit(bool count_whole_process, Milliseconds now);
  [[nodiscard]] PressureReading Read(const PressureSources& sources, bool exhausted) const;
  void Say(Availability availability);
  void SayWhetherItFits(Bytes over);
  void LookForThrashing(const ThrashSettings& settings, const LimitUse& use, Milliseconds now);

  Budget& budget_;
  LoadSampler& sampler_;
  Reserves& reserves_;
  Listener& listener_;
  Waker* waker_ = nullptr;
  Activity* activity_ = nullptr;

  std::mutex orders_lock_;
  Orders orders_;

  // Used by rounds only.
  Pressure pressure_;
  ThrashGuard thrash_;
  GcThrashGuard gc_thrash_;
  MemoryLoad load_;
  std::optional<Milliseconds> sampled_at_;
  bool os_tells_high_ = false;  // set once the OS's high-memory notification was seen signalled
  std::uint32_t available_percent_ = 100;
  Bytes counted_uncharged_;
  std::optional<Milliseconds> grace_began_;
  Bytes reserves_given_;
  bool reserves_whole_ = true;

  std::atomic<bool> finished_ = false;
  std::atomic<Availability> told_ = Availability::kNeutral;
  std::atomic<std::uint64_t> over_limit_ = 0;
  std::atomic<std::uint64_t> uncharged_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_NOTIFY_MONITOR_H
