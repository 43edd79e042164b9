#include "bridge/start/runtime_start.h"

#include <clr_host_memory/core_clr_bridge.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "bridge/patch/import_patch.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

// coreclr_initialize of coreclrhost.h (dotnet/runtime).
using InitializeFunction = int(WINAPI*)(const char* exe_path, const char* app_domain_name, int property_count,
                                        const char** property_keys, const char** property_values, void** host_handle,
                                        unsigned int* domain_id);

constexpr std::int64_t kNoResult = INT64_MIN;  // not an HRESULT

// The plain functions below find their state through these variables. The patch is never destroyed at exit.
constinit SrwLock watch_lock;  // guards patch
constinit ImportPatch* patch = nullptr;
constinit std::atomic<IClrHostMemoryBridge*> watching_bridge{nullptr};
constinit std::atomic<std::uint64_t> gc_hard_limit_to_pass{0};
constinit std::atomic<void*> original_get_proc_address{nullptr};
constinit std::atomic<void*> original_initialize{nullptr};
constinit std::atomic<HMODULE> starting_module{nullptr};
constinit std::atomic<std::int64_t> start_result{kNoResult};

bool IsBridged(IClrHostMemoryBridge* bridge, HMODULE module) noexcept {
  ClrHostMemoryBridgedModule info;
  info.size = sizeof(info);
  for (uint32_t index = 0; bridge->GetModule(index, &info) == S_OK; ++index) {
    if (info.module == module) return true;
  }
  return false;
}

int WINAPI Initialize(const char* exe_path, const char* app_domain_name, int property_count, const char** property_keys,
                      const char** property_values, void** host_handle, unsigned int* domain_id) {
  const auto initialize = reinterpret_cast<InitializeFunction>(original_initialize.load(std::memory_order_acquire));
  IClrHostMemoryBridge* const bridge = watching_bridge.load(std::memory_order_acquire);
  if (bridge != nullptr && !IsBridged(bridge, starting_module.load(std::memory_order_acquire))) {
    start_result.store(HOST_E_CLRNOTAVAILABLE, std::memory_order_release);
    return HOST_E_CLRNOTAVAILABLE;
  }
  std::optional<StartProperties> properties;
  try {
    properties.emplace(bridge, property_count, property_keys, property_values,
                       gc_hard_limit_to_pass.load(std::memory_order_acquire));
    property_count = properties->count();
    property_keys = properties->keys();
    property_values = properties->values();
  } catch (const std::bad_alloc&) {
    // The runtime receives only its host's properties, and reports by itself what it lacks.
  }
  int result =
      initialize(exe_path, app_domain_name, property_count, property_keys, property_values, host_handle, domain_id);
  // The GC is loaded by now. If it could not be bridged, no limit would hold, so managed code must not begin.
  if (result >= 0 && bridge != nullptr && FAILED(bridge->VerifyCallsArrive(nullptr, 0))) {
    result = HOST_E_CLRNOTAVAILABLE;
  }
  if (result >= 0 && bridge != nullptr) {
    // The bridge may refuse to let the runtime continue: then managed code does not begin.
    if (const HRESULT noted = bridge->NoteRuntimeStarted(); FAILED(noted)) result = noted;
  }
  start_result.store(result, std::memory_order_release);
  return result;
}

FARPROC WINAPI GetProcAddressOrWatch(HMODULE module, LPCSTR name) {
  const auto original =
      reinterpret_cast<decltype(&::GetProcAddress)>(original_get_proc_address.load(std::memory_order_acquire));
  const FARPROC found = original(module, name);
  const bool by_ordinal = reinterpret_cast<std::uintptr_t>(name) <= 0xFFFF;
  if (found == nullptr || by_ordinal || std::strcmp(name, "coreclr_initialize") != 0) return found;
  starting_module.store(module, std::memory_order_release);
  original_initialize.store(reinterpret_cast<void*>(found), std::memory_order_release);
  return reinterpret_cast<FARPROC>(reinterpret_cast<void*>(&Initialize));
}

}  // namespace

HRESULT WatchRuntimeStart(HMODULE hostpolicy, IClrHostMemoryBridge* bridge, std::string* reason,
                          std::uint64_t gc_hard_limit) noexcept try {
  if (bridge == nullptr) {
    *reason = "There is no bridge to tell of the runtime's start; attach one first.";
    return E_POINTER;
  }
  const std::lock_guard lock(watch_lock);
  if (patch != nullptr) {
    *reason = "The start of a runtime is being watched already; stop that first.";
    return HOST_E_INVALIDOPERATION;
  }
  const std::array<ImportHook, 1> hooks = {
      {{"GetProcAddress", reinterpret_cast<void*>(&GetProcAddressOrWatch), &original_get_proc_address}}};
  const std::array<const char*, 1> required = {"GetProcAddress"};
  auto* const owner = new ImportPatch();
  bridge->AddRef();
  watching_bridge.store(bridge, std::memory_order_release);
  gc_hard_limit_to_pass.store(gc_hard_limit, std::memory_order_release);
  start_result.store(kNoResult, std::memory_order_release);
  const HRESULT hr = ImportPatch::Apply(hostpolicy, hooks, required, owner, reason);
  if (SUCCEEDED(hr)) {
    patch = owner;
    return hr;
  }
  delete owner;
  watching_bridge.store(nullptr, std::memory_order_release);
  bridge->Release();
  return hr;
} catch (...) {
  return E_OUTOFMEMORY;
}

void StopWatchingRuntimeStart() noexcept {
  ImportPatch* stopped = nullptr;
  {
    const std::lock_guard lock(watch_lock);
    stopped = std::exchange(patch, nullptr);
  }
  if (stopped == nullptr) return;
  delete stopped;
  if (IClrHostMemoryBridge* const bridge = watching_bridge.exchange(nullptr); bridge != nullptr) bridge->Release();
}

std::optional<HRESULT> RuntimeStartResult() noexcept {
  const std::int64_t result = start_result.load(std::memory_order_acquire);
  if (result == kNoResult) return std::nullopt;
  return static_cast<HRESULT>(result);
}

}  // namespace clr_host_memory
