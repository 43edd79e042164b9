// Standalone GCs join the bridge of the module that loads them.
#include <gtest/gtest.h>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

class StandaloneGc : public BridgedFakeClr {
 protected:
  // Returns whether calls of the loaded GC reach the manager.
  bool Arrives(HMODULE gc) {
    manager_.Forget();
    const auto allocate =
        reinterpret_cast<decltype(&::VirtualAlloc)>(reinterpret_cast<void*>(GetProcAddress(gc, "FakeGcVirtualAlloc")));
    void* memory = allocate(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS);
    VirtualFree(memory, 0, MEM_RELEASE);
    return manager_.RequestsOf(Asked::kAlloc).size() == 1;
  }
  uint32_t ModuleCount() {
    ClrHostMemoryBridgedModule module{};
    module.size = sizeof(module);
    uint32_t count = 0;
    while (bridge()->GetModule(count, &module) == S_OK) ++count;
    return count;
  }
};

TEST_F(StandaloneGc, IsBridgedByEveryLoadFunction) {
  const std::wstring by_name = Beside(L"clrgc_fake.dll");
  const std::wstring by_export = Beside(L"fake_gc.dll");
  const std::string narrow(by_name.begin(), by_name.end());
  for (int way = 0; way < 5; ++way) {
    HMODULE gc = nullptr;
    SetLastError(4711);
    switch (way) {
      case 0: gc = clr_.load_library_ex_w(by_name.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH); break;
      case 1: gc = clr_.load_library_ex_a(narrow.c_str(), nullptr, 0); break;
      case 2: gc = clr_.load_library_w(by_name.c_str()); break;
      case 3: gc = clr_.load_library_a(narrow.c_str()); break;
      default: gc = clr_.load_library_ex_w(by_export.c_str(), nullptr, 0); break;
    }
    ASSERT_NE(gc, nullptr) << way;
    EXPECT_EQ(ModuleCount(), 2U) << way;
    EXPECT_TRUE(Arrives(gc)) << way;
    // Attach a new bridge for the next way.
    attachment_.bridge.Reset();
    EXPECT_FALSE(Arrives(gc)) << way;
    FreeLibrary(gc);
    attachment_.hr = ClrHostMemoryAttachToCoreClr(clr_.get(), &manager_, attachment_.bridge.Receive(), nullptr, 0);
    ASSERT_EQ(attachment_.hr, S_OK);
  }
}

TEST_F(StandaloneGc, LoadedTwiceIsBridgedOnce) {
  const std::wstring path = Beside(L"clrgc_fake.dll");
  HMODULE first = clr_.load_library_ex_w(path.c_str(), nullptr, 0);
  HMODULE second = clr_.load_library_ex_w(path.c_str(), nullptr, 0);
  EXPECT_EQ(first, second);
  EXPECT_EQ(ModuleCount(), 2U);
  MEMORY_BASIC_INFORMATION information{};
  clr_.virtual_query(&information, &information, sizeof(information));
  std::array<char, 512> reason{};
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), S_OK) << reason.data();
  FreeLibrary(first);
  FreeLibrary(second);
}

TEST_F(StandaloneGc, LoadedAsADataFileIsLeftAlone) {
  const std::wstring path = Beside(L"clrgc_fake.dll");
  for (DWORD flags : {DWORD{LOAD_LIBRARY_AS_DATAFILE}, DWORD{LOAD_LIBRARY_AS_IMAGE_RESOURCE},
                      DWORD{LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_AS_IMAGE_RESOURCE}}) {
    HMODULE data = clr_.load_library_ex_w(path.c_str(), nullptr, flags);
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(ModuleCount(), 1U);
    FreeLibrary(data);
  }
}

TEST_F(StandaloneGc, OtherLibrariesAreLeftAlone) {
  HMODULE other = clr_.load_library_ex_w(Beside(L"fake_hostpolicy.dll").c_str(), nullptr, 0);
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(ModuleCount(), 1U);
  FreeLibrary(other);
}

TEST_F(StandaloneGc, FailedLoadKeepsItsLastError) {
  SetLastError(4711);
  EXPECT_EQ(clr_.load_library_ex_w(Beside(L"clrgc_not_there.dll").c_str(), nullptr, 0), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_MOD_NOT_FOUND});
}

TEST_F(StandaloneGc, FailureToBridgeIsReportedByVerify) {
  HMODULE gc = clr_.load_library_ex_w(Beside(L"clrgc_without_free.dll").c_str(), nullptr, 0);
  ASSERT_NE(gc, nullptr);
  EXPECT_EQ(ModuleCount(), 1U);
  std::array<char, 1024> reason{};
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), HOST_E_CLRNOTAVAILABLE);
  const std::string text = reason.data();
  EXPECT_NE(text.find("clrgc_without_free.dll"), std::string::npos) << text;
  EXPECT_NE(text.find("VirtualFree"), std::string::npos) << text;
  FreeLibrary(gc);
}

}  // namespace
}  // namespace clrhm_test
