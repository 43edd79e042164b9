// GlobalMemoryStatusEx as a bridged CLR sees it.
#include <gtest/gtest.h>

#include "bridge/fake_clr.h"
#include "com/backend.h"

namespace clrhm_test {
namespace {

constexpr DWORD kLastError = 4711;  // the caller's previous last error
constexpr uint64_t kMiB = 1024 * 1024;

class MemoryStatus : public BridgedFakeClr {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    manager_.memory_status = {
        sizeof(clr_host_memory::BackendMemoryStatus), 73, 128 * kMiB, 34 * kMiB, 160 * kMiB, 50 * kMiB};
  }
  // Returns Win32's current status. Physical memory in use changes meanwhile; its total does not.
  static MEMORYSTATUSEX OfWin32() {
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof(status);
    EXPECT_TRUE(GlobalMemoryStatusEx(&status));
    return status;
  }
};

TEST_F(MemoryStatus, LoadPhysicalMemoryAndPageFileAreTheManagers) {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  SetLastError(kLastError);
  EXPECT_TRUE(clr_.memory_status(&status));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(status.dwMemoryLoad, 73U);
  EXPECT_EQ(status.ullTotalPhys, 128 * kMiB);
  EXPECT_EQ(status.ullAvailPhys, 34 * kMiB);
  EXPECT_EQ(status.ullTotalPageFile, 160 * kMiB);
  EXPECT_EQ(status.ullAvailPageFile, 50 * kMiB);
  EXPECT_EQ(status.ullTotalVirtual, OfWin32().ullTotalVirtual) << "address space is Win32's";
}

TEST_F(MemoryStatus, IsWin32sWhenManagerIsUnavailable) {
  for (HRESULT answer : {HOST_E_CLRNOTAVAILABLE, E_FAIL}) {
    manager_.status_answer = answer;
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof(status);
    SetLastError(kLastError);
    EXPECT_TRUE(clr_.memory_status(&status));
    EXPECT_EQ(GetLastError(), kLastError);
    EXPECT_EQ(status.ullTotalPhys, OfWin32().ullTotalPhys);
    EXPECT_EQ(status.ullTotalPageFile, OfWin32().ullTotalPageFile);
    EXPECT_NE(status.ullAvailPhys, 34 * kMiB);
  }
}

TEST_F(MemoryStatus, IsWin32sWithoutABridge) {
  bridge()->Detach();
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  EXPECT_TRUE(clr_.memory_status(&status));
  EXPECT_EQ(status.ullTotalPhys, OfWin32().ullTotalPhys);
}

TEST_F(MemoryStatus, StructOfAnotherSizeIsHandledByWin32) {
  MEMORYSTATUSEX expected{};
  SetLastError(kLastError);
  const BOOL expected_answer = GlobalMemoryStatusEx(&expected);
  const DWORD expected_error = GetLastError();
  if (expected_answer) GTEST_SKIP() << "this Windows takes a struct of size 0";
  MEMORYSTATUSEX status{};
  SetLastError(kLastError);
  EXPECT_FALSE(clr_.memory_status(&status));
  EXPECT_EQ(GetLastError(), expected_error);
  EXPECT_EQ(status.ullTotalPhys, 0U) << "nothing is written to a struct of unknown size";
}

TEST_F(MemoryStatus, IsCountedAsACall) {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  clr_.memory_status(&status);
  uint64_t calls = 0;
  ASSERT_EQ(bridge()->GetCallCount(&calls), S_OK);
  EXPECT_EQ(calls, 1U);
}

}  // namespace
}  // namespace clrhm_test
