// The least limit that a runtime can live within, once it has started. Portable and pure.
#ifndef CLRHM_TOOL_RUN_LEAST_LIMIT_H
#define CLRHM_TOOL_RUN_LEAST_LIMIT_H

#include "tool/command_line/policy_options.h"

#include <cstdint>

namespace clr_host_memory::tool {

// What a started runtime needs besides what it has committed, in bytes, before Main can do anything: measured on hello
// world (docs/tool.md), with room to spare. The first is for what must not fail (jitted code, types, stacks), the
// second for the GC's heap, which may have the limit less the headrooms.
inline constexpr std::uint64_t kNeededAfterStart = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kHeapNeededAfterStart = std::uint64_t{512} << 10;

// in_use: bytes that count against the limit when the runtime has started; headroom: as --headroom has it.
[[nodiscard]] bool FitsAfterStart(std::uint64_t limit, std::uint64_t in_use, const Headroom& headroom);
// The least limit, in whole MiB, that FitsAfterStart; 0: with this headroom none does.
[[nodiscard]] std::uint64_t LeastLimitAfterStart(std::uint64_t in_use, const Headroom& headroom);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_LEAST_LIMIT_H
