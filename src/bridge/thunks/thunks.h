// The functions that imports point at. Each module that can be bridged or guarded at the same time has its own set.
// Thus a call knows its module and uses that module's originals.
#ifndef CLRHM_BRIDGE_THUNKS_THUNKS_H
#define CLRHM_BRIDGE_THUNKS_THUNKS_H

#include <array>
#include <cstddef>

#include "bridge/patch/import_patch.h"
#include "bridge/thunks/thunk_calls.h"

namespace clr_host_memory {

inline constexpr std::size_t kMaxBridgedModules = 16;
// The guarded modules: modules that get the manager's blocks, and their C run-times (heap_owners.h).
inline constexpr std::size_t kMaxGuardedModules = 24;

// Return the set of thunks with that index, index < kMaxBridgedModules, and the hooks that redirect a bridged module's
// imports to it. The hooks cover all functions but the borders.
[[nodiscard]] ThunkModule& ThunksOf(std::size_t index) noexcept;
[[nodiscard]] std::array<ImportHook, kBridgedFunctionCount - kBorderFunctionCount> HooksOf(std::size_t index) noexcept;
// Returns whether function gives out blocks or takes them back. These hooks are for modules whose blocks are guarded.
[[nodiscard]] constexpr bool IsOfBlocks(BridgedFunction function) noexcept {
  return function >= BridgedFunction::kHeapAlloc && function <= BridgedFunction::kFree;
}

// The same for a guarded module, index < kMaxGuardedModules. The hooks cover only the borders.
[[nodiscard]] ThunkModule& GuardThunksOf(std::size_t index) noexcept;
[[nodiscard]] std::array<ImportHook, kBorderFunctionCount> GuardHooksOf(std::size_t index) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNKS_H
