// Blocks: malloc and related functions, HeapAlloc, and the borders that take blocks back (heap_owners.h).
#include <algorithm>
#include <cstring>

#include "bridge/state/heap_owners.h"
#include "bridge/thunks/thunk_support.h"
#include "com/backend.h"

namespace clr_host_memory::thunks {
namespace {

// The original function refuses such a size in its own way: errno, the last error, or an exception.
constexpr SIZE_T kMoreThanMalloc = SIZE_MAX;
constexpr SIZE_T kMoreThanHeapAlloc = SIZE_MAX / 2;

enum class Served { kYes, kRefused, kByOriginal };

Served Refused(ThunkModule& module) noexcept {
  module.refusals[kClrHostMemoryNativeHeap].fetch_add(1, std::memory_order_relaxed);
  return Served::kRefused;
}

// Allocates a block. client: the client of this call. flags: those of IHeapBackend.
Served AllocateFor(ThunkModule& module, const BridgeClient* client, SIZE_T size, uint32_t flags,
                   void** memory) noexcept {
  // A tool that has hooked over an import still calls the thunk of a module that is no longer attached.
  if (client == nullptr || !module.gets_blocks.load(std::memory_order_seq_cst)) return Served::kByOriginal;
  IHeapBackend* heap = ServingHeap();
  if (heap == nullptr) return Served::kByOriginal;
  const KeptLastError kept;
  const HRESULT hr = heap->Allocate(size, flags, eProcessCritical, memory);
  if (hr == S_OK) return Served::kYes;
  // A manager that was shut down gives out no blocks; its CLR continues as without it.
  return hr == HOST_E_CLRNOTAVAILABLE ? Served::kByOriginal : Refused(module);
}

// Resizes a block whose heap gives out no more blocks. If the new size is near the old one, resizes in place;
// otherwise moves the block to memory from allocate(size). Null: the block is unchanged. Must be called outside a
// CallScope, since allocate may raise an exception.
template <typename Allocate>
void* MoveOut(void* memory, SIZE_T size, bool in_place, Allocate allocate) {
  SIZE_T old_size = 0;
  {
    const CallScope scope;
    old_size = SizeIfOwned(memory);
  }
  const bool near_enough = size <= old_size && size >= old_size / 2;
  void* made = in_place || near_enough ? nullptr : allocate(size);
  if (made != nullptr) {
    std::memcpy(made, memory, std::min(size, old_size));
    const CallScope scope;
    static_cast<void>(FreeIfOwned(memory));
    return made;
  }
  if (size > old_size) return nullptr;
  std::memset(static_cast<char*>(memory) + size, 0, old_size - size);
  return memory;
}

// Notes that a block which is not the manager's passes the border of module.
void NotePassing(ThunkModule& module, const void* memory) noexcept {
  if (memory != nullptr && module.awaited.load(std::memory_order_relaxed) == memory) [[unlikely]] {
    module.awaited.store(nullptr, std::memory_order_relaxed);
  }
}

}  // namespace

void* Malloc(ThunkModule& module, std::size_t size) noexcept {
  const auto original = Original<void* __cdecl(std::size_t)>(module, BridgedFunction::kMalloc);
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    served = AllocateFor(module, Count(module, BridgedFunction::kMalloc, scope), size, kHeapZeroBeyond, &memory);
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
    const BridgeClient* client = Count(module, BridgedFunction::kCalloc, scope);
    const bool overflows = size != 0 && count > SIZE_MAX / size;
    if (!overflows) served = AllocateFor(module, client, count * size, kHeapZero, &memory);
  }
  if (served == Served::kYes) return memory;
  return served == Served::kRefused ? original(2, kMoreThanMalloc) : original(count, size);
}

void* Realloc(ThunkModule& module, void* memory, std::size_t size) noexcept {
  const auto original = Original<void* __cdecl(void*, std::size_t)>(module, BridgedFunction::kRealloc);
  void* made = nullptr;
  Served served = Served::kByOriginal;
  Resized resized = Resized::kNotOwned;
  {
    const CallScope scope;
    const BridgeClient* client = Count(module, BridgedFunction::kRealloc, scope);
    if (memory == nullptr) {
      served = AllocateFor(module, client, size, kHeapZeroBeyond, &made);
    } else if (size == 0) {
      if (FreeIfOwned(memory)) return nullptr;
    } else {
      const KeptLastError kept;
      resized = ResizeIfOwned(memory, size, kHeapZeroBeyond, &made);
      if (resized == Resized::kDone) served = Served::kYes;
      if (resized == Resized::kRefused) served = Refused(module);
    }
  }
  if (served == Served::kYes) return made;
  if (served == Served::kRefused) return original(nullptr, kMoreThanMalloc);
  if (resized == Resized::kNotServed) {
    return MoveOut(memory, size, false, [original](SIZE_T bytes) { return original(nullptr, bytes); });
  }
  return original(memory, size);
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
    const BridgeClient* client = Count(module, BridgedFunction::kHeapAlloc, scope);
    if (heap == GetProcessHeap()) {
      const bool zero = (flags & HEAP_ZERO_MEMORY) != 0;
      served = AllocateFor(module, client, size, zero ? kHeapZero : kHeapZeroBeyond, &memory);
    }
  }
  if (served == Served::kYes) return memory;
  return original(heap, flags, served == Served::kRefused ? kMoreThanHeapAlloc : size);
}

LPVOID HeapReAlloc(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size) {
  const bool in_place = (flags & HEAP_REALLOC_IN_PLACE_ONLY) != 0;
  void* made = nullptr;
  Resized resized = Resized::kNotOwned;
  if (memory != nullptr) {
    const CallScope scope;
    const KeptLastError kept;
    const uint32_t fill = (flags & HEAP_ZERO_MEMORY) != 0 ? kHeapZero : kHeapZeroBeyond;
    resized = ResizeIfOwned(memory, size, fill | (in_place ? kHeapInPlace : 0), &made);
  }
  // The OS's own HeapReAlloc also gets its new blocks without a call through an import.
  const auto allocate = [heap, flags](SIZE_T bytes) {
    return ::HeapAlloc(heap, flags & (HEAP_ZERO_MEMORY | HEAP_GENERATE_EXCEPTIONS | HEAP_NO_SERIALIZE), bytes);
  };
  switch (resized) {
    case Resized::kDone: return made;
    case Resized::kNotServed:
      made = MoveOut(memory, size, in_place, allocate);
      if (made != nullptr) return made;
      [[fallthrough]];
    case Resized::kRefused: return allocate(kMoreThanHeapAlloc);
    case Resized::kNotOwned: break;
  }
  NotePassing(module, memory);
  return Original<decltype(::HeapReAlloc)>(module, BridgedFunction::kHeapReAlloc)(heap, flags, memory, size);
}

BOOL HeapFree(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory) {
  if (memory != nullptr) {
    const CallScope scope;
    if (FreeIfOwned(memory)) return TRUE;
  }
  NotePassing(module, memory);
  return Original<decltype(::HeapFree)>(module, BridgedFunction::kHeapFree)(heap, flags, memory);
}

SIZE_T HeapSize(ThunkModule& module, HANDLE heap, DWORD flags, LPCVOID memory) {
  {
    const CallScope scope;
    if (const SIZE_T size = SizeIfOwned(memory); size != 0) return size;
  }
  NotePassing(module, memory);
  return Original<decltype(::HeapSize)>(module, BridgedFunction::kHeapSize)(heap, flags, memory);
}

}  // namespace clr_host_memory::thunks
