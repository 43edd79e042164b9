// Tests that a process exits wherever the manager's threads stand, even if a DLL's static object holds the last
// reference.
#include <algorithm>
#include <string>

#include "manager_client.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory::test {
namespace {

constexpr DWORD kLongestMs = 10000;  // a run takes 0.1 s; a blocked one never ends
constexpr int kRuns = 10;            // for each situation

// Returns the exit code, or STILL_ACTIVE if the process did not end.
DWORD RunProgram(const std::wstring& arguments) {
  std::wstring command = L"ending_program.exe " + arguments;  // in this program's directory
  STARTUPINFOW startup{};
  startup.cb = sizeof(startup);
  PROCESS_INFORMATION process{};
  if (!::CreateProcessW(nullptr, command.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr, &startup, &process)) {
    ADD_FAILURE() << "no ending_program.exe: " << ::GetLastError();
    return 0;
  }
  DWORD code = STILL_ACTIVE;
  if (::WaitForSingleObject(process.hProcess, kLongestMs) == WAIT_OBJECT_0) {
    ::GetExitCodeProcess(process.hProcess, &code);
  } else {
    ::TerminateProcess(process.hProcess, 99);
  }
  ::CloseHandle(process.hThread);
  ::CloseHandle(process.hProcess);
  return code;
}

class ProcessEnding : public testing::TestWithParam<const wchar_t*> {};

TEST_P(ProcessEnding, IsNotBlockedByAStaticManager) {
  ULONGLONG fastest = kLongestMs;
  for (int run = 0; run < kRuns; ++run) {
    const std::wstring shuts_down = run % 2 == 0 ? L"" : L" shutdown";
    const ULONGLONG begin = ::GetTickCount64();
    ASSERT_EQ(7u, RunProgram(GetParam() + shuts_down)) << "run " << run;
    fastest = std::min(fastest, ::GetTickCount64() - begin);
  }
  // Detaching a bridge waits up to a second for calls inside it. Here these calls never return, so it must not wait
  // at all.
  EXPECT_LT(fastest, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Ways, ProcessEnding, testing::Values(L"event", L"callback", L"waiter", L"bridge"),
                         [](const auto& way) {
                           const std::wstring name = way.param;
                           return std::string(name.begin(), name.end());
                         });

TEST(ProcessIsEnding, ReturnsFalseWhileTheProcessRuns) {
  PrepareProcessIsEnding();
  EXPECT_FALSE(ProcessIsEnding());
}

}  // namespace
}  // namespace clr_host_memory::test
