#include "com/host_malloc.h"

#include <new>

namespace clr_host_memory {

static_assert(MALLOC_THREADSAFE == static_cast<int>(os::HeapKind::kThreadSafe) &&
              MALLOC_EXECUTABLE == static_cast<int>(os::HeapKind::kExecutable));

HostMalloc::HostMalloc(HostMemoryManager& manager) : manager_(manager), heap_(manager.engine()) { manager_.AddRef(); }

HostMalloc::~HostMalloc() = default;

Outcome HostMalloc::Create(HostMemoryManager& manager, DWORD malloc_type, IHostMalloc** malloc) {
  auto* object = new (std::nothrow) HostMalloc(manager);
  if (object == nullptr) return Outcome::OsRefused(win32::kNotEnoughMemory);
  const Outcome outcome = object->heap_.Create(malloc_type);
  if (outcome.ok()) {
    *malloc = object;
  } else {
    object->Release();
  }
  return outcome;
}

HRESULT HostMalloc::QueryInterface(REFIID riid, void** object) noexcept {
  if (object == nullptr) return E_POINTER;
  *object = nullptr;
  if (!IsEqualGUID(riid, kIidHostMalloc) && !IsEqualGUID(riid, IID_IUnknown)) return E_NOINTERFACE;
  *object = static_cast<IHostMalloc*>(this);
  AddRef();
  return S_OK;
}

ULONG HostMalloc::AddRef() noexcept { return references_.fetch_add(1, std::memory_order_relaxed) + 1; }

ULONG HostMalloc::Release() noexcept {
  const ULONG left = references_.fetch_sub(1, std::memory_order_acq_rel) - 1;
  if (left == 0) {
    // The heap returns its charge to the manager's ledger, so the manager goes last.
    HostMemoryManager& manager = manager_;
    delete this;
    manager.Release();
  }
  return left;
}

HRESULT HostMalloc::Allocate(ClrHostMemoryMethod method, SIZE_T size, EMemoryCriticalLevel level,
                             void** memory) noexcept {
  Barrier& barrier = manager_.barrier();
  if (memory == nullptr) return barrier.Reject(method, E_POINTER);
  *memory = nullptr;
  return barrier.ServeAllocation(method, level, [&](Criticality criticality) {
    const BlockOutcome result = heap_.Allocate(size, criticality);
    *memory = result.block;
    return result.outcome;
  });
}

HRESULT HostMalloc::Alloc(SIZE_T size, EMemoryCriticalLevel level, void** memory) noexcept {
  return Allocate(kClrHostMemoryMallocAlloc, size, level, memory);
}

HRESULT HostMalloc::DebugAlloc(SIZE_T size, EMemoryCriticalLevel level, char* /*file_name*/, int /*line*/,
                               void** memory) noexcept {
  return Allocate(kClrHostMemoryMallocDebugAlloc, size, level, memory);
}

HRESULT HostMalloc::Free(void* memory) noexcept {
  return manager_.barrier().Serve(kClrHostMemoryMallocFree, [&] {
    const Outcome outcome = heap_.Free(memory);
    if (outcome.verdict == Verdict::kNotOurs && !manager_.engine().Serving()) return Outcome::Unavailable();
    return outcome;
  });
}

}  // namespace clr_host_memory
