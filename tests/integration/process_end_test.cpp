// Tests that every kind of process end is reported once and keeps its exit code.
#include <gtest/gtest.h>

#include "clrhm_test_paths.h"
#include "integration/clrmem_process.h"

namespace clrhm_test {
namespace {

struct End {
  const char* way;
  std::uint32_t exit_code;
  const char* reported;
};

std::string ChildPath() { return std::string(kBinDirectory) + "\\clrhm_process_end_child.exe"; }

class ProcessEnd : public testing::TestWithParam<End> {};

TEST_P(ProcessEnd, IsReportedOnceAndKeepsItsExitCode) {
  const ProcessResult result = RunProcess(ChildPath(), {GetParam().way});
  EXPECT_EQ(result.exit_code, GetParam().exit_code);
  // Wine's debugger adds its own text about an unhandled exception to the program's output.
  if (IsWine() && GetParam().way == std::string("exception")) {
    EXPECT_NE(result.out.find(GetParam().reported), std::string::npos) << result.out;
    EXPECT_EQ(result.out.find(GetParam().reported), result.out.rfind(GetParam().reported)) << result.out;
  } else {
    EXPECT_EQ(result.out, GetParam().reported);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ways, ProcessEnd,
    testing::Values(End{"return", 3, "returned from Main 3\n"}, End{"watched-exit", 6, "exited 6\n"},
                    End{"watched-terminate", 7, "terminated itself 7\n"},
                    End{"exception", 0xE0434352, "unhandled exception 3762504530\n"},
                    End{"replaced-filter", 0xE0434352, "filter first, unhandled exception 3762504530\n"},
                    End{"disarmed", 2, ""}),
    [](const auto& tested) {
      std::string name = tested.param.way;
      for (char& c : name) {
        if (c == '-') c = '_';
      }
      return name;
    });

// Calls ExitProcess past the watched imports. kernel32.dll's own import is watched, too.
TEST(ProcessEndUnwatched, IsReportedDuringExit) {
  for (const End& end : {End{"exit", 4, "exited 4\n"}, End{"exit-thread", 5, "exited 5\n"}}) {
    const ProcessResult result = RunProcess(ChildPath(), {end.way});
    EXPECT_EQ(result.exit_code, end.exit_code);
    EXPECT_EQ(result.out, end.reported);
  }
}

}  // namespace
}  // namespace clrhm_test
