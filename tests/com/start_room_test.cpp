#include "com/start_room.h"

#include <gtest/gtest.h>

#include <clr_host_memory/memory_manager.h>

namespace clr_host_memory::test {
namespace {

using namespace clr_host_memory::literals;

struct Headrooms {
  std::uint64_t process = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  std::uint64_t app_domain = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
};
bool Fits(std::uint64_t limit, std::uint64_t in_use, const Headrooms& headroom) {
  return FitsAfterStart(limit, in_use, headroom.app_domain, headroom.process);
}
std::uint64_t LeastLimit(std::uint64_t in_use, const Headrooms& headroom) {
  return LeastLimitAfterStart(in_use, headroom.app_domain, headroom.process);
}

TEST(LeastLimit, FitsIfRuntimeAndHeapBothHaveRoom) {
  const Headrooms none{.process = 0, .app_domain = 0};
  const Headrooms half{.process = Percent(50), .app_domain = 0};
  const struct {
    std::uint64_t limit;
    std::uint64_t in_use;
    Headrooms headroom;
    bool fits;
  } table[] = {
      {5_MiB, 3_MiB, {}, true},             // hello world on .NET 10
      {5_MiB, 3_MiB + 512_KiB, {}, false},  // with a server GC
      {6_MiB, 3_MiB + 512_KiB, {}, true},
      {4_MiB, 3_MiB, {}, false},  // its heap could not grow
      {5_MiB, 3_MiB + 256_KiB, none, true},
      {5_MiB, 3_MiB + 256_KiB + 4096, none, false},
      {4_MiB, 5_MiB, none, false},
      {8_MiB, 4_MiB, half, false},  // the headroom takes all that is left
      {8_MiB, 3_MiB, half, true},
      {8_MiB, 3_MiB + 4096, half, false},
      {8_MiB, 0, {.process = 9_MiB, .app_domain = 0}, false},
      {1024_MiB, 900_MiB, {}, true},
      {1024_MiB, 1000_MiB, {}, false},
  };
  for (const auto& row : table) {
    EXPECT_EQ(Fits(row.limit, row.in_use, row.headroom), row.fits) << row.limit << " " << row.in_use;
  }
}

TEST(LeastLimit, IsTheSmallestLimitThatFits) {
  const Headrooms headrooms[] = {{},
                                 {.process = 0, .app_domain = 0},
                                 {.process = Percent(50), .app_domain = Percent(10)},
                                 {.process = 16_MiB, .app_domain = 0}};
  for (const Headrooms& headroom : headrooms) {
    for (const std::uint64_t in_use : {0_MiB, 2_MiB, 6_MiB + 1, 100_MiB, 3000_MiB}) {
      const std::uint64_t least = LeastLimit(in_use, headroom);
      ASSERT_NE(least, 0u);
      EXPECT_EQ(least % 1_MiB, 0u);
      EXPECT_TRUE(Fits(least, in_use, headroom)) << least;
      EXPECT_FALSE(Fits(least - 1_MiB, in_use, headroom)) << least;
    }
  }
}

TEST(LeastLimit, IsZeroIfHeadroomTakesTheWholeLimit) {
  EXPECT_EQ(LeastLimit(1_MiB, {.process = Percent(100), .app_domain = 0}), 0u);
}

}  // namespace
}  // namespace clr_host_memory::test
