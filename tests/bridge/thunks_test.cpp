// The bridged functions, called by a fake CLR: the requests that reach the manager, and the results that the caller
// sees.
#include <gtest/gtest.h>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

constexpr SIZE_T kMiB = 1024 * 1024;
constexpr DWORD kLastError = 4711;  // the caller's previous last error

class Thunks : public BridgedFakeClr {
 protected:
  void TearDown() override {
    if (memory_ != nullptr) VirtualFree(memory_, 0, MEM_RELEASE);
    BridgedFakeClr::TearDown();
  }
  // Reserves as the GC does; the manager knows the memory as a region.
  char* ReserveRegion(SIZE_T size) {
    memory_ = static_cast<char*>(clr_.virtual_alloc(nullptr, size, MEM_RESERVE, PAGE_READWRITE));
    manager_.regions.push_back({memory_, size, 0, PAGE_READWRITE});
    return memory_;
  }

  char* memory_ = nullptr;
};

TEST_F(Thunks, AllocationsReachTheManagerUnchanged) {
  SetLastError(kLastError);
  memory_ = static_cast<char*>(clr_.virtual_alloc(nullptr, 12345, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  EXPECT_EQ(GetLastError(), kLastError);
  ASSERT_NE(memory_, nullptr);
  memory_[12344] = 1;
  EXPECT_EQ(manager_.Last(),
            (Request{Asked::kAlloc, nullptr, 12345, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, 0, eProcessCritical}));
}

TEST_F(Thunks, RefusedAllocationReturnsNullWithManagersLastError) {
  manager_.alloc_answer = E_OUTOFMEMORY;
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_alloc(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_alloc_ex_numa(GetCurrentProcess(), nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS, 0), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
}

TEST_F(Thunks, OnlySOkCountsAsSuccess) {
  manager_.alloc_answer = S_FALSE;
  EXPECT_EQ(clr_.virtual_alloc(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS), nullptr);
  manager_.free_answer = S_FALSE;
  EXPECT_FALSE(clr_.virtual_free(&manager_, 0, MEM_RELEASE));
}

TEST_F(Thunks, GcHeapGrowthIsTaskCriticalAfterRuntimeStart) {
  char* region = ReserveRegion(16 * kMiB);
  ASSERT_NE(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eProcessCritical);

  ASSERT_EQ(bridge()->NoteRuntimeStarted(), S_OK);
  ASSERT_NE(clr_.virtual_alloc(region + 4096, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eTaskCritical);
  ASSERT_NE(clr_.virtual_alloc_ex_numa(GetCurrentProcess(), region, 4096, MEM_COMMIT, PAGE_READWRITE, 0), nullptr);
  EXPECT_EQ(manager_.Last().level, eTaskCritical);

  manager_.regions[0].reserved = 16 * kMiB - 4096;
  ASSERT_NE(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eProcessCritical);
}

TEST_F(Thunks, SmallGcReservationsCountAsBookkeeping) {
  char* region = ReserveRegion(16 * kMiB);
  ASSERT_EQ(bridge()->NoteRuntimeStarted(), S_OK);
  void* larger = clr_.virtual_alloc(nullptr, 65 * 16 * kMiB, MEM_RESERVE, PAGE_READWRITE);
  ASSERT_NE(larger, nullptr);
  ASSERT_NE(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eProcessCritical);
  EXPECT_TRUE(VirtualFree(larger, 0, MEM_RELEASE));
}

TEST_F(Thunks, GcReservationsOfOtherModulesAreIgnored) {
  char* region = ReserveRegion(16 * kMiB);
  ASSERT_EQ(bridge()->NoteRuntimeStarted(), S_OK);
  const LoadedModule plugin(Beside(L"fake_plugin.dll"));
  ASSERT_EQ(bridge()->AttachModule(plugin.get(), nullptr, 0), S_OK);
  const auto allocate = reinterpret_cast<decltype(&::VirtualAlloc)>(
      reinterpret_cast<void*>(GetProcAddress(plugin.get(), "FakeGcVirtualAlloc")));
  void* larger = allocate(nullptr, 65 * 16 * kMiB, MEM_RESERVE, PAGE_READWRITE);
  ASSERT_NE(larger, nullptr);
  ASSERT_NE(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eTaskCritical) << "still the heap of the CLR's GC";
  ASSERT_NE(allocate(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(manager_.Last().level, eProcessCritical) << "small beside the plug-in's own";
  EXPECT_TRUE(VirtualFree(larger, 0, MEM_RELEASE));
}

TEST_F(Thunks, RequestsAndRefusalsAreCountedByPurpose) {
  char* region = ReserveRegion(16 * kMiB);
  ASSERT_NE(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  manager_.alloc_answer = E_OUTOFMEMORY;
  ASSERT_EQ(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  ASSERT_EQ(clr_.virtual_alloc(nullptr, 4096, MEM_COMMIT, PAGE_EXECUTE_READWRITE), nullptr);
  ASSERT_EQ(clr_.virtual_alloc_ex_numa(GetCurrentProcess(), nullptr, 4096, MEM_COMMIT, PAGE_READWRITE, 0), nullptr);
  manager_.alloc_answer = S_OK;

  ClrHostMemoryPurposes purposes{};
  EXPECT_EQ(bridge()->GetPurposes(nullptr), E_POINTER);
  EXPECT_EQ(bridge()->GetPurposes(&purposes), E_INVALIDARG);
  purposes.size = sizeof(purposes);
  ASSERT_EQ(bridge()->GetPurposes(&purposes), S_OK);
  EXPECT_EQ(purposes.version, 1U);
  const std::uint64_t requests[kClrHostMemoryPurposeCount] = {1, 2, 0, 1};
  const std::uint64_t refusals[kClrHostMemoryPurposeCount] = {1, 1, 0, 1};
  for (int purpose = 0; purpose < kClrHostMemoryPurposeCount; ++purpose) {
    EXPECT_EQ(purposes.requests[purpose], requests[purpose]) << purpose;
    EXPECT_EQ(purposes.refusals[purpose], refusals[purpose]) << purpose;
  }
  bridge()->Detach();
  ASSERT_EQ(bridge()->GetPurposes(&purposes), S_OK);
  EXPECT_EQ(purposes.requests[kClrHostMemoryGcHeap], 2U) << "what was counted stays";
}

TEST_F(Thunks, CommitInTheOwnStackCountsAsStack) {
  char local = 0;
  MEMORY_BASIC_INFORMATION stack{};
  ASSERT_NE(VirtualQuery(&local, &stack, sizeof(stack)), SIZE_T{0});
  ASSERT_NE(clr_.virtual_alloc(&local, 1, MEM_COMMIT, PAGE_READWRITE), nullptr);
  ClrHostMemoryPurposes purposes{};
  purposes.size = sizeof(purposes);
  ASSERT_EQ(bridge()->GetPurposes(&purposes), S_OK);
  EXPECT_EQ(purposes.requests[kClrHostMemoryStack], 1U);
}

TEST_F(Thunks, NumaAllocationsReachTheManagerWithTheirNode) {
  memory_ =
      static_cast<char*>(clr_.virtual_alloc_ex_numa(GetCurrentProcess(), nullptr, kMiB, MEM_RESERVE, PAGE_NOACCESS, 0));
  EXPECT_NE(memory_, nullptr);
  EXPECT_EQ(manager_.Last(),
            (Request{Asked::kAllocOnNode, nullptr, kMiB, MEM_RESERVE, PAGE_NOACCESS, 0, eProcessCritical}));
}

TEST_F(Thunks, RealHandleOfThisProcessIsRecognised) {
  HANDLE self = OpenProcess(PROCESS_ALL_ACCESS, FALSE, GetCurrentProcessId());
  ASSERT_NE(self, nullptr);
  SetLastError(kLastError);
  memory_ = static_cast<char*>(clr_.virtual_alloc_ex_numa(self, nullptr, kMiB, MEM_RESERVE, PAGE_NOACCESS, 0));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(manager_.RequestsOf(Asked::kAllocOnNode).size(), 1U);
  CloseHandle(self);
}

TEST_F(Thunks, NumaAllocationsInOtherProcessesBypassTheManager) {
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_alloc_ex_numa(nullptr, nullptr, kMiB, MEM_RESERVE, PAGE_NOACCESS, 0), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_HANDLE});
  EXPECT_TRUE(manager_.requests().empty());
}

TEST_F(Thunks, ForeignMemoryIsFreedByWin32) {
  for (HRESULT not_ours : {HOST_E_INVALIDOPERATION, HOST_E_CLRNOTAVAILABLE}) {
    void* foreign = VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    manager_.free_answer = not_ours;
    SetLastError(kLastError);
    EXPECT_TRUE(clr_.virtual_free(foreign, 0, MEM_RELEASE));
    EXPECT_EQ(GetLastError(), kLastError);
    MEMORY_BASIC_INFORMATION information{};
    VirtualQuery(foreign, &information, sizeof(information));
    EXPECT_EQ(information.State, DWORD{MEM_FREE});
  }
  SetLastError(kLastError);
  EXPECT_FALSE(clr_.virtual_free(nullptr, 0, MEM_RELEASE));
  EXPECT_NE(GetLastError(), kLastError) << "Win32 itself refuses, and says why";
  EXPECT_NE(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
}

TEST_F(Thunks, RefusedFreeIsNotTriedThroughWin32) {
  char* region = ReserveRegion(kMiB);
  manager_.free_answer = HOST_E_NOT_OWNER;
  EXPECT_FALSE(clr_.virtual_free(region, 0, MEM_RELEASE));
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
  MEMORY_BASIC_INFORMATION information{};
  VirtualQuery(region, &information, sizeof(information));
  EXPECT_EQ(information.State, DWORD{MEM_RESERVE});
}

TEST_F(Thunks, PlaceholdersBypassTheManager) {
  constexpr DWORD kMemPreservePlaceholder = 2;
  SetLastError(kLastError);
  EXPECT_FALSE(clr_.virtual_free(ReserveRegion(kMiB), 4096, MEM_RELEASE | kMemPreservePlaceholder));
  EXPECT_TRUE(manager_.RequestsOf(Asked::kFree).empty());
}

TEST_F(Thunks, QueryReturnsTheBytesWritten) {
  MEMORY_BASIC_INFORMATION information{};
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_query(&information, &information, sizeof(information)), sizeof(information));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(manager_.Last().asked, Asked::kQuery);
  EXPECT_EQ(information.State, DWORD{MEM_COMMIT});

  manager_.query_answer = E_FAIL;
  EXPECT_EQ(clr_.virtual_query(&information, &information, sizeof(information)), 0U);
}

TEST_F(Thunks, ProtectReturnsTheOldProtection) {
  char* region = ReserveRegion(kMiB);
  clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE);
  DWORD old_protect = 0;
  SetLastError(kLastError);
  EXPECT_TRUE(clr_.virtual_protect(region, 4096, PAGE_READONLY, &old_protect));
  EXPECT_EQ(GetLastError(), kLastError);
  EXPECT_EQ(old_protect, DWORD{PAGE_READWRITE});
  EXPECT_EQ(manager_.Last().protect, DWORD{PAGE_READONLY});

  manager_.protect_answer = E_INVALIDARG;
  EXPECT_FALSE(clr_.virtual_protect(region, 4096, PAGE_READWRITE, &old_protect));
  EXPECT_EQ(GetLastError(), DWORD{ERROR_COMMITMENT_LIMIT});
}

TEST_F(Thunks, ShutDownManagerIsBypassedAndLatchedOneRefuses) {
  char* region = ReserveRegion(kMiB);
  manager_.alloc_answer = HOST_E_CLRNOTAVAILABLE;
  const HANDLE self = GetCurrentProcess();
  EXPECT_EQ(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
  EXPECT_EQ(clr_.virtual_alloc_ex_numa(self, region, 4096, MEM_COMMIT, PAGE_READWRITE, 0), nullptr);
  for (const std::uint32_t state : {kClrHostMemoryDraining, kClrHostMemoryStopped}) {
    manager_.state = state;
    SetLastError(kLastError);
    EXPECT_EQ(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), region);
    EXPECT_EQ(clr_.virtual_alloc_ex_numa(self, region, 4096, MEM_COMMIT, PAGE_READWRITE, 0), region);
    EXPECT_EQ(GetLastError(), kLastError);
    EXPECT_EQ(clr_.virtual_alloc(region, 4096, 0, PAGE_READWRITE), nullptr);
    EXPECT_EQ(GetLastError(), DWORD{ERROR_INVALID_PARAMETER}) << "the original's own answer";
    // Other refusals are unchanged.
    manager_.alloc_answer = E_OUTOFMEMORY;
    EXPECT_EQ(clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE), nullptr);
    manager_.alloc_answer = HOST_E_CLRNOTAVAILABLE;
  }
}

TEST_F(Thunks, QueryAndProtectWorkWhenManagerIsUnavailable) {
  manager_.query_answer = manager_.protect_answer = HOST_E_CLRNOTAVAILABLE;
  char* region = ReserveRegion(kMiB);
  clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE);
  MEMORY_BASIC_INFORMATION information{};
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_query(region, &information, sizeof(information)), sizeof(information));
  DWORD old_protect = 0;
  EXPECT_TRUE(clr_.virtual_protect(region, 4096, PAGE_READONLY, &old_protect));
  EXPECT_EQ(GetLastError(), kLastError);
}

TEST_F(Thunks, NullOutPointersAreHandledByWin32) {
  DWORD expected_error = 0;
  char* region = ReserveRegion(kMiB);
  clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE);
  SetLastError(kLastError);
  const BOOL expected = VirtualProtect(region, 4096, PAGE_READONLY, nullptr);
  expected_error = GetLastError();
  SetLastError(kLastError);
  EXPECT_EQ(clr_.virtual_protect(region, 4096, PAGE_READONLY, nullptr), expected);
  EXPECT_EQ(GetLastError(), expected_error);
  EXPECT_TRUE(manager_.RequestsOf(Asked::kProtect).empty());
}

TEST_F(Thunks, EveryCallIsCounted) {
  uint64_t before = 0;
  ASSERT_EQ(bridge()->GetCallCount(&before), S_OK);
  MEMORY_BASIC_INFORMATION information{};
  for (int call = 0; call < 5; ++call) clr_.virtual_query(&before, &information, sizeof(information));
  ReserveRegion(kMiB);
  uint64_t after = 0;
  ASSERT_EQ(bridge()->GetCallCount(&after), S_OK);
  EXPECT_EQ(after - before, 6U);
}

}  // namespace
}  // namespace clrhm_test
