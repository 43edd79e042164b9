// Blocks: malloc and related functions, HeapAlloc, and the borders that take blocks back (heap_owners.h).
//
// Blocks come, as eProcessCritical, from a heap of the manager that replaces the C run-time's heap and the process
// heap. Other heaps belong to the OS.
//
// On a refusal the original function is called with an impossible size and fails: errno, the last error and
// HEAP_GENERATE_EXCEPTIONS thus work as usual. The bytes after the requested size, up to what HeapSize reports, are
// zero, since _recalloc and HEAP_ZERO_MEMORY fill from there on. After shutdown new blocks come from the original
// functions. Then a block of the manager that is reallocated moves to a block of the original functions.
#include <algorithm>
#include <array>
#include <cstring>

#include "bridge/state/heap_owners.h"
#include "bridge/thunks/thunk_support.h"
#include "bridge/thunks/thunk_table.h"
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

void* Malloc(Thunk<void* __cdecl(std::size_t)>& thunk, std::size_t size) noexcept {
  const auto original = thunk.Original();
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    served = AllocateFor(thunk.module, thunk.Count(scope), size, kHeapZeroBeyond, &memory);
  }
  if (served == Served::kYes) return memory;
  return original(served == Served::kRefused ? kMoreThanMalloc : size);
}

void* Calloc(Thunk<void* __cdecl(std::size_t, std::size_t)>& thunk, std::size_t count, std::size_t size) noexcept {
  const auto original = thunk.Original();
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    const BridgeClient* client = thunk.Count(scope);
    const bool overflows = size != 0 && count > SIZE_MAX / size;
    if (!overflows) served = AllocateFor(thunk.module, client, count * size, kHeapZero, &memory);
  }
  if (served == Served::kYes) return memory;
  return served == Served::kRefused ? original(2, kMoreThanMalloc) : original(count, size);
}

void* Realloc(Thunk<void* __cdecl(void*, std::size_t)>& thunk, void* memory, std::size_t size) noexcept {
  const auto original = thunk.Original();
  void* made = nullptr;
  Served served = Served::kByOriginal;
  Resized resized = Resized::kNotOwned;
  {
    const CallScope scope;
    const BridgeClient* client = thunk.Count(scope);
    if (memory == nullptr) {
      served = AllocateFor(thunk.module, client, size, kHeapZeroBeyond, &made);
    } else if (size == 0) {
      if (FreeIfOwned(memory)) return nullptr;
    } else {
      const KeptLastError kept;
      resized = ResizeIfOwned(memory, size, kHeapZeroBeyond, &made);
      if (resized == Resized::kDone) served = Served::kYes;
      if (resized == Resized::kRefused) served = Refused(thunk.module);
    }
  }
  if (served == Served::kYes) return made;
  if (served == Served::kRefused) return original(nullptr, kMoreThanMalloc);
  if (resized == Resized::kNotServed) {
    return MoveOut(memory, size, false, [original](SIZE_T bytes) { return original(nullptr, bytes); });
  }
  return original(memory, size);
}

void Free(Thunk<void __cdecl(void*)>& thunk, void* memory) noexcept {
  if (memory == nullptr) return;
  {
    const CallScope scope;
    static_cast<void>(thunk.Count(scope));
    if (FreeIfOwned(memory)) return;
  }
  thunk.Original()(memory);
}

LPVOID HeapAlloc(Thunk<decltype(::HeapAlloc)>& thunk, HANDLE heap, DWORD flags, SIZE_T size) {
  const auto original = thunk.Original();
  void* memory = nullptr;
  Served served = Served::kByOriginal;
  {
    const CallScope scope;
    const BridgeClient* client = thunk.Count(scope);
    if (heap == GetProcessHeap()) {
      const bool zero = (flags & HEAP_ZERO_MEMORY) != 0;
      served = AllocateFor(thunk.module, client, size, zero ? kHeapZero : kHeapZeroBeyond, &memory);
    }
  }
  if (served == Served::kYes) return memory;
  return original(heap, flags, served == Served::kRefused ? kMoreThanHeapAlloc : size);
}

// The borders. The manager serves its own blocks, whichever heap is passed. The original functions of the guarded
// module serve all other blocks. The borders work also when no bridge is attached any more.
LPVOID HeapReAlloc(Thunk<decltype(::HeapReAlloc)>& thunk, HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size) {
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
  NotePassing(thunk.module, memory);
  return thunk.Original()(heap, flags, memory, size);
}

BOOL HeapFree(Thunk<decltype(::HeapFree)>& thunk, HANDLE heap, DWORD flags, LPVOID memory) {
  if (memory != nullptr) {
    const CallScope scope;
    if (FreeIfOwned(memory)) return TRUE;
  }
  NotePassing(thunk.module, memory);
  return thunk.Original()(heap, flags, memory);
}

SIZE_T HeapSize(Thunk<decltype(::HeapSize)>& thunk, HANDLE heap, DWORD flags, LPCVOID memory) {
  {
    const CallScope scope;
    if (const SIZE_T size = SizeIfOwned(memory); size != 0) return size;
  }
  NotePassing(thunk.module, memory);
  return thunk.Original()(heap, flags, memory);
}

}  // namespace

gsl::span<const ThunkRow> HeapRows() noexcept {
  static constexpr std::array kRows = {
      Win32Row<&HeapAlloc, ThunkKind::kGivesBlocks>("HeapAlloc"),
      CRuntimeRow<&Malloc, ThunkKind::kGivesBlocks>("malloc"),
      CRuntimeRow<&Calloc, ThunkKind::kGivesBlocks>("calloc"),
      CRuntimeRow<&Realloc, ThunkKind::kGivesBlocks>("realloc"),
      CRuntimeRow<&Free, ThunkKind::kFreesBlocks>("free"),
      Win32Row<&HeapReAlloc, ThunkKind::kBorder>("HeapReAlloc"),
      Win32Row<&HeapFree, ThunkKind::kBorder>("HeapFree"),
      Win32Row<&HeapSize, ThunkKind::kBorder>("HeapSize"),
  };
  return kRows;
}

}  // namespace clr_host_memory::thunks
