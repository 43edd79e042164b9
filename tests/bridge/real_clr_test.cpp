// The import tables of the real runtimes. The runtimes are loaded and patched, but not started.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bridge/fake_clr.h"
#include "bridge/patch/import_patch.h"
#include "clrhm_test_paths.h"

namespace clrhm_test {
namespace {

using clr_host_memory::AttachToCoreClr;
using clr_host_memory::CreateMemoryManager;

struct Runtime {
  const char* name;
  const char* version;
  bool has_clrgcexp;
};

class RealClr : public testing::TestWithParam<Runtime> {
 protected:
  void SetUp() override {
    const std::string root = kDotnetRoot;
    const std::string folder = root + "\\shared\\Microsoft.NETCore.App\\" + GetParam().version + "\\";
    folder_ = std::wstring(folder.begin(), folder.end());
    if (GetFileAttributesW((folder_ + L"coreclr.dll").c_str()) == INVALID_FILE_ATTRIBUTES) {
      GTEST_SKIP() << ".NET " << GetParam().name << " is not in " << root
                   << "; cmake -P cmake/test.cmake restores it there";
    }
  }
  std::wstring folder_;
};

std::string Imports(IClrHostMemoryBridge* bridge, uint32_t index) {
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  if (bridge->GetModule(index, &module) != S_OK) return "no module";
  return std::string(" ") + module.imports + " ";
}

TEST_P(RealClr, CoreClrImportsAllBridgedFunctionsByName) {
  const LoadedModule coreclr(folder_ + L"coreclr.dll", LOAD_WITH_ALTERED_SEARCH_PATH);
  ASSERT_NE(coreclr.get(), nullptr) << GetLastError();
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  auto bridge = AttachToCoreClr(coreclr.get(), *manager);
  ASSERT_TRUE(bridge) << bridge.error().reason();
  const std::string imports = Imports(bridge->get(), 0);
  for (const char* name :
       {"VirtualAlloc", "VirtualAllocExNuma", "VirtualFree", "VirtualQuery", "VirtualProtect", "MapViewOfFile",
        "MapViewOfFileEx", "UnmapViewOfFile", "LoadLibraryExW", "LoadLibraryExA", "GlobalMemoryStatusEx",
        "K32GetProcessMemoryInfo", "CreateMemoryResourceNotification", "HeapAlloc", "malloc", "calloc", "free"}) {
    EXPECT_NE(imports.find(std::string(" ") + name + " "), std::string::npos) << name << " is not in" << imports;
  }
}

TEST_P(RealClr, StandaloneGcsCanBeBridged) {
  const LoadedModule coreclr(folder_ + L"coreclr.dll", LOAD_WITH_ALTERED_SEARCH_PATH);
  ASSERT_NE(coreclr.get(), nullptr);
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  auto bridge = AttachToCoreClr(coreclr.get(), *manager);
  ASSERT_TRUE(bridge) << bridge.error().reason();
  std::vector<std::wstring> names = {L"clrgc.dll"};
  if (GetParam().has_clrgcexp) names.push_back(L"clrgcexp.dll");
  for (uint32_t index = 0; index < names.size(); ++index) {
    const LoadedModule gc(folder_ + names[index], LOAD_WITH_ALTERED_SEARCH_PATH);
    ASSERT_NE(gc.get(), nullptr) << GetLastError();
    EXPECT_NE(GetProcAddress(gc.get(), "GC_Initialize"), nullptr) << "how the bridge tells a GC";
    const auto attached = bridge->AttachModule(gc.get());
    EXPECT_TRUE(attached) << attached.error().reason();
    const std::string imports = Imports(bridge->get(), index + 1);
    for (const char* name : {"VirtualAlloc", "VirtualAllocExNuma", "VirtualFree", "GlobalMemoryStatusEx"}) {
      EXPECT_NE(imports.find(std::string(" ") + name + " "), std::string::npos) << name << " is not in" << imports;
    }
  }
}

TEST_P(RealClr, PatchKeepsTableReadOnlyAndUndoRestoresIt) {
  const LoadedModule coreclr(folder_ + L"coreclr.dll", LOAD_WITH_ALTERED_SEARCH_PATH);
  ASSERT_NE(coreclr.get(), nullptr);
  std::vector<clr_host_memory::NamedImport> imports;
  std::string reason;
  ASSERT_EQ(clr_host_memory::ReadNamedImports(coreclr.get(), &imports, &reason), S_OK) << reason;
  ASSERT_GT(imports.size(), 100U);
  const auto values = [&] {
    std::vector<void*> result;
    for (const auto& import : imports) result.push_back(*import.slot);
    return result;
  };
  const auto protection = [&] {
    MEMORY_BASIC_INFORMATION information{};
    VirtualQuery(imports[0].slot, &information, sizeof(information));
    return information.Protect;
  };
  const auto values_before = values();
  const DWORD protection_before = protection();
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  {
    auto bridge = AttachToCoreClr(coreclr.get(), *manager);
    ASSERT_TRUE(bridge) << bridge.error().reason();
    EXPECT_NE(values(), values_before);
    EXPECT_EQ(protection(), protection_before);
  }
  EXPECT_EQ(values(), values_before);
  EXPECT_EQ(protection(), protection_before);
}

TEST_P(RealClr, HostpolicyImportsGetProcAddressByName) {
  const LoadedModule hostpolicy(folder_ + L"hostpolicy.dll", LOAD_WITH_ALTERED_SEARCH_PATH);
  ASSERT_NE(hostpolicy.get(), nullptr) << GetLastError();
  auto manager = CreateMemoryManager();
  ASSERT_TRUE(manager) << manager.error().reason();
  auto bridge = clr_host_memory::BridgeHostFxr(*manager);
  ASSERT_TRUE(bridge) << bridge.error().reason();
  bridge->Detach();
}

TEST_P(RealClr, ContinuesWhenManagerIsShutDownWhileRunning) {
  const std::string app = std::string(kProgramsDirectory) + "\\net" + GetParam().name + "\\Churn\\Churn.dll";
  std::wstring command = L"shut_down_under_clr.exe \"" + folder_.substr(0, folder_.size() - 1) + L"\" \"" +
                         std::wstring(app.begin(), app.end()) + L"\"";
  STARTUPINFOW startup{};
  startup.cb = sizeof(startup);
  PROCESS_INFORMATION process{};
  ASSERT_TRUE(CreateProcessW(nullptr, command.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr, &startup, &process))
      << GetLastError();
  EXPECT_EQ(WaitForSingleObject(process.hProcess, 240000), WAIT_OBJECT_0);
  DWORD code = STILL_ACTIVE;
  GetExitCodeProcess(process.hProcess, &code);
  EXPECT_EQ(code, 0U) << "the app's own exit code, or what shut_down_under_clr.cpp says";
  CloseHandle(process.hThread);
  CloseHandle(process.hProcess);
}

INSTANTIATE_TEST_SUITE_P(Runtimes, RealClr,
                         testing::Values(Runtime{"8.0", kNet8Version, false}, Runtime{"10.0", kNet10Version, true}),
                         [](const auto& runtime) { return runtime.index == 0 ? "Net8" : "Net10"; });

}  // namespace
}  // namespace clrhm_test
