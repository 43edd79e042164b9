// IHostMalloc over a heap of its own.
#ifndef CLRHM_COM_HOST_MALLOC_H
#define CLRHM_COM_HOST_MALLOC_H

#include <clr_host_memory/clr_host_memory.h>

#include <atomic>

#include "com/host_memory_manager.h"
#include "heap/heap_engine.h"

namespace clr_host_memory {

class HostMalloc final : public IHostMalloc {
 public:
  // malloc_type: bits of MALLOC_TYPE. *malloc gets one reference; it keeps the manager alive.
  static Outcome Create(HostMemoryManager& manager, DWORD malloc_type, IHostMalloc** malloc);

  HostMalloc(const HostMalloc&) = delete;
  HostMalloc& operator=(const HostMalloc&) = delete;

  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) noexcept override;
  ULONG STDMETHODCALLTYPE AddRef() noexcept override;
  ULONG STDMETHODCALLTYPE Release() noexcept override;

  HRESULT STDMETHODCALLTYPE Alloc(SIZE_T size, EMemoryCriticalLevel level, void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE DebugAlloc(SIZE_T size, EMemoryCriticalLevel level, char* file_name, int line,
                                       void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE Free(void* memory) noexcept override;

 private:
  explicit HostMalloc(HostMemoryManager& manager);
  ~HostMalloc();
  HRESULT Allocate(ClrHostMemoryMethod method, SIZE_T size, EMemoryCriticalLevel level, void** memory) noexcept;

  std::atomic<ULONG> references_ = 1;
  HostMemoryManager& manager_;
  HeapEngine heap_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_HOST_MALLOC_H
