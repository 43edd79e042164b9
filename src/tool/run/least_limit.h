// The least limit within which a runtime can run once it has started. Portable and pure.
#ifndef CLRHM_TOOL_RUN_LEAST_LIMIT_H
#define CLRHM_TOOL_RUN_LEAST_LIMIT_H

#include "tool/command_line/policy_options.h"

#include <cstdint>

namespace clr_host_memory::tool {

// Bytes that a started runtime needs above its committed memory before Main can do anything. Measured on hello world
// (docs/tool.md), with a margin. The first is for allocations that must not fail: jitted code, types, stacks. The
// second is for the GC's heap, which may use the limit minus the headrooms.
inline constexpr std::uint64_t kNeededAfterStart = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kHeapNeededAfterStart = std::uint64_t{512} << 10;

// Whether a started runtime fits within the limit. in_use: bytes that count against the limit when the runtime has
// started. headroom: as in --headroom.
[[nodiscard]] bool FitsAfterStart(std::uint64_t limit, std::uint64_t in_use, const Headroom& headroom);
// Returns the least limit that FitsAfterStart accepts, in bytes, rounded up to a whole MiB. Returns 0 if no limit up
// to 1 TiB fits with this headroom.
[[nodiscard]] std::uint64_t LeastLimitAfterStart(std::uint64_t in_use, const Headroom& headroom);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_LEAST_LIMIT_H
