// Tests programs that clrmem does not host. That is an .exe that starts its runtime by itself, or a running program. It
// is also the child of another program, and a program that only its environment puts under the manager.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <windows.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"
#include "integration/sound_run.h"
#include "tool/text/text.h"

namespace clrhm_test {
namespace {

namespace fs = std::filesystem;

using clr_host_memory::tool::ToUtf8;
using clr_host_memory::tool::ToWide;
using testing::AllOf;
using testing::AnyOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr std::uint32_t kCaughtOutOfMemory = 42;
constexpr std::uint32_t kChildsExitCode = 7;

std::optional<std::string> WhyNoShape(const Runtime& runtime, const std::string& shape) {
  if (const auto why = WhyNotRunnable(runtime)) return why;
  if (!FileExists(ShapePath(runtime, shape))) {
    return "no " + ShapePath(runtime, shape) + "; the set-up publishes it, a native AOT program only on Windows";
  }
  const bool lacks_placeholders = IsWine() && WineVersion() < 10;
  if (shape == "SingleFile" && lacks_placeholders) {
    return "needs Windows or Wine 10: Wine 8 lacks placeholders (VirtualAlloc2), without which the program does not "
           "start";
  }
  return std::nullopt;
}

// Returns how much the program held when memory ran out.
int HeldMiB(const ProcessResult& result) {
  const std::string text = "OutOfMemoryException after ";
  const std::size_t at = result.out.find(text);
  return at == std::string::npos ? -1 : std::stoi(result.out.substr(at + text.size()));
}

std::string Said(const ProcessResult& result) {
  return "exit code " + std::to_string(result.exit_code) + "\n" + result.out + result.error;
}

// ---- every shape ----

class ClrmemShapes : public testing::TestWithParam<std::tuple<Runtime, std::string>> {
 protected:
  void SetUp() override {
    const auto& [runtime, shape] = GetParam();
    if (const auto why = WhyNoShape(runtime, shape)) GTEST_SKIP() << *why;
  }
};

TEST_P(ClrmemShapes, ProgramEndsAsTheHostedOneDoes) {
  const auto& [runtime, shape] = GetParam();
  const RunWithSummary run = RunProgram({"--limit", "128M"}, ShapePath(runtime, shape));
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, kCaughtOutOfMemory) << Said(run.process);
  EXPECT_EQ(run.summary["ended_by"], "exited");
  EXPECT_EQ(run.summary["exit_code"], kCaughtOutOfMemory);
  EXPECT_EQ(run.summary["runtime"]["version"], shape == "NativeAot" ? "" : runtime.version);
  EXPECT_EQ(run.summary["app"], ShapePath(runtime, shape));
  EXPECT_EQ(run.summary["gc_limit"]["follows"], shape == "NativeAot" ? "old_runtime" : "yes") << run.summary.dump(2);

  const RunWithSummary hosted = RunProgram({"--limit", "128M"}, ProgramPath(runtime, "AllocateUntilOom"));
  // A compressed program's assemblies are decompressed into memory that the runtime commits.
  const int decompressed = shape == "CompressedSingleFile" ? 40 : 2;
  EXPECT_GE(HeldMiB(run.process), HeldMiB(hosted.process) - decompressed) << Said(run.process);
  EXPECT_LE(HeldMiB(run.process), HeldMiB(hosted.process) + 2) << Said(run.process);
}

TEST_P(ClrmemShapes, ProgramDoesNotRunIfItsRuntimeDoesNotFitTheLimit) {
  const auto& [runtime, shape] = GetParam();
  if (shape == "NativeAot") GTEST_SKIP() << "its runtime fits every limit";
  const ProcessResult result = RunClrmem({"run", "--limit", "4M", ShapePath(runtime, shape)});
  EXPECT_EQ(result.exit_code, 2U);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.error, AllOf(StartsWith("clrmem: the limit of 4.0 MiB is less than .NET " +
                                             std::string(runtime.version) + " needs to start"),
                                  HasSubstr("; give --limit "), EndsWith(" or more\n")));
}

TEST_P(ClrmemShapes, ProgramRunsWithoutTheManager) {
  const auto& [runtime, shape] = GetParam();
  const RunWithSummary run = RunProgram({"--no-bridge"}, ShapePath(runtime, shape), {"20"});
  EXPECT_EQ(run.process.exit_code, 0U) << Said(run.process);
  EXPECT_THAT(run.process.out, HasSubstr("allocated 20 MiB"));
  EXPECT_EQ(run.summary["exit_code"], 0);
}

INSTANTIATE_TEST_SUITE_P(
    Runtimes, ClrmemShapes,
    testing::Combine(testing::Values(kNet8, kNet10),
                     testing::Values("AppHost", "RenamedAppHost", "SelfContained", "FrameworkSingleFile", "SingleFile",
                                     "CompressedSingleFile", "NativeAot")),
    [](const auto& tested) { return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param); });

class ClrmemAgent : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNoShape(GetParam(), "AppHost")) GTEST_SKIP() << *why;
  }
  [[nodiscard]] static std::string AppHost() { return ShapePath(GetParam(), "AppHost"); }
};

TEST_P(ClrmemAgent, OptionAgentStartsTheExeBesideTheDll) {
  const std::string dll = fs::path(ToWide(AppHost())).replace_extension(".dll").string();
  const RunWithSummary run = RunProgram({"--limit", "64M", "--agent"}, dll, {"20"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0U) << Said(run.process);
  EXPECT_EQ(run.summary["app"], AppHost());

  const ProcessResult without = RunClrmem({"run", "--agent", ProgramPath(GetParam(), "Hello")});
  EXPECT_EQ(without.exit_code, 2U);
  EXPECT_THAT(without.error, HasSubstr("Hello.exe or dotnet.exe, and neither is there; publish the program"));
}

TEST_P(ClrmemAgent, RuntimeFolderIsRefused) {
  const ProcessResult result = RunClrmem({"run", "--runtime", RuntimeFolder(GetParam()), AppHost()});
  EXPECT_EQ(result.exit_code, 2U);
  EXPECT_THAT(result.error, HasSubstr("finds its runtime by itself; name a dotnet root, or remove --runtime"));
}

TEST_P(ClrmemAgent, ProgramDoesNotRunIfTheAgentCannotBeLoaded) {
  const fs::path folder = fs::temp_directory_path() / ("clrmem-alone-" + std::to_string(GetCurrentProcessId()));
  fs::create_directories(folder);
  fs::copy_file(fs::path(ToWide(kClrmemPath)), folder / "clrmem.exe", fs::copy_options::overwrite_existing);
  const fs::path library = fs::path(ToWide(kClrmemPath)).replace_filename("ClrHostMemory.dll");
  if (fs::exists(library)) fs::copy_file(library, folder / "ClrHostMemory.dll", fs::copy_options::overwrite_existing);
  ProcessResult result = RunProcess(ToUtf8(folder / "clrmem.exe"), {"run", AppHost(), "1"});
  EXPECT_EQ(result.exit_code, 2U);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.error, "clrmem: clrmem-agent.dll is not beside clrmem.exe; install clrmem again\n");

  const TemporaryFile damaged(".dll");
  damaged.Write("not a DLL");
  ASSERT_TRUE(CopyTo(damaged.path(), ToUtf8(folder / "clrmem-agent.dll")));
  result = RunProcess(ToUtf8(folder / "clrmem.exe"), {"run", AppHost(), "1"});
  EXPECT_EQ(result.exit_code, 2U);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.error, HasSubstr("clrmem-agent.dll cannot be loaded into the program; check that"));
  fs::remove_all(folder);
}

TEST_P(ClrmemAgent, OptionsOfThePolicyWorkThere) {
  const RunWithSummary run = RunProgram({"--limit", "256M", "--limit-at", "200ms=48M", "--headroom", "3M"}, AppHost(),
                                        {"100", "1024", "1000"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, kCaughtOutOfMemory) << Said(run.process);
  EXPECT_EQ(run.summary["limit_changes"].size(), 1U);
}

TEST_P(ClrmemAgent, RuntimeThatTheExeStartsByItselfIsBridged) {
  const RunWithSummary run = RunProgram({"--limit", "128M"}, std::string(kBinDirectory) + "\\clrhm_plain_host.exe",
                                        {RuntimeFolder(GetParam()), ProgramPath(GetParam(), "AllocateUntilOom")});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, kCaughtOutOfMemory) << Said(run.process);
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes") << run.summary.dump(2);
  EXPECT_GE(HeldMiB(run.process), 110) << Said(run.process);
}

TEST_P(ClrmemAgent, ProgramEndsWithClrmem) {
  ProcessSettings settings;
  settings.timeout = std::chrono::seconds(4);  // then clrmem is terminated
  const auto began = std::chrono::steady_clock::now();
  // The output's pipe is closed when the program has ended, too.
  const ProcessResult result = RunProcessWith(settings, kClrmemPath, {"run", AppHost(), "1", "64", "60000"});
  EXPECT_TRUE(result.timed_out) << Said(result);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  EXPECT_THAT(result.error, HasSubstr("  end                                  terminated itself, exit code 2"));
}

TEST(ClrmemAgentAlone, NativeProgramRunsAndTheSummarySaysThatNoRuntimeHasStarted) {
  const RunWithSummary run = RunProgram({"--limit", "64M"}, kClrmemPath, {"--version"});
  EXPECT_EQ(run.process.exit_code, 0U);
  EXPECT_THAT(run.process.out, StartsWith("clrmem 0."));
  EXPECT_THAT(run.process.error, HasSubstr("clrmem: no runtime of .NET has started\n"));
  EXPECT_EQ(run.summary["runtime"]["path"], "");
}

// ---- a running program ----

// Under Wine, the OS takes 50 ms to describe a page of a GC's usual 256 GiB. The manager asks it at every commit in
// memory that was reserved before it attached.
const Environment kSmallRange{{"DOTNET_GCRegionRange", "0x80000000"}};

ProcessSettings WithMeanwhile(std::function<void(std::uint32_t)> meanwhile) {
  ProcessSettings settings;
  settings.environment = kSmallRange;
  settings.meanwhile = std::move(meanwhile);
  return settings;
}

// Attaches to a program that is starting, as soon as its runtime has started.
ProcessResult AttachWhenRunning(std::vector<std::string> options, std::uint32_t id) {
  options.insert(options.begin(), "attach");
  options.push_back(std::to_string(id));
  constexpr int kTries = 60;
  ProcessResult result;
  for (int i = 0; i < kTries; ++i) {
    Sleep(50);
    result = RunClrmem(options);
    const bool too_early = result.error.find("has not loaded a runtime of .NET") != std::string::npos ||
                           result.error.find("No runtime of .NET has started") != std::string::npos;
    if (!too_early) break;
  }
  return result;
}

TEST_P(ClrmemAgent, AttachesToARunningProgram) {
  const TemporaryFile summary(".json");
  ProcessResult attached;
  const ProcessResult program =
      RunProcessWith(WithMeanwhile([&](std::uint32_t id) {
                       attached = AttachWhenRunning({"--limit", "64M", "--summary", summary.path()}, id);
                     }),
                     AppHost(), {"200", "1024", "3000"});
  EXPECT_EQ(attached.exit_code, 0U) << Said(attached);
  EXPECT_THAT(attached.error, AllOf(HasSubstr(" is under the memory manager: .NET " + std::string(GetParam().version)),
                                    HasSubstr("that it has committed by now are not charged\n")));
  EXPECT_EQ(program.exit_code, kCaughtOutOfMemory) << Said(program);
  const RunWithSummary run{program, nlohmann::json::parse(summary.Read(), nullptr, false)};
  ExpectSound(run);
  EXPECT_EQ(run.summary["exit_code"], kCaughtOutOfMemory);
  EXPECT_GE(HeldMiB(program), 50) << Said(program);
}

TEST_P(ClrmemAgent, AttachLeavesEveryProgramRunning) {
  constexpr int kTimes = 8;
  int ended_well = 0;
  int attached_well = 0;
  for (int i = 0; i < kTimes; ++i) {
    const ProcessResult program = RunProcessWith(
        WithMeanwhile([&, i](std::uint32_t id) {
          Sleep(static_cast<DWORD>(30 * i));  // before, during and after the start of the runtime
          const ProcessResult attached = RunClrmem({"attach", "--limit", "400M", "--quiet", std::to_string(id)});
          attached_well += attached.exit_code == 0 ? 1 : 0;
          if (attached.exit_code != 0) {
            EXPECT_THAT(attached.error, AnyOf(HasSubstr("give the id of a .NET program, or start it with clrmem run\n"),
                                              HasSubstr("has ended meanwhile; give the id of a running .NET program\n"),
                                              HasSubstr("No runtime of .NET has started in this process")));
          }
        }),
        AppHost(), {"50", "64", "300"});
    ended_well += program.exit_code == 0 && program.out.find("allocated 50 MiB") != std::string::npos ? 1 : 0;
    EXPECT_EQ(program.exit_code, 0U) << Said(program);
  }
  EXPECT_EQ(ended_well, kTimes);
  EXPECT_GT(attached_well, 0);
}

// The limit leaves nothing below its headroom. A runtime that is starting then must not be refused anything.
TEST_P(ClrmemAgent, ProgramRunsAsBeforeAfterAnAttachThatFailed) {
  ProcessResult attached;
  const ProcessResult program = RunProcessWith(WithMeanwhile([&](std::uint32_t id) {
                                                 attached =
                                                     AttachWhenRunning({"--limit", "64M", "--headroom", "64M,0"}, id);
                                               }),
                                               AppHost(), {"150", "1024", "2000"});
  EXPECT_EQ(attached.exit_code, 2U) << Said(attached);
  EXPECT_THAT(attached.error, HasSubstr("leaves no room below its headrooms; give a smaller --headroom"));
  EXPECT_EQ(program.exit_code, 0U) << Said(program);
  EXPECT_THAT(program.out, HasSubstr("allocated 150 MiB"));
  EXPECT_EQ(program.error, "");
}

TEST_P(ClrmemAgent, AttachRefusesASecondManagerAndAProgramWithoutARuntime) {
  ProcessResult second;
  const ProcessResult program = RunProcessWith(WithMeanwhile([&](std::uint32_t id) {
                                                 EXPECT_EQ(AttachWhenRunning({"--quiet"}, id).exit_code, 0U);
                                                 second = AttachWhenRunning({"--limit", "64M"}, id);
                                               }),
                                               AppHost(), {"20", "1024", "3000"});
  EXPECT_EQ(program.exit_code, 0U) << Said(program);
  EXPECT_EQ(second.exit_code, 2U);
  EXPECT_THAT(second.error, HasSubstr("is under clrmem already; end it, and start it with the options"));

  const ProcessResult native = RunClrmem({"attach", std::to_string(GetCurrentProcessId())});
  EXPECT_EQ(native.exit_code, 2U);
  EXPECT_THAT(native.error, HasSubstr("the process has not loaded a runtime of .NET; give the id of a .NET program"));
}

TEST_P(ClrmemAgent, ProgramThatClrmemHostsCannotBeAttachedTo) {
  ProcessSettings settings = WithMeanwhile([](std::uint32_t id) {
    const ProcessResult attached = AttachWhenRunning({"--limit", "64M"}, id);
    EXPECT_EQ(attached.exit_code, 2U);
    EXPECT_THAT(attached.error, HasSubstr("is under clrmem already"));
  });
  const RunWithSummary run = RunProgramWith(settings, {"--limit", "128M"}, ProgramPath(GetParam(), "AllocateUntilOom"),
                                            {"50", "1024", "2000"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0U) << Said(run.process);
}

// ---- by environment ----

Environment HookedEnvironment(const std::string& options) {
  const fs::path companion = fs::path(ToWide(kClrmemPath)).replace_filename("ClrHostMemory.Companion.dll");
  Environment environment = kSmallRange;
  environment["DOTNET_STARTUP_HOOKS"] = ToUtf8(companion);
  environment["CLRMEM_OPTIONS"] = options;
  return environment;
}

class ClrmemByEnvironment : public testing::TestWithParam<std::tuple<Runtime, std::string>> {
 protected:
  void SetUp() override {
    const auto& [runtime, shape] = GetParam();
    if (const auto why = WhyNoShape(runtime, shape)) GTEST_SKIP() << *why;
  }
};

TEST_P(ClrmemByEnvironment, ProgramKeepsTheLimitAndTheGcFollowsIt) {
  const auto& [runtime, shape] = GetParam();
  const TemporaryFile summary(".json");
  ProcessSettings settings;
  settings.environment = HookedEnvironment("--limit 128M --summary \"" + summary.path() + "\"");
  const ProcessResult program = RunProcessWith(settings, ShapePath(runtime, shape), {});
  EXPECT_EQ(program.exit_code, kCaughtOutOfMemory) << Said(program);
  const RunWithSummary run{program, nlohmann::json::parse(summary.Read(), nullptr, false)};
  ExpectSound(run);
  EXPECT_EQ(run.summary["gc_limit"]["follows"], "yes") << run.summary.dump(2);
  EXPECT_GE(HeldMiB(program), 105) << Said(program);
}

TEST_P(ClrmemByEnvironment, ProgramDoesNotRunIfTheOptionsAreWrong) {
  const auto& [runtime, shape] = GetParam();
  ProcessSettings settings;
  settings.environment = HookedEnvironment("--limit 3Q");
  const ProcessResult program = RunProcessWith(settings, ShapePath(runtime, shape), {"1"});
  EXPECT_EQ(program.exit_code, 2U) << Said(program);
  EXPECT_EQ(program.out, "");
  EXPECT_THAT(program.error, StartsWith("clrmem: CLRMEM_OPTIONS: --limit 3Q is not a size; write it like 256M"));
}

TEST_P(ClrmemByEnvironment, ProgramUnderClrmemKeepsItsManager) {
  const auto& [runtime, shape] = GetParam();
  ProcessSettings settings;
  settings.environment = HookedEnvironment("--limit 32M");
  const RunWithSummary run = RunProgramWith(settings, {"--limit", "128M"}, ShapePath(runtime, shape), {"50"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0U) << Said(run.process);
  EXPECT_EQ(run.summary["limit_bytes"], 128 << 20);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemByEnvironment,
                         testing::Combine(testing::Values(kNet8, kNet10),
                                          testing::Values("AppHost", "SelfContained", "CompressedSingleFile")),
                         [](const auto& tested) {
                           return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param);
                         });

// ---- children, and programs that start themselves ----

class ClrmemChildren : public ClrmemAgent {
 protected:
  [[nodiscard]] static std::string Starter() { return ProgramPath(GetParam(), "StartsItself"); }

  // Runs the starter with a summary, and returns its and its children's summaries, by the process id in the file's
  // name; 0: the starter's.
  struct Family {
    ProcessResult process;
    std::map<std::uint32_t, nlohmann::json> summaries;
  };
  static Family Run(std::vector<std::string> options, const std::vector<std::string>& arguments) {
    const fs::path folder = fs::temp_directory_path() / ("clrmem-family-" + std::to_string(GetCurrentProcessId()));
    fs::remove_all(folder);
    fs::create_directories(folder);
    options.insert(options.begin(), "run");
    options.insert(options.end(), {"--summary", ToUtf8(folder / "s.json"), Starter()});
    options.insert(options.end(), arguments.begin(), arguments.end());
    Family family{RunClrmem(options), {}};
    for (const auto& file : fs::directory_iterator(folder)) {
      std::ifstream text(file.path());
      const std::string id = file.path().stem().extension().string();
      const auto number = static_cast<std::uint32_t>(id.empty() ? 0 : std::stoul(id.substr(1)));
      family.summaries[number] = nlohmann::json::parse(text, nullptr, false);
    }
    fs::remove_all(folder);
    return family;
  }
};

TEST_P(ClrmemChildren, ProgramThatStartsItselfRunsAgainUnderTheSameOptions) {
  for (const std::string how : {"full", "bare"}) {
    SCOPED_TRACE(how);
    const Family family = Run({"--limit", "64M"}, {how});
    EXPECT_EQ(family.process.exit_code, kChildsExitCode) << Said(family.process);
    EXPECT_THAT(family.process.out, HasSubstr("child of a \"quoted\\\" parent\r\nchild returned 7\r\n"));
    ASSERT_EQ(family.summaries.size(), 2U) << Said(family.process);
    for (const auto& [id, summary] : family.summaries) {
      EXPECT_EQ(summary["app"], Starter());
      EXPECT_EQ(summary["limit_bytes"], 64 << 20);
      EXPECT_EQ(summary["exit_code"], kChildsExitCode);
      EXPECT_EQ(summary["audit"]["mismatch_bytes"], 0);
    }
  }
}

TEST_P(ClrmemChildren, ChildrenRunUnderTheSameOptions) {
  const std::string child = ShapePath(GetParam(), "SelfContained");
  const std::vector<std::vector<std::string>> ways{{"other", child}, {"other", "cmd.exe", "/c", child}};
  for (const std::vector<std::string>& way : ways) {
    SCOPED_TRACE(testing::PrintToString(way));
    const Family family = Run({"--limit", "64M", "--children"}, way);
    EXPECT_EQ(family.process.exit_code, kCaughtOutOfMemory) << Said(family.process);
    ASSERT_EQ(family.summaries.size(), 2U) << Said(family.process);
    const nlohmann::json& summary = family.summaries.rbegin()->second;
    EXPECT_EQ(summary["app"], child);
    EXPECT_EQ(summary["limit_bytes"], 64 << 20);
    EXPECT_LE(summary["memory"]["peak_charged_bytes"], 64 << 20);
    EXPECT_EQ(summary["audit"]["mismatch_bytes"], 0);
    EXPECT_THAT(family.process.error, Not(HasSubstr("no runtime of .NET has started")));
  }
}

TEST_P(ClrmemChildren, WithoutTheOptionChildrenHaveNoLimit) {
  const Family family = Run({"--limit", "64M"}, {"other", ShapePath(GetParam(), "SelfContained"), "100"});
  EXPECT_EQ(family.process.exit_code, 0U) << Said(family.process);
  EXPECT_EQ(family.summaries.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemAgent, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });
INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemChildren, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

}  // namespace
}  // namespace clrhm_test
