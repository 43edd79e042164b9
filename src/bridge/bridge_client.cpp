#include "bridge/bridge_client.h"

namespace clr_host_memory::bridge {

namespace internal {
constinit std::atomic<BridgeClient*> published_client{nullptr};
constinit std::atomic<std::uint64_t> calls_inside{0};
}  // namespace internal

void PublishClient(BridgeClient* client) noexcept {
  internal::published_client.store(client, std::memory_order_seq_cst);
}

bool WaitUntilNoCallIsInside(DWORD milliseconds) noexcept {
  const ULONGLONG start = GetTickCount64();
  while (internal::calls_inside.load(std::memory_order_seq_cst) != 0) {
    if (GetTickCount64() - start >= milliseconds) return false;
    Sleep(1);
  }
  return true;
}

}  // namespace clr_host_memory::bridge
