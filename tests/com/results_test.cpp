// Tests the results of the C++ interface: the value, or a code and a reason that says what to do.
#include <clr_host_memory/result.h>

#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

static_assert(!std::is_copy_constructible_v<Result<MemoryManager>>);
static_assert(std::is_nothrow_move_constructible_v<Result<MemoryManager>>);
static_assert(!std::is_convertible_v<Result<void>, bool>, "if (!result) only");

// Succeeds if result is a failure with that code whose reason contains part and, after it, what to do.
::testing::AssertionResult Fails(const Result<void>& result, HRESULT code, const std::string& part) {
  if (result) return ::testing::AssertionFailure() << "it succeeded";
  const std::string reason = result.error().reason();
  if (result.error().code() != code) return ::testing::AssertionFailure() << Hr{result.error().code()} << " " << reason;
  const std::size_t at = reason.find(part);
  if (at == std::string::npos || reason.find(": ", at) == std::string::npos) {
    return ::testing::AssertionFailure() << reason;
  }
  return ::testing::AssertionSuccess();
}

TEST(Result, HoldsTheValue) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
  EXPECT_TRUE(result.has_value());
  EXPECT_HR(S_OK, result.error().code());
  EXPECT_STREQ("", result.error().reason());
  EXPECT_EQ(7, **result);
  EXPECT_EQ(7, *result->get());
  EXPECT_EQ(7, *result.value());
  const std::unique_ptr<int> taken = *std::move(result);
  EXPECT_EQ(7, *taken);
}

TEST(Result, HoldsTheErrorAndThrowsItInsteadOfAValue) {
  const auto fails = [](Error error) { return Result<int>(std::move(error)); };
  for (const auto& result : {fails({E_ABORT, "a literal"}), fails({E_ABORT, std::string("a literal")})}) {
    EXPECT_FALSE(result);
    EXPECT_FALSE(result.has_value());
    EXPECT_HR(E_ABORT, result.error().code());
    EXPECT_STREQ("a literal", result.error().reason());
    try {
      (void)result.value();
      ADD_FAILURE() << "no exception";
    } catch (const Error& error) {
      EXPECT_HR(E_ABORT, error.code());
      EXPECT_STREQ("a literal", error.what());
    }
  }
}

TEST(Result, PassesAnErrorOn) {
  const Result<int> first = Error(E_ABORT, std::string(100, 'x'));
  const Result<MemoryManager> second = first.error();
  EXPECT_EQ(std::string(100, 'x'), second.error().reason());
  EXPECT_NE(first.error().reason(), second.error().reason()) << "each owns its text";
  EXPECT_THROW(Result<void>(first.error()).value(), Error);
  EXPECT_NO_THROW(Result<void>().value());
}

TEST(MemoryManager, IsCreatedOrTheReasonNamesTheField) {
  const auto made = CreateMemoryManager({.limit = 512_MiB});
  ASSERT_TRUE(made);
  EXPECT_EQ(512_MiB, made->Statistics().limit);
  EXPECT_EQ(std::uint64_t{0}, made->Audit().mismatch);
  EXPECT_TRUE(Fails(CreateMemoryManager({.limit = 0}), E_INVALIDARG, "limit is 0"));
}

TEST(MemoryManager, AppliesSettings) {
  const MemoryManager manager = MakeManager({.limit = 512_MiB});
  EXPECT_TRUE(manager.SetLimit(1_GiB));
  EXPECT_EQ(1_GiB, manager.Statistics().limit);
  EXPECT_EQ(32_MiB, manager.Statistics().process_headroom);
  EXPECT_TRUE(manager.SetThresholds(CLR_HOST_MEMORY_THRESHOLDS_INIT));
  EXPECT_TRUE(manager.SetWait(eTaskCritical, 1));
  EXPECT_TRUE(manager.SetThrashGuard(5000, 40));
}

TEST(MemoryManager, NamesTheSettingOutOfRangeAndKeepsTheOld) {
  const MemoryManager manager = MakeManager({.limit = 256_MiB});
  EXPECT_TRUE(Fails(manager.SetLimit(0, 0, 0), E_INVALIDARG, "limit is 0"));
  EXPECT_TRUE(Fails(manager.SetLimit(64_KiB - 1, 0, 0), E_INVALIDARG, "limit is below 65536"));
  EXPECT_TRUE(Fails(manager.SetLimit(1_MiB, 600_KiB, 600_KiB), E_INVALIDARG, "add up"));
  EXPECT_TRUE(Fails(manager.SetLimit(1_MiB, Percent(101), 0), E_INVALIDARG, "app_domain_headroom"));
  EXPECT_EQ(256_MiB, manager.Statistics().limit);
  ClrHostMemoryThresholds thresholds = CLR_HOST_MEMORY_THRESHOLDS_INIT;
  thresholds.enter_low = thresholds.leave_low;
  EXPECT_TRUE(Fails(manager.SetThresholds(thresholds), E_INVALIDARG, "enter_low"));
  EXPECT_TRUE(Fails(manager.SetThrashGuard(1, 40), E_INVALIDARG, "thrash_window_ms"));
  EXPECT_TRUE(Fails(manager.SetThrashGuard(5000, 0), E_INVALIDARG, "thrash_refusals"));
  EXPECT_TRUE(Fails(manager.SetWait(eTaskCritical, 3600001), E_INVALIDARG, "wait_ms"));
  EXPECT_TRUE(Fails(manager.SetWait(static_cast<EMemoryCriticalLevel>(3), 0), E_INVALIDARG, "level"));
}

TEST(MemoryManager, SealsAndUnsealsRegions) {
  const MemoryManager manager = MakeManager();
  const auto page = [](std::size_t index) { return At(nullptr, (1 + index) * kGranule); };
  constexpr std::size_t kMost = 64;
  for (std::size_t index = 0; index < kMost; ++index) ASSERT_TRUE(manager.SealRegion(page(index), kPage));
  EXPECT_TRUE(Fails(manager.SealRegion(page(0), kPage), E_INVALIDARG, "no such range"));
  EXPECT_TRUE(Fails(manager.SealRegion(page(kMost), kPage), E_OUTOFMEMORY, "64 regions"));
  EXPECT_TRUE(manager.UnsealRegion(page(0)));
  EXPECT_TRUE(Fails(manager.UnsealRegion(page(0)), E_INVALIDARG, "no sealed region"));
}

TEST(MemoryManager, EntersASectionThatItsObjectEnds) {
  const MemoryManager manager = MakeManager();
  const auto elsewhere = [&](std::uint32_t milliseconds) {
    HRESULT code = E_UNEXPECTED;
    std::string reason;
    std::thread([&] {
      const auto section = manager.EnterExclusive(milliseconds);
      code = section.error().code();
      reason = section.error().reason();
    }).join();
    return Result<void>(code == S_OK ? Error() : Error(code, reason));
  };
  {
    const auto section = manager.EnterExclusive(0);
    ASSERT_TRUE(section);
    EXPECT_TRUE(Fails(elsewhere(0), HOST_E_NOT_OWNER, "another thread"));
    EXPECT_TRUE(Fails(elsewhere(1), HOST_E_TIMEOUT, "another thread"));
  }
  EXPECT_TRUE(elsewhere(0));
}

TEST(MemoryManager, ReportsAShutdown) {
  const MemoryManager manager = MakeManager();
  EXPECT_TRUE(manager.OnEvent([](const ClrHostMemoryEvent&) {}));
  manager.Shutdown();
  const auto is_down = [](const Result<void>& result) { return Fails(result, HOST_E_CLRNOTAVAILABLE, "shut down"); };
  EXPECT_TRUE(is_down(manager.SetWait(eTaskCritical, 1)));
  EXPECT_TRUE(is_down(manager.EnterExclusive(0)));
  EXPECT_TRUE(is_down(manager.OnEvent([](const ClrHostMemoryEvent&) {})));
  EXPECT_TRUE(manager.OnEvent({}));
}

TEST(CreateHostControl, ReportsAnEmptyManager) {
  EXPECT_TRUE(CreateHostControl(MakeManager()));
  EXPECT_TRUE(Fails(CreateHostControl(MemoryManager()), E_POINTER, "empty"));
}

}  // namespace
}  // namespace clr_host_memory::test
