// The C functions that check options and create the manager.
#include <clr_host_memory/memory_manager_abi.h>

#include <cstddef>
#include <new>

#include "com/host_memory_manager.h"
#include "com/options.h"
#include "os/windows/windows_memory_system.h"
#include "os/windows/windows_thread_system.h"

namespace clr_host_memory {
namespace {

// Returns *options, or the defaults if options is null.
[[nodiscard]] const ClrHostMemoryOptions& GivenOrDefault(const ClrHostMemoryOptions* options) noexcept {
  static constexpr ClrHostMemoryOptions kDefaults = CLR_HOST_MEMORY_OPTIONS_INIT;
  return options == nullptr ? kDefaults : *options;
}

}  // namespace
}  // namespace clr_host_memory

uint32_t STDMETHODCALLTYPE ClrHostMemoryVersion() { return CLR_HOST_MEMORY_VERSION; }

HRESULT STDMETHODCALLTYPE ClrHostMemoryCheckOptions(const ClrHostMemoryOptions* options, const char** reason) {
  const char* ignored = nullptr;
  if (reason == nullptr) reason = &ignored;
  static_cast<void>(clr_host_memory::SettingsOf(clr_host_memory::GivenOrDefault(options), reason));
  return *reason == nullptr ? S_OK : E_INVALIDARG;
}

HRESULT STDMETHODCALLTYPE ClrHostMemoryCreate(const ClrHostMemoryOptions* options, REFIID riid, void** object,
                                              const char** reason) {
  using namespace clr_host_memory;
  const char* ignored = nullptr;
  if (reason == nullptr) reason = &ignored;
  *reason = nullptr;
  if (object == nullptr) {
    *reason = "object is null: give the address of a pointer that receives the interface";
    return E_POINTER;
  }
  *object = nullptr;

  const ManagerSettings settings = SettingsOf(GivenOrDefault(options), reason);
  if (*reason != nullptr) return E_INVALIDARG;

  auto* manager = new (std::nothrow) HostMemoryManager(WindowsMemorySystem(), WindowsThreadSystem(), settings.limits,
                                                       settings.monitor, settings.sampling);
  if (manager == nullptr) {
    *reason = "there is no memory for the manager itself: free some and try again";
    return E_OUTOFMEMORY;
  }
  *reason = manager->Configure(settings);
  if (*reason != nullptr) {
    manager->Release();
    return E_OUTOFMEMORY;
  }
  const HRESULT hr = manager->QueryInterface(riid, object);
  manager->Release();
  if (FAILED(hr)) *reason = "riid is not an interface of the manager: request IHostMemoryManager";
  return hr;
}
