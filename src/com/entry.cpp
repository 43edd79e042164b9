// The C entry of the library.
#include <clr_host_memory/clr_host_memory.h>

#include <cstddef>
#include <new>

#include "com/host_memory_manager.h"
#include "os/windows/windows_memory_system.h"

HRESULT STDMETHODCALLTYPE ClrHostMemoryCreate(const ClrHostMemoryOptions* options, REFIID riid, void** object,
                                              const char** reason) {
  using namespace clr_host_memory;
  const char* ignored = nullptr;
  if (reason == nullptr) reason = &ignored;
  *reason = nullptr;
  if (object == nullptr) {
    *reason = "object is null: give a place for the interface";
    return E_POINTER;
  }
  *object = nullptr;

  static constexpr ClrHostMemoryOptions kDefaults = CLR_HOST_MEMORY_OPTIONS_INIT;
  if (options == nullptr) options = &kDefaults;
  // Version 1 of the struct is all there is; a larger one is of a newer caller, whose further fields we do not know.
  if (options->size != sizeof(ClrHostMemoryOptions)) {
    *reason = "options->size is not a size this library knows: begin with CLR_HOST_MEMORY_OPTIONS_INIT";
    return E_INVALIDARG;
  }
  if (options->flags != 0) {
    *reason = "options->flags has a bit that is not defined: set it to 0";
    return E_INVALIDARG;
  }
  const policy::Limits limits =
      LimitsFromOptions(options->limit, options->app_domain_headroom, options->process_headroom, reason);
  if (*reason != nullptr) return E_INVALIDARG;

  auto* manager = new (std::nothrow) HostMemoryManager(os::WindowsMemorySystem(), limits);
  if (manager == nullptr) {
    *reason = "there is no memory for the manager itself";
    return E_OUTOFMEMORY;
  }
  const HRESULT hr = manager->QueryInterface(riid, object);
  manager->Release();
  if (FAILED(hr)) *reason = "riid is no interface of the manager: ask for IHostMemoryManager";
  return hr;
}
