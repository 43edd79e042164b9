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

// The registry's record of a bridge. The registry's lock guards it.
struct BridgeRecord {
  bool attached = false;
  bool runtime_started = false;     // the runtime of one of its modules has started
  bool kept = false;                // released by the host after that; the process keeps it until it is adopted
  std::uint64_t earlier_calls = 0;  // calls of modules that are no longer bridged
  ClrHostMemoryPurposes earlier_purposes{};
  std::string late_failure;         // why a module that was loaded later could not be attached
  std::vector<std::wstring> names;  // names of modules to attach when they are loaded
  BridgeRecord* next = nullptr;     // next bridge that has names
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
// Attaches the loaded modules with that file name, and from now on those that are loaded later by any module. When a
// bridged module loads one, it is attached before LoadLibrary returns; within a DllMain it may be attached later. A
// module loaded in another manner is attached soon after. Returns the first failure; later failures are kept in the
// bridge's record. E_INVALIDARG: name is not a file name.
[[nodiscard]] HRESULT AttachModulesNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason);
// Handles a module that a bridged module has loaded; loader_index is the index of the bridged module's thunks. A
// module that exports GC_Initialize or is called clrgc*.dll joins the same bridge, and so does a JIT compiler. Modules
// loaded along with it join a bridge that has their names. Failure is kept in the bridge's record. The first assembly
// other than the core library that a runtime loads is the sign that the runtime has started.
void AttachLoaded(std::size_t loader_index, HMODULE loaded) noexcept;

void NoteRuntimeStarted(BridgeRecord* bridge) noexcept;
// Sets IClrHostMemoryBridge::PresentAsContainer for the process. False: the bridge is closed.
[[nodiscard]] bool PresentAsContainer(const BridgeRecord* bridge, bool as_container) noexcept;
[[nodiscard]] std::uint64_t CallCount(const BridgeRecord* bridge) noexcept;
// Returns the requests and refusals of all its modules, including those no longer bridged; leaves size and version 0.
[[nodiscard]] ClrHostMemoryPurposes PurposesOf(const BridgeRecord* bridge) noexcept;
// Returns the modules in the order in which they were attached.
[[nodiscard]] std::vector<BridgedModuleInfo> ModulesOf(const BridgeRecord* bridge);
[[nodiscard]] std::string LateFailure(const BridgeRecord* bridge);
[[nodiscard]] bool IsOpen(const BridgeRecord* bridge) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_MODULE_REGISTRY_H
