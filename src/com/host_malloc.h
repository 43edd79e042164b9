// IHostMalloc and IHeapBackend over one private heap.
#ifndef CLRHM_COM_HOST_MALLOC_H
#define CLRHM_COM_HOST_MALLOC_H

#include <clr_host_memory/memory_manager_abi.h>

#include <atomic>

#include "com/backend.h"
#include "com/host_memory_manager.h"
#include "heap/private_heap.h"

namespace clr_host_memory {

class HostMalloc final : public IHostMalloc, public IHeapBackend {
 public:
  // Opens a private heap. malloc_type: bits of MALLOC_TYPE. The caller owns the one reference in *malloc. The heap
  // keeps the manager alive.
  static Outcome Create(HostMemoryManager& manager, DWORD malloc_type, IHostMalloc** malloc);

  HostMalloc(const HostMalloc&) = delete;
  HostMalloc& operator=(const HostMalloc&) = delete;

  // IUnknown
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) noexcept override;
  ULONG STDMETHODCALLTYPE AddRef() noexcept override;
  ULONG STDMETHODCALLTYPE Release() noexcept override;

  // IHostMalloc
  HRESULT STDMETHODCALLTYPE Alloc(SIZE_T size, EMemoryCriticalLevel level, void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE DebugAlloc(SIZE_T size, EMemoryCriticalLevel level, char* file_name, int line,
                                       void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE Free(void* memory) noexcept override;

  // IClrHostMemoryHeap
  HRESULT STDMETHODCALLTYPE GetSize(const void* memory, SIZE_T* size) noexcept override;
  HRESULT STDMETHODCALLTYPE GetFigures(ClrHostMemoryHeapFigures* figures) noexcept override;
  HRESULT STDMETHODCALLTYPE GetSite(uint32_t index, ClrHostMemoryHeapSite* site) noexcept override;

  // IHeapBackend
  HRESULT STDMETHODCALLTYPE Allocate(SIZE_T size, uint32_t flags, EMemoryCriticalLevel level,
                                     void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE Reallocate(void* memory, SIZE_T size, uint32_t flags, EMemoryCriticalLevel level,
                                       void** moved) noexcept override;
  HRESULT STDMETHODCALLTYPE FreeIfOwned(void* memory) noexcept override;

 private:
  HostMalloc(HostMemoryManager& manager, DWORD malloc_type);
  ~HostMalloc();

  std::atomic<ULONG> references_ = 1;
  HostMemoryManager& manager_;
  PrivateHeap heap_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_HOST_MALLOC_H
