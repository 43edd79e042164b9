// ClrHostMemoryBridgeHostFxr with stand-ins for hostpolicy.dll and coreclr.dll.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "bridge/fake_clr.h"
#include "bridge/start/start_properties.h"

namespace clrhm_test {
namespace {

using clr_host_memory::ComReference;

class HostFxrStart : public testing::Test {
 protected:
  HostFxrStart() {
    options_.size = sizeof(options_);
    options_.started = &HostFxrStart::Started;
    options_.context = this;
  }
  void TearDown() override {
    if (bridge_) bridge_->Detach();
    bridge_.Reset();
    EXPECT_EQ(manager_.references(), 1U);
  }
  static HRESULT STDMETHODCALLTYPE Started(void* self, const ClrHostMemoryRuntimeStart* start) {
    return static_cast<HostFxrStart*>(self)->OnStarted(*start);
  }
  HRESULT OnStarted(const ClrHostMemoryRuntimeStart& start) {
    ++told_;
    told_result_ = start.result;
    told_properties_ = start.property_count;
    EXPECT_EQ(SUCCEEDED(start.result), start.host != nullptr);
    return answer_;
  }
  HRESULT Bridge() {
    return ClrHostMemoryBridgeHostFxr(&manager_, &options_, bridge_.Receive(), reason_.data(), reason_.size());
  }
  void LoadHostPolicy() {
    hostpolicy_ = std::make_unique<LoadedModule>(hostpolicy_file_.path());
    ASSERT_NE(hostpolicy_->get(), nullptr);
  }
  int Start(HMODULE coreclr, const char* answer) {
    return hostpolicy_->Export<int(HMODULE, const char*)>("FakeStartRuntime")(coreclr, answer);
  }
  FARPROC LookUp(HMODULE module, LPCSTR name) {
    return hostpolicy_->Export<FARPROC(HMODULE, LPCSTR)>("FakeGetProcAddress")(module, name);
  }
  std::string WhyNoCallsArrive() {
    EXPECT_EQ(bridge_->VerifyCallsArrive(reason_.data(), reason_.size()), HOST_E_CLRNOTAVAILABLE);
    return reason_.data();
  }

  const CopiedModule hostpolicy_file_{L"hostpolicy.dll", L"fake_hostpolicy.dll"};
  FakeCoreClr clr_;
  RecordingManager manager_;
  ClrHostMemoryHostFxrOptions options_{};
  ComReference<IClrHostMemoryBridge> bridge_;
  std::array<char, 2048> reason_{};
  std::unique_ptr<LoadedModule> hostpolicy_;
  int told_ = 0;
  HRESULT told_result_ = E_UNEXPECTED;
  std::uint32_t told_properties_ = 0;
  HRESULT answer_ = S_OK;
};

TEST_F(HostFxrStart, BridgesTheFileThatHostPolicyStarts) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  EXPECT_EQ(manager_.begun_starts, 0);
  EXPECT_NE(WhyNoCallsArrive().find("has not started a runtime"), std::string::npos) << reason_.data();

  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(told_result_, S_OK);
  EXPECT_GE(told_properties_, 1U);
  EXPECT_EQ(manager_.begun_starts, 1);
  EXPECT_EQ(manager_.ended_starts, 1);
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  ASSERT_EQ(bridge_->GetModule(0, &module), S_OK);
  EXPECT_EQ(module.module, clr_.get());
  EXPECT_EQ(bridge_->VerifyCallsArrive(nullptr, 0), S_OK);
  EXPECT_EQ(LookUp(clr_.get(), "coreclr_initialize"), GetProcAddress(clr_.get(), "coreclr_initialize"))
      << "the watch has ended";
}

TEST_F(HostFxrStart, WaitsForHostPolicyToBeLoaded) {
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  LoadHostPolicy();
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(bridge_->VerifyCallsArrive(nullptr, 0), S_OK);
}

TEST_F(HostFxrStart, ServesTheStartAfterTheHostHasReleasedTheBridge) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  bridge_.Reset();
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(manager_.ended_starts, 1);
  // A stand-in has no core library, so it counts as started only by this.
  const Attachment again(clr_.get(), &manager_);
  ASSERT_EQ(again.hr, S_OK) << again.reason.data();
  EXPECT_EQ(again.bridge->VerifyCallsArrive(nullptr, 0), S_OK) << "the kept bridge";
  again.bridge->Detach();
}

TEST_F(HostFxrStart, FailedStartIsToldAndServedAgain) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  EXPECT_EQ(Start(clr_.get(), "-2147024882"), E_OUTOFMEMORY);
  EXPECT_EQ(told_result_, E_OUTOFMEMORY);
  EXPECT_EQ(manager_.ended_starts, 1) << "the limit holds again";
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(told_result_, S_OK);
  EXPECT_EQ(told_, 2);
  EXPECT_EQ(manager_.begun_starts, 2);
  EXPECT_EQ(manager_.ended_starts, 2);
}

TEST_F(HostFxrStart, HostCanKeepManagedCodeFromRunning) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  answer_ = HOST_E_TIMEOUT;
  EXPECT_EQ(Start(clr_.get(), "0"), HOST_E_TIMEOUT);
}

TEST_F(HostFxrStart, RuntimeThatDoesNotFitTheLimitRunsNoManagedCode) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  manager_.end_start_answer = E_OUTOFMEMORY;
  EXPECT_EQ(Start(clr_.get(), "0"), E_OUTOFMEMORY);
}

TEST_F(HostFxrStart, RuntimeThatCannotBeBridgedIsNotStarted) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  const Attachment other(clr_.get(), &manager_);
  ASSERT_EQ(other.hr, S_OK) << other.reason.data();
  EXPECT_EQ(Start(clr_.get(), "0"), HOST_E_INVALIDOPERATION);
  EXPECT_EQ(told_result_, HOST_E_INVALIDOPERATION);
  EXPECT_NE(WhyNoCallsArrive().find("is bridged already"), std::string::npos) << reason_.data();
  other.bridge->Detach();
  EXPECT_EQ(Start(clr_.get(), "0"), 0) << "the cause is gone";
  EXPECT_EQ(bridge_->VerifyCallsArrive(nullptr, 0), S_OK);
}

// The companion is loaded by the runtime, whichever module was attached first.
TEST_F(HostFxrStart, ModulesAttachedBeforeTheStartAreNotTheRuntime) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  const LoadedModule plugin(Beside(L"fake_plugin.dll"));
  ASSERT_EQ(bridge_->AttachModule(plugin.get(), reason_.data(), reason_.size()), S_OK) << reason_.data();
  EXPECT_NE(WhyNoCallsArrive().find("has not started a runtime"), std::string::npos) << reason_.data();
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(bridge_->VerifyCallsArrive(nullptr, 0), S_OK);
}

// Other code may hook the import over the watch. A later watch must not take that code for the original.
TEST_F(HostFxrStart, ImportIsRedirectedOnce) {
  LoadHostPolicy();
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(Bridge(), S_OK) << reason_.data();
    bridge_->Detach();
    bridge_.Reset();
  }
  const std::vector<void*> before = ImportsOf(hostpolicy_->get());
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  EXPECT_EQ(ImportsOf(hostpolicy_->get()), before);
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(told_, 1);
}

TEST_F(HostFxrStart, UnbridgeableStandaloneGcPreventsManagedCode) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  EXPECT_EQ(Start(clr_.get(), "-1"), -1);  // attaches the bridge
  HMODULE gc = clr_.load_library_ex_w(Beside(L"clrgc_without_free.dll").c_str(), nullptr, 0);
  ASSERT_NE(gc, nullptr);
  EXPECT_EQ(Start(clr_.get(), "0"), HOST_E_CLRNOTAVAILABLE);
  EXPECT_EQ(told_result_, HOST_E_CLRNOTAVAILABLE);
  FreeLibrary(gc);
}

TEST_F(HostFxrStart, OtherLookUpsAreUnchanged) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  EXPECT_EQ(LookUp(clr_.get(), "FakeVirtualAlloc"), GetProcAddress(clr_.get(), "FakeVirtualAlloc"));
  const auto ordinal = reinterpret_cast<LPCSTR>(std::uintptr_t{1});
  EXPECT_EQ(LookUp(clr_.get(), ordinal), GetProcAddress(clr_.get(), ordinal));
  EXPECT_EQ(LookUp(hostpolicy_->get(), "coreclr_initialize"), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_PROC_NOT_FOUND});
}

TEST_F(HostFxrStart, DetachEndsTheWait) {
  LoadHostPolicy();
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
  ComReference<IClrHostMemoryBridge> second;
  EXPECT_EQ(ClrHostMemoryBridgeHostFxr(&manager_, &options_, second.Receive(), reason_.data(), reason_.size()),
            HOST_E_INVALIDOPERATION);
  EXPECT_STREQ(reason_.data(),
               "BridgeHostFxr waits for the start of a runtime already; keep its bridge, or detach it first.");
  bridge_->Detach();
  bridge_->Detach();
  EXPECT_EQ(LookUp(clr_.get(), "coreclr_initialize"), GetProcAddress(clr_.get(), "coreclr_initialize"));
  EXPECT_EQ(Start(clr_.get(), "0"), 0);
  EXPECT_EQ(told_, 0);
  ASSERT_EQ(Bridge(), S_OK) << reason_.data();
}

TEST_F(HostFxrStart, RefusesBadArguments) {
  EXPECT_EQ(ClrHostMemoryBridgeHostFxr(nullptr, &options_, bridge_.Receive(), nullptr, 0), E_POINTER);
  EXPECT_EQ(ClrHostMemoryBridgeHostFxr(&manager_, &options_, nullptr, nullptr, 0), E_POINTER);
  options_.size = 7;
  EXPECT_EQ(Bridge(), E_INVALIDARG);
  manager_.is_ours = false;
  EXPECT_EQ(ClrHostMemoryBridgeHostFxr(&manager_, nullptr, bridge_.Receive(), reason_.data(), reason_.size()),
            E_NOINTERFACE);
  EXPECT_FALSE(bridge_);
}

TEST_F(HostFxrStart, HostPolicyWithoutGetProcAddressIsRefused) {
  const CopiedModule file(L"hostpolicy.dll", L"fake_without_free.dll");
  const LoadedModule module(file.path());
  EXPECT_EQ(Bridge(), E_INVALIDARG);
  EXPECT_NE(std::string(reason_.data()).find("GetProcAddress"), std::string::npos) << reason_.data();
}

TEST_F(HostFxrStart, RuntimeThatHasStartedIsRefused) {
  const CopiedModule copy(L"coreclr.dll");
  CopiedModule& changed = const_cast<CopiedModule&>(copy);
  const LoadedModule library(changed.AddCoreLibrary());
  const FakeCoreClr started(copy.path());
  EXPECT_EQ(Bridge(), HOST_E_INVALIDOPERATION);
  EXPECT_NE(std::string(reason_.data()).find("has started in this process already"), std::string::npos)
      << reason_.data();
}

class RuntimeStartProperties : public HostFxrStart {
 protected:
  void SetUp() override {
    machine_.dwLength = sizeof(machine_);
    ASSERT_TRUE(GlobalMemoryStatusEx(&machine_));
    manager_.memory_status.total_physical = machine_.ullTotalPhys / 2;
    LoadHostPolicy();
    ASSERT_EQ(Bridge(), S_OK) << reason_.data();
    // The start fails, so that each call starts the runtime anew.
    answer_ = E_ABORT;
  }
  // Starts the runtime with this property, or none if key is null; returns the properties that it received after its
  // answer.
  std::string PropertiesWith(const char* key, const char* value) {
    EXPECT_EQ(hostpolicy_->Export<int(HMODULE, const char*, const char*, const char*)>("FakeStartRuntimeWith")(
                  clr_.get(), "0", key, value),
              E_ABORT);
    return std::string(properties_()).substr(std::string("ANSWER=0\n").size());
  }

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
  RuntimeStartGcLimit() { options_.gc_hard_limit = 12345678; }
  void SetUp() override {
    RuntimeStartProperties::SetUp();
    manager_.memory_status.total_physical = machine_.ullTotalPhys;  // no range is added
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

}  // namespace
}  // namespace clrhm_test
