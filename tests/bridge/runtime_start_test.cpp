#include "bridge/runtime_start.h"

#include <gtest/gtest.h>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

using clr_host_memory::bridge::RuntimeStartResult;
using clr_host_memory::bridge::StopWatchingRuntimeStart;
using clr_host_memory::bridge::WatchRuntimeStart;

class RuntimeStart : public BridgedFakeClr {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    ASSERT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_), S_OK) << reason_;
  }
  void TearDown() override {
    StopWatchingRuntimeStart();
    BridgedFakeClr::TearDown();
  }
  // Whether the bridge knows that the runtime has started.
  bool HasStarted() {
    constexpr SIZE_T kGcSize = 16 * 1024 * 1024;
    void* region = clr_.virtual_alloc(nullptr, kGcSize, MEM_RESERVE, PAGE_NOACCESS);
    manager_.regions = {{region, kGcSize, 0, 0}};
    clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE);
    const bool started = manager_.Last().level == eTaskCritical;
    VirtualFree(region, 0, MEM_RELEASE);
    return started;
  }

  const LoadedModule hostpolicy_{Beside(L"fake_hostpolicy.dll")};
  int (*start_)(HMODULE, const char*) = hostpolicy_.Export<int(HMODULE, const char*)>("FakeStartRuntime");
  FARPROC (*look_up_)(HMODULE, LPCSTR) = hostpolicy_.Export<FARPROC(HMODULE, LPCSTR)>("FakeGetProcAddress");
  std::string reason_;
};

TEST_F(RuntimeStart, SuccessIsToldToTheBridge) {
  EXPECT_EQ(RuntimeStartResult(), std::nullopt);
  EXPECT_FALSE(HasStarted());
  EXPECT_EQ(start_(clr_.get(), "0"), 0);
  EXPECT_EQ(RuntimeStartResult(), S_OK);
  EXPECT_TRUE(HasStarted());
}

TEST_F(RuntimeStart, FailureIsKeptAndNotToldAsAStart) {
  EXPECT_EQ(start_(clr_.get(), "-2147024882"), E_OUTOFMEMORY);
  EXPECT_EQ(RuntimeStartResult(), E_OUTOFMEMORY);
  EXPECT_FALSE(HasStarted());
}

TEST_F(RuntimeStart, OfAnUnbridgedRuntimeIsRefusedBeforeItHappens) {
  const CopiedFakeCoreClr copy(L"other_coreclr.dll");
  {
    const LoadedModule other(copy.path());
    ASSERT_NE(other.get(), nullptr);
    EXPECT_EQ(start_(other.get(), "0"), HOST_E_CLRNOTAVAILABLE);
    EXPECT_EQ(RuntimeStartResult(), HOST_E_CLRNOTAVAILABLE);
    EXPECT_FALSE(HasStarted());
  }
}

TEST_F(RuntimeStart, WithAStandaloneGcThatCannotBeBridgedIsRefusedBeforeManagedCodeBegins) {
  EXPECT_FALSE(HasStarted());
  HMODULE gc = clr_.load_library_ex_w(Beside(L"clrgc_without_free.dll").c_str(), nullptr, 0);
  ASSERT_NE(gc, nullptr);
  EXPECT_EQ(start_(clr_.get(), "0"), HOST_E_CLRNOTAVAILABLE);
  EXPECT_EQ(RuntimeStartResult(), HOST_E_CLRNOTAVAILABLE);
  EXPECT_FALSE(HasStarted());
  FreeLibrary(gc);
}

TEST_F(RuntimeStart, OtherLookUpsGoAsEver) {
  EXPECT_EQ(look_up_(clr_.get(), "FakeVirtualAlloc"), GetProcAddress(clr_.get(), "FakeVirtualAlloc"));
  const auto ordinal = reinterpret_cast<LPCSTR>(std::uintptr_t{1});
  EXPECT_EQ(look_up_(clr_.get(), ordinal), GetProcAddress(clr_.get(), ordinal));
  EXPECT_EQ(look_up_(hostpolicy_.get(), "coreclr_initialize"), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_PROC_NOT_FOUND});
}

TEST_F(RuntimeStart, IsWatchedOnceAtATime) {
  EXPECT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_), HOST_E_INVALIDOPERATION);
  EXPECT_FALSE(reason_.empty());
  StopWatchingRuntimeStart();
  StopWatchingRuntimeStart();
  EXPECT_EQ(look_up_(clr_.get(), "coreclr_initialize"), GetProcAddress(clr_.get(), "coreclr_initialize"));
  EXPECT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_), S_OK);
}

TEST_F(RuntimeStart, CannotBeWatchedThroughAModuleThatLooksNothingUp) {
  StopWatchingRuntimeStart();
  const LoadedModule module(Beside(L"fake_without_free.dll"));
  EXPECT_EQ(WatchRuntimeStart(module.get(), bridge(), &reason_), E_INVALIDARG);
  EXPECT_NE(reason_.find("GetProcAddress"), std::string::npos) << reason_;
  EXPECT_EQ(WatchRuntimeStart(nullptr, bridge(), &reason_), E_INVALIDARG);
  EXPECT_EQ(WatchRuntimeStart(hostpolicy_.get(), nullptr, &reason_), E_POINTER);
  EXPECT_EQ(bridge()->AddRef(), 2U) << "a failed watch holds nothing";
  bridge()->Release();
}

}  // namespace
}  // namespace clrhm_test
