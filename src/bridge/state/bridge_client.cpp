#include "bridge/state/bridge_client.h"

#include <utility>

namespace clr_host_memory {

namespace internal {
constinit std::atomic<BridgeClient*> published_client{nullptr};
constinit std::array<InsideCounter, kStackShards> calls_inside{};
}  // namespace internal

HRESULT MakeClient(IHostMemoryManager* manager, std::unique_ptr<BridgeClient>* client, std::string* reason) {
  auto made = std::make_unique<BridgeClient>();
  if (FAILED(manager->QueryInterface(kIidHostMemoryManager, reinterpret_cast<void**>(made->manager.Receive()))) ||
      FAILED(manager->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(made->backend.Receive())))) {
    *reason =
        "The memory manager was not created by this library (it lacks IManagerBackend); create it with "
        "ClrHostMemoryCreate.";
    return E_NOINTERFACE;
  }
  made->notifications = ComReference<MemoryNotificationCallback>(new MemoryNotificationCallback());
  *client = std::move(made);
  return S_OK;
}

void PublishClient(BridgeClient* client) noexcept {
  internal::published_client.store(client, std::memory_order_seq_cst);
}

bool WaitUntilNoCallIsInside(DWORD milliseconds) noexcept {
  const ULONGLONG start = GetTickCount64();
  // A call that begins after the client was withdrawn does not see the client. Therefore each shard must be seen empty
  // once; the shards need not be empty at the same time.
  for (const internal::InsideCounter& inside : internal::calls_inside) {
    while (inside.calls.load(std::memory_order_seq_cst) != 0) {
      if (GetTickCount64() - start >= milliseconds) return false;
      Sleep(1);
    }
  }
  return true;
}

}  // namespace clr_host_memory
