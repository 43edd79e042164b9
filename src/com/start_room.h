// The least limit within which a runtime can run once it has started. Pure.
#ifndef CLRHM_COM_START_ROOM_H
#define CLRHM_COM_START_ROOM_H

#include <cstdint>

namespace clr_host_memory {

// Bytes that a started runtime needs above its committed memory before Main can do anything. Measured on hello world
// with every GC: 1.1 to 1.75 MiB in all, the companion's code included. The first is all of it. The second is the part
// that has to fit beside the headrooms.
inline constexpr std::uint64_t kNeededAfterStart = std::uint64_t{1792} << 10;
inline constexpr std::uint64_t kHeapNeededAfterStart = std::uint64_t{1} << 20;

// Whether a started runtime fits within the limit. in_use: bytes that count against the limit when the runtime has
// started. The headrooms are values as in ClrHostMemoryOptions.
[[nodiscard]] bool FitsAfterStart(std::uint64_t limit, std::uint64_t in_use, std::uint64_t app_domain_headroom,
                                  std::uint64_t process_headroom) noexcept;
// Returns the least limit that FitsAfterStart accepts, in bytes, rounded up to a whole MiB. Returns 0 if no limit up
// to 1 TiB fits with these headrooms.
[[nodiscard]] std::uint64_t LeastLimitAfterStart(std::uint64_t in_use, std::uint64_t app_domain_headroom,
                                                 std::uint64_t process_headroom) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_COM_START_ROOM_H
