// Tests a host that uses the library directly, as README.md shows, on real runtimes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kCaughtOutOfMemory = 42;  // AllocateUntilOom's exit code

class BridgeHost : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
  }
  static ProcessResult Host(const char* way, const char* program, const std::vector<std::string>& arguments = {}) {
    std::vector<std::string> all{way, RuntimeFolder(GetParam()), ProgramPath(GetParam(), program)};
    all.insert(all.end(), arguments.begin(), arguments.end());
    ProcessSettings settings;
    settings.timeout = std::chrono::seconds(60);
    return RunProcessWith(settings, HostPath("bridge_host_child"), all);
  }
  // Returns the number that follows `words` in `text`. Fails the test if `text` lacks them.
  static std::uint64_t NumberAfter(const std::string& words, const std::string& text) {
    const std::size_t at = text.find(words);
    EXPECT_NE(at, std::string::npos) << words << " is not in " << text;
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + words.size(), nullptr, 10);
  }
};

// A GC that sees a small machine when it starts cannot grow its heap into a raised limit. The start properties that the
// bridge adds prevent this.
TEST_P(BridgeHost, UsesALimitRaisedAfterStart) {
  const ProcessResult result = Host("raised", "AllocateUntilOom", {"205"});
  EXPECT_EQ(result.exit_code, 0U) << result.out << result.error;
  EXPECT_THAT(result.out, HasSubstr("allocated 205 MiB"));
}

// The program goes on compiling and loading while the limit is below what is in use. Refusing that would end the
// process. The statistics tell the most that can be in use, which goes down with the charge.
TEST_P(BridgeHost, LivesOnUnderALimitBelowUsage) {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const ProcessResult result = Host("lowered", "JsonCache", {"4", "3"});
  EXPECT_FALSE(result.timed_out);
  EXPECT_THAT(result.exit_code, testing::AnyOf(0U, kCaughtOutOfMemory)) << result.out << result.error;
  const auto figure = [&](const std::string& moment, const std::string& what) {
    const std::size_t at = result.error.find(moment + ": ");
    EXPECT_NE(at, std::string::npos) << moment << result.error;
    return at == std::string::npos ? 0 : NumberAfter(" " + what + " ", result.error.substr(at));
  };
  EXPECT_GE(figure("before", "charged"), 54 * kMiB);
  EXPECT_EQ(figure("before", "bound"), 128 * kMiB);
  EXPECT_GE(figure("lowered", "bound"), figure("lowered", "charged"));
  EXPECT_LE(figure("lowered", "bound"), figure("before", "charged") + 16 * kMiB) << "what was in use, and the headroom";
  EXPECT_GT(figure("lowered", "bound"), 32 * kMiB);
  EXPECT_LE(figure("later", "charged"), figure("later", "bound"));
  EXPECT_LE(figure("later", "bound"), figure("lowered", "bound"));
  EXPECT_LE(figure("freed", "bound"), figure("later", "bound") - 40 * kMiB) << "goes down with the charge";
  EXPECT_EQ(figure("ended", "bound"), 32 * kMiB);
  EXPECT_EQ(figure("ended", "over"), 0U);
}

TEST_P(BridgeHost, StartsUnderALimitOf8MiB) {
  const ProcessResult result = Host("limit-8", "Hello", {"7"});
  EXPECT_EQ(result.exit_code, 7U) << result.out << result.error;
  EXPECT_EQ(NumberAfter("refused task ", result.error) + NumberAfter(" process ", result.error), 0U) << result.error;
}

// The host does not notify the bridge of the runtime's start: the bridge detects it. If it failed to, heap requests
// would count as process-critical. The heap would then take the headroom, and no task-critical request would ever be
// refused.
TEST_P(BridgeHost, KeepsHeadroomWithoutAStartNotification) {
  const ProcessResult result = Host("silent-64", "AllocateUntilOom");
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  EXPECT_GT(NumberAfter("refused task ", result.error), 0U) << result.error;
  EXPECT_EQ(NumberAfter(" process ", result.error), 0U) << result.error;
}

TEST_P(BridgeHost, KeepsTheLimitAfterReleasingBridgeAndManager) {
  const ProcessResult result = Host("released", "AllocateUntilOom", {"100"});
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  EXPECT_GT(NumberAfter("refused task ", result.error), 0U) << result.error;
  EXPECT_GT(NumberAfter("charged ", result.error), 0U) << result.error;
}

TEST_P(BridgeHost, RunningRuntimeIsRefusedByTheOrdinaryAttach) {
  const ProcessResult result = Host("late", "Hello", {"7"});
  EXPECT_EQ(result.exit_code, 7U) << result.out << result.error;
  EXPECT_THAT(result.error, HasSubstr("attached 0x80131022"));
  EXPECT_THAT(result.error, HasSubstr("has started already; attach before coreclr_initialize, or call "
                                      "AttachToRunningCoreClr"));
}

// What the runtime has committed before is not charged. The limit holds for what follows.
TEST_P(BridgeHost, LateAttachKeepsTheLimitFromThenOn) {
  const ProcessResult result = Host("late", "AllocateUntilOom");
  EXPECT_EQ(result.exit_code, kCaughtOutOfMemory) << result.out << result.error;
  EXPECT_GT(NumberAfter("refused task ", result.error), 0U) << result.error;
  EXPECT_LE(NumberAfter("peak ", result.error), 64ULL << 20) << result.error;
  EXPECT_GT(NumberAfter("peak ", result.error), 48ULL << 20) << result.error;
  EXPECT_EQ(NumberAfter("mismatch ", result.error), 0U) << result.error;
}

// The program allocates on several threads and collects while its imports are redirected.
TEST_P(BridgeHost, LateAttachLeavesABusyRuntimeRunning) {
  for (int run = 0; run < 5; ++run) {
    const ProcessResult result = Host("late-20", "Churn", {"128"});
    EXPECT_THAT(result.exit_code, testing::AnyOf(0U, kCaughtOutOfMemory)) << result.out << result.error;
    EXPECT_THAT(result.out, HasSubstr(result.exit_code == 0 ? ", 0 changed, finalizers ran" : "OutOfMemoryException"));
    EXPECT_EQ(NumberAfter("mismatch ", result.error), 0U) << result.error;
  }
}

TEST_P(BridgeHost, DetachRaisesAnEventAndTheRuntimeContinues) {
  const ProcessResult result = Host("detached", "Hello", {"7"});
  EXPECT_EQ(result.exit_code, 7U) << result.out << result.error;
  EXPECT_THAT(result.error, HasSubstr("told 1"));
  EXPECT_THAT(result.error, HasSubstr("attached 0x80131022"));
}

TEST_P(BridgeHost, ExitsNormallyWithStaticOwners) {
  const ProcessResult result = Host("static", "Hello", {"7"});
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.exit_code, 7U) << result.out << result.error;
}

TEST_P(BridgeHost, ExitsNormallyWithStaticOwnersInADll) {
  const ProcessResult result = Host("static-in-dll", "Hello");
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.exit_code, 7U) << result.out << result.error;
}

INSTANTIATE_TEST_SUITE_P(Runtimes, BridgeHost, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
