// A thunk stands in for one import of one module. Each module that can be bridged or guarded at the same time has its
// own thunks. Thus a call knows its module and that module's original function.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_H
#define CLRHM_BRIDGE_THUNKS_THUNK_H

#include <clr_host_memory/memory_manager_abi.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bridge/state/bridge_client.h"

namespace clr_host_memory {

inline constexpr std::size_t kMaxBridgedModules = 16;
// The guarded modules: modules that get the manager's blocks, and their C run-times (heap_owners.h).
inline constexpr std::size_t kMaxGuardedModules = 24;

// A bridged or guarded module, as its thunks see it. It is never destroyed, since a thunk can be called as long as the
// process lives.
struct ThunkModule {
  std::size_t index;  // a bridged module's index; for a guarded module kMaxBridgedModules and its index
  // Requests that commit, and how many of them were not granted, by ClrHostMemoryPurpose; relaxed.
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> requests{};
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> refusals{};
  // Bytes of the largest reservation that the module has made as a GC does, including reservations since released;
  // relaxed. Its other reservations are judged by comparison (purpose.h).
  std::atomic<std::uint64_t> largest_gc_reservation{0};
  // Whether the module gets blocks of the manager. True if it is attached and all functions that take back its blocks
  // are guarded.
  std::atomic<bool> gets_blocks{false};
  // A block of the OS that is being tracked, in a guarded module, to verify that it reaches the borders. The borders
  // clear it.
  std::atomic<const void*> awaited{nullptr};
};

namespace internal {
extern std::array<ThunkModule, kMaxBridgedModules + kMaxGuardedModules> thunk_modules;
}  // namespace internal

// What thunks of all function types have. It is never destroyed, as its module.
struct ThunkState {
  ThunkModule& module;
  std::atomic<void*> original{
      nullptr};                         // the import's previous target; set before it is patched, and kept from then on
  std::atomic<std::uint64_t> calls{0};  // calls that went to a client; relaxed
};

// Function: the type of the replaced function, such as decltype(::VirtualAlloc).
template <typename Function>
struct Thunk : ThunkState {
  // Returns the function that the import pointed at before; null if the module has no such import.
  [[nodiscard]] Function* Original() const noexcept {
    return reinterpret_cast<Function*>(original.load(std::memory_order_acquire));
  }
  // Returns the client of this call, and counts the call if there is a client.
  const BridgeClient* Count(const CallScope& scope) noexcept {
    if (scope.client() != nullptr) calls.fetch_add(1, std::memory_order_relaxed);
    return scope.client();
  }
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_H
