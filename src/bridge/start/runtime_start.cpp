#include "bridge/start/runtime_start.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "bridge/late_modules.h"
#include "bridge/patch/import_patch.h"
#include "bridge/patch/module_files.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

// coreclr_initialize of coreclrhost.h (dotnet/runtime).
using InitializeFunction = int(WINAPI*)(const char* exe_path, const char* app_domain_name, int property_count,
                                        const char** property_keys, const char** property_values, void** host_handle,
                                        unsigned int* domain_id);

constexpr wchar_t kHostPolicy[] = L"hostpolicy.dll";

// A hostpolicy.dll, or the program, whose import is redirected, or being redirected by a thread. It stays so for the
// rest of the process: other code may have hooked over the import. Without a watch the functions below only pass calls
// on.
struct Redirected {
  HMODULE module;
  ImportPatch* patch;  // never deleted; null while a thread redirects it
};

// Guards the two variables and what they point at. The load watch takes it under the loader lock, so code that holds it
// calls no function of the loader.
constinit SrwLock watch_lock;
constinit RuntimeStartOrders* current_orders = nullptr;
constinit std::array<Redirected, 64> redirected{};  // a process rarely has a second one

// The plain functions below find their targets through these variables.
constinit std::atomic<void*> original_get_proc_address{nullptr};
constinit std::atomic<void*> original_initialize{nullptr};
constinit std::atomic<HMODULE> starting_module{nullptr};

std::optional<RuntimeStartOrders> CurrentOrders() noexcept {
  const std::lock_guard lock(watch_lock);
  if (current_orders == nullptr) return std::nullopt;
  const RuntimeStartOrders& orders = *current_orders;
  orders.bridge->AddRef();
  return RuntimeStartOrders{ComReference<IClrHostMemoryBridge>(orders.bridge.get()), orders.attach, orders.abandon,
                            orders.fail, orders.options};
}

bool IsWatchOf(const IClrHostMemoryBridge* bridge) noexcept {
  const std::lock_guard lock(watch_lock);
  return current_orders != nullptr && current_orders->bridge.get() == bridge;
}

// Tells the host, unless it has detached the bridge meanwhile.
HRESULT Tell(const RuntimeStartOrders& orders, const ClrHostMemoryRuntimeStart& start) noexcept {
  if (orders.options.started == nullptr || !IsWatchOf(orders.bridge.get())) return S_OK;
  return orders.options.started(orders.options.context, &start);
}

// Begins managed code in the runtime that has started. Returns the failure that keeps it from running; S_OK: it may
// run.
HRESULT BeginManagedCode(const RuntimeStartOrders& orders, const ClrHostMemoryRuntimeStart& start) noexcept {
  if (const HRESULT hr = Tell(orders, start); FAILED(hr)) {
    orders.abandon(orders.bridge.get());
    return hr;
  }
  if (const HRESULT hr = orders.bridge->NoteRuntimeStarted(); FAILED(hr)) return hr;
  if (orders.options.with_companion) {
    static_cast<void>(orders.bridge->StartCompanion(start.host, start.domain, nullptr, 0));
  }
  return S_OK;
}

int WINAPI Initialize(const char* exe_path, const char* app_domain_name, int property_count, const char** property_keys,
                      const char** property_values, void** host_handle, unsigned int* domain_id) {
  const auto initialize = reinterpret_cast<InitializeFunction>(original_initialize.load(std::memory_order_acquire));
  const std::optional<RuntimeStartOrders> orders = CurrentOrders();
  if (!orders) {
    return initialize(exe_path, app_domain_name, property_count, property_keys, property_values, host_handle,
                      domain_id);
  }
  ClrHostMemoryRuntimeStart start{};
  start.size = sizeof(start);
  start.version = 1;
  start.result = orders->attach(orders->bridge.get(), starting_module.load(std::memory_order_acquire));
  std::optional<StartProperties> properties;
  if (SUCCEEDED(start.result)) {
    try {
      properties.emplace(orders->bridge.get(), property_count, property_keys, property_values,
                         orders->options.gc_hard_limit);
      property_count = properties->count();
      property_keys = properties->keys();
      property_values = properties->values();
    } catch (const std::bad_alloc&) {
      // The runtime receives only its host's properties, and reports by itself what it lacks.
    }
    start.property_count = static_cast<uint32_t>(property_count);
    start.keys = property_keys;
    start.values = property_values;
    start.added = properties ? &properties->added() : nullptr;
    start.result =
        initialize(exe_path, app_domain_name, property_count, property_keys, property_values, host_handle, domain_id);
  }
  // The GC is loaded by now. If it could not be bridged, no limit would hold.
  if (SUCCEEDED(start.result) && FAILED(orders->bridge->VerifyCallsArrive(nullptr, 0))) {
    start.result = HOST_E_CLRNOTAVAILABLE;
  }
  if (FAILED(start.result)) {
    orders->abandon(orders->bridge.get());
    static_cast<void>(Tell(*orders, start));
    return start.result;
  }
  start.host = *host_handle;
  start.domain = *domain_id;
  if (const HRESULT hr = BeginManagedCode(*orders, start); FAILED(hr)) return hr;
  StopWatchingRuntimeStart(orders->bridge.get());
  return start.result;
}

FARPROC WINAPI GetProcAddressOrWatch(HMODULE module, LPCSTR name) {
  const auto original =
      reinterpret_cast<decltype(&::GetProcAddress)>(original_get_proc_address.load(std::memory_order_acquire));
  const FARPROC found = original(module, name);
  const bool by_ordinal = reinterpret_cast<std::uintptr_t>(name) <= 0xFFFF;
  if (found == nullptr || by_ordinal || std::strcmp(name, "coreclr_initialize") != 0) return found;
  if (!IsRuntimeStartWatched()) return found;
  starting_module.store(module, std::memory_order_release);
  original_initialize.store(reinterpret_cast<void*>(found), std::memory_order_release);
  return reinterpret_cast<FARPROC>(reinterpret_cast<void*>(&Initialize));
}

// Reserves an entry for module. S_FALSE: it is redirected, or another thread is redirecting it. E_OUTOFMEMORY: no entry
// is left.
HRESULT BeginRedirect(HMODULE module, Redirected** entry) noexcept {
  const std::lock_guard lock(watch_lock);
  *entry = nullptr;
  for (Redirected& known : redirected) {
    if (known.module == module) return S_FALSE;
    if (known.module == nullptr && *entry == nullptr) *entry = &known;
  }
  if (*entry == nullptr) return E_OUTOFMEMORY;
  **entry = {module, nullptr};
  return S_OK;
}

// patch: null if the redirection failed; the entry is then free again.
void EndRedirect(Redirected* entry, ImportPatch* patch) noexcept {
  const std::lock_guard lock(watch_lock);
  entry->patch = patch;
  if (patch == nullptr) entry->module = nullptr;
}

// Whether a module that cannot be redirected keeps the runtime from being bridged.
enum class Redirection : bool { kIfPossible, kRequired };

// Redirects the import of GetProcAddress in a module that may start the runtime. S_OK also if there is no watch.
HRESULT Redirect(HMODULE starter, Redirection redirection, std::string* reason) noexcept try {
  const std::optional<RuntimeStartOrders> orders = CurrentOrders();
  if (!orders) return S_OK;
  Redirected* entry = nullptr;
  HRESULT hr = BeginRedirect(starter, &entry);
  if (hr == S_FALSE) return S_OK;
  if (SUCCEEDED(hr)) {
    const std::array<ImportHook, 1> hooks = {
        {{"GetProcAddress", reinterpret_cast<void*>(&GetProcAddressOrWatch), &original_get_proc_address}}};
    const std::array<const char*, 1> required = {"GetProcAddress"};
    std::unique_ptr<ImportPatch> patch(new (std::nothrow) ImportPatch());
    hr = patch ? ImportPatch::Apply(starter, hooks, required, patch.get(), reason) : E_OUTOFMEMORY;
    EndRedirect(entry, SUCCEEDED(hr) ? patch.release() : nullptr);
  }
  if (FAILED(hr) && redirection == Redirection::kRequired) {
    if (reason->empty()) *reason = "There is not enough memory to watch hostpolicy.dll; free some and try again.";
    orders->fail(orders->bridge.get(), *reason);
  }
  return hr;
} catch (const std::bad_alloc&) {
  return E_OUTOFMEMORY;
}

}  // namespace

HRESULT WatchRuntimeStart(RuntimeStartOrders orders, std::string* reason) noexcept {
  const IClrHostMemoryBridge* const bridge = orders.bridge.get();
  auto* made = new (std::nothrow) RuntimeStartOrders(std::move(orders));
  if (made == nullptr) return E_OUTOFMEMORY;
  {
    const std::lock_guard lock(watch_lock);
    if (current_orders == nullptr) current_orders = std::exchange(made, nullptr);
  }
  if (made != nullptr) {
    delete made;
    *reason = "BridgeHostFxr waits for the start of a runtime already; keep its bridge, or detach it first.";
    return HOST_E_INVALIDOPERATION;
  }
  HRESULT hr = E_OUTOFMEMORY;
  try {
    hr = WatchLoads(reason);
    for (const HMODULE hostpolicy : LoadedModulesNamed(kHostPolicy)) {
      if (SUCCEEDED(hr)) hr = Redirect(hostpolicy, Redirection::kRequired, reason);
    }
    // The program may start a runtime without hostpolicy.
    std::string ignored;
    if (SUCCEEDED(hr)) (void)Redirect(GetModuleHandleW(nullptr), Redirection::kIfPossible, &ignored);
  } catch (const std::bad_alloc&) {
    hr = E_OUTOFMEMORY;
  }
  if (FAILED(hr)) StopWatchingRuntimeStart(bridge);
  return hr;
}

void StopWatchingRuntimeStart(const IClrHostMemoryBridge* bridge) noexcept {
  std::unique_ptr<RuntimeStartOrders> ended;
  {
    const std::lock_guard lock(watch_lock);
    if (current_orders == nullptr || current_orders->bridge.get() != bridge) return;
    ended.reset(std::exchange(current_orders, nullptr));
  }
  StopWatchingLoads();
}

bool IsRuntimeStartWatched() noexcept {
  const std::lock_guard lock(watch_lock);
  return current_orders != nullptr;
}

bool RedirectIfHostPolicy(std::wstring_view file_name, HMODULE module) noexcept {
  std::string reason;
  if (!SameName(file_name, kHostPolicy) || !IsRuntimeStartWatched()) return false;
  static_cast<void>(Redirect(module, Redirection::kRequired, &reason));
  return true;
}

void RedirectLoadedHostPolicies() noexcept try {
  if (!IsRuntimeStartWatched()) return;
  std::string reason;
  for (const HMODULE hostpolicy : LoadedModulesNamed(kHostPolicy))
    static_cast<void>(Redirect(hostpolicy, Redirection::kRequired, &reason));
} catch (const std::bad_alloc&) {
  // The module's own calls will fail for the same reason.
}

}  // namespace clr_host_memory
