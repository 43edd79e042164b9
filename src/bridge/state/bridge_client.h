// The process-wide client that the thunks call. Thunks are plain functions, so only one client can exist.
#ifndef CLRHM_BRIDGE_STATE_BRIDGE_CLIENT_H
#define CLRHM_BRIDGE_STATE_BRIDGE_CLIENT_H

#include <clr_host_memory/com_reference.h>
#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/stack_shard.h"
#include "bridge/state/memory_notifications.h"
#include "bridge/state/section_handles.h"
#include "com/backend.h"

namespace clr_host_memory {

// The objects that calls are forwarded to.
struct BridgeClient {
  ComReference<IHostMemoryManager> manager;
  ComReference<IManagerBackend> backend;
  ComReference<MemoryNotificationCallback> notifications;
  std::atomic<bool> runtime_started{false};
  std::atomic<bool> as_container{false};  // present the limit as a container's limit
  mutable SectionHandles sections;
};

namespace internal {
extern std::atomic<BridgeClient*> published_client;
// The count is split into shards so that threads do not contend for one counter.
struct alignas(64) InsideCounter {
  std::atomic<std::uint64_t> calls{0};
};
extern std::array<InsideCounter, kStackShards> calls_inside;
}  // namespace internal

// Makes a client of manager. E_NOINTERFACE: manager was not made by this library. Throws std::bad_alloc.
[[nodiscard]] HRESULT MakeClient(IHostMemoryManager* manager, std::unique_ptr<BridgeClient>* client,
                                 std::string* reason);

// Directs calls to client from now on. null: directs them to the functions that the imports pointed at before.
void PublishClient(BridgeClient* client) noexcept;

// Waits until every call that was inside a thunk when the client was withdrawn has left. False: some calls stayed
// longer.
[[nodiscard]] bool WaitUntilNoCallIsInside(DWORD milliseconds) noexcept;

// The scope of one call through a thunk. The client that it sees stays valid for its length. It takes no lock, so a
// thread may be suspended anywhere inside.
class CallScope {
 public:
  // Sequentially consistent, as PublishClient is. A call either is counted before the client is withdrawn, or it sees
  // no client.
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
