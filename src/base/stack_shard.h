// Spreads threads over a few copies of something they would otherwise fight for, without thread-local storage (which
// has no place in a library that is loaded late into threads it did not make).
#ifndef CLRHM_BASE_STACK_SHARD_H
#define CLRHM_BASE_STACK_SHARD_H

#include <cstddef>
#include <cstdint>

namespace clr_host_memory {

inline constexpr std::size_t kStackShards = 8;

// Below kStackShards. Threads have stacks that are apart: the same thread gets the same number most of the time, and
// different ones different numbers. Nothing may depend on either.
[[nodiscard]] inline std::size_t StackShard() {
  const volatile char here = 0;
  const auto granule = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&here) >> 16);
  return granule * 0x9E37'79B1u >> 29;  // multiplicative hashing, by the golden ratio
}

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_STACK_SHARD_H
