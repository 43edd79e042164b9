// The table of bridged modules: an entry for every set of thunks. Shared by the files of the registry alone.
#ifndef CLRHM_BRIDGE_MODULE_ENTRIES_H
#define CLRHM_BRIDGE_MODULE_ENTRIES_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/win32.h"
#include "bridge/module_registry.h"
#include "bridge/patch/import_patch.h"
#include "bridge/thunks/thunk_table.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {

enum class EntryState {
  kFree,
  kAttaching,
  kAttached,
  kDetaching,
  kRetired,  // other code hooked over an import: its thunks may be called for the rest of the process
};

// A bridged module. Has only plain members: at the end of the process no destructor may touch imports that threads
// still call through.
struct Entry {
  EntryState state = EntryState::kFree;
  BridgeRecord* bridge = nullptr;
  HMODULE module = nullptr;
  std::uint64_t order = 0;
  ImportPatch* patch = nullptr;
  BridgedModuleInfo* info = nullptr;
};

// Guards the table and the records of the bridges.
extern constinit SrwLock registry_lock;
extern constinit std::array<Entry, kMaxBridgedModules> entries;

// Holds registry_lock.
struct Locked {
  std::lock_guard<SrwLock> lock{registry_lock};
};

// ---- Called under the lock, except FillEntry.

[[nodiscard]] bool IsBridged(HMODULE module) noexcept;
// Reserves an entry. HOST_E_INVALIDOPERATION: module is bridged already; E_OUTOFMEMORY: no set of thunks is left.
[[nodiscard]] HRESULT ReserveEntry(BridgeRecord* bridge, HMODULE module, std::size_t* index) noexcept;
// Frees an entry whose patch is undone.
void FreeEntry(std::size_t index, bool thunks_may_be_called) noexcept;
// Waits until no other thread is changing module's imports. Releases the lock while it waits. The wait has a limit: the
// other thread needs the loader lock, which the caller may hold.
void WaitUntilSettled(HMODULE module) noexcept;
// Patches the module of a reserved entry and settles the entry. bridge is only compared, since it may have been closed.
// On failure the entry is free. HOST_E_INVALIDOPERATION: the bridge was closed meanwhile; otherwise as
// IClrHostMemoryBridge::AttachModule.
[[nodiscard]] HRESULT FillEntry(std::size_t index, BridgeRecord* bridge, HMODULE module, std::string* reason) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_MODULE_ENTRIES_H
