// Modules that are bridged by name, independent of when they are loaded and of the code that loads them.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

constexpr const wchar_t* kPlugin = L"fake_plugin.dll";

class LateModules : public BridgedFakeClr {
 protected:
  static HMODULE Load(const wchar_t* name) { return LoadLibraryExW(Beside(name).c_str(), nullptr, 0); }
  // Returns whether the module's calls reach the manager.
  bool Arrives(HMODULE module) {
    const auto allocate = reinterpret_cast<decltype(&::VirtualAlloc)>(
        reinterpret_cast<void*>(GetProcAddress(module, "FakeGcVirtualAlloc")));
    manager_.Forget();
    void* memory = allocate(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS);
    VirtualFree(memory, 0, MEM_RELEASE);
    return !manager_.RequestsOf(Asked::kAlloc).empty();
  }
  bool ArrivesSoon(HMODULE module) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      if (Arrives(module)) return true;
      Sleep(10);
    }
    return false;
  }
  HRESULT AttachNamed(const wchar_t* name) {
    reason_ = {};
    return bridge()->AttachModulesNamed(name, reason_.data(), reason_.size());
  }
  std::array<char, 2048> reason_{};
};

TEST_F(LateModules, AlreadyLoadedAreBridgedAtOnce) {
  const LoadedModule plugin(Beside(kPlugin));
  EXPECT_EQ(AttachNamed(L"FAKE_PLUGIN.DLL"), S_OK) << reason_.data();
  EXPECT_TRUE(Arrives(plugin.get()));
  EXPECT_EQ(AttachNamed(kPlugin), S_OK) << "again";
  attachment_.bridge->Detach();
  EXPECT_FALSE(Arrives(plugin.get()));
}

TEST_F(LateModules, LoadedByBridgedModuleAreBridgedUponReturn) {
  ASSERT_EQ(AttachNamed(kPlugin), S_OK) << reason_.data();
  HMODULE plugin = clr_.load_library_ex_w(Beside(kPlugin).c_str(), nullptr, 0);
  ASSERT_NE(plugin, nullptr);
  EXPECT_TRUE(Arrives(plugin));
  FreeLibrary(plugin);
}

TEST_F(LateModules, LoadedByOtherCodeAreBridgedSoon) {
  ASSERT_EQ(AttachNamed(kPlugin), S_OK) << reason_.data();
  HMODULE plugin = Load(kPlugin);
  ASSERT_NE(plugin, nullptr);
  EXPECT_TRUE(ArrivesSoon(plugin));
  FreeLibrary(plugin);
}

TEST_F(LateModules, WithOtherNamesAreLeftAlone) {
  ASSERT_EQ(AttachNamed(L"fake_plugin"), S_OK);
  HMODULE plugin = clr_.load_library_ex_w(Beside(kPlugin).c_str(), nullptr, 0);
  EXPECT_FALSE(Arrives(plugin));
  FreeLibrary(plugin);
}

TEST_F(LateModules, FreedByTheirLoaderStayLoadedUntilDetach) {
  ASSERT_EQ(AttachNamed(kPlugin), S_OK);
  HMODULE plugin = clr_.load_library_ex_w(Beside(kPlugin).c_str(), nullptr, 0);
  ASSERT_TRUE(Arrives(plugin));
  FreeLibrary(plugin);
  EXPECT_NE(GetModuleHandleW(kPlugin), nullptr);
  attachment_.bridge->Detach();
  EXPECT_EQ(GetModuleHandleW(kPlugin), nullptr);
  // A module that is loaded anew belongs to no bridge.
  const LoadedModule again{Beside(kPlugin)};
  EXPECT_FALSE(Arrives(again.get()));
}

TEST_F(LateModules, UnloadedEarlyAreNotLoadedAgain) {
  ASSERT_EQ(AttachNamed(kPlugin), S_OK);
  for (int round = 0; round < 20; ++round) FreeLibrary(Load(kPlugin));
  attachment_.bridge->Detach();
  EXPECT_EQ(GetModuleHandleW(kPlugin), nullptr);
}

TEST_F(LateModules, FailuresAreReportedAtOnceOrByVerify) {
  MEMORY_BASIC_INFORMATION information{};
  clr_.virtual_query(&information, &information, sizeof(information));  // a call that reaches the manager
  ASSERT_EQ(AttachNamed(L"fake_without_free.dll"), S_OK);
  HMODULE late = clr_.load_library_ex_w(Beside(L"fake_without_free.dll").c_str(), nullptr, 0);
  ASSERT_NE(late, nullptr);
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason_.data(), reason_.size()), HOST_E_CLRNOTAVAILABLE);
  EXPECT_NE(std::string(reason_.data()).find("VirtualFree"), std::string::npos) << reason_.data();
  EXPECT_EQ(AttachNamed(L"fake_without_free.dll"), E_INVALIDARG) << "it is there by now";
  FreeLibrary(late);
}

// The watch sees the load as well and may be first. LoadLibrary returns after the watch has attached the module, not
// before.
TEST_F(LateModules, AreBridgedWhenLoadLibraryReturnsDespiteConcurrentWatch) {
  const LoadedModule other_clr(Beside(L"fake_gc.dll"));
  for (int round = 0; round < 200; ++round) {
    Attachment other(other_clr.get(), &manager_);
    ASSERT_EQ(other.hr, S_OK) << other.reason.data();
    ASSERT_EQ(other.bridge->AttachModulesNamed(kPlugin, nullptr, 0), S_OK);
    ASSERT_EQ(other.bridge->AttachModulesNamed(L"fake_without_free.dll", nullptr, 0), S_OK);
    HMODULE plugin = clr_.load_library_ex_w(Beside(kPlugin).c_str(), nullptr, 0);
    ASSERT_NE(plugin, nullptr);
    ASSERT_TRUE(Arrives(plugin)) << "round " << round;
    FreeLibrary(plugin);
    HMODULE refused = clr_.load_library_ex_w(Beside(L"fake_without_free.dll").c_str(), nullptr, 0);
    ASSERT_NE(refused, nullptr);
    ASSERT_EQ(other.bridge->VerifyCallsArrive(reason_.data(), reason_.size()), HOST_E_CLRNOTAVAILABLE) << round;
    ASSERT_NE(std::string(reason_.data()).find("fake_without_free"), std::string::npos) << reason_.data();
    FreeLibrary(refused);
  }
}

TEST_F(LateModules, InvalidNamesAreRefused) {
  for (const wchar_t* name : {L"", L"C:\\x\\plugin.dll", L"folder/plugin.dll"}) {
    EXPECT_EQ(AttachNamed(name), E_INVALIDARG);
    EXPECT_NE(std::string(reason_.data()).find("file name"), std::string::npos) << reason_.data();
  }
  EXPECT_EQ(AttachNamed(nullptr), E_INVALIDARG);
  EXPECT_EQ(AttachNamed(L"kernel32.dll"), E_INVALIDARG) << "what the manager itself runs on";
  attachment_.bridge->Detach();
  EXPECT_EQ(AttachNamed(kPlugin), HOST_E_INVALIDOPERATION);
}

TEST_F(LateModules, OfTwoBridgesDetachWithTheirOwnBridge) {
  const LoadedModule plugin(Beside(kPlugin));
  const LoadedModule other_clr(Beside(L"fake_gc.dll"));
  for (const bool named_first : {true, false}) {
    Attachment second(other_clr.get(), &manager_);
    ASSERT_EQ(second.hr, S_OK) << second.reason.data();
    ASSERT_EQ(second.bridge->AttachModulesNamed(kPlugin, nullptr, 0), S_OK);
    EXPECT_TRUE(Arrives(plugin.get()));
    EXPECT_TRUE(Arrives(other_clr.get()));
    if (named_first) {
      second.bridge->Detach();
      EXPECT_FALSE(Arrives(plugin.get()));
      EXPECT_FALSE(Arrives(other_clr.get()));
    } else {
      attachment_.bridge->Detach();
      EXPECT_TRUE(Arrives(plugin.get()));
    }
  }
  EXPECT_FALSE(Arrives(plugin.get()));
}

// Threads load and free the plug-in and call through it, while bridges that have its name attach and detach.
TEST_F(LateModules, LoadAndUnloadUnderThreads) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int id = 0; id < 3; ++id) {
    threads.emplace_back([&, id] {
      while (!stop.load()) {
        HMODULE plugin = id == 0 ? clr_.load_library_w(Beside(kPlugin).c_str()) : Load(kPlugin);
        ASSERT_NE(plugin, nullptr);
        const auto allocate = reinterpret_cast<decltype(&::VirtualAlloc)>(
            reinterpret_cast<void*>(GetProcAddress(plugin, "FakeGcVirtualAlloc")));
        for (int call = 0; call < 20; ++call) {
          void* memory = allocate(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS);
          ASSERT_NE(memory, nullptr);
          VirtualFree(memory, 0, MEM_RELEASE);
        }
        FreeLibrary(plugin);
      }
    });
  }
  const LoadedModule other_clr(Beside(L"fake_gc.dll"));
  for (int round = 0; round < 50; ++round) {
    Attachment other(other_clr.get(), &manager_);
    ASSERT_EQ(other.hr, S_OK) << other.reason.data();
    ASSERT_EQ(other.bridge->AttachModulesNamed(kPlugin, nullptr, 0), S_OK);
    Sleep(static_cast<DWORD>(round % 5));
    manager_.Forget();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  attachment_.bridge->Detach();
  EXPECT_EQ(GetModuleHandleW(kPlugin), nullptr);
}

TEST_F(LateModules, BeyondTheMaximumAreRefusedWithTheNumber) {
  std::vector<std::unique_ptr<CopiedModule>> copies;
  std::vector<std::unique_ptr<LoadedModule>> loaded;
  HRESULT hr = S_OK;
  for (int index = 0; index < 20 && hr == S_OK; ++index) {
    const std::wstring name = L"fake_many_" + std::to_wstring(index) + L".dll";
    copies.push_back(std::make_unique<CopiedModule>(name.c_str()));
    loaded.push_back(std::make_unique<LoadedModule>(copies.back()->path()));
    hr = AttachNamed(name.c_str());
  }
  EXPECT_EQ(hr, E_OUTOFMEMORY);
  EXPECT_EQ(loaded.size(), 16U) << "with the fake CLR's own there is no set for the sixteenth";
  EXPECT_NE(std::string(reason_.data()).find("16"), std::string::npos) << reason_.data();
  attachment_.bridge->Detach();
}

}  // namespace
}  // namespace clrhm_test
