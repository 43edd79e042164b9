// An engine with a limit, headrooms and a large reserved region, for tests of its behaviour at the limit.
#ifndef CLRHM_TESTS_UNIT_RELIEF_FIXTURE_H
#define CLRHM_TESTS_UNIT_RELIEF_FIXTURE_H

#include <atomic>

#include "support/engine_fixture.h"

namespace clr_host_memory::test {

inline constexpr Bytes kReserve{kMiB};  // 64 slices of 4 pages: the whole headroom for the process
inline constexpr Limits kLimits{.limit = {16 * kMiB}, .app_domain_headroom = {kMiB}, .process_headroom = {kMiB}};

class CountingWaker final : public Waker {
 public:
  void Wake() noexcept override { ++wakes; }
  std::atomic<int> wakes = 0;
};

class ReliefTest : public EngineTest {
 protected:
  ReliefTest() : EngineTest(kLimits) {
    engine.SetAlarm(&alarm);
    region = Reserve(kGiB).address;
  }
  void OpenReserve() { ASSERT_EQ(engine.OpenReserves(kReserve, {}), win32::kSuccess); }
  // Commits the next `size` bytes of the region at this level.
  AddressOutcome Take(std::uint64_t size, Criticality level) {
    const AddressOutcome result = Commit(region + taken, size, level);
    if (result.outcome.ok()) taken += size;
    return result;
  }
  [[nodiscard]] Bytes Held() const { return engine.headroom_pool().Held(); }

  CountingWaker alarm;
  Address region = 0;
  std::uint64_t taken = 0;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_UNIT_RELIEF_FIXTURE_H
