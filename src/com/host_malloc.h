// IHostMalloc and IHeapBackend over one private heap.
#ifndef CLRHM_COM_HOST_MALLOC_H
#define CLRHM_COM_HOST_MALLOC_H

#include <clr_host_memory/memory_manager_abi.h>

#include "com/backend.h"
#include "com/com_object.h"
#include "com/host_memory_manager.h"
#include "heap/private_heap.h"

namespace clr_host_memory {

class HostMalloc final : public ComObject<HostMalloc, Implements<IHostMalloc, kIidHostMalloc>,
                                          Implements<IHeapBackend, kIidHeapBackend, kIidClrHostMemoryHeap>> {
 public:
  // Opens a private heap. malloc_type: bits of MALLOC_TYPE. The caller owns the one reference in *malloc. The heap
  // keeps the manager alive.
  static Outcome Create(HostMemoryManager& manager, DWORD malloc_type, IHostMalloc** malloc);

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
  friend ComObject;
  ~HostMalloc();
  // Destroys the object and releases the manager.
  void End() noexcept;

  HostMemoryManager& manager_;
  PrivateHeap heap_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_HOST_MALLOC_H
