// Nodes of the ledger's trees. A missing node is created, published with one compare-exchange, and never moved.
#ifndef CLRHM_LEDGER_METADATA_NODE_H
#define CLRHM_LEDGER_METADATA_NODE_H

#include <atomic>
#include <cstdint>
#include <new>

#include "os/memory_system.h"

namespace clr_host_memory {

// Publishes a node at place, which was found empty. Returns the new one, Node(arguments...), or that of a faster
// thread. Null: no memory. bytes: total bytes of all nodes, for the figures.
template <typename Node, typename... Arguments>
[[nodiscard]] Node* PublishNode(MemorySystem& os, std::atomic<Node*>& place, std::atomic<std::uint64_t>& bytes,
                                Arguments... arguments) {
  void* memory = os.AllocateMetadata(sizeof(Node));
  if (memory == nullptr) return nullptr;
  Node* node = nullptr;
  if constexpr (sizeof...(Arguments) == 0) {
    node = new (memory) Node;
  } else {
    node = new (memory) Node(arguments...);
  }
  Node* winner = nullptr;
  if (!place.compare_exchange_strong(winner, node)) {
    os.FreeMetadata(memory, sizeof(Node));
    return winner;
  }
  bytes.fetch_add(sizeof(Node), std::memory_order_relaxed);
  return node;
}

}  // namespace clr_host_memory

#endif  // CLRHM_LEDGER_METADATA_NODE_H
