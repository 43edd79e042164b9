#include "tool/hosting/runtime_start.h"
#include "bridge/start/start_properties.h"

#include <gtest/gtest.h>

#include <string>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

using clr_host_memory::tool::RuntimeStartResult;
using clr_host_memory::tool::StopWatchingRuntimeStart;
using clr_host_memory::tool::WatchRuntimeStart;

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
  const LoadedModule hostpolicy_{Beside(L"fake_hostpolicy.dll")};
  int (*start_)(HMODULE, const char*) = hostpolicy_.Export<int(HMODULE, const char*)>("FakeStartRuntime");
  FARPROC (*look_up_)(HMODULE, LPCSTR) = hostpolicy_.Export<FARPROC(HMODULE, LPCSTR)>("FakeGetProcAddress");
  std::string reason_;
};

TEST_F(RuntimeStart, SuccessIsReportedToTheBridge) {
  EXPECT_EQ(RuntimeStartResult(), std::nullopt);
  EXPECT_FALSE(HasStarted());
  EXPECT_EQ(start_(clr_.get(), "0"), 0);
  EXPECT_EQ(RuntimeStartResult(), S_OK);
  EXPECT_TRUE(HasStarted());
}

TEST_F(RuntimeStart, FailureIsKeptAndNotReportedAsStart) {
  EXPECT_EQ(start_(clr_.get(), "-2147024882"), E_OUTOFMEMORY);
  EXPECT_EQ(RuntimeStartResult(), E_OUTOFMEMORY);
  EXPECT_FALSE(HasStarted());
}

TEST_F(RuntimeStart, UnbridgedRuntimeIsRefusedBeforeItStarts) {
  const CopiedFakeCoreClr copy(L"other_coreclr.dll");
  {
    const LoadedModule other(copy.path());
    ASSERT_NE(other.get(), nullptr);
    EXPECT_EQ(start_(other.get(), "0"), HOST_E_CLRNOTAVAILABLE);
    EXPECT_EQ(RuntimeStartResult(), HOST_E_CLRNOTAVAILABLE);
    EXPECT_FALSE(HasStarted());
  }
}

TEST_F(RuntimeStart, UnbridgeableStandaloneGcPreventsManagedCode) {
  EXPECT_FALSE(HasStarted());
  HMODULE gc = clr_.load_library_ex_w(Beside(L"clrgc_without_free.dll").c_str(), nullptr, 0);
  ASSERT_NE(gc, nullptr);
  EXPECT_EQ(start_(clr_.get(), "0"), HOST_E_CLRNOTAVAILABLE);
  EXPECT_EQ(RuntimeStartResult(), HOST_E_CLRNOTAVAILABLE);
  EXPECT_FALSE(HasStarted());
  FreeLibrary(gc);
}

class RuntimeStartProperties : public RuntimeStart {
 protected:
  void SetUp() override {
    RuntimeStart::SetUp();
    machine_.dwLength = sizeof(machine_);
    ASSERT_TRUE(GlobalMemoryStatusEx(&machine_));
    manager_.memory_status.total_physical = machine_.ullTotalPhys / 2;
  }
  // Starts the runtime with this property, or none if key is null; returns the properties that it received after its
  // answer.
  std::string PropertiesWith(const char* key, const char* value) {
    EXPECT_EQ(start_with_(clr_.get(), "0", key, value), 0);
    return std::string(properties_()).substr(std::string("ANSWER=0\n").size());
  }

  int (*start_with_)(HMODULE, const char*, const char*, const char*) =
      hostpolicy_.Export<int(HMODULE, const char*, const char*, const char*)>("FakeStartRuntimeWith");
  const char* (*properties_)() = clr_.Export<const char*()>("FakeStartProperties");
  MEMORYSTATUSEX machine_{};
};

TEST_F(RuntimeStartProperties, IncludeARegionRangeIndependentOfTheLimit) {
  const std::string range = std::to_string(clr_host_memory::RegionRange(machine_.ullTotalPhys));
  const std::string added = "System.GC.RegionRange=" + range + "\n";
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), added);
  EXPECT_EQ(PropertiesWith("System.GC.Server", "false"), "System.GC.Server=false\n" + added);
}

TEST_F(RuntimeStartProperties, AreUnchangedWhereTheLimitDoesNotMatter) {
  EXPECT_EQ(PropertiesWith("System.GC.RegionRange", "17"), "System.GC.RegionRange=17\n");
  EXPECT_EQ(PropertiesWith("System.GC.Server", "true"), "System.GC.Server=true\n");
  ASSERT_TRUE(SetEnvironmentVariableW(L"DOTNET_gcServer", L"1"));
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "");
  SetEnvironmentVariableW(L"DOTNET_gcServer", nullptr);
  // The GC commits its whole range in large pages when it reserves it.
  EXPECT_EQ(PropertiesWith("System.GC.LargePages", "true"), "System.GC.LargePages=true\n");
  ASSERT_TRUE(SetEnvironmentVariableW(L"DOTNET_GCLargePages", L"1"));
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "");
  SetEnvironmentVariableW(L"DOTNET_GCLargePages", nullptr);
  manager_.memory_status.total_physical = machine_.ullTotalPhys;
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "") << "the machine's memory is all told";
  manager_.memory_status.total_physical = 1;
  manager_.status_answer = HOST_E_CLRNOTAVAILABLE;
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "");
}

class RuntimeStartGcLimit : public RuntimeStartProperties {
 protected:
  void SetUp() override {
    RuntimeStartProperties::SetUp();
    manager_.memory_status.total_physical = machine_.ullTotalPhys;  // no range is added
    StopWatchingRuntimeStart();
    ASSERT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_,
                                [this](int count, const char* const* keys, const char* const* values) {
                                  return clr_host_memory::StartProperties(bridge(), count, keys, values, 12345678);
                                }),
              S_OK)
        << reason_;
  }
};

TEST_F(RuntimeStartGcLimit, IsPassedUnlessSetAlready) {
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "System.GC.HeapHardLimit=12345678\n");
  EXPECT_EQ(PropertiesWith("System.GC.HeapHardLimit", "5"), "System.GC.HeapHardLimit=5\n");
  EXPECT_EQ(PropertiesWith("System.GC.HeapHardLimitPercent", "5"), "System.GC.HeapHardLimitPercent=5\n");
  for (const wchar_t* variable :
       {L"DOTNET_GCHeapHardLimit", L"DOTNET_GCHeapHardLimitPercent", L"COMPlus_GCHeapHardLimitSOH"}) {
    ASSERT_TRUE(SetEnvironmentVariableW(variable, L"1000000"));
    EXPECT_EQ(PropertiesWith(nullptr, nullptr), "");
    SetEnvironmentVariableW(variable, nullptr);
  }
}

TEST_F(RuntimeStartGcLimit, MakesARegionRangeUnnecessary) {
  manager_.memory_status.total_physical = machine_.ullTotalPhys / 2;
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "System.GC.HeapHardLimit=12345678\n");
  EXPECT_EQ(PropertiesWith("System.GC.HeapHardLimit", "5"), "System.GC.HeapHardLimit=5\n");
  ASSERT_TRUE(SetEnvironmentVariableW(L"DOTNET_GCHeapHardLimit", L"1000000"));
  EXPECT_EQ(PropertiesWith(nullptr, nullptr), "");
  SetEnvironmentVariableW(L"DOTNET_GCHeapHardLimit", nullptr);
}

TEST(RegionRange, IsTwiceTheMachinesMemoryAndNeverAbove256GiB) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  EXPECT_EQ(clr_host_memory::RegionRange(24 * kGiB), 48 * kGiB);
  EXPECT_EQ(clr_host_memory::RegionRange(128 * kGiB), 256 * kGiB);
  EXPECT_EQ(clr_host_memory::RegionRange(512 * kGiB), 256 * kGiB);
}

TEST_F(RuntimeStart, OtherLookUpsAreUnchanged) {
  EXPECT_EQ(look_up_(clr_.get(), "FakeVirtualAlloc"), GetProcAddress(clr_.get(), "FakeVirtualAlloc"));
  const auto ordinal = reinterpret_cast<LPCSTR>(std::uintptr_t{1});
  EXPECT_EQ(look_up_(clr_.get(), ordinal), GetProcAddress(clr_.get(), ordinal));
  EXPECT_EQ(look_up_(hostpolicy_.get(), "coreclr_initialize"), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_PROC_NOT_FOUND});
}

TEST_F(RuntimeStart, HasOneWatchAtATime) {
  EXPECT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_), HOST_E_INVALIDOPERATION);
  EXPECT_FALSE(reason_.empty());
  StopWatchingRuntimeStart();
  StopWatchingRuntimeStart();
  EXPECT_EQ(look_up_(clr_.get(), "coreclr_initialize"), GetProcAddress(clr_.get(), "coreclr_initialize"));
  EXPECT_EQ(WatchRuntimeStart(hostpolicy_.get(), bridge(), &reason_), S_OK);
}

TEST_F(RuntimeStart, WatchRefusesModulesWithoutGetProcAddress) {
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
