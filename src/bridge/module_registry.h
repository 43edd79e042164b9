// The modules that are bridged now, and which bridge each belongs to. One registry for the process.
//
// Under its lock nothing is called that takes the loader lock or calls a manager, and no other lock is taken but that
// of the heaps' table (heap_owners.h). Only attaching, detaching and asking take it, never a call through a thunk, but
// for loads of modules.
#ifndef CLRHM_BRIDGE_MODULE_REGISTRY_H
#define CLRHM_BRIDGE_MODULE_REGISTRY_H

#include <clr_host_memory/clr_host_memory.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// What a bridge keeps here; guarded by the registry.
struct BridgeRecord {
  bool attached = false;
  bool runtime_started = false;     // of one of its modules
  bool kept = false;                // released after that: the process has it until it is adopted
  std::uint64_t earlier_calls = 0;  // of modules that are bridged no more
  ClrHostMemoryPurposes earlier_purposes{};
  std::string late_failure;         // why a module that was loaded later could not be attached
  std::vector<std::wstring> names;  // of modules that are to be attached when they are loaded
  BridgeRecord* next = nullptr;     // that has names
};

struct BridgedModuleInfo {
  HMODULE module = nullptr;
  std::wstring path;
  std::vector<const char*> imports;
};

// Registers a bridge to manager. HOST_E_INVALIDOPERATION: another manager is bridged in this process already.
// E_NOINTERFACE: manager is not one of this library's.
[[nodiscard]] HRESULT OpenBridge(IHostMemoryManager* manager, BridgeRecord* bridge, std::string* reason);
// The bridge that was kept for coreclr, which it has attached to manager; null: there is none. The caller has it from
// now on.
[[nodiscard]] BridgeRecord* AdoptBridge(HMODULE coreclr, IHostMemoryManager* manager) noexcept;
// For a bridge that the host has released: keeps it as it is when the runtime of one of its modules has begun to start,
// since a CoreCLR is never unloaded; otherwise closes it and deletes it. bridge is from new. Does nothing when the
// process ends.
void ReleaseBridge(BridgeRecord* bridge) noexcept;
// Restores the imports of its modules, and tells the manager when the runtime of one of them has begun to start. With
// the last bridge it takes its callback away from the manager, waits for calls inside the thunks, at most a second, and
// releases the manager; calls that stay longer keep the reference. Idempotent. Does nothing when the process ends: its
// other threads are gone, wherever they were.
void CloseBridge(BridgeRecord* bridge) noexcept;

// Results as of IClrHostMemoryBridge::AttachModule; HOST_E_INVALIDOPERATION also for a runtime that has begun to start.
[[nodiscard]] HRESULT AttachModule(BridgeRecord* bridge, HMODULE module, std::string* reason);
// Attaches the modules of that file name that are loaded, and from now on those that are loaded later, whoever loads
// them: before LoadLibrary returns where a bridged module loads one (within a DllMain perhaps later), soon after
// otherwise. The first failure is the answer; later ones are kept in the bridge's record. E_INVALIDARG: name is no file
// name.
[[nodiscard]] HRESULT AttachModulesNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason);
// Called with what a bridged module, by the index of its thunks, has loaded: a module that exports GC_Initialize or is
// called clrgc*.dll, or a JIT compiler, joins the same bridge, and so do modules, loaded with it, that bridges have the
// names of. Failure is kept in the bridge's record. The first assembly that a runtime loads besides its core library is
// the sign that it has started.
void AttachLoaded(std::size_t loader_index, HMODULE loaded) noexcept;

void NoteRuntimeStarted(BridgeRecord* bridge) noexcept;
// As IClrHostMemoryBridge has it, for the process. False: the bridge is closed.
[[nodiscard]] bool PresentAsContainer(const BridgeRecord* bridge, bool as_container) noexcept;
[[nodiscard]] std::uint64_t CallCount(const BridgeRecord* bridge) noexcept;
// Requests and refusals of all its modules, also of those that are bridged no more; size and version are left 0.
[[nodiscard]] ClrHostMemoryPurposes PurposesOf(const BridgeRecord* bridge) noexcept;
// In the order they were attached.
[[nodiscard]] std::vector<BridgedModuleInfo> ModulesOf(const BridgeRecord* bridge);
[[nodiscard]] std::string LateFailure(const BridgeRecord* bridge);
[[nodiscard]] bool IsOpen(const BridgeRecord* bridge) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_MODULE_REGISTRY_H
