// The COM object that a CLR receives as its memory manager. Each method checks its pointers, clears its outputs, passes
// a request to the engine and maps the outcome to an HRESULT. The object has three faces: for the CLR, the host and
// the bridge. Each has its own source file.
#ifndef CLRHM_COM_HOST_MEMORY_MANAGER_H
#define CLRHM_COM_HOST_MEMORY_MANAGER_H

#include <clr_host_memory/memory_manager_abi.h>

#include <atomic>
#include <cstdint>

#include "com/backend.h"
#include "com/barrier.h"
#include "com/call_counters.h"
#include "com/com_object.h"
#include "com/notifier.h"
#include "com/options.h"
#include "engine/engine.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {

class HostMemoryManager final
    : public ComObject<HostMemoryManager, Implements<IHostMemoryManager, kIidHostMemoryManager>,
                       Implements<IClrHostMemoryControl, kIidClrHostMemoryControl>,
                       Implements<IManagerBackend, kIidManagerBackend>> {
 public:
  // os and threads outlive the object; limits and settings are valid. The caller owns the one initial reference.
  HostMemoryManager(MemorySystem& os, ThreadSystem& threads, const Limits& limits,
                    const Monitor::Settings& settings = {}, Milliseconds sampling = Engine::kDefaultSampling)
      : engine_(os, threads, limits, sampling), barrier_(engine_, counters_),
        notifier_(engine_, threads, counters_, settings) {
    PrepareProcessIsEnding();
  }

  // Applies the settings that need memory or threads. Call once, right after construction. Returns null on success,
  // otherwise the reason of the failure.
  [[nodiscard]] const char* Configure(const ManagerSettings& settings) noexcept;

  [[nodiscard]] Engine& engine() noexcept { return engine_; }
  [[nodiscard]] Barrier& barrier() noexcept { return barrier_; }
  [[nodiscard]] Notifier& notifier() noexcept { return notifier_; }

  // IHostMemoryManager, in host_memory_manager.cpp
  HRESULT STDMETHODCALLTYPE CreateMalloc(DWORD malloc_type, IHostMalloc** malloc) noexcept override;
  HRESULT STDMETHODCALLTYPE VirtualAlloc(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                         EMemoryCriticalLevel level, void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE VirtualFree(LPVOID address, SIZE_T size, DWORD free_type) noexcept override;
  HRESULT STDMETHODCALLTYPE VirtualQuery(void* address, void* buffer, SIZE_T length, SIZE_T* result) noexcept override;
  HRESULT STDMETHODCALLTYPE VirtualProtect(void* address, SIZE_T size, DWORD new_protect,
                                           DWORD* old_protect) noexcept override;
  HRESULT STDMETHODCALLTYPE GetMemoryLoad(DWORD* memory_load, SIZE_T* available_bytes) noexcept override;
  HRESULT STDMETHODCALLTYPE
  RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* callback) noexcept override;
  HRESULT STDMETHODCALLTYPE NeedsVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept override;
  HRESULT STDMETHODCALLTYPE AcquiredVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept override;
  HRESULT STDMETHODCALLTYPE ReleasedVirtualAddressSpace(LPVOID start_address) noexcept override;

  // IClrHostMemoryControl, in control.cpp
  HRESULT STDMETHODCALLTYPE GetStatistics(ClrHostMemoryStatistics* statistics) noexcept override;
  HRESULT STDMETHODCALLTYPE Audit(ClrHostMemoryAudit* audit) noexcept override;
  HRESULT STDMETHODCALLTYPE SetLimit(uint64_t limit, uint64_t app_domain_headroom,
                                     uint64_t process_headroom) noexcept override;
  HRESULT STDMETHODCALLTYPE SetThresholds(const ClrHostMemoryThresholds* thresholds) noexcept override;
  HRESULT STDMETHODCALLTYPE SetWait(EMemoryCriticalLevel level, uint32_t milliseconds) noexcept override;
  HRESULT STDMETHODCALLTYPE CancelWaits() noexcept override;
  HRESULT STDMETHODCALLTYPE EnterExclusive(uint32_t milliseconds) noexcept override;
  HRESULT STDMETHODCALLTYPE LeaveExclusive() noexcept override;
  HRESULT STDMETHODCALLTYPE SealRegion(void* address, uint64_t size) noexcept override;
  HRESULT STDMETHODCALLTYPE UnsealRegion(void* address) noexcept override;
  HRESULT STDMETHODCALLTYPE SetEventSink(IClrHostMemoryEventSink* sink) noexcept override;
  HRESULT STDMETHODCALLTYPE NotifyMemoryAvailable(EMemoryAvailable available) noexcept override;
  HRESULT STDMETHODCALLTYPE Shutdown() noexcept override;
  HRESULT STDMETHODCALLTYPE SetThrashGuard(uint32_t window_ms, uint32_t refusals) noexcept override;
  HRESULT STDMETHODCALLTYPE GetCharged(const void* address, uint64_t size, uint64_t* bytes) noexcept override;
  HRESULT STDMETHODCALLTYPE WriteReport(ClrHostMemoryReportLine write_line, void* context) noexcept override;
  HRESULT STDMETHODCALLTYPE BeginStart() noexcept override;
  HRESULT STDMETHODCALLTYPE EndStart(uint64_t* least_limit) noexcept override;
  HRESULT STDMETHODCALLTYPE FollowGc(const ClrHostMemoryGcReading* reading, uint32_t milliseconds,
                                     ClrHostMemoryGcOrder* order) noexcept override;

  // IManagerBackend, in backend.cpp
  HRESULT STDMETHODCALLTYPE VirtualAllocOnNode(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                               DWORD node, EMemoryCriticalLevel level, void** memory) noexcept override;
  HRESULT STDMETHODCALLTYPE AddEarlierReservation(const void* base, std::uint64_t size,
                                                  std::uint64_t committed) noexcept override;
  HRESULT STDMETHODCALLTYPE FindRegion(const void* address, BackendRegion* region) noexcept override;
  HRESULT STDMETHODCALLTYPE GetMemoryStatus(BackendMemoryStatus* status) noexcept override;
  HRESULT STDMETHODCALLTYPE AddSection(uint64_t size, BOOL committed, EMemoryCriticalLevel level,
                                       uint64_t* section) noexcept override;
  HRESULT STDMETHODCALLTYPE KeepSection(uint64_t section) noexcept override;
  HRESULT STDMETHODCALLTYPE DropSection(uint64_t section) noexcept override;
  HRESULT STDMETHODCALLTYPE AcquireViewOfSection(void* base, SIZE_T size, uint64_t section,
                                                 uint64_t offset) noexcept override;
  HRESULT STDMETHODCALLTYPE UnmapView(const void* address, BOOL(STDMETHODCALLTYPE* unmap)(const void*),
                                      BOOL* unmapped) noexcept override;
  HRESULT STDMETHODCALLTYPE OpenLastPart() noexcept override;
  HRESULT STDMETHODCALLTYPE NoteDetached() noexcept override;
  HRESULT STDMETHODCALLTYPE GetState(uint32_t* state) noexcept override;

 private:
  // Keeps the manager alive during calls that run the host's or the CLR's code, which may release the caller's last
  // reference.
  class Reference {
   public:
    explicit Reference(HostMemoryManager& manager) : manager_(manager) { manager_.AddRef(); }
    ~Reference() { manager_.Release(); }
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;

   private:
    HostMemoryManager& manager_;
  };

  friend ComObject;
  ~HostMemoryManager();
  // Shuts the manager down and destroys it after its threads have ended.
  void End() noexcept;
  void LimitChanged() noexcept;
  void NoteHeadrooms(uint64_t app_domain, uint64_t process) noexcept {
    app_domain_headroom_.store(app_domain, std::memory_order_relaxed);
    process_headroom_.store(process, std::memory_order_relaxed);
  }
  [[nodiscard]] static Address ToAddress(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }
  [[nodiscard]] static void* ToPointer(Address address) noexcept {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
  }

  Engine engine_;
  CallCounters counters_;
  Barrier barrier_;
  Notifier notifier_;
  // The headrooms as the host gave them, for the least limit of a start.
  std::atomic<std::uint64_t> app_domain_headroom_ = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  std::atomic<std::uint64_t> process_headroom_ = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_HOST_MEMORY_MANAGER_H
