#include "bridge/late_modules.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "bridge/attach_plan.h"
#include "bridge/clr_modules.h"
#include "bridge/patch/load_watch.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/runtime_start.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

constexpr char kOutOfMemory[] = "Out of memory.";  // short enough that a std::string needs no memory for it

// Guards the list of bridges that want modules. The load watch takes it under the loader lock. Code that holds it takes
// no other lock except the registry's.
constinit SrwLock wanting_lock;
constinit BridgeRecord* first_wanting = nullptr;

// Returns the place in the list that points at bridge; if it is not in the list, the place at the end. Called under the
// lock.
BridgeRecord** PlaceOf(const BridgeRecord* bridge) noexcept {
  BridgeRecord** place = &first_wanting;
  while (*place != nullptr && *place != bridge) place = &(*place)->next_wanting;
  return place;
}

// Adds name to those that bridge wants. False: the bridge is closed.
bool Want(BridgeRecord* bridge, std::wstring_view name) {
  std::wstring own(name);
  const std::lock_guard lock(wanting_lock);
  if (!IsOpen(bridge)) return false;
  const bool known = std::any_of(bridge->names.begin(), bridge->names.end(),
                                 [name](const std::wstring& other) { return SameName(other, name); });
  if (!known) bridge->names.push_back(std::move(own));
  if (*PlaceOf(bridge) == nullptr) bridge->next_wanting = std::exchange(first_wanting, bridge);
  return true;
}

// Called by the load watch, under the loader lock.
bool IsWanted(std::wstring_view name, HMODULE module) noexcept {
  if (RedirectIfHostPolicy(name, module)) return true;
  const std::lock_guard lock(wanting_lock);
  for (const BridgeRecord* bridge = first_wanting; bridge != nullptr; bridge = bridge->next_wanting) {
    for (const std::wstring& wanted : bridge->names) {
      if (SameName(wanted, name)) return true;
    }
  }
  return false;
}

bool IsAnyWanted() noexcept {
  if (IsRuntimeStartWatched()) return true;
  const std::lock_guard lock(wanting_lock);
  return first_wanting != nullptr;
}

// An empty reason means that there is not enough memory.
std::string FailureOf(std::wstring_view module, const std::string& reason) {
  return Utf8(module) + " was loaded later and could not be bridged, so no limit applies to its memory: " +
         (reason.empty() ? kOutOfMemory : reason);
}

// Attaches all loaded modules with that name; returns the first failure.
HRESULT AttachAllNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason) {
  HRESULT result = S_OK;
  for (const HMODULE found : LoadedModulesNamed(name)) {
    const HMODULE module = HoldWhenLoaded(ModulePath(found));
    if (module == nullptr) continue;  // unloaded meanwhile
    std::string why;
    const HRESULT hr = IsBelowManager(module, &why) ? E_INVALIDARG : AttachLate(bridge, module, &why);
    FreeLibrary(module);  // the bridge has its own reference
    if (FAILED(hr) && SUCCEEDED(result)) {
      result = hr;
      *reason = why;
    }
  }
  return result;
}

// Attaches every loaded module whose name a bridge has requested.
void AttachWanted() noexcept try {
  RedirectLoadedHostPolicies();
  std::vector<std::pair<BridgeRecord*, std::wstring>> wanted;
  {
    const std::lock_guard lock(wanting_lock);
    for (BridgeRecord* bridge = first_wanting; bridge != nullptr; bridge = bridge->next_wanting) {
      for (const std::wstring& name : bridge->names) wanted.emplace_back(bridge, name);
    }
  }
  for (const auto& [bridge, name] : wanted) {
    std::string reason;
    if (FAILED(AttachAllNamed(bridge, name, &reason))) NoteLateFailure(bridge, FailureOf(name, reason));
  }
} catch (const std::bad_alloc&) {
  const std::lock_guard lock(wanting_lock);
  for (BridgeRecord* bridge = first_wanting; bridge != nullptr; bridge = bridge->next_wanting) {
    NoteLateFailure(bridge, kOutOfMemory);
  }
}

}  // namespace

HRESULT AttachModulesNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason) {
  if (name.empty() || BaseName(name) != name) {
    *reason = "'" + Utf8(name) + "' is not a file name such as plugin.dll; remove the path.";
    return E_INVALIDARG;
  }
  if (!Want(bridge, name)) {
    *reason = "This bridge is detached; attach a new one.";
    return HOST_E_INVALIDOPERATION;
  }
  // Start the watch after the name is in the list, so that closing another bridge does not stop the watch again.
  const HRESULT hr = WatchLoads(reason);
  StopWatchingLoads();  // this bridge may have been closed meanwhile
  if (FAILED(hr)) return hr;
  // From here on the watch sees every new load. The call below attaches modules loaded before.
  return AttachAllNamed(bridge, name, reason);
}

void AttachLoaded(std::size_t loader_index, HMODULE loaded) noexcept try {
  NoteStartBy(loader_index, loaded);
  if (const ClrModule kind = KindOf(loaded); kind == ClrModule::kGc || kind == ClrModule::kJit) {
    BridgeRecord* const bridge = BridgeOf(loader_index);
    std::string reason;
    if (bridge != nullptr && FAILED(AttachLate(bridge, loaded, &reason))) {
      NoteLateFailure(bridge, FailureOf(ModulePath(loaded), reason));
    }
  }
  AttachWanted();
} catch (const std::bad_alloc&) {
  NoteLateFailure(BridgeOf(loader_index), kOutOfMemory);
}

void StopWanting(BridgeRecord* bridge) noexcept {
  {
    const std::lock_guard lock(wanting_lock);
    BridgeRecord** const place = PlaceOf(bridge);
    if (*place != nullptr) *place = std::exchange(bridge->next_wanting, nullptr);
  }
  StopWatchingLoads();
}

HRESULT WatchLoads(std::string* reason) noexcept { return StartLoadWatch({&IsWanted, &AttachWanted}, reason); }

void StopWatchingLoads() noexcept { StopLoadWatchUnless(&IsAnyWanted); }

}  // namespace clr_host_memory
