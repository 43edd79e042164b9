// The manager's own threads, and those they call: one that watches memory and tells the CLR and the host, one that
// serves requests that wait. Each is started when there is something for it to do. Threads: any, unless said otherwise.
// The host and the CLR are called outside of all locks.
#ifndef CLRHM_COM_NOTIFIER_H
#define CLRHM_COM_NOTIFIER_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <atomic>
#include <mutex>

#include "com/call_counters.h"
#include "com/callback_slot.h"
#include "engine/engine.h"
#include "notify/monitor.h"
#include "notify/worker.h"

namespace clr_host_memory {

class Notifier final : private Monitor::Listener, private Monitor::Reserves, private Monitor::Activity {
 public:
  // All outlive the attendants; engine is told whom to wake.
  Notifier(Engine& engine, ThreadSystem& threads, const CallCounters& counters, const Monitor::Settings& settings);
  ~Notifier() { Stop(); }
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Starts the thread that watches; idempotent. False: there is none to be had, or it was stopped.
  [[nodiscard]] bool Watch() { return watcher_.Start(); }
  // Makes it possible for requests to wait; idempotent. False: no memory, or no thread.
  [[nodiscard]] bool StartDispatcher();

  [[nodiscard]] bool SetCallback(ICLRMemoryNotificationCallback* callback);
  [[nodiscard]] bool SetSink(IClrHostMemoryEventSink* sink);
  // On the caller's thread. S_FALSE: there is nobody to tell.
  HRESULT Notify(EMemoryAvailable available);

  // A bridge was detached from a runtime that goes on. The host is told on the watching thread.
  void NoteDetached();
  // Something that is watched has changed.
  void Wake() { watcher_.Wake(); }
  [[nodiscard]] Monitor& monitor() { return monitor_; }
  [[nodiscard]] const Monitor& monitor() const { return monitor_; }
  void CopyTo(ClrHostMemoryStatistics* statistics) const;

  // After Engine::Shutdown: ends both threads. The thread that watches tells a CLR that may believe in Low Neutral, and
  // the host the end, last of all; then neither is called any more. This waits for that, unless this thread is inside a
  // call of any callback, or is the thread that watches. Then it returns at once, and the end follows when calls have
  // returned. Idempotent; several threads may call it at once.
  void Stop();
  // After Stop, as the last call of any thread: has last(context) called, which destroys the attendants. When the
  // thread that watches still runs, it makes that call as its last; else this does.
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
  Bytes Held() override { return engine_.emergency().Held(); }
  bool TakeBack() override { return engine_.TakeBackReserves(); }
  ThrashCounts CountsNow() override;

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
  CallbackSlot<ICLRMemoryNotificationCallback> callback_;
  CallbackSlot<IClrHostMemoryEventSink> sink_;
  Monitor monitor_;
  Worker watcher_;
  WaitDispatch wait_dispatch_;
  Worker dispatcher_;
  std::mutex waits_lock_;  // for those who set them up
  bool waits_open_ = false;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;

  // What was last told; the watching thread's, and Stop's after it.
  RefusalCounts told_refusals_{};
  std::uint64_t told_placements_ = 0;
  bool told_latch_ = false;
  std::uint64_t told_detached_ = 0;
  Stage told_stage_ = Stage::kRunning;
  std::uint32_t available_percent_ = 100;

  std::array<std::atomic<std::uint64_t>, 3> notifications_{};
  std::atomic<std::uint64_t> thrashes_ = 0;
  std::atomic<std::uint64_t> detached_ = 0;  // how often a bridge was
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_NOTIFIER_H
