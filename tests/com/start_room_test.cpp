#include "tool/run/least_limit.h"

#include <gtest/gtest.h>

#include <clr_host_memory/memory_manager.h>

namespace clr_host_memory::tool {
namespace {

using namespace clr_host_memory::literals;

TEST(LeastLimit, FitsIfRuntimeAndHeapBothHaveRoom) {
  const Headroom none{.process = 0, .app_domain = 0};
  const Headroom half{.process = Percent(50), .app_domain = 0};
  const struct {
    std::uint64_t limit;
    std::uint64_t in_use;
    Headroom headroom;
    bool fits;
  } table[] = {
      {4_MiB, 2_MiB, {}, true},   // hello world on .NET 8
      {4_MiB, 3_MiB, {}, false},  // its heap could not grow
      {4_MiB, 3_MiB, none, true},
      {4_MiB, 3_MiB + 4096, none, false},
      {4_MiB, 5_MiB, none, false},
      {8_MiB, 4_MiB, half, false},  // the headroom takes all that is left
      {8_MiB, 4_MiB - 512_KiB, half, true},
      {8_MiB, 0, {.process = 9_MiB, .app_domain = 0}, false},
      {1024_MiB, 900_MiB, {}, true},
      {1024_MiB, 1000_MiB, {}, false},
  };
  for (const auto& row : table) {
    EXPECT_EQ(FitsAfterStart(row.limit, row.in_use, row.headroom), row.fits) << row.limit << " " << row.in_use;
  }
}

TEST(LeastLimit, IsTheSmallestLimitThatFits) {
  const Headroom headrooms[] = {{},
                                {.process = 0, .app_domain = 0},
                                {.process = Percent(50), .app_domain = Percent(10)},
                                {.process = 16_MiB, .app_domain = 0}};
  for (const Headroom& headroom : headrooms) {
    for (const std::uint64_t in_use : {0_MiB, 2_MiB, 6_MiB + 1, 100_MiB, 3000_MiB}) {
      const std::uint64_t least = LeastLimitAfterStart(in_use, headroom);
      ASSERT_NE(least, 0u);
      EXPECT_EQ(least % 1_MiB, 0u);
      EXPECT_TRUE(FitsAfterStart(least, in_use, headroom)) << least;
      EXPECT_FALSE(FitsAfterStart(least - 1_MiB, in_use, headroom)) << least;
    }
  }
}

TEST(LeastLimit, IsZeroIfHeadroomTakesTheWholeLimit) {
  EXPECT_EQ(LeastLimitAfterStart(1_MiB, {.process = Percent(100), .app_domain = 0}), 0u);
}

}  // namespace
}  // namespace clr_host_memory::tool
