// The manager's life, and what a CLR calls: IUnknown and IHostMemoryManager.
#include "com/host_memory_manager.h"

#include <algorithm>

#include "com/host_malloc.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {

const char* HostMemoryManager::Configure(const ManagerSettings& settings) noexcept {
  NoteHeadrooms(settings.app_domain_headroom, settings.process_headroom);
  if (engine_.OpenReserves(settings.limits.committed_headroom, settings.address_space_reserve) != win32::kSuccess) {
    return "committed_headroom or address_space_reserve is larger than the memory that the OS has now: lower it";
  }
  const bool watched = settings.monitor.count_whole_process || settings.limits.committed_headroom != Bytes{} ||
                       settings.address_space_reserve != Bytes{};
  bool started = !watched || notifier_.Watch();
  for (std::size_t level = 0; level < settings.wait_ms.size(); ++level) {
    started = started && SetWait(static_cast<EMemoryCriticalLevel>(level), settings.wait_ms[level]) == S_OK;
  }
  return started ? nullptr : "there is no memory for a thread of the manager's own: free some and try again";
}

void HostMemoryManager::End() noexcept {
  Shutdown();
  notifier_.StopAndThen([](void* manager) { delete static_cast<HostMemoryManager*>(manager); }, this);
}

HostMemoryManager::~HostMemoryManager() = default;

HRESULT HostMemoryManager::CreateMalloc(DWORD malloc_type, IHostMalloc** malloc) noexcept {
  constexpr auto kMethod = kClrHostMemoryCreateMalloc;
  if (malloc == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *malloc = nullptr;
  if ((malloc_type & ~DWORD{MALLOC_THREADSAFE | MALLOC_EXECUTABLE}) != 0) return barrier_.Reject(kMethod, E_INVALIDARG);
  return barrier_.Serve(kMethod, Operation::kAllocate, [&] { return HostMalloc::Create(*this, malloc_type, malloc); });
}

HRESULT HostMemoryManager::VirtualAlloc(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                        EMemoryCriticalLevel level, void** memory) noexcept {
  return VirtualAllocOnNode(address, size, allocation_type, protect, win32::kNoPreferredNode, level, memory);
}

HRESULT HostMemoryManager::VirtualFree(LPVOID address, SIZE_T size, DWORD free_type) noexcept {
  const HRESULT hr = barrier_.Serve(kClrHostMemoryVirtualFree, Operation::kFree, [&] {
    const Outcome outcome = engine_.Free(ToAddress(address), size, free_type);
    // The manager frees its own memory in every state. After Shutdown or a latch, it answers every other address with
    // HOST_E_CLRNOTAVAILABLE.
    if (outcome.verdict == Verdict::kNotOurs && !engine_.Serving()) return Outcome::Unavailable();
    return outcome;
  });
  if (free_type == MEM_RELEASE && hr == S_OK) counters_.CountWithoutGain();
  return hr;
}

HRESULT HostMemoryManager::VirtualQuery(void* address, void* buffer, SIZE_T length, SIZE_T* result) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualQuery;
  if (result == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *result = 0;
  if (buffer == nullptr) {
    // Win32 chooses the error by the other arguments, so ask it. Without a buffer it writes nothing.
    (void)::VirtualQuery(address, nullptr, length);
    return barrier_.Reject(kMethod, E_POINTER, ::GetLastError());
  }
  return barrier_.Serve(kMethod, Operation::kUse, [&] {
    std::size_t written = 0;
    const Outcome outcome = engine_.Query(ToAddress(address), buffer, length, &written);
    *result = written;
    return outcome;
  });
}

HRESULT HostMemoryManager::VirtualProtect(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualProtect;
  if (old_protect == nullptr) return barrier_.Reject(kMethod, E_POINTER, ERROR_NOACCESS);  // for any other arguments
  return barrier_.Serve(kMethod, Operation::kUse, [&] {
    std::uint32_t old = *old_protect;
    const Outcome outcome = engine_.Protect(ToAddress(address), size, new_protect, &old);
    *old_protect = old;
    return outcome;
  });
}

HRESULT HostMemoryManager::GetMemoryLoad(DWORD* memory_load, SIZE_T* available_bytes) noexcept {
  constexpr auto kMethod = kClrHostMemoryGetMemoryLoad;
  if (memory_load == nullptr || available_bytes == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *memory_load = 0;
  *available_bytes = 0;
  return barrier_.Serve(kMethod, Operation::kUse, [&] {
    const StatusOutcome result = engine_.Status();
    *memory_load = result.status.percent_in_use;
    *available_bytes = static_cast<SIZE_T>(std::min<std::uint64_t>(result.status.available_physical.value, SIZE_MAX));
    return result.outcome;
  });
}

HRESULT HostMemoryManager::RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* callback) noexcept {
  const Reference keep(*this);
  return barrier_.Serve(kClrHostMemoryRegisterMemoryNotificationCallback, Operation::kUse, [&] {
    if (!engine_.Serving() || (callback != nullptr && ProcessIsEnding())) return Outcome::Unavailable();
    if (notifier_.SetCallback(callback)) return Outcome::Done();
    // A shutdown may have happened meanwhile.
    return engine_.Serving() ? Outcome::NoMetadata() : Outcome::Unavailable();
  });
}

HRESULT HostMemoryManager::NeedsVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept {
  return barrier_.Serve(kClrHostMemoryNeedsVirtualAddressSpace, Operation::kAllocate,
                        [&] { return engine_.MakeRoom(ToAddress(start_address), size); });
}

HRESULT HostMemoryManager::AcquiredVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept {
  return barrier_.Serve(kClrHostMemoryAcquiredVirtualAddressSpace, Operation::kAllocate,
                        [&] { return engine_.AcquireView(ToAddress(start_address), size); });
}

HRESULT HostMemoryManager::ReleasedVirtualAddressSpace(LPVOID start_address) noexcept {
  return barrier_.Serve(kClrHostMemoryReleasedVirtualAddressSpace, Operation::kUse,
                        [&] { return engine_.ReleaseView(ToAddress(start_address)); });
}

}  // namespace clr_host_memory
