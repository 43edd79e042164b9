// A manager with its own threads over the fake OS, for the tests of callbacks and of the event sink.
#ifndef CLRHM_TESTS_COM_NOTIFICATIONS_FIXTURE_H
#define CLRHM_TESTS_COM_NOTIFICATIONS_FIXTURE_H

#include <gtest/gtest.h>

#include <cstdint>

#include "com/backend.h"
#include "host_callbacks.h"
#include "host_over_fake.h"
#include "os/windows/windows_thread_system.h"

namespace clr_host_memory::test {

using namespace std::chrono_literals;

inline constexpr PressureThresholds kEager{.dwell = Milliseconds{0}, .repeat_low = Milliseconds{5}};
inline constexpr std::uint64_t kLimit = 100 * kMiB;

class NotificationsTest : public testing::Test {
 protected:
  NotificationsTest()
      : manager_(new HostMemoryManager(os_, WindowsThreadSystem(), {.limit = {kLimit}}, {.thresholds = kEager},
                                       Milliseconds{1})) {
    region_ = Allocate(manager(), nullptr, kLimit, MEM_RESERVE, PAGE_READWRITE);
  }
  [[nodiscard]] HostMemoryManager* manager() const { return manager_.get(); }
  [[nodiscard]] IHostMemoryManager* client() const { return manager_.get(); }
  // Charges percent of the limit, more or less than before.
  void Use(unsigned percent) {
    EXPECT_HR(S_OK, manager()->VirtualFree(region_, kLimit, MEM_DECOMMIT));
    EXPECT_NE(nullptr, Allocate(manager(), region_, percent * kMiB, MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
  }

  FakeMemorySystem os_;
  ComReference<HostMemoryManager> manager_;
  void* region_ = nullptr;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_NOTIFICATIONS_FIXTURE_H
