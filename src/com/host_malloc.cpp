#include "com/host_malloc.h"

#include <algorithm>
#include <new>
#include <string_view>

#include "com/backend.h"
#include "com/sized_struct.h"

namespace clr_host_memory {
namespace {

static_assert(MALLOC_THREADSAFE == static_cast<int>(HeapKind::kThreadSafe) &&
              MALLOC_EXECUTABLE == static_cast<int>(HeapKind::kExecutable));

[[nodiscard]] PrivateHeap::Fill FillOf(uint32_t flags) noexcept {
  if ((flags & kHeapZero) != 0) return PrivateHeap::Fill::kZero;
  return (flags & kHeapZeroBeyond) != 0 ? PrivateHeap::Fill::kZeroBeyond : PrivateHeap::Fill::kAnything;
}

}  // namespace

HostMalloc::HostMalloc(HostMemoryManager& manager, DWORD malloc_type)
    : manager_(manager), heap_(manager.engine(), malloc_type) {
  manager_.AddRef();
}

HostMalloc::~HostMalloc() = default;

Outcome HostMalloc::Create(HostMemoryManager& manager, DWORD malloc_type, IHostMalloc** malloc) {
  if (!manager.engine().Serving()) return Outcome::Unavailable();
  auto* object = new (std::nothrow) HostMalloc(manager, malloc_type);
  if (object == nullptr) return Outcome::OsRefused(win32::kNotEnoughMemory);
  // A CLR cannot start without its heap, so the request has the highest criticality.
  const Outcome outcome = object->heap_.Open(Criticality::kProcess);
  if (outcome.ok()) {
    *malloc = object;
  } else {
    object->Release();
  }
  return outcome;
}

void HostMalloc::End() noexcept {
  // The heap uncharges its memory in the manager's ledger, so destroy the heap before releasing the manager.
  HostMemoryManager& manager = manager_;
  delete this;
  manager.Release();
}

HRESULT HostMalloc::Alloc(SIZE_T size, EMemoryCriticalLevel level, void** memory) noexcept {
  return Allocate(size, 0, level, memory);
}

HRESULT HostMalloc::DebugAlloc(SIZE_T size, EMemoryCriticalLevel level, char* file_name, int line,
                               void** memory) noexcept {
  constexpr auto kMethod = kClrHostMemoryMallocDebugAlloc;
  Barrier& barrier = manager_.barrier();
  if (memory == nullptr) return barrier.Reject(kMethod, E_POINTER);
  *memory = nullptr;
  return barrier.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const BlockOutcome result = heap_.AllocateAt(size, criticality, file_name, line);
    *memory = result.block;
    return result.outcome;
  });
}

HRESULT HostMalloc::Free(void* memory) noexcept {
  return manager_.barrier().Serve(kClrHostMemoryMallocFree, Operation::kFree, [&] {
    const Outcome outcome = heap_.Free(memory);
    if (outcome.verdict == Verdict::kNotOurs && !manager_.engine().Serving()) return Outcome::Unavailable();
    return outcome;
  });
}

HRESULT HostMalloc::Allocate(SIZE_T size, uint32_t flags, EMemoryCriticalLevel level, void** memory) noexcept {
  constexpr auto kMethod = kClrHostMemoryMallocAlloc;
  Barrier& barrier = manager_.barrier();
  if (memory == nullptr) return barrier.Reject(kMethod, E_POINTER);
  *memory = nullptr;
  if ((flags & ~uint32_t{kHeapZero | kHeapZeroBeyond}) != 0) {
    return barrier.Reject(kMethod, E_INVALIDARG);
  }
  return barrier.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const BlockOutcome result =
        flags == 0 ? heap_.Allocate(size, criticality) : heap_.Allocate(size, criticality, FillOf(flags));
    *memory = result.block;
    return result.outcome;
  });
}

HRESULT HostMalloc::Reallocate(void* memory, SIZE_T size, uint32_t flags, EMemoryCriticalLevel level,
                               void** moved) noexcept {
  constexpr auto kMethod = kClrHostMemoryMallocAlloc;
  constexpr uint32_t kFlags = kHeapZero | kHeapZeroBeyond | kHeapInPlace;
  Barrier& barrier = manager_.barrier();
  if (moved == nullptr) return barrier.Reject(kMethod, E_POINTER);
  *moved = nullptr;
  if ((flags & ~kFlags) != 0) return barrier.Reject(kMethod, E_INVALIDARG);
  if (heap_.SizeOf(memory) == 0) return S_FALSE;
  return barrier.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const bool in_place = (flags & kHeapInPlace) != 0;
    const BlockOutcome result = heap_.Reallocate(memory, size, criticality, FillOf(flags), in_place);
    *moved = result.block;
    return result.outcome;
  });
}

HRESULT HostMalloc::FreeIfOwned(void* memory) noexcept {
  const DWORD caller_error = ::GetLastError();
  const Outcome outcome = heap_.Discard(memory);
  if (outcome.verdict == Verdict::kNotOurs) {
    ::SetLastError(caller_error);
    return S_FALSE;
  }
  return manager_.barrier().Serve(kClrHostMemoryMallocFree, Operation::kFree, [&] { return outcome; });
}

HRESULT HostMalloc::GetSize(const void* memory, SIZE_T* size) noexcept {
  if (size == nullptr) return E_POINTER;
  *size = heap_.SizeOf(memory);
  return *size != 0 ? S_OK : S_FALSE;
}

HRESULT HostMalloc::GetFigures(ClrHostMemoryHeapFigures* figures) noexcept {
  if (figures == nullptr) return E_POINTER;
  const HeapFigures found = heap_.Figures();
  ClrHostMemoryHeapFigures ours{};
  ours.reserved = found.reserved.value;
  ours.committed = found.committed.value;
  ours.live = found.live.value;
  ours.blocks = found.blocks;
  ours.version = 1;
  return CopySized(ours, figures);
}

HRESULT HostMalloc::GetSite(uint32_t index, ClrHostMemoryHeapSite* site) noexcept {
  if (site == nullptr) return E_POINTER;
  ClrHostMemoryHeapSite ours{};
  SiteFigures figures;
  const bool found = heap_.sites().Read(index, &figures);
  if (found) {
    ours.line = figures.line;
    ours.blocks = figures.blocks;
    ours.bytes = figures.bytes;
    const std::string_view file(figures.file);
    std::copy_n(file.data(), std::min(file.size(), sizeof(ours.file) - 1), ours.file);
  }
  const HRESULT hr = CopySized(ours, site, &ClrHostMemoryHeapSite::file);
  return hr == S_OK && !found ? S_FALSE : hr;
}

}  // namespace clr_host_memory
