// Sizes shared by the private heap's tests.
#ifndef CLRHM_TESTS_UNIT_PRIVATE_HEAP_SIZES_H
#define CLRHM_TESTS_UNIT_PRIVATE_HEAP_SIZES_H

#include <cstddef>

namespace clr_host_memory::test {

inline constexpr std::size_t kK = 1024;
inline constexpr std::size_t kM = 1024 * kK;

inline constexpr std::size_t kSizes[] = {0,    1,     16,    17,    128,    129,      1000,         1024, 1025,  4096,
                                         4097, 16384, 16385, 65536, 100000, 512 * kK, 512 * kK + 1, kM,   3 * kM};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_UNIT_PRIVATE_HEAP_SIZES_H
