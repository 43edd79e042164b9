// The functions that bridged imports point at: a set for each module that can be bridged at the same time, so that a call
// knows which module it came from and goes back to that module's own originals.
#ifndef CLRHM_BRIDGE_THUNKS_H
#define CLRHM_BRIDGE_THUNKS_H

#include <array>
#include <cstddef>

#include "bridge/import_patch.h"
#include "bridge/thunk_calls.h"

namespace clr_host_memory::bridge {

inline constexpr std::size_t kMaxBridgedModules = 16;

// The set of thunks with that index, index < kMaxBridgedModules, and the hooks that point a module's imports at it.
[[nodiscard]] ThunkModule& ThunksOf(std::size_t index) noexcept;
[[nodiscard]] std::array<ImportHook, kBridgedFunctionCount> HooksOf(std::size_t index) noexcept;
// Of them, those that give out blocks or take them back: for modules whose blocks' ways are known.
[[nodiscard]] constexpr bool IsOfBlocks(BridgedFunction function) noexcept {
  return function >= BridgedFunction::kHeapCreate && function <= BridgedFunction::kFree;
}

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_THUNKS_H
