// Spreads threads over shards of contended data, without thread-local storage. Thread-local storage is unsuitable for
// a library loaded late into threads that it did not create.
#ifndef CLRHM_BASE_STACK_SHARD_H
#define CLRHM_BASE_STACK_SHARD_H

#include <cstddef>
#include <cstdint>

namespace clr_host_memory {

inline constexpr std::size_t kStackShards = 8;

// Returns a number below kStackShards. Stacks of different threads are apart. So a thread usually gets the same
// number each time, and different threads usually get different numbers. No code may depend on either.
[[nodiscard]] inline std::size_t StackShard() {
  const volatile char here = 0;
  const auto granule = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&here) >> 16);
  return granule * 0x9E37'79B1u >> 29;  // multiplicative hashing, by the golden ratio
}

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_STACK_SHARD_H
