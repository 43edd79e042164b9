// What a companion in the runtime asks for: the limit that its GC has to keep, computed from what the rest of the
// charge leaves. It works on the companion's thread. The manager calls no managed code.
#ifndef CLRHM_COM_GC_FOLLOWER_H
#define CLRHM_COM_GC_FOLLOWER_H

#include <clr_host_memory/memory_manager_abi.h>

#include <atomic>
#include <mutex>
#include <optional>

#include "base/waker.h"
#include "engine/engine.h"
#include "os/windows/srw_lock.h"
#include "policy/thrash.h"

namespace clr_host_memory {

class GcFollower final : public Waker {
 public:
  // Both outlive the follower.
  GcFollower(Engine& engine, ThreadSystem& threads) : engine_(engine), threads_(threads) {}
  ~GcFollower();
  GcFollower(const GcFollower&) = delete;
  GcFollower& operator=(const GcFollower&) = delete;

  // IClrHostMemoryControl::FollowGc with whole structs. Returns whether the GC has to do something; nullopt: the engine
  // serves no more. Any thread; several companions share the orders.
  [[nodiscard]] std::optional<bool> Follow(const ClrHostMemoryGcReading& reading, Milliseconds at_most,
                                           ClrHostMemoryGcOrder* order);
  // Makes waiting companions look again: the limit has changed, the headroom is used, a request was refused, or the
  // engine has shut down.
  void Wake() noexcept override;

  // Returns the last reading; nullopt: none.
  [[nodiscard]] std::optional<GcReading> LastReading() const;
  // Returns the limit of the GC as of the last reading, bytes; 0: none was ever read.
  [[nodiscard]] Bytes GcLimit() const { return {gc_limit_.load(std::memory_order_relaxed)}; }

 private:
  [[nodiscard]] bool Look(const ClrHostMemoryGcReading& reading, bool at_once, ClrHostMemoryGcOrder* order);
  [[nodiscard]] EventHandle Event();

  Engine& engine_;
  ThreadSystem& threads_;
  std::atomic<EventHandle> event_ = nullptr;
  std::atomic<std::uint64_t> gc_limit_ = 0;
  mutable SrwLock lock_;  // guards the members below; the manager calls no foreign code under it
  std::optional<GcReading> reading_;
  Milliseconds ordered_at_{};  // time of the last order; valid if ordered_
  bool ordered_ = false;
  Bytes others_ = kUnlimited;  // what no GC had of the charge at the last look
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_GC_FOLLOWER_H
