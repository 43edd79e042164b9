// A property of every run: from Main on, charged bytes and the committed headroom are within the limit, with all
// options. Draws options, limits, runtimes and programs. CLRHM_BOUND_SEED repeats or changes the draws.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "integration/clrmem_process.h"
#include "integration/gc_variant.h"
#include "integration/sound_run.h"

namespace clrhm_test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint32_t kRefused = 2;
constexpr int kShards = 4;
constexpr int kRunsPerShard = 10;

std::uint32_t Seed() {
  const char* given = std::getenv("CLRHM_BOUND_SEED");
  return given == nullptr ? 20261129 : static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10));
}

// One run: everything that is drawn.
struct Draw {
  Runtime runtime = kNet8;
  GcVariant gc = kWorkstation;
  const char* program = "Hello";
  std::vector<std::string> arguments;
  std::vector<std::string> options;
  std::optional<std::uint64_t> highest;  // limit in effect at any time, bytes; unset: none for a while

  [[nodiscard]] std::string Text() const {
    std::string text = "clrmem run";
    for (const std::string& option : options) text += " " + option;
    text += std::string(" ") + program;
    for (const std::string& argument : arguments) text += " " + argument;
    return text + ", " + runtime.version + ", " + gc.name;
  }
};

class Drawer {
 public:
  explicit Drawer(std::uint32_t seed) : random_(seed) {}

  Draw Next() {
    Draw draw;
    draw.runtime = Of(2) == 0 ? kNet8 : kNet10;
    const std::array<GcVariant, 3> variants{kWorkstation, kServerGc, kWithoutConcurrentGc};
    draw.gc = variants.at(Of(variants.size()));
    DrawProgram(&draw);
    DrawLimits(&draw);
    DrawPolicy(&draw);
    return draw;
  }

 private:
  std::size_t Of(std::size_t count) { return std::uniform_int_distribution<std::size_t>(0, count - 1)(random_); }
  bool Sometimes() { return Of(3) == 0; }
  std::string MiBFrom(std::size_t least, std::size_t most) { return std::to_string(least + Of(most - least + 1)); }

  void DrawProgram(Draw* draw) {
    const std::array<std::pair<const char*, std::vector<std::string>>, 6> programs{{
        {"AllocateUntilOom", {"200", "256"}},
        {"AllocateUntilOom", {"60", "4096", "300"}},
        {"SmallObjects", {"64", "100000"}},
        {"LargeObjects", {"256"}},
        {"Churn", {"64"}},
        {"JsonCache", {"12", "1"}},
    }};
    const auto& [program, arguments] = programs.at(Of(programs.size()));
    draw->program = program;
    draw->arguments = arguments;
  }

  void DrawLimits(Draw* draw) {
    const std::size_t first = 24 + Of(200);
    std::size_t highest = first;
    draw->options = {"--limit", std::to_string(first) + "M"};
    for (const char* time : {"200ms=", "600ms="}) {
      if (!Sometimes()) continue;
      const std::size_t next = 16 + Of(200);
      highest = std::max(highest, next);
      draw->options.insert(draw->options.end(), {"--limit-at", time + std::to_string(next) + "M"});
    }
    draw->highest = highest * kMiB;
    if (Of(8) == 0) {
      draw->options.insert(draw->options.end(), {"--limit-at", "900ms=none"});
      draw->highest.reset();
    }
  }

  void DrawPolicy(Draw* draw) {
    const auto add = [draw](const std::string& name, const std::string& value) {
      draw->options.insert(draw->options.end(), {name, value});
    };
    // Some of these headrooms are more than some of the limits.
    if (Sometimes()) add("--headroom", MiBFrom(0, 12) + "M," + MiBFrom(0, 6) + "M");
    if (Sometimes()) add("--commit-headroom", MiBFrom(0, 8) + "M");
    if (Sometimes()) add("--companion", "off");
    if (Sometimes()) add("--wait", "task=50ms,process=50ms");
    if (Sometimes()) add("--on-thrash", "stop");
    const std::size_t gc = Of(6);
    if (gc == 0) add("--gc-limit", "off");
    if (gc == 1) add("--gc-limit", MiBFrom(8, 300) + "M");
    if (gc == 2) draw->options.emplace_back("--gc-container");
    if (Sometimes()) add("--runtime", RuntimeFolder(draw->runtime));
  }

  std::mt19937 random_;
};

class ClrmemBound : public testing::TestWithParam<int> {};

// A refusal says what to do. All other runs are sound and end. How they end is the subject of clrmem_ends: .NET 8 fails
// fast at some limits of its GC, with and without the manager.
TEST_P(ClrmemBound, HoldsWithAllOptions) {
  for (const Runtime& runtime : {kNet8, kNet10}) {
    if (const auto why = WhyNotRunnable(runtime)) GTEST_SKIP() << *why;
  }
  const std::uint32_t seed = Seed();
  Drawer drawer(seed + static_cast<std::uint32_t>(GetParam()) * 1000003U);
  int sound = 0;
  for (int i = 0; i < kRunsPerShard; ++i) {
    const Draw draw = drawer.Next();
    SCOPED_TRACE("CLRHM_BOUND_SEED=" + std::to_string(seed) + ", run " + std::to_string(i) + ": " + draw.Text());
    ProcessSettings settings;
    settings.environment = draw.gc.environment;
    settings.timeout = std::chrono::seconds(60);
    const RunWithSummary run =
        RunProgramWith(settings, draw.options, ProgramPath(draw.runtime, draw.program), draw.arguments);
    if (run.process.exit_code == kRefused) {
      EXPECT_THAT(run.process.error, AnyOf(HasSubstr("; give "), HasSubstr("; lower it"))) << run.process.error;
      continue;
    }
    ++sound;
    ExpectSound(run);
    EXPECT_THAT(run.process.error, Not(HasSubstr("ERROR"))) << run.process.error;
    if (draw.highest && run.summary.is_object()) {
      EXPECT_LE(run.summary["memory"]["peak_charged_bytes"].get<std::uint64_t>(), *draw.highest) << run.summary.dump(2);
    }
  }
  EXPECT_GT(sound, kRunsPerShard / 3) << "most options are valid";
}

INSTANTIATE_TEST_SUITE_P(Shards, ClrmemBound, testing::Range(0, kShards));

}  // namespace
}  // namespace clrhm_test
