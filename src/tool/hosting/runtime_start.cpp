#include "tool/hosting/runtime_start.h"

#include <clr_host_memory/core_clr_bridge.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "bridge/patch/import_patch.h"

namespace clr_host_memory::tool {
namespace {

// coreclr_initialize of coreclrhost.h (dotnet/runtime).
using InitializeFunction = int(WINAPI*)(const char* exe_path, const char* app_domain_name, int property_count,
                                        const char** property_keys, const char** property_values, void** host_handle,
                                        unsigned int* domain_id);

constexpr std::int64_t kNoResult = INT64_MIN;  // not an HRESULT

struct Watch {
  ComPtr<IClrHostMemoryBridge> bridge;
  MakeStartProperties make_properties;
  RuntimeStarted started;
  ImportPatch patch;
};

// The plain functions below find their state through these variables. The watch is never destroyed at exit.
constinit std::atomic<Watch*> current_watch{nullptr};
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

// Returns the failure that keeps managed code from beginning; S_OK: it may begin.
HRESULT NoteStarted(const Watch& watch) {
  // The GC is loaded by now. If it could not be bridged, no limit would hold.
  if (FAILED(watch.bridge->VerifyCallsArrive(nullptr, 0))) return HOST_E_CLRNOTAVAILABLE;
  if (const HRESULT hr = watch.started ? watch.started() : S_OK; FAILED(hr)) return hr;
  return watch.bridge->NoteRuntimeStarted();
}

int WINAPI Initialize(const char* exe_path, const char* app_domain_name, int property_count, const char** property_keys,
                      const char** property_values, void** host_handle, unsigned int* domain_id) {
  const auto initialize = reinterpret_cast<InitializeFunction>(original_initialize.load(std::memory_order_acquire));
  const Watch* const watch = current_watch.load(std::memory_order_acquire);
  if (watch == nullptr) {
    return initialize(exe_path, app_domain_name, property_count, property_keys, property_values, host_handle,
                      domain_id);
  }
  if (!IsBridged(watch->bridge.get(), starting_module.load(std::memory_order_acquire))) {
    start_result.store(HOST_E_CLRNOTAVAILABLE, std::memory_order_release);
    return HOST_E_CLRNOTAVAILABLE;
  }
  std::optional<StartProperties> properties;
  try {
    properties.emplace(watch->make_properties
                           ? watch->make_properties(property_count, property_keys, property_values)
                           : StartProperties(watch->bridge.get(), property_count, property_keys, property_values));
    property_count = properties->count();
    property_keys = properties->keys();
    property_values = properties->values();
  } catch (const std::bad_alloc&) {
    // The runtime receives only its host's properties, and reports by itself what it lacks.
  }
  int result =
      initialize(exe_path, app_domain_name, property_count, property_keys, property_values, host_handle, domain_id);
  if (result >= 0) {
    if (const HRESULT noted = NoteStarted(*watch); FAILED(noted)) result = noted;
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
                          MakeStartProperties make_properties, RuntimeStarted started) noexcept try {
  if (bridge == nullptr) {
    *reason = "The bridge to notify of the runtime's start is null; attach a bridge first.";
    return E_POINTER;
  }
  if (current_watch.load(std::memory_order_acquire) != nullptr) {
    *reason = "The start of another runtime is already watched; stop that watch first.";
    return HOST_E_INVALIDOPERATION;
  }
  const std::array<ImportHook, 1> hooks = {
      {{"GetProcAddress", reinterpret_cast<void*>(&GetProcAddressOrWatch), &original_get_proc_address}}};
  const std::array<const char*, 1> required = {"GetProcAddress"};
  auto watch = std::make_unique<Watch>();
  bridge->AddRef();
  watch->bridge = ComPtr<IClrHostMemoryBridge>(bridge);
  watch->make_properties = std::move(make_properties);
  watch->started = std::move(started);
  start_result.store(kNoResult, std::memory_order_release);
  current_watch.store(watch.get(), std::memory_order_release);
  const HRESULT hr = ImportPatch::Apply(hostpolicy, hooks, required, &watch->patch, reason);
  if (SUCCEEDED(hr)) {
    watch.release();
  } else {
    current_watch.store(nullptr, std::memory_order_release);
  }
  return hr;
} catch (...) {
  return E_OUTOFMEMORY;
}

void StopWatchingRuntimeStart() noexcept { delete current_watch.exchange(nullptr); }

std::optional<HRESULT> RuntimeStartResult() noexcept {
  const std::int64_t result = start_result.load(std::memory_order_acquire);
  if (result == kNoResult) return std::nullopt;
  return static_cast<HRESULT>(result);
}

}  // namespace clr_host_memory::tool
