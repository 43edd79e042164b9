#include "os/load_sampler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"

namespace clr_host_memory::test {
namespace {

constexpr Milliseconds kInterval{100};

// Every figure is a different multiple of n.
MemoryLoad LoadOf(std::uint32_t n) {
  return {.percent_in_use = n % 101,
          .available_physical = {n * 2ull},
          .total_physical = {n * 3ull},
          .available_commit = {n * 5ull},
          .total_commit = {n * 7ull},
          .available_in_job = {n * 11ull},
          .total_in_job = {n * 13ull},
          .process_private = {n * 17ull},
          .low_signalled = n % 2 == 0,
          .high_signalled = n % 3 == 0};
}
void ExpectLoad(const MemoryLoad& load, std::uint32_t n) {
  const MemoryLoad expected = LoadOf(n);
  EXPECT_EQ(load.percent_in_use, expected.percent_in_use);
  EXPECT_EQ(load.available_physical, expected.available_physical);
  EXPECT_EQ(load.total_physical, expected.total_physical);
  EXPECT_EQ(load.available_commit, expected.available_commit);
  EXPECT_EQ(load.total_commit, expected.total_commit);
  EXPECT_EQ(load.available_in_job, expected.available_in_job);
  EXPECT_EQ(load.total_in_job, expected.total_in_job);
  EXPECT_EQ(load.process_private, expected.process_private);
  EXPECT_EQ(load.low_signalled, expected.low_signalled);
  EXPECT_EQ(load.high_signalled, expected.high_signalled);
}

class LoadSamplerTest : public ::testing::Test {
 protected:
  MemoryLoad Read() {
    MemoryLoad load;
    EXPECT_EQ(sampler_.Read(&load), win32::kSuccess);
    return load;
  }
  [[nodiscard]] std::uint64_t Asked() const { return os_.Calls(OsCall::kLoad); }

  FakeMemorySystem os_;
  FakeThreadSystem threads_;
  LoadSampler sampler_{os_, threads_, kInterval};
};

TEST_F(LoadSamplerTest, AsksTheOsOncePerInterval) {
  os_.SetLoad(LoadOf(6));
  for (int i = 0; i < 10; ++i) ExpectLoad(Read(), 6);
  EXPECT_EQ(Asked(), 1U);

  os_.SetLoad(LoadOf(7));
  threads_.Advance(Milliseconds{99});
  ExpectLoad(Read(), 6);
  EXPECT_EQ(Asked(), 1U);
  threads_.Advance(Milliseconds{1});
  ExpectLoad(Read(), 7);
  ExpectLoad(Read(), 7);
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(LoadSamplerTest, FirstReadAsksTheOsAtAnyTime) {
  threads_.SetNow(Milliseconds{0});
  os_.SetLoad(LoadOf(6));
  ExpectLoad(Read(), 6);
}

TEST_F(LoadSamplerTest, ReadingAgeCountsFromTheStartOfTheOsCall) {
  // The OS answers slowly. The reading's age counts from the start of the call.
  os_.OnNext(OsCall::kLoad, Moment::kAfter, [&](const OsCallInfo&) { threads_.Advance(Milliseconds{60}); });
  Read();
  threads_.Advance(Milliseconds{39});
  Read();
  EXPECT_EQ(Asked(), 1U);
  threads_.Advance(Milliseconds{1});
  Read();
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(LoadSamplerTest, RefreshAlwaysAsksTheOsAndUpdatesReaders) {
  os_.SetLoad(LoadOf(1));
  Read();
  os_.SetLoad(LoadOf(2));
  MemoryLoad load;
  EXPECT_EQ(sampler_.Refresh(&load), win32::kSuccess);
  ExpectLoad(load, 2);
  ExpectLoad(Read(), 2);
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(LoadSamplerTest, IntervalChangeAppliesAtOnce) {
  Read();
  threads_.Advance(Milliseconds{10});
  sampler_.SetInterval(Milliseconds{10});
  EXPECT_EQ(sampler_.interval(), Milliseconds{10});
  Read();
  EXPECT_EQ(Asked(), 2U);
}

TEST_F(LoadSamplerTest, FailureIsReturnedAndKeepsTheLastReading) {
  os_.SetLoad(LoadOf(5));
  os_.Fail(OsCall::kLoad, win32::kAccessDenied);
  MemoryLoad load = LoadOf(9);
  EXPECT_EQ(sampler_.Read(&load), win32::kAccessDenied);
  ExpectLoad(load, 9);
  ExpectLoad(Read(), 5);

  os_.SetLoad(LoadOf(8));
  os_.Fail(OsCall::kLoad, win32::kAccessDenied);
  EXPECT_EQ(sampler_.Refresh(&load), win32::kAccessDenied);
  ExpectLoad(Read(), 5);  // still young enough
}

TEST_F(LoadSamplerTest, DelayedReadingReplacesNoNewerReading) {
  os_.SetLoad(LoadOf(3));
  os_.OnNext(OsCall::kLoad, Moment::kAfter, [&](const OsCallInfo&) {
    // Meanwhile, on another thread:
    threads_.Advance(kInterval);
    os_.SetLoad(LoadOf(4));
    ExpectLoad(Read(), 4);
  });
  ExpectLoad(Read(), 3);  // the answer that this call received
  ExpectLoad(Read(), 4);
  EXPECT_EQ(Asked(), 2U);
}

// Detects readings whose figures do not belong together.
TEST_F(LoadSamplerTest, ConcurrentReadersSeeWholeReadings) {
  os_.SetLoad(LoadOf(1));
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        const MemoryLoad load = Read();
        const auto n = static_cast<std::uint32_t>(load.available_physical.value / 2);
        ExpectLoad(load, n);
        if (::testing::Test::HasFailure()) return;
      }
    });
  }
  for (std::uint32_t n = 2; n < 20'000 && !HasFailure(); ++n) {
    os_.SetLoad(LoadOf(n));
    threads_.Advance(kInterval);
    MemoryLoad load;
    ASSERT_EQ(sampler_.Refresh(&load), win32::kSuccess);
    ExpectLoad(load, n);
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace clr_host_memory::test
