// Tests that `clrmem run` hosts a program like `dotnet App.dll` or the program's own App.exe. The tests cover the
// runtime that a program gets, what it sees of its host, and how it ends.
#include <windows.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"
#include "integration/sound_run.h"
#include "tool/hosting/hosts.h"
#include "tool/text/text.h"

namespace clrhm_test {
namespace {

namespace fs = std::filesystem;
using clr_host_memory::tool::ToUtf8;
using clr_host_memory::tool::ToWide;
using testing::HasSubstr;
using testing::Not;

const char* const kNowhere = "Z:\\nowhere";

// A copy of the program HostReport in its own folder, with the runtimeconfig.json that the test gives. The destructor
// removes the folder.
class HostReport {
 public:
  explicit HostReport(const std::string& runtime_options) {
    static std::atomic<int> count{0};
    folder_ = fs::temp_directory_path() /
              ("clrhm-host-" + std::to_string(GetCurrentProcessId()) + "-" + std::to_string(++count));
    fs::create_directories(folder_);
    fs::copy_file(fs::path(kProgramsDirectory) / "netstandard2.0" / "HostReport" / "HostReport.dll",
                  folder_ / "HostReport.dll");
    std::ofstream config(folder_ / "HostReport.runtimeconfig.json", std::ios::binary);
    config << R"({"runtimeOptions": {)" << runtime_options
           << R"(, "configProperties": {"Clrhm.Setting": "from the file"}}})";
    if (!config.flush()) throw std::runtime_error("cannot write the runtimeconfig.json");
  }
  HostReport(const HostReport&) = delete;
  HostReport& operator=(const HostReport&) = delete;
  ~HostReport() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  [[nodiscard]] std::string app() const { return ToUtf8(folder_ / "HostReport.dll"); }
  [[nodiscard]] const fs::path& folder() const { return folder_; }

  // Adds a file that a self-contained app has beside it: as a hard link where possible, otherwise as a copy.
  void AddFile(const fs::path& file) const {
    std::error_code error;
    fs::create_hard_link(file, folder_ / file.filename(), error);
    if (error) fs::copy_file(file, folder_ / file.filename());
  }

 private:
  fs::path folder_;
};

std::string Framework(const std::string& version, const std::string& name = "Microsoft.NETCore.App") {
  return R"({"name": ")" + name + R"(", "version": ")" + version + R"("})";
}

// ---- which runtime a program gets ----

class ClrmemVersion : public testing::TestWithParam<const char*> {};

TEST_P(ClrmemVersion, RunsUnderALimit) {
  const std::string version = GetParam();
  const std::string folder = std::string(kDotnetRoot) + "\\shared\\Microsoft.NETCore.App\\" + version;
  if (!FileExists(folder)) GTEST_SKIP() << "no " << folder << "; cmake -P cmake/test.cmake installs it";
  const HostReport report(R"("framework": )" + Framework(version));
  const RunWithSummary run = RunProgram({"--limit", "64M"}, report.app());
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr("runtime: .NET " + version + "\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("setting: from the file\r\n"));
  EXPECT_EQ(run.summary["runtime"]["version"], version);
  EXPECT_EQ(run.summary["runtime"]["path"], folder + "\\coreclr.dll");
  EXPECT_EQ(run.summary["gc_limit"]["follows"] == "old_runtime", version.starts_with("6.")) << run.process.error;
}

// The stand-ins are assemblies of .NET 8 and 10, whose versions differ.
TEST(TrustedAssemblies, NewerAssemblyOfTheAppTakesThePlaceOfTheRuntimes) {
  if (WhyNotRunnable(kNet8) || WhyNotRunnable(kNet10)) GTEST_SKIP() << "needs .NET 8 and 10";
  const fs::path root = fs::temp_directory_path() / ("clrhm-trusted-" + std::to_string(GetCurrentProcessId()));
  const fs::path runtime = root / "runtime";
  const fs::path app = root / "app";
  fs::create_directories(runtime);
  fs::create_directories(app);
  const fs::path old = fs::path(RuntimeFolder(kNet8)) / "System.Linq.dll";
  const fs::path latest = fs::path(RuntimeFolder(kNet10)) / "System.Linq.dll";
  fs::copy_file(old, runtime / "Newer.dll");
  fs::copy_file(latest, app / "Newer.dll");
  fs::copy_file(latest, runtime / "Older.dll");
  fs::copy_file(old, app / "Older.dll");
  fs::copy_file(old, app / "Own.dll");

  const std::string list = clr_host_memory::tool::TrustedAssemblies(runtime, app);
  EXPECT_THAT(list, HasSubstr(ToUtf8(app / "Newer.dll") + ";"));
  EXPECT_THAT(list, Not(HasSubstr(ToUtf8(runtime / "Newer.dll"))));
  EXPECT_THAT(list, HasSubstr(ToUtf8(runtime / "Older.dll") + ";"));
  EXPECT_THAT(list, Not(HasSubstr("Own.dll"))) << "is found by APP_PATHS";
  std::error_code ignored;
  fs::remove_all(root, ignored);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemVersion, testing::Values("6.0.13", "8.0.33", "9.0.22", "10.0.14"),
                         [](const auto& tested) {
                           const std::string version = tested.param;
                           return "net" + version.substr(0, version.find('.'));
                         });

class ClrmemHosting : public testing::Test {
 protected:
  void SetUp() override {
    for (const Runtime& runtime : {kNet8, kNet10}) {
      if (const auto why = WhyNotRunnable(runtime)) GTEST_SKIP() << *why;
    }
  }
};

TEST_F(ClrmemHosting, RollsForwardByHostfxrRules) {
  struct Case {
    std::string options;
    Environment environment;
    const char* version;
  };
  const std::string old = R"("framework": )" + Framework("7.0.0");
  const Case cases[] = {
      {old, {{"DOTNET_ROLL_FORWARD", "Major"}}, "8.0.33"},
      {old, {{"DOTNET_ROLL_FORWARD", "LatestMajor"}}, "10.0.14"},
      {R"("rollForward": "Major", )" + old, {}, "8.0.33"},
      {R"("rollForward": "LatestMajor", )" + old, {}, "10.0.14"},
      // The environment variable overrides the file.
      {R"("rollForward": "LatestMajor", )" + old, {{"DOTNET_ROLL_FORWARD", "Major"}}, "8.0.33"},
      {R"("framework": )" + Framework("8.0.0"), {}, "8.0.33"},
  };
  for (const Case& tested : cases) {
    const HostReport report(tested.options);
    const RunWithSummary run = RunProgram({}, report.app(), {}, tested.environment);
    ExpectSound(run);
    EXPECT_THAT(run.process.out, HasSubstr(std::string("runtime: .NET ") + tested.version)) << tested.options;
    EXPECT_EQ(run.summary["runtime"]["version"], tested.version) << tested.options;
  }
}

TEST_F(ClrmemHosting, PassesOnHostfxrResolutionErrors) {
  const HostReport report(R"("framework": )" + Framework("7.0.0"));
  for (const Environment& environment : {Environment{}, Environment{{"DOTNET_ROLL_FORWARD", "Disable"}}}) {
    const RunWithSummary run = RunProgram({}, report.app(), {}, environment);
    EXPECT_EQ(run.process.exit_code, 2u);
    EXPECT_THAT(run.process.error, HasSubstr("'Microsoft.NETCore.App', version '7.0.0'"));
    EXPECT_TRUE(run.summary.is_null());
  }
}

TEST_F(ClrmemHosting, ResolvesSeveralFrameworks) {
  const HostReport report(R"("frameworks": [)" + Framework("8.0.0", "Microsoft.WindowsDesktop.App") + ", " +
                          Framework("8.0.0", "Microsoft.AspNetCore.App") + "]");
  const RunWithSummary run =
      RunProgram({"--limit", "64M"}, report.app(),
                 {"load", "System.Windows.Forms", "PresentationCore", "Microsoft.AspNetCore.Server.Kestrel"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.out << run.process.error;
  const std::string shared = std::string(kDotnetRoot) + "\\shared\\";
  EXPECT_THAT(run.process.out,
              HasSubstr("System.Windows.Forms from " + shared + "Microsoft.WindowsDesktop.App\\8.0.33\\"));
  EXPECT_THAT(run.process.out, HasSubstr("PresentationCore from " + shared + "Microsoft.WindowsDesktop.App\\8.0.33\\"));
  EXPECT_THAT(run.process.out,
              HasSubstr("Microsoft.AspNetCore.Server.Kestrel from " + shared + "Microsoft.AspNetCore.App\\8.0.33\\"));
}

TEST_F(ClrmemHosting, PrefersTheArchitectureSpecificRootVariable) {
  const HostReport report(R"("framework": )" + Framework("8.0.0"));
  const RunWithSummary run =
      RunProgram({}, report.app(), {}, {{"DOTNET_ROOT_X64", kDotnetRoot}, {"DOTNET_ROOT", kNowhere}});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u);
}

class ClrmemSelfContained : public testing::TestWithParam<std::tuple<Runtime, bool>> {};

// A self-contained app has hostfxr.dll beside it, so no dotnet root is needed. Without hostfxr.dll, the runtime's files
// beside the app are enough.
TEST_P(ClrmemSelfContained, RunsOnItsOwnRuntime) {
  const auto& [runtime, has_hostfxr] = GetParam();
  if (const auto why = WhyNotRunnable(runtime)) GTEST_SKIP() << *why;
  const HostReport report(R"("includedFrameworks": [)" + Framework(runtime.version) + "]");
  for (const auto& file : fs::directory_iterator(RuntimeFolder(runtime))) {
    if (file.path().extension() != ".json") report.AddFile(file.path());
  }
  if (has_hostfxr) {
    report.AddFile(fs::path(kDotnetRoot) / "host" / "fxr" / runtime.version / "hostfxr.dll");
  }
  const RunWithSummary run =
      RunProgram({"--limit", "64M"}, report.app(), {"report", "one"}, {{"DOTNET_ROOT", kNowhere}});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u) << run.process.error;
  EXPECT_THAT(run.process.out, HasSubstr(std::string("runtime: .NET ") + runtime.version + "\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("argument: 6f 6e 65\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("setting: from the file\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("base: " + ToUtf8(report.folder()) + "\\\r\n"));
  EXPECT_EQ(run.summary["runtime"]["path"], ToUtf8(report.folder() / "coreclr.dll"));
  EXPECT_EQ(run.summary["runtime"]["version"], runtime.version);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemSelfContained,
                         testing::Combine(testing::Values(kNet8, kNet10), testing::Bool()), [](const auto& tested) {
                           return ShortName(std::get<0>(tested.param)) +
                                  (std::get<1>(tested.param) ? "_WithHostfxr" : "_WithoutHostfxr");
                         });

// ---- what the program sees of its host ----

class ClrmemAsDotnet : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
    report_.emplace(R"("framework": )" + Framework(GetParam().version));
  }
  [[nodiscard]] std::string app() const { return report_->app(); }
  [[nodiscard]] const HostReport& report() const { return *report_; }

 private:
  std::optional<HostReport> report_;
};

std::string ArgumentLine(const std::string& argument) {
  std::string line = "argument:";
  for (const wchar_t unit : ToWide(argument)) {
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), " %x", static_cast<unsigned>(unit));
    line += text.data();
  }
  return line + "\r\n";
}

TEST_P(ClrmemAsDotnet, PassesEveryKindOfArgument) {
  const std::vector<std::string> arguments{
      "",   " ",  "a b",    "\"",    "\\",     "\\\"",  "a\\\\\"b c\\",         "--limit",
      "--", "/?", "--help", "*.dll", "%PATH%", "@file", "\xC3\xBC\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
  std::vector<std::string> all{"report"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const RunWithSummary run = RunProgram({}, app(), all);
  ExpectSound(run);
  std::string expected;
  for (const std::string& argument : arguments) expected += ArgumentLine(argument);
  EXPECT_THAT(run.process.out, HasSubstr("\r\n" + expected + "command line: HostReport.dll and 17 arguments\r\n"));
}

TEST_P(ClrmemAsDotnet, PassesStandardStreamsUnchanged) {
  std::string bytes;
  for (int i = 0; i < 1 << 18; ++i) bytes += static_cast<char>(i * 7 + i / 256);
  bytes += "\r\n\n\x1A\xFF\xFE";
  ProcessSettings settings;
  settings.input = bytes;
  const RunWithSummary run = RunProgramWith(settings, {"--limit", "64M"}, app(), {"cat"});
  ExpectSound(run);
  EXPECT_EQ(run.process.exit_code, 0u);
  EXPECT_TRUE(run.process.out == bytes) << run.process.out.size() << " bytes of " << bytes.size();
  EXPECT_THAT(run.process.error, testing::StartsWith("clrmem: .NET "));
}

TEST_P(ClrmemAsDotnet, KeepsWorkingDirectoryAndEnvironment) {
  ProcessSettings settings;
  settings.working_directory = ToUtf8(report().folder());
  settings.environment["CLRHM_REPORT"] = "\xC3\xA4 b";
  // A relative path is relative to the working directory.
  const RunWithSummary run = RunProgramWith(settings, {}, "HostReport.dll");
  ExpectSound(run);
  EXPECT_THAT(run.process.out, HasSubstr("directory: " + ToUtf8(report().folder()) + "\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("base: " + ToUtf8(report().folder()) + "\\\r\n"));
  EXPECT_THAT(run.process.out, HasSubstr("setting: from the file\r\n"));
  const RunWithSummary other = RunProgramWith({.environment = {{"CLRHM_REPORT", "other"}}}, {}, app());
  EXPECT_THAT(other.process.out, HasSubstr("variable: other\r\n"));
}

TEST_P(ClrmemAsDotnet, LetsTheProgramHandleCtrlBreak) {
  if (!HasConsole()) GTEST_SKIP() << "needs a console; Wine has none without a display";
  ProcessSettings settings;
  settings.break_after = "waiting";
  const RunWithSummary run = RunProgramWith(settings, {}, app(), {"wait"});
  ExpectSound(run);
  EXPECT_THAT(run.process.out, HasSubstr("pressed: ControlBreak\r\n"));
  EXPECT_EQ(run.process.exit_code, 5u);
  EXPECT_EQ(run.summary["ended_by"], "returned from Main");
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemAsDotnet, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

// ---- how the program ends ----

struct CrashWay {
  const char* way;
  const char* ended_by;
  std::optional<std::uint32_t> exit_code;
  const char* message;  // on standard error, before the summary
};

class ClrmemCrash : public testing::TestWithParam<std::tuple<Runtime, CrashWay>> {};

TEST_P(ClrmemCrash, IsReportedInTheSummary) {
  const auto& [runtime, crash] = GetParam();
  if (const auto why = WhyNotRunnable(runtime)) GTEST_SKIP() << *why;
  if (IsWine() && crash.way == std::string("overflow")) {
    GTEST_SKIP() << "needs Windows: Wine 8 has no stack guarantee, and leaves the process hanging under every host";
  }
  const RunWithSummary run = RunProgram({"--limit", "64M"}, ProgramPath(runtime, "Crash"), {crash.way});
  ExpectSound(run);
  EXPECT_EQ(run.summary["ended_by"], crash.ended_by);
  EXPECT_THAT(run.process.out, HasSubstr("crashing"));
  EXPECT_THAT(run.process.out, Not(HasSubstr("never printed")));
  const std::string before_summary = run.process.error.substr(0, run.process.error.find("clrmem: .NET "));
  EXPECT_THAT(before_summary, HasSubstr(crash.message));
  if (crash.exit_code) {
    EXPECT_EQ(run.summary["exit_code"], *crash.exit_code);
  }
  // Wine's RaiseFailFastException ends a process with Wine's own exit code.
  if (!(IsWine() && run.summary["ended_by"] == "failed fast")) {
    EXPECT_EQ(run.summary["exit_code"], run.process.exit_code);
  }
  EXPECT_NE(run.process.exit_code, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, ClrmemCrash,
    testing::Combine(testing::Values(kNet8, kNet10),
                     testing::Values(CrashWay{"unhandled", "unhandled exception", 0xE0434352, "meant to be unhandled"},
                                     CrashWay{"thread", "unhandled exception", 0xE0434352,
                                              "meant to be unhandled on a thread"},
                                     CrashWay{"failfast", "failed fast", 0x80131623, "meant to fail fast"},
                                     CrashWay{"native", "failed fast", 0xC0000005, "MoveMemory"},
                                     CrashWay{"overflow", "terminated itself", std::nullopt, "Stack overflow"},
                                     CrashWay{"exit", "exited", 9, ""})),
    [](const auto& tested) { return ShortName(std::get<0>(tested.param)) + "_" + std::get<1>(tested.param).way; });

}  // namespace
}  // namespace clrhm_test
