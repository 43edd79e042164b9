// How the bridge treats a started runtime: how it detects the start, before the runtime is attached, and after the
// last Release.
#include "bridge/start/started_runtime.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "bridge/fake_clr.h"
#include "clrhm_test_paths.h"

namespace clrhm_test {
namespace {

bool Has(const std::array<char, 2048>& reason, const char* text) {
  return std::string(reason.data()).find(text) != std::string::npos;
}

bool Exists(const std::wstring& path) { return GetFileAttributesW(path.c_str()) != INVALID_FILE_ATTRIBUTES; }

// A fake CLR in its own folder, where its core library can be loaded as a start does.
class StartedRuntime : public testing::Test {
 protected:
  void Start() { core_library_ = std::make_unique<LoadedModule>(files_.AddCoreLibrary()); }
  void TearDown() override {
    core_library_.reset();
    clr_.reset();  // before the files are deleted
  }
  [[nodiscard]] bool Arrives() {
    manager_.Forget();
    MEMORY_BASIC_INFORMATION information{};
    clr_->virtual_query(&information, &information, sizeof(information));
    return !manager_.RequestsOf(Asked::kQuery).empty();
  }

  CopiedModule files_{L"started_coreclr.dll"};
  std::unique_ptr<FakeCoreClr> clr_ = std::make_unique<FakeCoreClr>(files_.path());
  std::unique_ptr<LoadedModule> core_library_;
  RecordingManager manager_;
};

TEST_F(StartedRuntime, IsNotAttachedAndReasonGivesRemedy) {
  Start();
  ASSERT_NE(core_library_->get(), nullptr);
  const auto before = clr_->AllSlots();
  Attachment late(clr_->get(), &manager_);
  EXPECT_EQ(late.hr, HOST_E_INVALIDOPERATION);
  EXPECT_EQ(late.bridge.get(), nullptr);
  EXPECT_TRUE(Has(late.reason, "started_coreclr.dll has started already")) << late.reason.data();
  EXPECT_TRUE(Has(late.reason, "attach before coreclr_initialize")) << late.reason.data();
  EXPECT_EQ(clr_->AllSlots(), before);
  EXPECT_EQ(manager_.references(), 1U);
}

TEST_F(StartedRuntime, IsNotAttachedThroughAnotherModulesBridge) {
  Start();
  const LoadedModule plugin(Beside(L"fake_plugin.dll"));
  Attachment other(plugin.get(), &manager_);
  ASSERT_EQ(other.hr, S_OK) << "a plug-in may come after the start: " << other.reason.data();
  std::array<char, 2048> reason{};
  EXPECT_EQ(other.bridge->AttachModule(clr_->get(), reason.data(), reason.size()), HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(reason, "has started already")) << reason.data();
  EXPECT_EQ(other.bridge->AttachModulesNamed(L"started_coreclr.dll", reason.data(), reason.size()),
            HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(reason, "has started already")) << reason.data();
}

TEST_F(StartedRuntime, TakesMoreModulesIfAttachedBeforeStart) {
  Attachment attachment(clr_->get(), &manager_);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  Start();
  std::array<char, 2048> reason{};
  EXPECT_EQ(attachment.bridge->AttachModule(clr_->get(), reason.data(), reason.size()), HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(reason, "bridged already")) << reason.data();
  EXPECT_EQ(attachment.bridge->AttachModulesNamed(L"started_coreclr.dll", nullptr, 0), S_OK) << "it is bridged";
  const LoadedModule gc(Beside(L"clrgc_fake.dll"));
  EXPECT_EQ(attachment.bridge->AttachModule(gc.get(), reason.data(), reason.size()), S_OK) << reason.data();
  attachment.bridge->Detach();
}

TEST_F(StartedRuntime, KeepsItsBridgeAfterRelease) {
  const auto before = clr_->AllSlots();
  {
    Attachment attachment(clr_->get(), &manager_);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    Start();
    ASSERT_TRUE(Arrives());
    // Release works on any thread.
    std::thread([&] { EXPECT_EQ(attachment.bridge.Detach()->Release(), 0U); }).join();
  }
  EXPECT_TRUE(Arrives()) << "the limit holds for as long as the process lives";
  EXPECT_GT(manager_.references(), 1U);
  EXPECT_EQ(manager_.detached, 0);

  RecordingManager other_manager;
  Attachment other(clr_->get(), &other_manager);
  EXPECT_EQ(other.hr, HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(other.reason, "Another memory manager")) << other.reason.data();

  Attachment again(clr_->get(), &manager_);
  ASSERT_EQ(again.hr, S_OK) << again.reason.data();
  uint64_t calls = 0;
  again.bridge->GetCallCount(&calls);
  EXPECT_EQ(calls, 2U) << "it is the same bridge";
  Attachment third(clr_->get(), &manager_);
  EXPECT_EQ(third.hr, HOST_E_INVALIDOPERATION) << "which has an owner now";
  EXPECT_TRUE(Has(third.reason, "bridged already")) << third.reason.data();

  again.bridge.Reset();
  EXPECT_TRUE(Arrives());
  Attachment last(clr_->get(), &manager_);
  ASSERT_EQ(last.hr, S_OK) << last.reason.data();
  EXPECT_EQ(last.bridge->Detach(), S_OK);
  EXPECT_EQ(clr_->AllSlots(), before);
  EXPECT_EQ(manager_.references(), 1U);
  EXPECT_EQ(manager_.detached, 1) << "the host is told that no limit holds any more";
  EXPECT_EQ(last.bridge->Detach(), S_OK);
  EXPECT_EQ(manager_.detached, 1);
}

TEST_F(StartedRuntime, CannotBeAttachedAgainAfterDetach) {
  Attachment attachment(clr_->get(), &manager_);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  Start();
  attachment.bridge->Detach();
  EXPECT_EQ(manager_.detached, 1);
  Attachment again(clr_->get(), &manager_);
  EXPECT_EQ(again.hr, HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(again.reason, "has started already")) << again.reason.data();
}

TEST_F(StartedRuntime, CanBeReportedByTheHost) {
  const auto before = clr_->AllSlots();
  {
    Attachment attachment(clr_->get(), &manager_);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    ASSERT_EQ(attachment.bridge->NoteRuntimeStarted(), S_OK);
  }
  EXPECT_TRUE(Arrives());
  Attachment again(clr_->get(), &manager_);
  ASSERT_EQ(again.hr, S_OK) << again.reason.data();
  again.bridge->Detach();
  EXPECT_EQ(manager_.detached, 1);
  EXPECT_EQ(clr_->AllSlots(), before);
}

TEST_F(StartedRuntime, ReleasedBridgeStillAttachesNamedModules) {
  {
    Attachment attachment(clr_->get(), &manager_);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    ASSERT_EQ(attachment.bridge->AttachModulesNamed(L"fake_plugin.dll", nullptr, 0), S_OK);
    Start();
  }
  HMODULE plugin = clr_->load_library_ex_w(Beside(L"fake_plugin.dll").c_str(), nullptr, 0);
  ASSERT_NE(plugin, nullptr);
  Attachment again(clr_->get(), &manager_);
  ASSERT_EQ(again.hr, S_OK) << again.reason.data();
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  ASSERT_EQ(again.bridge->GetModule(1, &module), S_OK);
  EXPECT_EQ(module.module, plugin);
  FreeLibrary(plugin);
  again.bridge->Detach();
  EXPECT_EQ(GetModuleHandleW(L"fake_plugin.dll"), nullptr);
}

// A native plug-in has no runtime that continues by itself, so its bridge ends with its last Release.
TEST_F(StartedRuntime, OtherBridgesEndWithTheirRelease) {
  Attachment attachment(clr_->get(), &manager_);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  Start();
  const LoadedModule plugin(Beside(L"fake_plugin.dll"));
  {
    Attachment other(plugin.get(), &manager_);
  }
  Attachment again(plugin.get(), &manager_);
  EXPECT_EQ(again.hr, S_OK) << again.reason.data();
  again.bridge->Detach();
  EXPECT_EQ(manager_.detached, 0) << "its runtime is bridged as ever";
  EXPECT_TRUE(Arrives());
  attachment.bridge->Detach();
  EXPECT_EQ(manager_.detached, 1);
}

// The core library of one runtime does not indicate the start of another runtime loaded beside it.
TEST(StartedRuntimes, AreDistinguishedByTheirFolders) {
  FakeCoreClr clr;
  CopiedModule files(L"coreclr.dll");
  const LoadedModule other(files.path());
  ASSERT_NE(other.get(), nullptr);
  EXPECT_FALSE(clr_host_memory::HasBegunToStart(clr.get()));
  EXPECT_FALSE(clr_host_memory::HasBegunToStart(other.get()));
  const LoadedModule core_library(files.AddCoreLibrary());
  EXPECT_FALSE(clr_host_memory::HasBegunToStart(clr.get()));
  EXPECT_TRUE(clr_host_memory::HasBegunToStart(other.get()));
}

// TRUSTED_PLATFORM_ASSEMBLIES may lead to a core library in any folder.
TEST(StartedRuntimes, MayHaveTheirCoreLibraryInAnotherFolder) {
  FakeCoreClr clr;
  CopiedModule files(L"unused_coreclr.dll");
  const LoadedModule core_library(files.AddCoreLibrary());
  EXPECT_TRUE(clr_host_memory::HasBegunToStart(clr.get()));
}

// The bridge detects the start by the modules that the runtime loads. These tests load the real assemblies through a
// fake runtime's imports.
class NoticedStart : public BridgedFakeClr, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    BridgedFakeClr::SetUp();
    const std::string folder = std::string(kDotnetRoot) + "\\shared\\Microsoft.NETCore.App\\" + GetParam() + "\\";
    folder_.assign(folder.begin(), folder.end());
    if (!Exists(folder_ + L"System.Runtime.dll")) {
      GTEST_SKIP() << folder << " is not there; cmake -P cmake/test.cmake restores it";
    }
  }
  // Returns whether the runtime counts as started after it has loaded that file; unloads the file again.
  bool HasStartedWith(const std::wstring& path) {
    HMODULE loaded = clr_.load_library_ex_w(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
    EXPECT_NE(loaded, nullptr) << GetLastError();
    if (loaded != nullptr) FreeLibrary(loaded);
    return HasStarted();
  }
  std::wstring folder_;
};

TEST_P(NoticedStart, IsTheFirstAssemblyAfterTheCoreLibrary) {
  EXPECT_FALSE(HasStartedWith(folder_ + L"System.Private.CoreLib.dll"));
  EXPECT_FALSE(HasStartedWith(Beside(L"fake_plugin.dll"))) << "which is native code";
  EXPECT_TRUE(HasStartedWith(folder_ + L"System.Runtime.dll"));
}

TEST_P(NoticedStart, IgnoresLoadsByOtherModules) {
  const LoadedModule plugin(Beside(L"fake_plugin.dll"));
  ASSERT_EQ(bridge()->AttachModule(plugin.get(), nullptr, 0), S_OK);
  const auto load = plugin.Export<decltype(::LoadLibraryExW)>("FakeGcLoadLibraryExW");
  HMODULE assembly = load((folder_ + L"System.Runtime.dll").c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  ASSERT_NE(assembly, nullptr);
  EXPECT_FALSE(HasStarted());
  FreeLibrary(assembly);
}

TEST_P(NoticedStart, IgnoresFilesLoadedAsData) {
  HMODULE data = clr_.load_library_ex_w((folder_ + L"System.Runtime.dll").c_str(), nullptr, LOAD_LIBRARY_AS_DATAFILE);
  ASSERT_NE(data, nullptr);
  EXPECT_FALSE(HasStarted());
  FreeLibrary(data);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, NoticedStart, testing::Values(kNet8Version, kNet10Version),
                         [](const auto& tested) { return tested.index == 0 ? "net8" : "net10"; });

}  // namespace
}  // namespace clrhm_test
