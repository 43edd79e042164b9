// The table of all thunks, in a group of rows for each thunk_calls_*.cpp. The hooks of a module and the counts of its
// calls are derived from it.
//
// The bodies hold no lock, allocate nothing and never throw: a GC suspends threads anywhere inside and calls them
// itself. Each keeps the contract of the function that it replaces, including the return value and the last error. It
// gets the memory from the published client. Without a client it calls the original function.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_TABLE_H
#define CLRHM_BRIDGE_THUNKS_THUNK_TABLE_H

#include <clr_host_memory/bridge_abi.h>

#include <cstddef>
#include <cstdint>
#include <gsl/span>
#include <vector>

#include "bridge/patch/import_patch.h"
#include "bridge/thunks/thunk.h"
#include "bridge/thunks/thunk_row.h"

namespace clr_host_memory {

// The groups of rows.
namespace thunks {
[[nodiscard]] gsl::span<const ThunkRow> VirtualRows() noexcept;
[[nodiscard]] gsl::span<const ThunkRow> MappedRows() noexcept;
[[nodiscard]] gsl::span<const ThunkRow> LoadRows() noexcept;
[[nodiscard]] gsl::span<const ThunkRow> MachineRows() noexcept;
[[nodiscard]] gsl::span<const ThunkRow> HeapRows() noexcept;
}  // namespace thunks

// Return a bridged module, index < kMaxBridgedModules, and the hooks that redirect its imports. with_blocks: whether
// it gets blocks. HooksOf throws std::bad_alloc.
[[nodiscard]] ThunkModule& BridgedModule(std::size_t index) noexcept;
[[nodiscard]] std::vector<ImportHook> HooksOf(std::size_t index, bool with_blocks);
// The same for a guarded module, index < kMaxGuardedModules. The hooks are those of the borders.
[[nodiscard]] ThunkModule& GuardedModule(std::size_t index) noexcept;
[[nodiscard]] std::vector<ImportHook> BorderHooksOf(std::size_t index);

// Keeps the module that contains the thunks loaded. A thread may be between a patched import and the first instruction
// of a thunk. A thread may also reach a thunk through another tool's hook at any later time.
void KeepThunksLoaded() noexcept;

// The counts of a bridged module: calls that went to a client, and requests and refusals by purpose.
void ResetCounts(std::size_t index) noexcept;
[[nodiscard]] std::uint64_t CallsOf(std::size_t index) noexcept;
void AddPurposesOf(std::size_t index, ClrHostMemoryPurposes* sums) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_TABLE_H
