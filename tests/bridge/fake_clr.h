// The stand-ins for a CLR's DLLs, loaded and with their exports resolved, and the common start of most bridge tests.
#ifndef CLRHM_TESTS_BRIDGE_FAKE_CLR_H
#define CLRHM_TESTS_BRIDGE_FAKE_CLR_H

#include <clr_host_memory/core_clr_bridge.h>
#include <gtest/gtest.h>
#include <psapi.h>

#include <array>
#include <string>
#include <vector>

#include "bridge/patch/import_table.h"
#include "bridge/patch/module_files.h"
#include "bridge/recording_manager.h"

namespace clrhm_test {

// A DLL in this program's folder, unloaded by the destructor.
class LoadedModule {
 public:
  explicit LoadedModule(const std::wstring& path, DWORD flags = 0)
      : module_(LoadLibraryExW(path.c_str(), nullptr, flags)) {}
  LoadedModule(const LoadedModule&) = delete;
  LoadedModule& operator=(const LoadedModule&) = delete;
  ~LoadedModule() {
    if (module_ != nullptr) FreeLibrary(module_);
  }
  [[nodiscard]] HMODULE get() const { return module_; }

  template <typename Function>
  [[nodiscard]] Function* Export(const char* name) const {
    const FARPROC found = GetProcAddress(module_, name);
    EXPECT_NE(found, nullptr) << name;
    return reinterpret_cast<Function*>(reinterpret_cast<void*>(found));
  }

 private:
  HMODULE module_;
};

// Returns the full path of a file in this program's folder.
inline std::wstring Beside(const wchar_t* name) {
  std::wstring path = clr_host_memory::ModulePath(nullptr);
  path.resize(path.size() - clr_host_memory::BaseName(path).size());
  return path + name;
}

// A copy of a DLL beside this program under another name, in a folder that no other test process uses. It must outlive
// its loading.
class CopiedModule {
 public:
  explicit CopiedModule(const wchar_t* name, const wchar_t* source = L"fake_coreclr.dll") {
    std::array<wchar_t, MAX_PATH> temp{};
    EXPECT_NE(GetTempPathW(static_cast<DWORD>(temp.size()), temp.data()), 0U);
    // Another test's copy may stay loaded, since a started runtime is never unloaded.
    static int copies = 0;
    folder_ = std::wstring(temp.data()) + L"clrhm_" + std::to_wstring(GetCurrentProcessId()) + L"_" +
              std::to_wstring(++copies);
    path_ = folder_ + L"\\" + name;
    CreateDirectoryW(folder_.c_str(), nullptr);
    EXPECT_TRUE(CopyFileW(Beside(source).c_str(), path_.c_str(), FALSE)) << GetLastError();
  }
  // Puts a stand-in for the core library beside it; returns the path.
  [[nodiscard]] std::wstring AddCoreLibrary() {
    core_library_ = folder_ + L"\\System.Private.CoreLib.dll";
    EXPECT_TRUE(CopyFileW(Beside(L"fake_without_free.dll").c_str(), core_library_.c_str(), FALSE)) << GetLastError();
    return core_library_;
  }
  CopiedModule(const CopiedModule&) = delete;
  CopiedModule& operator=(const CopiedModule&) = delete;
  ~CopiedModule() {
    DeleteFileW(core_library_.c_str());
    DeleteFileW(path_.c_str());
    RemoveDirectoryW(folder_.c_str());
  }
  [[nodiscard]] const std::wstring& path() const { return path_; }

 private:
  std::wstring folder_;
  std::wstring path_;
  std::wstring core_library_;
};

// Returns the contents of a module's import address table, by name.
inline std::vector<void*> ImportsOf(HMODULE module) {
  std::vector<clr_host_memory::NamedImport> imports;
  std::string reason;
  EXPECT_EQ(clr_host_memory::ReadNamedImports(module, &imports, &reason), S_OK) << reason;
  std::vector<void*> values;
  for (const auto& import : imports) values.push_back(*import.slot);
  return values;
}

class FakeCoreClr : public LoadedModule {
 public:
  explicit FakeCoreClr(const std::wstring& path = Beside(L"fake_coreclr.dll")) : LoadedModule(path) {}

  decltype(::VirtualAlloc)* virtual_alloc = Export<decltype(::VirtualAlloc)>("FakeVirtualAlloc");
  decltype(::VirtualAllocExNuma)* virtual_alloc_ex_numa =
      Export<decltype(::VirtualAllocExNuma)>("FakeVirtualAllocExNuma");
  decltype(::VirtualFree)* virtual_free = Export<decltype(::VirtualFree)>("FakeVirtualFree");
  decltype(::VirtualQuery)* virtual_query = Export<decltype(::VirtualQuery)>("FakeVirtualQuery");
  decltype(::VirtualProtect)* virtual_protect = Export<decltype(::VirtualProtect)>("FakeVirtualProtect");
  decltype(::CreateFileMappingW)* create_mapping_w = Export<decltype(::CreateFileMappingW)>("FakeCreateFileMappingW");
  decltype(::CreateFileMappingA)* create_mapping_a = Export<decltype(::CreateFileMappingA)>("FakeCreateFileMappingA");
  decltype(::CloseHandle)* close_handle = Export<decltype(::CloseHandle)>("FakeCloseHandle");
  decltype(::MapViewOfFile)* map_view = Export<decltype(::MapViewOfFile)>("FakeMapViewOfFile");
  decltype(::MapViewOfFileEx)* map_view_ex = Export<decltype(::MapViewOfFileEx)>("FakeMapViewOfFileEx");
  decltype(::UnmapViewOfFile)* unmap_view = Export<decltype(::UnmapViewOfFile)>("FakeUnmapViewOfFile");
  decltype(::LoadLibraryExW)* load_library_ex_w = Export<decltype(::LoadLibraryExW)>("FakeLoadLibraryExW");
  decltype(::LoadLibraryExA)* load_library_ex_a = Export<decltype(::LoadLibraryExA)>("FakeLoadLibraryExA");
  decltype(::LoadLibraryW)* load_library_w = Export<decltype(::LoadLibraryW)>("FakeLoadLibraryW");
  decltype(::LoadLibraryA)* load_library_a = Export<decltype(::LoadLibraryA)>("FakeLoadLibraryA");
  decltype(::IsProcessInJob)* is_process_in_job = Export<decltype(::IsProcessInJob)>("FakeIsProcessInJob");
  decltype(::QueryInformationJobObject)* query_job =
      Export<decltype(::QueryInformationJobObject)>("FakeQueryInformationJobObject");
  decltype(::K32GetProcessMemoryInfo)* process_memory =
      Export<decltype(::K32GetProcessMemoryInfo)>("FakeK32GetProcessMemoryInfo");
  decltype(::GlobalMemoryStatusEx)* memory_status =
      Export<decltype(::GlobalMemoryStatusEx)>("FakeGlobalMemoryStatusEx");
  decltype(::CreateMemoryResourceNotification)* create_notification =
      Export<decltype(::CreateMemoryResourceNotification)>("FakeCreateMemoryResourceNotification");
  decltype(::QueryMemoryResourceNotification)* query_notification =
      Export<decltype(::QueryMemoryResourceNotification)>("FakeQueryMemoryResourceNotification");

  void* (*malloc)(std::size_t) = Export<void*(std::size_t)>("FakeMalloc");
  void* (*calloc)(std::size_t, std::size_t) = Export<void*(std::size_t, std::size_t)>("FakeCalloc");
  void* (*realloc)(void*, std::size_t) = Export<void*(void*, std::size_t)>("FakeRealloc");
  void (*free)(void*) = Export<void(void*)>("FakeFree");
  decltype(::HeapCreate)* heap_create = Export<decltype(::HeapCreate)>("FakeHeapCreate");
  decltype(::HeapDestroy)* heap_destroy = Export<decltype(::HeapDestroy)>("FakeHeapDestroy");
  decltype(::HeapAlloc)* heap_alloc = Export<decltype(::HeapAlloc)>("FakeHeapAlloc");
  decltype(::HeapReAlloc)* heap_re_alloc = Export<decltype(::HeapReAlloc)>("FakeHeapReAlloc");
  decltype(::HeapFree)* heap_free = Export<decltype(::HeapFree)>("FakeHeapFree");
  decltype(::HeapSize)* heap_size = Export<decltype(::HeapSize)>("FakeHeapSize");

  // Returns the entry in the import address table for the import called name.
  [[nodiscard]] void** Slot(const char* name) const {
    std::vector<clr_host_memory::NamedImport> imports;
    std::string reason;
    EXPECT_EQ(clr_host_memory::ReadNamedImports(get(), &imports, &reason), S_OK) << reason;
    for (const auto& import : imports) {
      if (import.name == name) return import.slot;
    }
    ADD_FAILURE() << "no import " << name;
    return nullptr;
  }

  [[nodiscard]] std::vector<void*> AllSlots() const { return ImportsOf(get()); }
};

// The result of ClrHostMemoryAttachToCoreClr, including its reason.
struct Attachment {
  Attachment(HMODULE module, IHostMemoryManager* manager) {
    hr = ClrHostMemoryAttachToCoreClr(module, manager, bridge.Receive(), reason.data(), reason.size());
  }
  HRESULT hr;
  clr_host_memory::ComReference<IClrHostMemoryBridge> bridge;
  std::array<char, 2048> reason{};
};

// A fake CLR whose imports are bridged to a recording manager.
class BridgedFakeClr : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(attachment_.hr, S_OK) << attachment_.reason.data();
    manager_.Forget();
  }
  void TearDown() override {
    if (attachment_.bridge) attachment_.bridge->Detach();  // Release alone leaves the bridge to a started runtime
    attachment_.bridge.Reset();
    EXPECT_EQ(manager_.references(), 1U);
  }
  // Returns whether the bridge knows that the runtime has started.
  bool HasStarted() {
    constexpr SIZE_T kGcSize = 16 * 1024 * 1024;
    void* region = clr_.virtual_alloc(nullptr, kGcSize, MEM_RESERVE, PAGE_READWRITE);
    manager_.regions = {{region, kGcSize, 0, PAGE_READWRITE}};
    clr_.virtual_alloc(region, 4096, MEM_COMMIT, PAGE_READWRITE);
    const bool started = manager_.Last().level == eTaskCritical;
    VirtualFree(region, 0, MEM_RELEASE);
    return started;
  }
  [[nodiscard]] IClrHostMemoryBridge* bridge() const { return attachment_.bridge.get(); }

  FakeCoreClr clr_;
  RecordingManager manager_;
  Attachment attachment_{clr_.get(), &manager_};
};

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BRIDGE_FAKE_CLR_H
