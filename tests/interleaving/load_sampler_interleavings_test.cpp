// Suspends readers and writers of the sampler at every atomic operation. load_sampler.cpp is compiled into this
// program with atomics that yield (support/yielding_atomic.h). These headers precede it and use the real atomics.
#include "support/fake_thread_system.h"
#include "support/null_memory_system.h"
// Must precede os/load_sampler.h, whose atomics it replaces.
#include "support/yielding_atomic.h"

#include <iostream>

#include "os/load_sampler.h"

namespace clr_host_memory::test {
namespace {

constexpr Milliseconds kInterval{100};

// Gives a different answer to each call, and records the time of each answer.
class CountingOs final : public MemorySystem {
 public:
  explicit CountingOs(FakeThreadSystem& threads) : threads_(threads) {}

  win32::Error Load(MemoryLoad* load) override {
    const std::uint64_t n = told_at.size();
    told_at.push_back(threads_.Now());
    InterleavingPoint();
    *load = {.available_physical = {n}, .total_physical = {n * 2}, .total_in_job = {n * 3}, .process_private = {n * 5}};
    return win32::kSuccess;
  }
  AllocateResult Allocate(const AllocateRequest& request) override { return rest_.Allocate(request); }
  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) override {
    return rest_.Free(address, size, type);
  }
  win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) override {
    return rest_.Query(address, buffer, length, written);
  }
  win32::Error Protect(Address, std::uint64_t, std::uint32_t, std::uint32_t*) override { return win32::kSuccess; }
  PageRun Describe(Address address) override { return rest_.Describe(address); }
  void* AllocateMetadata(std::size_t size) override { return rest_.AllocateMetadata(size); }
  void FreeMetadata(void* memory, std::size_t size) override { rest_.FreeMetadata(memory, size); }

  std::vector<Milliseconds> told_at;

 private:
  FakeThreadSystem& threads_;
  NullMemorySystem rest_;
};

class SamplerWorld final : public InterleavedWorld {
 public:
  explicit SamplerWorld(std::uint64_t* kept) : kept_(kept) {
    MemoryLoad first;
    (void)sampler_.Refresh(&first);
  }

  std::vector<std::function<void()>> Operations() override {
    return {[this] { Take(&LoadSampler::Refresh); },
            [this] {
              threads_.Advance(kInterval);
              Take(&LoadSampler::Read);
            },
            [this] {
              Take(&LoadSampler::Read);
              Take(&LoadSampler::Read);
            }};
  }
  bool Check(const std::string& schedule) override {
    EXPECT_TRUE(problem_.empty()) << problem_ << " in " << schedule;
    if (os_.told_at.size() < 4) ++*kept_;
    return problem_.empty();
  }

 private:
  void Take(win32::Error (LoadSampler::*ask)(MemoryLoad*)) {
    const Milliseconds begin = threads_.Now();
    MemoryLoad load;
    (void)(sampler_.*ask)(&load);
    const std::uint64_t n = load.available_physical.value;
    if (load.total_physical.value != n * 2 || load.total_in_job.value != n * 3 || load.process_private.value != n * 5) {
      problem_ = "half a reading";
    } else if (begin - os_.told_at[n] >= kInterval) {
      problem_ = "an old reading";
    }
  }

  FakeThreadSystem threads_;
  CountingOs os_{threads_};
  LoadSampler sampler_{os_, threads_, kInterval};
  std::string problem_;
  std::uint64_t* kept_;
};

TEST(LoadSamplerInterleavings, ReadingsAreWholeAndFreshUnderSuspension) {
  std::uint64_t kept = 0;
  const Exploration result = Explore([&] { return std::make_unique<SamplerWorld>(&kept); }, 3, 3'000'000);
  EXPECT_TRUE(result.passed);
  EXPECT_TRUE(result.complete);
  EXPECT_GT(kept, 0U) << "no schedule in which a reading served two";
  std::cout << result.schedules << " schedules\n";
}

}  // namespace
}  // namespace clr_host_memory::test
