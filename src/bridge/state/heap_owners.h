// The heaps of the bridge, and the borders that their blocks cross.
//
// A bridged module's malloc, calloc and HeapAlloc are served from a heap of the manager (thunk_calls_heap.cpp). The
// place where a block is freed is unknown. Another module may free it with the C run-time's free, which any code can
// have looked up by name. All such calls arrive at the imports of HeapFree, HeapReAlloc and HeapSize of two kinds of
// modules:
// - modules that get blocks;
// - the C run-times from which those modules import malloc and related functions.
//
// These imports are the borders. A border checks each pointer. A block of the bridge's heaps is served by its heap in
// constant time. Any other block goes to the function that this import pointed at before.
//
// A module gets blocks only if all of these imports are guarded. A C run-time is found by the name of the library
// imported from, since the import's target may be another tool's hook. A target inside a second C run-time adds that
// one, too. A C run-time must import all three functions by name. One of its own blocks is tracked once to verify that
// its free, realloc and _msize pass the borders. Debug C run-times are left alone.
//
// These imports point at the borders as long as any block is in use, even after the last bridge is detached. They are
// restored when a bridge is detached and no block is in use at that time.
#ifndef CLRHM_BRIDGE_STATE_HEAP_OWNERS_H
#define CLRHM_BRIDGE_STATE_HEAP_OWNERS_H

#include <clr_host_memory/memory_manager_abi.h>

#include "com/backend.h"

namespace clr_host_memory {

// ---- For thunks, inside a CallScope. These functions take no lock.

// Returns the heap that new blocks come from; null: there is none.
[[nodiscard]] IHeapBackend* ServingHeap() noexcept;
// Frees memory if it is a block of one of the heaps. False: it is not such a block.
[[nodiscard]] bool FreeIfOwned(void* memory) noexcept;
// Returns the usable bytes of the block; 0: memory is not a block of one of the heaps.
[[nodiscard]] SIZE_T SizeIfOwned(const void* memory) noexcept;

enum class Resized {
  kNotOwned,  // not a block of one of the heaps
  kDone,      // *resized is the block
  kRefused,   // the manager refused; the block is unchanged
  kNotServed  // the block's heap gives out no more blocks, as after shutdown and after Detach; the block is unchanged
};
// Resizes memory. flags: those of IHeapBackend::Reallocate. *resized is null unless the result is kDone.
[[nodiscard]] Resized ResizeIfOwned(void* memory, SIZE_T size, uint32_t flags, void** resized) noexcept;

// ---- For the registry; must not be called inside a CallScope.

// Directs new blocks to heap from now on; takes a reference. False: too many heaps still have blocks in use.
[[nodiscard]] bool ServeFrom(IHeapBackend* heap) noexcept;
// Stops serving new blocks. Each heap still takes back its own blocks.
void StopServing() noexcept;
// Releases the heaps that have no blocks in use. Call it after StopServing, when no call is inside the bridge. When no
// heap is left, restores the imports of the borders.
void RetireHeaps() noexcept;

// Guards every function that can free or resize blocks given to module. Idempotent.
//
// S_OK; S_FALSE: one of these functions cannot be guarded, so the module must get no blocks; E_OUTOFMEMORY.
[[nodiscard]] HRESULT GuardBlocksOf(HMODULE module) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_HEAP_OWNERS_H
