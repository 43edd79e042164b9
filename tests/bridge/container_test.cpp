// The limit presented as a container's: what a fake CLR learns about jobs.
#include <gtest/gtest.h>

#include <algorithm>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

constexpr DWORD kLastError = 4711;
constexpr uint64_t kLimit = 100 * 1024 * 1024;
constexpr uint64_t kInUse = 12345678;
using Limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION;

class Container : public BridgedFakeClr {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    manager_.memory_status.size = sizeof(manager_.memory_status);
    manager_.memory_status.total_physical = kLimit;
    manager_.memory_status.available_physical = kLimit - kInUse;
  }
  // Queries the process's memory as the GC does.
  PROCESS_MEMORY_COUNTERS Process(HANDLE process = GetCurrentProcess()) {
    PROCESS_MEMORY_COUNTERS counters{};
    EXPECT_TRUE(clr_.process_memory(process, &counters, sizeof(counters)));
    return counters;
  }
  // Queries the job as the GC does. 0: it sees no job limit.
  uint64_t LimitOfJob() {
    BOOL in_job = FALSE;
    EXPECT_TRUE(clr_.is_process_in_job(GetCurrentProcess(), nullptr, &in_job));
    Limits limits{};
    if (!in_job || !clr_.query_job(nullptr, JobObjectExtendedLimitInformation, &limits, sizeof(limits), nullptr))
      return 0;
    return (limits.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0 ? limits.JobMemoryLimit : 0;
  }
};

TEST_F(Container, IsNotPresentedByDefault) {
  BOOL expected = FALSE;
  ASSERT_TRUE(IsProcessInJob(GetCurrentProcess(), nullptr, &expected));
  BOOL in_job = FALSE;
  ASSERT_TRUE(clr_.is_process_in_job(GetCurrentProcess(), nullptr, &in_job));
  EXPECT_EQ(in_job, expected);
  EXPECT_EQ(LimitOfJob(), 0U);
}

TEST_F(Container, LimitIsPresentedAsAJobLimitWhenEnabled) {
  ASSERT_EQ(bridge()->PresentAsContainer(TRUE), S_OK);
  SetLastError(kLastError);
  EXPECT_EQ(LimitOfJob(), kLimit);
  EXPECT_EQ(GetLastError(), kLastError);
  manager_.memory_status.total_physical = kLimit / 2;
  EXPECT_EQ(LimitOfJob(), kLimit / 2) << "the limit of the moment";
  Limits limits{};
  DWORD returned = 0;
  EXPECT_TRUE(clr_.query_job(nullptr, JobObjectExtendedLimitInformation, &limits, sizeof(limits), &returned));
  EXPECT_EQ(returned, sizeof(limits));
  ASSERT_EQ(bridge()->PresentAsContainer(FALSE), S_OK);
  EXPECT_EQ(LimitOfJob(), 0U);
}

TEST_F(Container, LimitAboveTheMachineIsNotPresented) {
  MEMORYSTATUSEX machine{};
  machine.dwLength = sizeof(machine);
  ASSERT_TRUE(GlobalMemoryStatusEx(&machine));
  manager_.memory_status.total_physical = machine.ullTotalPhys;
  ASSERT_EQ(bridge()->PresentAsContainer(TRUE), S_OK);
  EXPECT_EQ(LimitOfJob(), 0U);
  manager_.memory_status.total_physical = kLimit;
  manager_.status_answer = HOST_E_CLRNOTAVAILABLE;
  EXPECT_EQ(LimitOfJob(), 0U) << "nor one of a manager that is down";
}

TEST_F(Container, MemoryInUseIsPresentedAsTheWorkingSetWhenEnabled) {
  EXPECT_NE(Process().WorkingSetSize, kInUse);
  ASSERT_EQ(bridge()->PresentAsContainer(TRUE), S_OK);
  SetLastError(kLastError);
  const PROCESS_MEMORY_COUNTERS counters = Process();
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(counters.WorkingSetSize, kInUse);
  EXPECT_EQ(counters.PagefileUsage, kInUse);
  EXPECT_GE(counters.PeakWorkingSetSize, counters.WorkingSetSize);
  EXPECT_GE(counters.PeakPagefileUsage, counters.PagefileUsage);
  const HANDLE itself = OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, FALSE, GetCurrentProcessId());
  EXPECT_EQ(Process(itself).WorkingSetSize, kInUse) << "a real handle to this process";
  CloseHandle(itself);
  ASSERT_EQ(bridge()->PresentAsContainer(FALSE), S_OK);
  EXPECT_NE(Process().WorkingSetSize, kInUse);
}

TEST_F(Container, WorkingSetIsWin32sWithoutAContainer) {
  ASSERT_EQ(bridge()->PresentAsContainer(TRUE), S_OK);
  manager_.status_answer = HOST_E_CLRNOTAVAILABLE;
  EXPECT_NE(Process().WorkingSetSize, kInUse) << "a manager that is down";
  manager_.status_answer = S_OK;
  manager_.memory_status.total_physical = UINT64_MAX;
  manager_.memory_status.available_physical = UINT64_MAX - kInUse;
  EXPECT_NE(Process().WorkingSetSize, kInUse) << "a limit above the machine's memory";
  bridge()->Detach();
  EXPECT_NE(Process().WorkingSetSize, kInUse) << "no bridge";
}

TEST_F(Container, OtherQueriesGoToTheOriginals) {
  ASSERT_EQ(bridge()->PresentAsContainer(TRUE), S_OK);
  Limits limits{};
  limits.JobMemoryLimit = 77;
  SetLastError(kLastError);
  const BOOL answered = clr_.query_job(nullptr, JobObjectExtendedLimitInformation, &limits, 8, nullptr);
  EXPECT_EQ(limits.JobMemoryLimit, 77U) << "too short for it: " << answered;
  HANDLE job = CreateJobObjectW(nullptr, nullptr);
  ASSERT_NE(job, nullptr);
  BOOL in_job = TRUE;
  EXPECT_TRUE(clr_.is_process_in_job(GetCurrentProcess(), job, &in_job));
  EXPECT_FALSE(in_job) << "a certain job is another question";
  EXPECT_TRUE(clr_.query_job(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits), nullptr));
  EXPECT_EQ(limits.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_JOB_MEMORY, 0U);
  CloseHandle(job);
}

// Stands for a real job, as the import's target before the bridge.
SIZE_T real_limit;
BOOL WINAPI InARealJob(HANDLE, JOBOBJECTINFOCLASS, LPVOID information, DWORD, LPDWORD) {
  auto* limits = static_cast<Limits*>(information);
  *limits = {};
  limits->BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_PROCESS_MEMORY;
  limits->JobMemoryLimit = real_limit;
  limits->ProcessMemoryLimit = 5;
  return TRUE;
}
BOOL WINAPI InNoJob(HANDLE, JOBOBJECTINFOCLASS, LPVOID, DWORD, LPDWORD) {
  SetLastError(ERROR_ACCESS_DENIED);
  return FALSE;
}

TEST(ContainerOverAnEarlierHook, RealLimitStaysWhereTighter) {
  FakeCoreClr clr;
  void** slot = clr.Slot("QueryInformationJobObject");
  void* const before = *slot;
  *slot = reinterpret_cast<void*>(&InARealJob);
  RecordingManager manager;
  manager.memory_status.total_physical = kLimit;
  {
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.hr, S_OK);
    ASSERT_EQ(attachment.bridge->PresentAsContainer(TRUE), S_OK);
    Limits limits{};
    for (const SIZE_T real : {SIZE_T{1000}, static_cast<SIZE_T>(2 * kLimit)}) {
      real_limit = real;
      ASSERT_TRUE(clr.query_job(nullptr, JobObjectExtendedLimitInformation, &limits, sizeof(limits), nullptr));
      EXPECT_EQ(limits.JobMemoryLimit, std::min<uint64_t>(real, kLimit));
      EXPECT_EQ(limits.ProcessMemoryLimit, 5U);
    }
  }
  *slot = reinterpret_cast<void*>(&InNoJob);
  {
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.bridge->PresentAsContainer(TRUE), S_OK);
    Limits limits{};
    SetLastError(kLastError);
    ASSERT_TRUE(clr.query_job(nullptr, JobObjectExtendedLimitInformation, &limits, sizeof(limits), nullptr));
    EXPECT_EQ(GetLastError(), kLastError);
    EXPECT_EQ(limits.JobMemoryLimit, kLimit);
    EXPECT_EQ(limits.BasicLimitInformation.LimitFlags, DWORD{JOB_OBJECT_LIMIT_JOB_MEMORY});
    attachment.bridge->Detach();
    EXPECT_EQ(attachment.bridge->PresentAsContainer(TRUE), HOST_E_CLRNOTAVAILABLE);
  }
  *slot = before;
}

}  // namespace
}  // namespace clrhm_test
