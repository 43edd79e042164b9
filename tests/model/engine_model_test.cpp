// Compares long random sequences with a model. CLRHM_SEED in the environment repeats a run; CLRHM_STEPS sets its
// length.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "support/engine_model.h"

namespace clr_host_memory::test {
namespace {

[[nodiscard]] std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT: nothing writes the environment meanwhile
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(EngineRandomModel, AgreesAfterEveryRandomStep) {
  const std::uint64_t seed = FromEnvironment("CLRHM_SEED", std::random_device{}());
  const std::uint64_t steps = FromEnvironment("CLRHM_STEPS", 1'000'000);
  std::cout << "seed " << seed << ", " << steps << " steps\n";
  std::mt19937_64 random(seed);
  EngineModel model([&](std::uint64_t n) { return random() % n; });
  for (std::uint64_t step = 0; step < steps; ++step) {
    const auto wrong = model.Step();
    ASSERT_FALSE(wrong) << "seed " << seed << ", step " << step << ": " << *wrong;
    if (step % 1000 != 999) continue;
    const auto audit = model.Audit();
    ASSERT_FALSE(audit) << "seed " << seed << ", step " << step << ": " << *audit;
  }
  const auto left = model.FreeEverything();
  EXPECT_FALSE(left) << "seed " << seed << ": " << *left;
}

}  // namespace
}  // namespace clr_host_memory::test
