// Tests bad input to clrmem. Each error is one line on standard error that names the problem and the remedy. The exit
// code is 2, and standard output stays empty.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

void ExpectOneLine(const ProcessResult& result, const std::string& wrong, const std::string& remedy) {
  EXPECT_EQ(result.exit_code, 2u);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.error, AllOf(StartsWith("clrmem: "), EndsWith("\n"), HasSubstr(wrong), HasSubstr("; " + remedy)));
  EXPECT_EQ(std::count(result.error.begin(), result.error.end(), '\n'), 1) << result.error;
}

struct BadInput {
  std::vector<std::string> arguments;
  std::string wrong;
  std::string remedy;
};

TEST(ClrmemErrors, NamesProblemAndRemedyInOneLine) {
  const BadInput inputs[] = {
      {{}, "the command is missing", "use clrmem run APP"},
      {{"frob"}, "unknown command 'frob'", "use clrmem run, clrmem attach, clrmem info or clrmem scripted"},
      {{"--bogus"}, "unknown option --bogus", "'clrmem --help'"},
      {{"info", "--bogus"}, "unknown option --bogus", "'clrmem info --help'"},
      {{"info", "more"}, "unexpected argument 'more'", "remove it"},
      {{"scripted", "--limit", "x"}, "--limit x is not a size", "write it like 256M"},
      {{"run"}, "the program to run is missing", "use clrmem run [OPTIONS] APP"},
      {{"run", "--bogus", "x.dll"}, "unknown option --bogus", "'clrmem run --help'"},
      {{"run", "--limit"}, "--limit: 1 required", "'clrmem run --help'"},
      {{"run", "--limit", "64M", "--limit", "65M", "x.dll"}, "--limit: ", "'clrmem run --help'"},
      {{"run", "--limit", "64M", "--limit-at", "0s=0", "x.dll"}, "in --limit-at 0s=0, the limit 0 is zero", "write it"},
      {{"run", "--limit-at", "soon=64M", "x.dll"},
       "in --limit-at soon=64M, the time soon is not a duration",
       "write it"},
      {{"run", "--limit", "64M", "--gc-limit", "1", "x.dll"},
       "--gc-limit 1 is below the 3892K that a CLR needs to start",
       "give at least 3892K"},
      {{"run", "--limit", "3Q", "x.dll"}, "--limit 3Q is not a size", "write it like 256M"},
      {{"run", "--limit", "0", "x.dll"}, "--limit 0 is zero", "write it like 256M"},
      {{"run", "--limit", "-5M", "x.dll"}, "--limit -5M is not a size", "write it like 256M"},
      {{"run", "--limit", "99999999T", "x.dll"}, "is larger than any address space", "give a smaller size"},
      {{"run", "--limit", "1M", "x.dll"},
       "--limit 1M is below the 3892K that a CLR needs to start",
       "give at least 3892K"},
      {{"run", "--limit", "64M", "--no-bridge", "x.dll"},
       "--limit would have no effect",
       "remove one of the two options"},
      {{"run", "--wait"}, "--wait: 1 required", "'clrmem run --help'"},
      {{"run", "--wait", "soon", "x.dll"}, "--wait soon is not a duration", "write it like 500ms"},
      {{"run", "--headroom", "8M", "x.dll"}, "--headroom needs a limit", "add --limit"},
      {{"run", "--limit-at", "2s=1M", "x.dll"},
       "in --limit-at 2s=1M, the limit 1M is below the 3892K that a CLR needs",
       "give at least 3892K"},
      {{"run", "--commit-headroom", "5X", "x.dll"}, "--commit-headroom 5X is not a size", "write it like 256M"},
      {{"run", "--count-all", "x.dll"}, "--count-all needs a limit", "add --limit"},
      {{"run", "--count-all", "--no-bridge", "x.dll"},
       "--count-all would have no effect",
       "remove one of the two options"},
      {{"run", "Z:\\no\\such.dll"}, "there is no file Z:\\no\\such.dll", "name a .NET program's .dll or .exe"},
      {{"run", kBinDirectory}, "is a folder", "name a .NET program's .dll or .exe in it"},
      {{"attach"}, "the process is missing", "use clrmem attach [OPTIONS] PID"},
      {{"attach", "four"}, "four", "'clrmem attach --help'"},
      {{"attach", "4194301"}, "there is no process 4194301", "give the id of a running .NET program"},
      {{"run", "--children", "--no-bridge", "x.dll"},
       "--children would have no effect",
       "remove one of the two options"},
  };
  for (const BadInput& input : inputs) {
    SCOPED_TRACE(testing::PrintToString(input.arguments));
    ExpectOneLine(RunClrmem(input.arguments), input.wrong, input.remedy);
  }
}

TEST(ClrmemErrors, RefusesFilesThatAreNotManagedPrograms) {
  const TemporaryFile text(".dll");
  text.Write("not a program");
  ExpectOneLine(RunClrmem({"run", text.path()}), "is not a program for Windows or .NET", "name a .NET program's");
  text.Write("");
  ExpectOneLine(RunClrmem({"run", text.path()}), "is not a program for Windows or .NET", "name a .NET program's");
  std::string cut = "MZ";
  cut.resize(0x3C);
  cut += std::string("\x40\0\0\0PE\0\0\x64\x86", 10);
  text.Write(cut);
  ExpectOneLine(RunClrmem({"run", text.path()}), "is damaged, its PE header is cut off", "build or copy it again");
}

TEST(ClrmemErrors, HelpOfRunNamesTheLeastLimitTheDefaultHeadroomAndAnExample) {
  const ProcessResult result = RunClrmem({"run", "--help"});
  EXPECT_EQ(result.exit_code, 0u);
  EXPECT_THAT(result.out, AllOf(HasSubstr("The least --limit is"), HasSubstr("default: 1/32, 2M to 32M"),
                                HasSubstr("Example: clrmem run --limit 256M")));
}

TEST(ClrmemErrors, InfoListsVersionsInTheirOrder) {
  const ProcessResult result = RunClrmem({"info"});
  const std::size_t old = result.out.find("Microsoft.NETCore.App 8.0.");
  const std::size_t latest = result.out.find("Microsoft.NETCore.App 10.0.");
  if (old == std::string::npos || latest == std::string::npos) GTEST_SKIP() << "needs .NET 8 and 10";
  EXPECT_LT(old, latest);
}

class ClrmemErrorsWithRuntime : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    if (const auto why = WhyNotRunnable(GetParam())) GTEST_SKIP() << *why;
    hello_ = ProgramPath(GetParam(), "Hello");
  }
  std::string hello_;
};

TEST_P(ClrmemErrorsWithRuntime, RefusesAClassLibrary) {
  ExpectOneLine(RunClrmem({"run", RuntimeFolder(GetParam()) + "\\System.Linq.dll"}), "is a class library",
                "name the program that uses it");
}

TEST_P(ClrmemErrorsWithRuntime, MissingRuntimeErrorListsTheSearchedPlaces) {
  const ProcessResult result = RunClrmem({"run", hello_}, {{"DOTNET_ROOT", "Z:\\nowhere"}});
  if (result.exit_code == 0) GTEST_SKIP() << "this machine has .NET in Program Files";
  ExpectOneLine(result, "no .NET runtime was found in Z:\\nowhere (DOTNET_ROOT)", "install .NET, set DOTNET_ROOT");
}

TEST_P(ClrmemErrorsWithRuntime, RefusesARuntimeOptionWithoutARuntime) {
  ExpectOneLine(RunClrmem({"run", "--runtime", "Z:\\nowhere", hello_}), "--runtime Z:\\nowhere is not a folder",
                "give a dotnet root or a runtime folder");
  ExpectOneLine(RunClrmem({"run", "--runtime", kBinDirectory, hello_}), "is neither a dotnet root, ",
                "give a folder of one of the two kinds");
}

TEST_P(ClrmemErrorsWithRuntime, RefusesAnUnwritableSummaryBeforeTheAppRuns) {
  ExpectOneLine(RunClrmem({"run", "--summary", "Z:\\no\\such\\folder\\x.json", hello_}),
                "the summary cannot be written to Z:\\no\\such\\folder\\x.json", "name a file in a writable folder");
  ExpectOneLine(RunClrmem({"run", "--summary", kBinDirectory, hello_}), ": it is a folder",
                "name a file in a writable folder");
  ExpectOneLine(RunClrmem({"run", "--summary", "", hello_}), "--summary has an empty name", "name a file");
}

TEST_P(ClrmemErrorsWithRuntime, SummaryCanGoToTheNullDevice) {
  const ProcessResult result = RunClrmem({"run", "--quiet", "--summary", "NUL", hello_, "7"});
  EXPECT_EQ(result.exit_code, 7u) << result.error;
  EXPECT_EQ(result.error, "");
}

TEST_P(ClrmemErrorsWithRuntime, SummaryNamesAModuleThatNeverCame) {
  const ProcessResult result = RunClrmem({"run", "--bridge", "no_such_plugin.dll", hello_, "7"});
  EXPECT_EQ(result.exit_code, 7u) << result.error;
  EXPECT_THAT(result.error, HasSubstr("  no_such_plugin.dll                 never loaded, so not bridged\n"));
}

TEST_P(ClrmemErrorsWithRuntime, StartThatFailsForAnotherReasonIsNotBlamedOnTheLimit) {
  const ProcessResult result = RunClrmem({"run", "--limit", "64M", hello_}, {{"DOTNET_GCName", "no_such_gc.dll"}});
  ExpectOneLine(result, "did not start: ", "mend what it says; run APP with --no-bridge");
  EXPECT_THAT(result.error, testing::Not(HasSubstr("higher --limit")));
}

TEST_P(ClrmemErrorsWithRuntime, LeavesNoSummaryFile) {
  const RunWithSummary run = RunProgram({"--runtime", kBinDirectory}, hello_);
  EXPECT_EQ(run.process.exit_code, 2u);
  EXPECT_TRUE(run.summary.is_null());
}

TEST_P(ClrmemErrorsWithRuntime, PassesOnHostFxrErrors) {
  // A program whose runtimeconfig.json asks for a framework that is not installed.
  const TemporaryFile config(".runtimeconfig.json");
  config.Write(R"({"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "99.0.0"}}})");
  const std::string name = config.path().substr(0, config.path().size() - std::string(".runtimeconfig.json").size());
  std::string program = name + ".dll";
  ASSERT_TRUE(CopyTo(hello_, program));
  const ProcessResult result = RunClrmem({"run", program});
  RemoveFile(program);
  ExpectOneLine(result, "hostfxr cannot start " + program, "install what hostfxr asks for");
  EXPECT_THAT(result.error, HasSubstr("version '99.0.0'"));
}

TEST_P(ClrmemErrorsWithRuntime, RefusesARuntimeConfigThatIsNotJson) {
  const TemporaryFile config(".runtimeconfig.json");
  const std::string program = config.path().substr(0, config.path().size() - 19) + ".dll";
  ASSERT_TRUE(CopyTo(hello_, program));
  config.Write("{\"runtimeOptions\": ");
  ExpectOneLine(RunClrmem({"run", program}), config.path() + " is not valid JSON", "build the program again");
  config.Write("");
  ExpectOneLine(RunClrmem({"run", program}), config.path() + " is empty", "build the program again");
  RemoveFile(program);
}

// Returns the file's bytes.
std::string ReadAll(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST_P(ClrmemErrorsWithRuntime, RefusesATruncatedProgram) {
  const std::string whole = ReadAll(hello_);
  ASSERT_GT(whole.size(), 2048u);
  const TemporaryFile program(".dll");
  program.Write(whole.substr(0, whole.size() - 600));
  ExpectOneLine(RunClrmem({"run", program.path()}), "is damaged, it ends before its last section does",
                "build or copy it again");
}

TEST_P(ClrmemErrorsWithRuntime, RefusesAProgramForAnotherProcessor) {
  if (sizeof(void*) != 8) GTEST_SKIP() << "for the 64-bit clrmem";
  std::string bytes = ReadAll(hello_);
  const auto u32 = [&bytes](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    return value;
  };
  // The flags of the CLR header, which follow 16 bytes of it: 1 is IL only, 2 is 32BITREQUIRED. The header begins with
  // its size, 72, and a runtime version of 2.5.
  const std::string header("\x48\0\0\0\x02\0\x05\0", 8);
  const std::size_t at = bytes.find(header);
  ASSERT_NE(at, std::string::npos);
  ASSERT_EQ(u32(at + 16), 1u);
  bytes[at + 16] = 3;
  const TemporaryFile program(".dll");
  program.Write(bytes);
  ExpectOneLine(RunClrmem({"run", program.path()}), "is a 32-bit program", "run it with the 32-bit clrmem");
}

TEST_P(ClrmemErrorsWithRuntime, ProgramWithoutRuntimeConfigNeedsARuntimeFolder) {
  const TemporaryFile program(".dll");
  ASSERT_TRUE(CopyTo(hello_, program.path()));
  ExpectOneLine(RunClrmem({"run", program.path()}), ".runtimeconfig.json beside it", "copy it there from the build");
  const ProcessResult result = RunClrmem({"run", "--runtime", RuntimeFolder(GetParam()), program.path(), "4"});
  EXPECT_EQ(result.exit_code, 4u) << result.error;
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ClrmemErrorsWithRuntime, testing::Values(kNet8, kNet10),
                         [](const auto& tested) { return ShortName(tested.param); });

TEST(ClrmemErrors, NamesTheMissingNetFramework) {
  if (!WhyNoNetFramework()) GTEST_SKIP() << "this machine has the .NET Framework";
  const std::string program = std::string(kProgramsDirectory) + "\\net48\\HelloFx\\HelloFx.exe";
  if (!FileExists(program)) GTEST_SKIP() << "no " << program << "; cmake -P cmake/test.cmake builds it with a .NET SDK";
  ExpectOneLine(RunClrmem({"run", program}), "the .NET Framework is not present", "run this program on Windows");
}

TEST(Clrmem, PrintsHelpAndVersionOnStandardOutput) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--help"}, {"run", "--help"}, {"info", "--help"}, {"--version"}}) {
    const ProcessResult result = RunClrmem(arguments);
    EXPECT_EQ(result.exit_code, 0u);
    EXPECT_EQ(result.error, "");
    EXPECT_THAT(result.out, HasSubstr("clrmem"));
  }
}

TEST(Clrmem, InfoListsTheRuntimesAndTheMachine) {
  const ProcessResult result = RunClrmem({"info"});
  EXPECT_EQ(result.exit_code, 0u);
  EXPECT_THAT(result.out, AllOf(HasSubstr("DOTNET_ROOT"), HasSubstr(".NET Framework"), HasSubstr("65,536 bytes"),
                                HasSubstr("physical memory"), HasSubstr("commit limit")));
  if (!WhyNotRunnable(kNet8)) {
    EXPECT_THAT(result.out, HasSubstr(std::string("Microsoft.NETCore.App ") + kNet8Version));
  }
}

TEST(Clrmem, ScriptedRunsEveryStepAndStatesItIsNotAClr) {
  const TemporaryFile file(".json");
  const ProcessResult result = RunClrmem({"scripted", "--limit", "32M", "--summary", file.path()});
  EXPECT_EQ(result.exit_code, 0u) << result.out;
  EXPECT_THAT(result.out, AllOf(HasSubstr("not a CLR"), HasSubstr("grow the heap to the limit")));
  const auto summary = nlohmann::json::parse(file.Read());
  EXPECT_EQ(summary["audit"]["mismatch_bytes"], 0);
  EXPECT_EQ(summary["memory"]["charged_bytes"], 0);
  EXPECT_EQ(summary["limit_refusals"]["task_critical"], 1);
}

}  // namespace
}  // namespace clrhm_test
