// The manager's own two threads and the callbacks they call. The watcher watches memory and notifies the CLR and the
// host. The dispatcher serves the queue of waiting requests. Each thread starts when it is first needed.
// Threads: any, unless a function states otherwise. The host and the CLR are called outside of all locks.
#ifndef CLRHM_COM_NOTIFIER_H
#define CLRHM_COM_NOTIFIER_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <atomic>
#include <mutex>

#include "com/call_counters.h"
#include "com/callback_slot.h"
#include "com/gc_follower.h"
#include "engine/engine.h"
#include "notify/monitor.h"
#include "notify/worker.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {

class Notifier final : private Monitor::Listener, private Monitor::Reserves, private Monitor::Activity, private Waker {
 public:
  // The arguments outlive the notifier. Registers itself as the engine's alarm.
  Notifier(Engine& engine, ThreadSystem& threads, const CallCounters& counters, const Monitor::Settings& settings);
  ~Notifier() { Stop(); }
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Starts the watcher; idempotent. False: the OS gives no event or thread, or the watcher was stopped.
  [[nodiscard]] bool Watch() { return watcher_.Start(); }
  // Opens the queue of waiting requests and starts both threads; idempotent. False: no memory or no thread.
  [[nodiscard]] bool StartDispatcher();

  // Registers a callback or sink; null unregisters. Each takes a reference. False: no memory, no thread, or stopped.
  [[nodiscard]] bool SetCallback(ICLRMemoryNotificationCallback* callback);
  [[nodiscard]] bool SetSink(IClrHostMemoryEventSink* sink);
  // Notifies the CLR on the calling thread and returns the callback's result. S_FALSE: no callback is registered.
  HRESULT Notify(EMemoryAvailable available);

  // Records that a bridge was detached from a runtime that still runs. The watcher reports it to the host.
  void NoteDetached();
  // Starts a round of the watcher, and makes companions look, because something that they watch has changed.
  void Wake() noexcept override;
  [[nodiscard]] GcFollower& gc_follower() { return gc_follower_; }
  [[nodiscard]] Monitor& monitor() { return monitor_; }
  [[nodiscard]] const Monitor& monitor() const { return monitor_; }
  void CopyTo(ClrHostMemoryStatistics* statistics) const;

  // Ends both threads; call after Engine::Shutdown. If the last notification may still be Low, the watcher notifies the
  // CLR of Neutral. Its last call reports the end to the host. Afterwards neither CLR nor host is called.
  // Waits for all of this, with two exceptions: this thread is inside a call of any callback, or is the watcher. Then
  // the function returns at once, and the end follows when the calls have returned.
  // Idempotent. Several threads may call it at the same time.
  void Stop();
  // Calls last(context), which destroys the notifier. Call it after Stop; no thread may call the notifier afterwards.
  // If the watcher still runs, it makes that call as its last. Otherwise this function makes it.
  void StopAndThen(void (*last)(void* context), void* context) { watcher_.StopAndThen(last, context); }

 private:
  class WaitDispatch final : public Worker::Step {
   public:
    explicit WaitDispatch(Notifier& owner) : owner_(owner) {}
    Milliseconds Run(Milliseconds now) override;

   private:
    Notifier& owner_;
  };

  void OnPressure(Availability availability, std::uint32_t available_percent) override;
  void OnOverLimit(Bytes over) override;
  void OnReserveUsed(Bytes given) override;
  void OnReserveRestored() override;
  void OnThrash(const ThrashReport& report) override;
  void OnRound(Milliseconds now) override;
  void OnEnd() override;
  Bytes GivenSoFar() override;
  Bytes Held() override { return engine_.headroom_pool().Held(); }
  bool TakeBack() override { return engine_.TakeBackReserves(); }
  ThrashCounts CountsNow() override;
  std::optional<GcReading> LastGcReading() override { return gc_follower_.LastReading(); }

  [[nodiscard]] ClrHostMemoryEvent EventOf(ClrHostMemoryEventKind kind);
  static void EndLow(void* notifier, ICLRMemoryNotificationCallback& callback);
  void CountNotification(EMemoryAvailable available);
  void Tell(const ClrHostMemoryEvent& event);
  void TellRefusals();
  void TellPlacements();
  void TellLatch();
  void TellDetached();
  void TellStage();

  Engine& engine_;
  ThreadSystem& threads_;
  const CallCounters& counters_;
  const Milliseconds began_;
  GcFollower gc_follower_;
  CallbackSlot<ICLRMemoryNotificationCallback> callback_;
  CallbackSlot<IClrHostMemoryEventSink> sink_;
  Monitor monitor_;
  Worker watcher_;
  WaitDispatch wait_dispatch_;
  Worker dispatcher_;
  SrwLock waits_lock_;  // held while StartDispatcher opens the queue
  bool waits_open_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;

  // The figures last reported. Only the watcher accesses these members; after it has ended, Stop does.
  RefusalCounts told_refusals_{};
  std::uint64_t told_placements_ = 0;
  bool told_latch_ = false;
  std::uint64_t told_detached_ = 0;
  Stage told_stage_ = Stage::kRunning;
  std::uint32_t available_percent_ = 100;

  std::array<std::atomic<std::uint64_t>, 3> notifications_{};
  std::atomic<std::uint64_t> thrashes_ = 0;
  std::atomic<std::uint64_t> detached_ = 0;  // number of bridges detached
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_NOTIFIER_H
