// The functions that imports point at: a set for each module that can be bridged or guarded at the same time, so that a
// call knows which module it came from and goes back to that module's own originals.
#ifndef CLRHM_BRIDGE_THUNKS_THUNKS_H
#define CLRHM_BRIDGE_THUNKS_THUNKS_H

#include <array>
#include <cstddef>

#include "bridge/patch/import_patch.h"
#include "bridge/thunks/thunk_calls.h"

namespace clr_host_memory {

inline constexpr std::size_t kMaxBridgedModules = 16;
// Those of them whose blocks are the manager's, and their C run-times (heap_owners.h).
inline constexpr std::size_t kMaxGuardedModules = 24;

// The set of thunks with that index, index < kMaxBridgedModules, and the hooks that point a bridged module's imports at
// it: all but those of the borders.
[[nodiscard]] ThunkModule& ThunksOf(std::size_t index) noexcept;
[[nodiscard]] std::array<ImportHook, kBridgedFunctionCount - kBorderFunctionCount> HooksOf(std::size_t index) noexcept;
// Of them, those that give out blocks or take them back: for modules whose blocks' ways back are guarded.
[[nodiscard]] constexpr bool IsOfBlocks(BridgedFunction function) noexcept {
  return function >= BridgedFunction::kHeapAlloc && function <= BridgedFunction::kFree;
}

// The same for a guarded module, index < kMaxGuardedModules: the borders alone.
[[nodiscard]] ThunkModule& GuardThunksOf(std::size_t index) noexcept;
[[nodiscard]] std::array<ImportHook, kBorderFunctionCount> GuardHooksOf(std::size_t index) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNKS_H
