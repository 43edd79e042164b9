#include "tool/hosting/scripted_client.h"

#include <clr_host_memory/memory_manager.h>
#include <gtest/gtest.h>

namespace clr_host_memory::tool {
namespace {

using namespace clr_host_memory::literals;

TEST(ScriptedClient, ReceivesDocumentedResultsWithoutALimit) {
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  EXPECT_TRUE(run.AllPassed()) << FormatSteps(run);
  EXPECT_GE(run.steps.size(), 14u);
  EXPECT_EQ(manager->Statistics().charged, 0u);
  EXPECT_EQ(manager->Statistics().regions, 0u);
  EXPECT_EQ(manager->Audit().mismatch, 0u);
  EXPECT_EQ(manager->Statistics().calls[kClrHostMemoryNeedsVirtualAddressSpace][kClrHostMemoryOutOfMemory], 1u);
}

TEST(ScriptedClient, ReceivesTheAddressSpaceReserve) {
  auto manager = CreateMemoryManager({.address_space_reserve = 1_MiB});
  ASSERT_TRUE(manager) << manager.error().reason();
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  EXPECT_TRUE(run.AllPassed()) << FormatSteps(run);
  EXPECT_EQ(manager->Statistics().calls[kClrHostMemoryNeedsVirtualAddressSpace][kClrHostMemoryOk], 1u);
  EXPECT_EQ(manager->Statistics().address_space_uses, 1u);
}

TEST(ScriptedClient, TimesOutAtTheLimitIfWaitsAreAllowed) {
  auto manager = CreateMemoryManager({.limit = 24_MiB, .wait_ms = {50, 0, 0}});
  ASSERT_TRUE(manager) << manager.error().reason();
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  EXPECT_TRUE(run.AllPassed()) << FormatSteps(run);
  EXPECT_EQ(manager->Statistics().waits_timed_out[eTaskCritical], 1u);
  EXPECT_EQ(manager->Statistics().limit_refusals[eTaskCritical], 0u);
}

TEST(ScriptedClient, ContinuesAfterARefusalAtTheLimit) {
  auto manager = CreateMemoryManager({.limit = 24_MiB});
  ASSERT_TRUE(manager) << manager.error().reason();
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  EXPECT_TRUE(run.AllPassed()) << FormatSteps(run);
  EXPECT_GE(run.steps.size(), 15u);
  const ClrHostMemoryStatistics statistics = manager->Statistics();
  EXPECT_EQ(statistics.limit_refusals[eTaskCritical], 1u);
  EXPECT_LE(statistics.peak_charged, 24_MiB);
  EXPECT_EQ(statistics.charged, 0u);
}

TEST(ScriptedClient, ReportsAManagerThatWasShutDown) {
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  manager->Shutdown();
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  EXPECT_FALSE(run.AllPassed());
  EXPECT_NE(FormatSteps(run).find("FAILED"), std::string::npos);
  EXPECT_NE(FormatSteps(run).find("0x80131023"), std::string::npos);
}

}  // namespace
}  // namespace clr_host_memory::tool
