// The heaps of the bridge, and the borders that their blocks cross.
//
// A bridged module's malloc, calloc and HeapAlloc are served from a heap of the manager (thunk_calls.h). Where a block
// ends is not known: another module may free it, with the C run-time's free, which any code can have looked up by name.
// All of that arrives at the imports of HeapFree, HeapReAlloc and HeapSize of two kinds of modules: those that get
// blocks, and the C run-times that they import malloc and its kin from. There each pointer is looked at. Blocks of
// these heaps are served by them, in constant time, and all others by the function that this very import pointed at
// before.
//
// A module gets blocks only if all of these imports are guarded. A run-time is found by the name of the library that is
// imported from, not by where the import points, which may be another tool's hook. It must import all three functions
// by name, and a block of its own is followed once to see that its free, realloc and _msize come by; debug run-times
// are left alone.
//
// These imports stay pointed at the borders while any block is out, also when no bridge is attached any more. They are
// taken back when a bridge is detached and no block is out then.
#ifndef CLRHM_BRIDGE_STATE_HEAP_OWNERS_H
#define CLRHM_BRIDGE_STATE_HEAP_OWNERS_H

#include <clr_host_memory/clr_host_memory.h>

namespace clr_host_memory {

// ---- for thunks: inside a CallScope, no lock

// The heap that new blocks come from; null: there is none.
[[nodiscard]] IClrHostMemoryHeap* ServingHeap() noexcept;
// Frees memory if it is a block of one of the heaps. False: it is none.
[[nodiscard]] bool FreeIfOwned(void* memory) noexcept;
// Bytes of the block that may be used; 0: memory is no block of one of the heaps.
[[nodiscard]] SIZE_T SizeIfOwned(const void* memory) noexcept;

enum class Resized {
  kNotOwned,  // no block of one of the heaps
  kDone,      // *resized is the block
  kRefused,   // by the manager; the block is unchanged
  kNotServed  // a block whose heap gives out no more, as after shutdown and after Detach; it is unchanged
};
// flags: as of IClrHostMemoryHeap::Reallocate. *resized is null unless it is done.
[[nodiscard]] Resized ResizeIfOwned(void* memory, SIZE_T size, uint32_t flags, void** resized) noexcept;

// ---- for the registry; not inside a CallScope

// From now on new blocks come from heap; takes a reference. False: too many heaps still have blocks out.
[[nodiscard]] bool ServeFrom(IClrHostMemoryHeap* heap) noexcept;
// Stops that. Each heap still takes back what is its own.
void StopServing() noexcept;
// After StopServing, when no call is inside the bridge: heaps that have no blocks out end. When none is left, the
// borders are taken back.
void RetireHeaps() noexcept;

// Guards every way back of blocks that module may be given. Idempotent.
// S_OK; S_FALSE: one of them cannot be guarded, so the module must get none; E_OUTOFMEMORY.
[[nodiscard]] HRESULT GuardBlocksOf(HMODULE module) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_HEAP_OWNERS_H
