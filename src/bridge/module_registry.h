// The registry of bridged modules and the bridge that each module belongs to. The process has one registry.
//
// Code that holds the registry's lock takes no other lock except that of the heap table (heap_owners.h). In particular
// it takes no loader lock, and it calls no manager. Attaching, detaching and the queries below take the lock. A call
// through a thunk never takes it, except a call that loads a module.
#ifndef CLRHM_BRIDGE_MODULE_REGISTRY_H
#define CLRHM_BRIDGE_MODULE_REGISTRY_H

#include <clr_host_memory/bridge_abi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// The registry's record of a bridge. The registry's lock guards it, except the fields for late modules.
struct BridgeRecord {
  bool attached = false;
  BridgeRecord* next_open = nullptr;  // the next of the attached bridges
  HMODULE runtime = nullptr;          // the coreclr.dll that it was made for; null: not attached yet
  bool start_begun = false;           // BeginStart was called for it, and EndStart was not
  bool runtime_started = false;       // the runtime of one of its modules has started
  bool kept = false;                  // released by the host after that; the process keeps it until it is adopted
  std::uint64_t earlier_calls = 0;    // calls of modules that are no longer bridged
  ClrHostMemoryPurposes earlier_purposes{};
  std::uint64_t start_limit = 0;  // the GC's, for a companion; UINT64_MAX: none; 0: a companion must not change it
  std::string late_failure;       // why a module that was loaded later could not be attached
  std::string start_failure;      // why the runtime that hostpolicy starts could not be bridged, lately
  // For late_modules.cpp alone, under its lock.
  std::vector<std::wstring> names;       // names of modules to attach when they are loaded
  BridgeRecord* next_wanting = nullptr;  // next bridge that has names
};

struct BridgedModuleInfo {
  HMODULE module = nullptr;
  std::wstring path;
  std::vector<const char*> imports;
};

// Registers a bridge to manager. HOST_E_INVALIDOPERATION: another manager is bridged in this process already.
// E_NOINTERFACE: manager was not made by this library.
[[nodiscard]] HRESULT OpenBridge(IHostMemoryManager* manager, BridgeRecord* bridge, std::string* reason);
// Returns the kept bridge that has attached coreclr to manager, and passes its ownership to the caller. Returns null
// if there is none.
[[nodiscard]] BridgeRecord* AdoptBridge(HMODULE coreclr, IHostMemoryManager* manager) noexcept;
// Handles a bridge that the host has released. If the runtime of one of its modules has begun to start, keeps the
// bridge unchanged, since a CoreCLR is never unloaded. Otherwise closes and deletes the bridge. bridge was allocated
// with new. Does nothing while the process ends.
void ReleaseBridge(BridgeRecord* bridge) noexcept;
// Restores the imports of its modules. Notifies the manager if the runtime of one of them has begun to start. Closing
// the last bridge has further steps:
// - It removes the bridge's callback from the manager.
// - It waits, at most a second, for calls inside the thunks.
// - It releases the manager. If a call stays inside longer, the reference to the manager is kept.
//
// Idempotent. Does nothing while the process ends: its other threads have been terminated at arbitrary points.
void CloseBridge(BridgeRecord* bridge) noexcept;

// Returns the results of IClrHostMemoryBridge::AttachModule; HOST_E_INVALIDOPERATION also for a runtime that has begun
// to start.
[[nodiscard]] HRESULT AttachModule(BridgeRecord* bridge, HMODULE module, std::string* reason);

// Attaches the modules of a runtime that is running already, all or none. From then on its requests are charged, and
// the limit holds. Results as AttachModule, of the first failure.
[[nodiscard]] HRESULT AttachRunning(BridgeRecord* bridge, HMODULE coreclr, std::string* reason);

// Notes the module that the bridge was made for. RuntimeOf returns it; null: it is not attached yet.
void SetRuntime(BridgeRecord* bridge, HMODULE runtime) noexcept;
[[nodiscard]] HMODULE RuntimeOf(const BridgeRecord* bridge) noexcept;
// Begins the start of the bridge's runtime: IClrHostMemoryControl::BeginStart.
void NoteRuntimeStarts(BridgeRecord* bridge) noexcept;
// Ends a start that has failed. The limit holds again.
void AbandonStart(BridgeRecord* bridge) noexcept;
// Ends it. Returns E_OUTOFMEMORY if the runtime does not fit the limit, as EndStart does, otherwise S_OK.
[[nodiscard]] HRESULT NoteRuntimeStarted(BridgeRecord* bridge) noexcept;
// Sets IClrHostMemoryBridge::PresentAsContainer for the process. False: the bridge is closed.
[[nodiscard]] bool PresentAsContainer(const BridgeRecord* bridge, bool as_container) noexcept;
[[nodiscard]] std::uint64_t CallCount(const BridgeRecord* bridge) noexcept;
// Returns the requests and refusals of all its modules, including those no longer bridged; leaves size and version 0.
[[nodiscard]] ClrHostMemoryPurposes PurposesOf(const BridgeRecord* bridge) noexcept;
// Returns the modules in the order in which they were attached.
[[nodiscard]] std::vector<BridgedModuleInfo> ModulesOf(const BridgeRecord* bridge);
// Sets and returns start_limit.
void SetStartLimit(BridgeRecord* bridge, std::uint64_t bytes) noexcept;
[[nodiscard]] std::uint64_t StartLimitOf(const BridgeRecord* bridge) noexcept;
[[nodiscard]] std::string LateFailure(const BridgeRecord* bridge);
// Sets and returns start_failure; empty: there is no failure.
void SetStartFailure(BridgeRecord* bridge, std::string failure) noexcept;
[[nodiscard]] std::string StartFailure(const BridgeRecord* bridge);
[[nodiscard]] bool IsOpen(const BridgeRecord* bridge) noexcept;

// ---- For late_modules.h. In these a bridge is only compared at first, since it may have been closed and deleted.

// Attaches module to bridge. S_OK also if the bridge is closed or another bridge has the module already. If another
// thread is attaching or detaching the module, waits for that thread.
[[nodiscard]] HRESULT AttachLate(BridgeRecord* bridge, HMODULE module, std::string* reason);
// Records why a later module could not be attached, unless the bridge is closed.
void NoteLateFailure(BridgeRecord* bridge, std::string failure) noexcept;
// Records the runtime's start if loaded is the first assembly that the runtime loads. loader_index: the bridged module
// that has loaded it. Throws std::bad_alloc.
void NoteStartBy(std::size_t loader_index, HMODULE loaded);
// Returns the bridge of the bridged module with that index; null: it is closed.
[[nodiscard]] BridgeRecord* BridgeOf(std::size_t index) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_MODULE_REGISTRY_H
