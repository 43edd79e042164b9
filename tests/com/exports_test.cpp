// Tests that the DLL exports exactly the documented entries, under plain names, and has a version resource.
#include <set>
#include <string>
#include <vector>

#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

// Loaded because this program imports ClrHostMemoryVersion from it.
HMODULE LibraryModule() { return ::GetModuleHandleW(L"ClrHostMemory.dll"); }

std::set<std::string> ExportsOf(HMODULE module) {
  const auto* base = reinterpret_cast<const char*>(module);
  const auto* dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(base);
  const auto* nt = reinterpret_cast<const IMAGE_NT_HEADERS*>(base + dos->e_lfanew);
  const IMAGE_DATA_DIRECTORY& directory = nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT];
  std::set<std::string> names;
  if (directory.Size == 0) return names;
  const auto* exports = reinterpret_cast<const IMAGE_EXPORT_DIRECTORY*>(base + directory.VirtualAddress);
  const auto* name_offsets = reinterpret_cast<const DWORD*>(base + exports->AddressOfNames);
  for (DWORD i = 0; i < exports->NumberOfNames; ++i) names.insert(base + name_offsets[i]);
  EXPECT_EQ(names.size(), exports->NumberOfFunctions) << "something is exported by number only";
  return names;
}

TEST(Exports, AreTheDocumentedEntriesAndNothingElse) {
  HMODULE const library = LibraryModule();
  ASSERT_NE(nullptr, library);
  const std::set<std::string> documented = {"ClrHostMemoryAttachToCoreClr", "ClrHostMemoryAttachToRunningCoreClr",
                                            "ClrHostMemoryBridgeHostFxr",   "ClrHostMemoryCheckOptions",
                                            "ClrHostMemoryCreate",          "ClrHostMemoryCreateHostControl",
                                            "ClrHostMemoryVersion"};
  EXPECT_EQ(documented, ExportsOf(library));
}

// Explorer and installers read the version from there.
TEST(VersionResource, HasTheVersionOfTheHeaders) {
  wchar_t path[MAX_PATH] = {};
  ASSERT_NE(0u, ::GetModuleFileNameW(LibraryModule(), path, MAX_PATH));
  DWORD ignored = 0;
  std::vector<char> data(::GetFileVersionInfoSizeW(path, &ignored));
  ASSERT_FALSE(data.empty());
  ASSERT_NE(FALSE, ::GetFileVersionInfoW(path, 0, static_cast<DWORD>(data.size()), data.data()));
  void* found = nullptr;
  UINT size = 0;
  ASSERT_NE(FALSE, ::VerQueryValueW(data.data(), L"\\", &found, &size));
  const auto& information = *static_cast<const VS_FIXEDFILEINFO*>(found);
  EXPECT_EQ(DWORD{CLR_HOST_MEMORY_VERSION_MAJOR}, HIWORD(information.dwFileVersionMS));
  EXPECT_EQ(DWORD{CLR_HOST_MEMORY_VERSION_MINOR}, LOWORD(information.dwFileVersionMS));
  EXPECT_EQ(DWORD{CLR_HOST_MEMORY_VERSION_PATCH}, HIWORD(information.dwFileVersionLS));
  EXPECT_EQ(std::uint32_t{CLR_HOST_MEMORY_VERSION}, ClrHostMemoryVersion());
}

}  // namespace
}  // namespace clr_host_memory::test
