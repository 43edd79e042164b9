// Refused and failing requests leave everything as it was.
#include <gtest/gtest.h>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {
namespace {

class EngineRefusals : public EngineTest {};

TEST_F(EngineRefusals, ADecommitTheOsRefusesOnPagesNeverTouchedLeavesNothingForALaterReleaseToMiss) {
  // Across two words of 64 pages; the refused range is inside the first.
  const Address base = 0x10'0000'0000 + 48 * kPageSize;
  ASSERT_TRUE(Reserve(64 * kPageSize, base).outcome.ok());
  os.Fail(OsCall::kFree, win32::kInvalidParameter);
  EXPECT_EQ(Decommit(base + 2 * kPageSize, 8 * kPageSize), Outcome::OsRefused(win32::kInvalidParameter));
  ASSERT_TRUE(Commit(base, 8 * kPageSize).outcome.ok());
  ASSERT_TRUE(Release(base).ok());
  EXPECT_EQ(Charged(), Bytes{});
}

}  // namespace
}  // namespace clr_host_memory::test
