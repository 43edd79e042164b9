// The process-wide client that the thunks call: thunks are plain functions, so there can be only one.
#ifndef CLRHM_BRIDGE_STATE_BRIDGE_CLIENT_H
#define CLRHM_BRIDGE_STATE_BRIDGE_CLIENT_H

#include <clr_host_memory/clr_host_memory.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "base/stack_shard.h"
#include "bridge/state/memory_notifications.h"
#include "bridge/state/section_handles.h"

namespace clr_host_memory {

// What calls are forwarded to. The references are owned by whoever published the client.
struct BridgeClient {
  IHostMemoryManager* manager = nullptr;
  IClrHostMemoryClient* ledger = nullptr;
  MemoryNotificationCallback* notifications = nullptr;
  std::atomic<bool> runtime_started{false};
  std::atomic<bool> as_container{false};  // the limit is to look like a container's
  mutable SectionHandles sections;
};

namespace internal {
extern std::atomic<BridgeClient*> published_client;
// In parts, so that threads do not fight for one counter.
struct alignas(64) InsideCounter {
  std::atomic<std::uint64_t> calls{0};
};
extern std::array<InsideCounter, kStackShards> calls_inside;
}  // namespace internal

// From now on calls go to client; null: to the functions the imports pointed at before.
void PublishClient(BridgeClient* client) noexcept;

// Waits until every call that was inside a thunk when the client was withdrawn has left. False: some stayed longer.
[[nodiscard]] bool WaitUntilNoCallIsInside(DWORD milliseconds) noexcept;

// For the length of one call through a thunk the client it sees stays valid. Takes no lock, so that a thread may be
// suspended anywhere inside.
class CallScope {
 public:
  // Sequentially consistent, as PublishClient is: a call either is counted before the client is withdrawn, or sees
  // none.
  CallScope() noexcept : inside_(internal::calls_inside[StackShard()].calls) {
    inside_.fetch_add(1, std::memory_order_seq_cst);
    client_ = internal::published_client.load(std::memory_order_seq_cst);
  }
  ~CallScope() { inside_.fetch_sub(1, std::memory_order_release); }
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

  [[nodiscard]] const BridgeClient* client() const noexcept { return client_; }

 private:
  std::atomic<std::uint64_t>& inside_;
  const BridgeClient* client_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_BRIDGE_CLIENT_H
