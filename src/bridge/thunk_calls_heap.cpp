// Blocks: malloc and its kin, and HeapAlloc. What frees them is in heap_owners.h, but for free, which is the nearest
// way.
#include <cstring>

#include "bridge/heap_owners.h"
#include "bridge/thunk_support.h"

namespace clr_host_memory::bridge::calls {
namespace {

// The original function refuses a size like this in its own way: errno, the last error, an exception.
constexpr SIZE_T kMoreThanMalloc = SIZE_MAX;
constexpr SIZE_T kMoreThanHeapAlloc = SIZE_MAX / 2;

enum class Served { kYes, kRefused, kByOriginal };

// handle: of the heap.
Served AllocateFrom(ThunkModule& module, HANDLE handle, SIZE_T size, uint32_t flags, void** memory) noexcept {
  IClrHostMemoryHeap* heap = HeapOf(handle);
  if (heap == nullptr) return Served::kByOriginal;
  const KeptLastError kept;
  const HRESULT hr = heap->Allocate(size, flags, eProcessCritical, memory);
  if (hr == S_OK) return Served::kYes;
  // A manager that is shut down serves nobody any more; its CLR goes on as without it.
  if (hr == HOST_E_CLRNOTAVAILABLE) return Served::kByOriginal;
  module.refusals[kClrHostMemoryNativeHeap].fetch_add(1, std::memory_order_relaxed);
  return Served::kRefused;
}

}  // namespace

void* Malloc(ThunkModule& module, std::size_t size) noexcept {
  const auto original = Original<void* __cdecl(std::size_t)>(module, BridgedFunction::kMalloc);
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    if (Count(module, BridgedFunction::kMalloc, scope) != nullptr) {
      served = AllocateFrom(module, GetProcessHeap(), size, 0, &memory);
    }
  }
  if (served == Served::kYes) return memory;
  return original(served == Served::kRefused ? kMoreThanMalloc : size);
}

void* Calloc(ThunkModule& module, std::size_t count, std::size_t size) noexcept {
  const auto original = Original<void* __cdecl(std::size_t, std::size_t)>(module, BridgedFunction::kCalloc);
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    const bool overflows = size != 0 && count > SIZE_MAX / size;
    if (Count(module, BridgedFunction::kCalloc, scope) != nullptr && !overflows) {
      served = AllocateFrom(module, GetProcessHeap(), count * size, kClrHostMemoryHeapZero, &memory);
    }
  }
  if (served == Served::kYes) return memory;
  return served == Served::kRefused ? original(2, kMoreThanMalloc) : original(count, size);
}

void* Realloc(ThunkModule& module, void* memory, std::size_t size) noexcept {
  const auto original = Original<void* __cdecl(void*, std::size_t)>(module, BridgedFunction::kRealloc);
  void* made = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    // Of a block the run-time's own realloc is as good: it comes to the border (heap_owners.h).
    if (Count(module, BridgedFunction::kRealloc, scope) != nullptr && memory == nullptr) {
      served = AllocateFrom(module, GetProcessHeap(), size, 0, &made);
    }
  }
  if (served == Served::kYes) return made;
  return original(memory, served == Served::kRefused ? kMoreThanMalloc : size);
}

void Free(ThunkModule& module, void* memory) noexcept {
  if (memory == nullptr) return;
  {
    const CallScope scope;
    static_cast<void>(Count(module, BridgedFunction::kFree, scope));
    if (FreeIfOwned(memory)) return;
  }
  Original<void __cdecl(void*)>(module, BridgedFunction::kFree)(memory);
}

LPVOID HeapAlloc(ThunkModule& module, HANDLE heap, DWORD flags, SIZE_T size) {
  const auto original = Original<decltype(::HeapAlloc)>(module, BridgedFunction::kHeapAlloc);
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    if (Count(module, BridgedFunction::kHeapAlloc, scope) != nullptr) {
      // HeapReAlloc with HEAP_ZERO_MEMORY later counts on what was never asked for being zero.
      const bool zero = (flags & HEAP_ZERO_MEMORY) != 0;
      served = AllocateFrom(module, heap, size, zero ? kClrHostMemoryHeapZero : kClrHostMemoryHeapZeroBeyond, &memory);
    }
  }
  if (served == Served::kYes) return memory;
  return original(heap, flags, served == Served::kRefused ? kMoreThanHeapAlloc : size);
}

HANDLE HeapCreate(ThunkModule& module, DWORD options, SIZE_T initial, SIZE_T maximum) noexcept {
  const HANDLE handle =
      Original<decltype(::HeapCreate)>(module, BridgedFunction::kHeapCreate)(options, initial, maximum);
  // One of a fixed size keeps its own promise.
  if (handle == nullptr || maximum != 0) return handle;
  const KeptLastError kept;
  IHostMalloc* malloc = nullptr;
  {
    const CallScope scope;
    const BridgeClient* client = Count(module, BridgedFunction::kHeapCreate, scope);
    const bool executable = (options & HEAP_CREATE_ENABLE_EXECUTE) != 0;
    const DWORD kind = MALLOC_THREADSAFE | (executable ? MALLOC_EXECUTABLE : 0);
    if (client == nullptr || client->manager->CreateMalloc(kind, &malloc) != S_OK) return handle;
  }
  IClrHostMemoryHeap* heap = nullptr;
  if (malloc->QueryInterface(kIidClrHostMemoryHeap, reinterpret_cast<void**>(&heap)) == S_OK) {
    // Should the table be full, the heap that was made serves by itself.
    static_cast<void>(AddHeap(handle, heap));
    heap->Release();
  }
  malloc->Release();
  return handle;
}

BOOL HeapDestroy(ThunkModule& module, HANDLE heap) noexcept {
  {
    const CallScope scope;
    static_cast<void>(Count(module, BridgedFunction::kHeapDestroy, scope));
  }
  return DestroyHeap(heap, Original<decltype(::HeapDestroy)>(module, BridgedFunction::kHeapDestroy));
}

}  // namespace clr_host_memory::bridge::calls
