// The heaps of the bridge, and the borders that their blocks cross.
//
// A bridged module's malloc, calloc and HeapAlloc are served from heaps of the manager (thunk_calls.h). Where a block
// ends is not known: the module that has it freed may be another one, and may free it with the C run-time's free, which
// anybody can have looked up by name. All of that arrives at the imports of HeapFree, HeapReAlloc and HeapSize of two
// kinds of modules: those that are bridged, and the C run-times whose malloc they import. There each pointer is looked
// at: blocks of these heaps are served by them, in constant time, and all others by the function the import pointed at
// before.
//
// These imports stay pointed at the borders while any block is out, also when no bridge is attached any more; they are
// taken back when a bridge is detached and no block is out then.
#ifndef CLRHM_BRIDGE_HEAP_OWNERS_H
#define CLRHM_BRIDGE_HEAP_OWNERS_H

#include <clr_host_memory/clr_host_memory.h>

#include <string>

namespace clr_host_memory::bridge {

// ---- for thunks: inside a CallScope, no lock

// The heap that serves handle, which is the process heap's or one that AddHeap was told of; null: none does.
[[nodiscard]] IClrHostMemoryHeap* HeapOf(HANDLE handle) noexcept;
// Whether memory was a block of one of the heaps, and has been freed.
[[nodiscard]] bool FreeIfOwned(void* memory) noexcept;

// ---- for the registry and HeapCreate; not inside a CallScope

// From now on heap serves handle; takes a reference. False: there are too many.
[[nodiscard]] bool AddHeap(HANDLE handle, IClrHostMemoryHeap* heap) noexcept;
// Has destroy end the heap of handle, and with it all blocks that the manager served for it. Nobody is served from it
// meanwhile, so that the handle may be another heap's as soon as destroy returns. TRUE: destroyed.
BOOL DestroyHeap(HANDLE handle, decltype(&::HeapDestroy) destroy) noexcept;
// The bridge is gone: no heap gives out blocks any more. Each still takes back what is its own.
void StopServing() noexcept;
// After StopServing, when no call is inside the bridge: heaps that have no blocks out end; when none is left, the borders
// are taken back, but for those that somebody has hooked over.
void RetireHeaps() noexcept;

// Points the imports of HeapFree, HeapReAlloc and HeapSize of module, and of the C run-time whose function crt_function
// is (null: none), at the borders. Idempotent. S_OK, or as of ImportPatch::Apply; nothing is changed then.
[[nodiscard]] HRESULT GuardBorders(HMODULE module, const void* crt_function, std::string* reason) noexcept;

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_HEAP_OWNERS_H
