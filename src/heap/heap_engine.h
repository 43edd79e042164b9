// The blocks behind IHostMalloc: a private heap of the OS, each block charged by its size against the same budget as
// pages. Threads: as the heap's kind says (HeapKind::kThreadSafe); the heap may lock, unlike the engine.
#ifndef CLRHM_HEAP_HEAP_ENGINE_H
#define CLRHM_HEAP_HEAP_ENGINE_H

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/outcome.h"
#include "engine/engine.h"

namespace clr_host_memory {

struct BlockOutcome {
  Outcome outcome;
  void* block = nullptr;  // null unless outcome.ok()
};

class HeapEngine {
 public:
  // engine outlives the heap.
  explicit HeapEngine(Engine& engine) : engine_(engine) {}
  // Destroys the heap and returns the charge of the blocks still in it.
  ~HeapEngine();
  HeapEngine(const HeapEngine&) = delete;
  HeapEngine& operator=(const HeapEngine&) = delete;

  // Makes the OS heap; once, before anything else. kind: bits of os::HeapKind.
  Outcome Create(std::uint32_t kind);
  BlockOutcome Allocate(std::size_t size, Criticality level);
  // Null is done. A block of another heap, or none at all, is kNotOurs. Works in every state of the manager.
  Outcome Free(void* block);

 private:
  BlockOutcome AllocateOnce(std::size_t size, Payer& payer);

  Engine& engine_;
  os::HeapHandle heap_ = nullptr;
  std::atomic<std::uint64_t> charged_ = 0;  // bytes of the blocks that are alive
};

}  // namespace clr_host_memory

#endif  // CLRHM_HEAP_HEAP_ENGINE_H
