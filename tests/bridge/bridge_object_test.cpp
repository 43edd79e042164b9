// IClrHostMemoryBridge and ClrHostMemoryAttachToCoreClr: arguments, errors, reasons.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bridge/fake_clr.h"
#include "bridge/reason.h"
#include "bridge/thunks/thunk_table.h"
#include "com/every_size.h"

namespace clrhm_test {
namespace {

using testing::HasSubstr;
using testing::Pair;

bool Has(const std::array<char, 2048>& reason, const char* text) {
  return std::string(reason.data()).find(text) != std::string::npos;
}

TEST(AttachToCoreClr, RefusesModulesThatAreNotAClrWithReason) {
  FakeCoreClr clr;
  RecordingManager manager;
  const LoadedModule data(Beside(L"clrgc_fake.dll"), LOAD_LIBRARY_AS_DATAFILE);
  const LoadedModule without_free(Beside(L"fake_without_free.dll"));
  int on_the_stack = 0;
  const struct {
    HMODULE module;
    const char* says;
  } table[] = {
      {nullptr, "null"},
      {reinterpret_cast<HMODULE>(&on_the_stack), "no loaded module"},
      {reinterpret_cast<HMODULE>(std::uintptr_t{0x7000}), "no loaded module"},
      {data.get(), "data file"},
      {without_free.get(), "does not import VirtualFree"},
      {GetModuleHandleW(L"kernel32.dll"), "memory manager itself uses"},
      {GetModuleHandleW(nullptr), "memory manager itself uses"},
  };
  const auto before = clr.AllSlots();
  for (const auto& row : table) {
    Attachment attachment(row.module, &manager);
    EXPECT_EQ(attachment.hr, E_INVALIDARG) << row.says;
    EXPECT_TRUE(Has(attachment.reason, row.says)) << attachment.reason.data();
    EXPECT_EQ(attachment.bridge.get(), nullptr);
    EXPECT_EQ(manager.references(), 1U);
  }
  EXPECT_EQ(clr.AllSlots(), before);
}

TEST(AttachToCoreClr, RefusesNullPointers) {
  FakeCoreClr clr;
  RecordingManager manager;
  Attachment without_manager(clr.get(), nullptr);
  EXPECT_EQ(without_manager.hr, E_POINTER);
  EXPECT_TRUE(Has(without_manager.reason, "manager is null"));
  EXPECT_EQ(ClrHostMemoryAttachToCoreClr(clr.get(), &manager, nullptr, nullptr, 0), E_POINTER);
  EXPECT_EQ(manager.references(), 1U);
}

TEST(AttachToCoreClr, RefusesAForeignManager) {
  FakeCoreClr clr;
  RecordingManager manager;
  manager.is_ours = false;
  Attachment attachment(clr.get(), &manager);
  EXPECT_EQ(attachment.hr, E_NOINTERFACE);
  EXPECT_TRUE(Has(attachment.reason, "ClrHostMemoryCreate"));
  EXPECT_EQ(manager.references(), 1U);
}

TEST(AttachToCoreClr, CutsTheReasonToTheBuffer) {
  RecordingManager manager;
  IClrHostMemoryBridge* bridge = nullptr;
  std::array<char, 8> reason;
  reason.fill('x');
  EXPECT_EQ(ClrHostMemoryAttachToCoreClr(nullptr, &manager, &bridge, reason.data(), reason.size()), E_INVALIDARG);
  EXPECT_STREQ(reason.data(), "The mod");
}

TEST_F(BridgedFakeClr, SameModuleTwiceIsRefused) {
  Attachment second(clr_.get(), &manager_);
  EXPECT_EQ(second.hr, HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(second.reason, "bridged already")) << second.reason.data();
  std::array<char, 2048> reason{};
  EXPECT_EQ(bridge()->AttachModule(clr_.get(), reason.data(), reason.size()), HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(reason, "fake_coreclr.dll")) << reason.data();
}

TEST_F(BridgedFakeClr, AnotherManagerIsRefusedWhileOneIsAttached) {
  RecordingManager other;
  const LoadedModule gc(Beside(L"clrgc_fake.dll"));
  Attachment second(gc.get(), &other);
  EXPECT_EQ(second.hr, HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(second.reason, "Another memory manager")) << second.reason.data();
  EXPECT_EQ(other.references(), 1U);
}

TEST_F(BridgedFakeClr, TwoBridgesShareOneManager) {
  const LoadedModule gc(Beside(L"clrgc_fake.dll"));
  Attachment second(gc.get(), &manager_);
  ASSERT_EQ(second.hr, S_OK) << second.reason.data();
  attachment_.bridge.Reset();
  const auto allocate = gc.Export<decltype(::VirtualAlloc)>("FakeGcVirtualAlloc");
  VirtualFree(allocate(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS), 0, MEM_RELEASE);
  EXPECT_EQ(manager_.RequestsOf(Asked::kAlloc).size(), 1U) << "the second one still serves";
}

TEST_F(BridgedFakeClr, QueryInterfaceFollowsTheRules) {
  constexpr GUID kUnknown = {0, 0, 0, {0xC0, 0, 0, 0, 0, 0, 0, 0x46}};
  IUnknown* unknown = nullptr;
  IUnknown* again = nullptr;
  void* none = this;
  ASSERT_EQ(bridge()->QueryInterface(kUnknown, reinterpret_cast<void**>(&unknown)), S_OK);
  ASSERT_EQ(bridge()->QueryInterface(clr_host_memory::kIidClrHostMemoryBridge, reinterpret_cast<void**>(&again)), S_OK);
  EXPECT_EQ(unknown, again);
  EXPECT_EQ(bridge()->QueryInterface(clr_host_memory::kIidHostMalloc, &none), E_NOINTERFACE);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(bridge()->QueryInterface(kUnknown, nullptr), E_POINTER);
  EXPECT_EQ(again->Release(), 2U);
  EXPECT_EQ(unknown->Release(), 1U);
}

TEST_F(BridgedFakeClr, ModulesAreListedInOrderWithTheirImports) {
  const LoadedModule gc(Beside(L"clrgc_fake.dll"));
  ASSERT_EQ(bridge()->AttachModule(gc.get(), nullptr, 0), S_OK);
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  ASSERT_EQ(bridge()->GetModule(0, &module), S_OK);
  EXPECT_EQ(module.module, clr_.get());
  EXPECT_EQ(module.path, clr_host_memory::ModulePath(clr_.get()));
  // The fake CLR imports all functions, but this manager has no heap to serve blocks from.
  EXPECT_EQ(module.import_count, clr_host_memory::HooksOf(0, /*with_blocks=*/false).size());
  const std::string imports = module.imports;
  EXPECT_EQ(std::count(imports.begin(), imports.end(), ' ') + 1, module.import_count) << imports;
  EXPECT_NE((" " + imports + " ").find(" VirtualAllocExNuma "), std::string::npos) << imports;
  ASSERT_EQ(bridge()->GetModule(1, &module), S_OK);
  EXPECT_EQ(module.module, gc.get());
  EXPECT_EQ(bridge()->GetModule(2, &module), S_FALSE);
  EXPECT_EQ(bridge()->GetModule(0, nullptr), E_POINTER);
  EXPECT_EQ(bridge()->GetCallCount(nullptr), E_POINTER);
}

TEST_F(BridgedFakeClr, StartPropertiesIncludeTheRegionRange) {
  manager_.memory_status.total_physical = 1;  // less than any machine has
  ClrHostMemoryStartProperties additions{};
  additions.size = sizeof(additions);
  ASSERT_EQ(bridge()->GetStartProperties(0, nullptr, nullptr, 0, &additions), S_OK);
  EXPECT_EQ(additions.version, 1U);
  ASSERT_EQ(additions.count, 1U);
  EXPECT_STREQ(additions.properties[0].key, "System.GC.RegionRange");
  EXPECT_GT(std::stoull(additions.properties[0].value), std::uint64_t{1} << 30);
  const char* const keys[] = {"A", "System.GC.Server"};
  const char* const values[] = {"B", "true"};
  ASSERT_EQ(bridge()->GetStartProperties(2, keys, values, 17, &additions), S_OK);
  ASSERT_EQ(additions.count, 1U);
  EXPECT_STREQ(additions.properties[0].key, "System.GC.HeapHardLimit");
  EXPECT_STREQ(additions.properties[0].value, "17");
  EXPECT_EQ(bridge()->GetStartProperties(0, nullptr, nullptr, 0, nullptr), E_POINTER);
  EXPECT_EQ(bridge()->GetStartProperties(1, nullptr, values, 0, &additions), E_POINTER);
  EXPECT_EQ(bridge()->GetStartProperties(1, keys, nullptr, 0, &additions), E_POINTER);
  additions.size = 7;
  EXPECT_EQ(bridge()->GetStartProperties(0, nullptr, nullptr, 0, &additions), E_INVALIDARG);
}

TEST_F(BridgedFakeClr, CppStartPropertiesCombineGivenAndAddedOnes) {
  manager_.memory_status.total_physical = 1;
  const char* keys[] = {"A", "B"};
  const char* values[] = {"1", "2"};
  clr_host_memory::StartProperties made(bridge(), 2, keys, values, 17);
  clr_host_memory::StartProperties properties = std::move(made);
  ASSERT_EQ(properties.count(), 3);
  EXPECT_EQ(properties.keys()[0], keys[0]);
  EXPECT_EQ(properties.values()[1], values[1]);
  EXPECT_STREQ(properties.keys()[2], "System.GC.HeapHardLimit");
  EXPECT_STREQ(properties.values()[2], "17");
  EXPECT_EQ(clr_host_memory::StartProperties(nullptr, 2, keys, values, 17).count(), 2);
  EXPECT_EQ(clr_host_memory::StartProperties(bridge(), 0, nullptr, nullptr).count(), 1);
  bridge()->Detach();
  EXPECT_EQ(clr_host_memory::StartProperties(bridge(), 2, keys, values, 17).count(), 2);
}

// Managed code may use the address until the process ends.
TEST(ControlProperty, KeepsOneReferenceToTheManagerAfterDetach) {
  using clr_host_memory::ComReference;
  const FakeCoreClr clr;
  auto manager = clr_host_memory::CreateMemoryManager();
  ASSERT_TRUE(manager);
  ComReference<IClrHostMemoryControl> control;
  manager->get()->QueryInterface(clr_host_memory::kIidClrHostMemoryControl,
                                 reinterpret_cast<void**>(control.Receive()));
  const auto references = [&control] {
    control->AddRef();
    return control->Release();
  };
  Attachment attachment(clr.get(), manager->get());
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();

  const ULONG before = references();
  ClrHostMemoryStartProperties additions{};
  additions.size = sizeof(additions);
  for (int call = 0; call < 2; ++call) {
    ASSERT_EQ(attachment.bridge->GetStartProperties(0, nullptr, nullptr, 0, &additions), S_OK);
    EXPECT_EQ(references(), before + 1) << "one for the process, at each call";
  }
  ASSERT_EQ(additions.count, 1U);
  EXPECT_STREQ(additions.properties[0].key, "CLR_HOST_MEMORY_CONTROL");
  std::array<char, 64> expected{};
  std::snprintf(expected.data(), expected.size(), "%lu:0x%llx", GetCurrentProcessId(),
                static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(control.get())));
  EXPECT_STREQ(additions.properties[0].value, expected.data());

  const char* const keys[] = {"CLR_HOST_MEMORY_CONTROL"};
  const char* const values[] = {"of the host"};
  ASSERT_EQ(attachment.bridge->GetStartProperties(1, keys, values, 0, &additions), S_OK);
  EXPECT_EQ(additions.count, 0U);

  attachment.bridge->Detach();
  attachment.bridge.Reset();
  manager = clr_host_memory::CreateMemoryManager();
  EXPECT_EQ(references(), 2U) << "the process's and this test's";
  ClrHostMemoryStatistics statistics{};
  statistics.size = sizeof(statistics);
  EXPECT_EQ(control->GetStatistics(&statistics), S_OK);
}

// A fake coreclr.dll whose file has a version, as .NET's has, bridged to a manager.
class VersionedFakeClr : public testing::Test {
 protected:
  // major 0: the file has no version.
  void Bridge(WORD major) {
    if (major != 0) SetVersion(major);
    clr_.emplace(copy_.path());
    attachment_.emplace(clr_->get(), manager_->get());
    ASSERT_EQ(attachment_->hr, S_OK) << attachment_->reason.data();
  }
  void SetVersion(WORD major) {
    // VS_VERSIONINFO: its length, that of the value, its type, its name, padding, and the value.
    struct Block {
      WORD length = sizeof(Block);
      WORD value_length = sizeof(VS_FIXEDFILEINFO);
      WORD type = 0;
      wchar_t name[16] = L"VS_VERSION_INFO";
      WORD padding = 0;
      VS_FIXEDFILEINFO info{};
    } block;
    block.info.dwSignature = VS_FFI_SIGNATURE;
    block.info.dwFileVersionMS = static_cast<DWORD>(MAKELONG(0, major));
    HANDLE update = BeginUpdateResourceW(copy_.path().c_str(), FALSE);
    ASSERT_NE(update, nullptr) << GetLastError();
    ASSERT_TRUE(
        UpdateResourceW(update, MAKEINTRESOURCEW(16), MAKEINTRESOURCEW(VS_VERSION_INFO), 0, &block, sizeof(block)));
    ASSERT_TRUE(EndUpdateResourceW(update, FALSE)) << GetLastError();
  }
  // Returns the assemblies that the runtime can load, given these or none.
  std::string Assemblies(const char* given) {
    const char* keys[] = {"A", "TRUSTED_PLATFORM_ASSEMBLIES"};
    const char* values[] = {"1", given};
    clr_host_memory::StartProperties made(attachment_->bridge.get(), given == nullptr ? 1 : 2, keys, values);
    clr_host_memory::StartProperties properties = std::move(made);
    std::string assemblies;
    for (int index = 0; index < properties.count(); ++index) {
      if (std::string_view(properties.keys()[index]) == "TRUSTED_PLATFORM_ASSEMBLIES") {
        assemblies += std::string("[") + properties.values()[index] + "]";
      }
    }
    return assemblies;
  }
  // Starts the companion in the runtime of this domain; returns the result, and the reason of a failure.
  std::pair<HRESULT, std::string> StartCompanion(unsigned domain, void* host) {
    std::array<char, 2048> reason{};
    const HRESULT hr = attachment_->bridge->StartCompanion(host, domain, reason.data(), reason.size());
    return {hr, reason.data()};
  }
  std::pair<HRESULT, std::string> StartCompanion(unsigned domain = 1) { return StartCompanion(domain, this); }

  const CopiedModule copy_{L"coreclr.dll"};
  const clr_host_memory::Result<clr_host_memory::MemoryManager> manager_ = clr_host_memory::CreateMemoryManager();
  std::optional<FakeCoreClr> clr_;
  std::optional<Attachment> attachment_;
};

TEST_F(VersionedFakeClr, OfNet8CanLoadTheCompanion) {
  Bridge(8);
  const std::wstring file = Beside(L"ClrHostMemory.Companion.dll");
  if (GetFileAttributesW(file.c_str()) == INVALID_FILE_ATTRIBUTES) GTEST_SKIP() << "the companion was not built";
  const std::string companion = clr_host_memory::Utf8(file);
  EXPECT_EQ(Assemblies(""), "[" + companion + "]");
  EXPECT_EQ(Assemblies("a.dll;b.dll"), "[a.dll;b.dll;" + companion + "]");
  EXPECT_EQ(Assemblies("a.dll;"), "[a.dll;" + companion + "]");
  EXPECT_EQ(Assemblies(nullptr), "") << "the host lists no assemblies";
}

TEST_F(VersionedFakeClr, OfNet8StartsTheCompanion) {
  Bridge(8);
  EXPECT_EQ(StartCompanion(), std::make_pair(S_OK, std::string()));
}

TEST_F(VersionedFakeClr, StartOfTheCompanionFailsWithAReason) {
  Bridge(8);
  EXPECT_THAT(StartCompanion(1, nullptr), Pair(E_INVALIDARG, HasSubstr("host handle is null")));
  EXPECT_THAT(StartCompanion(2), Pair(HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND),
                                      HasSubstr("0x80070002; name ClrHostMemory.Companion.dll")));
  clr_->Export<void(int)>("FakeSetCompanionAnswer")(0);
  EXPECT_THAT(StartCompanion(), Pair(E_OUTOFMEMORY, HasSubstr("no memory for the companion's thread")));
  attachment_->bridge->Detach();
  EXPECT_THAT(StartCompanion(), Pair(HOST_E_CLRNOTAVAILABLE, HasSubstr("detached")));
}

TEST_F(VersionedFakeClr, OfNet7StartsWithoutTheCompanion) {
  Bridge(7);
  EXPECT_EQ(Assemblies("a.dll"), "[a.dll]");
  EXPECT_THAT(StartCompanion(), Pair(HOST_E_INVALIDOPERATION, HasSubstr("older than .NET 8")));
}

TEST_F(VersionedFakeClr, WithoutAVersionStartsWithoutTheCompanion) {
  Bridge(0);
  EXPECT_EQ(Assemblies("a.dll"), "[a.dll]");
  EXPECT_THAT(StartCompanion(), Pair(HOST_E_INVALIDOPERATION, HasSubstr("older than .NET 8")));
}

TEST_F(BridgedFakeClr, ModulesAndPurposesFitTheCallersStructSize) {
  using clr_host_memory::test::ExpectFilledForEverySize;
  using Module = ClrHostMemoryBridgedModule;
  clr_.virtual_alloc(nullptr, 1, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  ExpectFilledForEverySize<Module>([&](auto* module) { return bridge()->GetModule(0, module); },
                                   {{offsetof(Module, path), sizeof(Module::path), sizeof(wchar_t)},
                                    {offsetof(Module, imports), sizeof(Module::imports), sizeof(char)}});
  ExpectFilledForEverySize<ClrHostMemoryPurposes>([&](auto* purposes) { return bridge()->GetPurposes(purposes); });
}

TEST_F(BridgedFakeClr, VerifyReportsThatNoCallHasArrived) {
  std::array<char, 2048> reason{};
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), HOST_E_CLRNOTAVAILABLE);
  EXPECT_TRUE(Has(reason, "No call has arrived")) << reason.data();
  EXPECT_TRUE(Has(reason, "fake_coreclr.dll")) << reason.data();
  MEMORY_BASIC_INFORMATION information{};
  clr_.virtual_query(&information, &information, sizeof(information));
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), S_OK);
  EXPECT_STREQ(reason.data(), "");
}

TEST_F(BridgedFakeClr, VerifyNamesAnotherCopyOfCoreClr) {
  MEMORY_BASIC_INFORMATION information{};
  clr_.virtual_query(&information, &information, sizeof(information));
  const CopiedModule copy(L"CoreCLR.dll");
  {
    const LoadedModule other(copy.path());
    ASSERT_NE(other.get(), nullptr);
    std::array<char, 2048> reason{};
    EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), HOST_E_CLRNOTAVAILABLE);
    EXPECT_TRUE(Has(reason, "CoreCLR.dll")) << reason.data();
    EXPECT_TRUE(Has(reason, "fake_coreclr.dll")) << reason.data();
    ASSERT_EQ(bridge()->AttachModule(other.get(), nullptr, 0), S_OK);
    EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), S_OK) << reason.data();
    bridge()->Detach();
  }
}

TEST_F(BridgedFakeClr, DetachedBridgeReportsThatItIsDetached) {
  bridge()->Detach();
  std::array<char, 2048> reason{};
  EXPECT_EQ(bridge()->VerifyCallsArrive(reason.data(), reason.size()), HOST_E_CLRNOTAVAILABLE);
  EXPECT_TRUE(Has(reason, "detached")) << reason.data();
  const LoadedModule gc(Beside(L"clrgc_fake.dll"));
  EXPECT_EQ(bridge()->AttachModule(gc.get(), reason.data(), reason.size()), HOST_E_INVALIDOPERATION);
  EXPECT_TRUE(Has(reason, "detached")) << reason.data();
  EXPECT_EQ(bridge()->NoteRuntimeStarted(), S_OK);
}

TEST(CoreClrBridge, CppInterfaceAttachesAndDetaches) {
  FakeCoreClr clr;
  RecordingManager manager;
  const auto before = clr.AllSlots();
  {
    auto bridge = clr_host_memory::AttachToCoreClr(clr.get(), &manager);
    ASSERT_TRUE(bridge) << bridge.error().reason();
    EXPECT_NE(clr.AllSlots(), before);
    const auto verified = bridge->VerifyCallsArrive();
    EXPECT_EQ(verified.error().code(), HOST_E_CLRNOTAVAILABLE);
    EXPECT_STRNE(verified.error().reason(), "");
    EXPECT_EQ(bridge->CallCount(), 0U);
  }
  EXPECT_EQ(clr.AllSlots(), before);
  const auto none = clr_host_memory::AttachToCoreClr(nullptr, &manager);
  EXPECT_FALSE(none);
  EXPECT_EQ(none.error().code(), E_INVALIDARG);
  EXPECT_STRNE(none.error().reason(), "");
}

}  // namespace
}  // namespace clrhm_test
