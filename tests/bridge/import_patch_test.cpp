#include "bridge/patch/import_patch.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bridge/fake_clr.h"

namespace clr_host_memory {
namespace {

using clrhm_test::Beside;
using clrhm_test::FakeCoreClr;
using clrhm_test::LoadedModule;

std::atomic<void*> original_alloc;
std::atomic<void*> original_free;
std::atomic<int> alloc_calls;

LPVOID WINAPI CountedAlloc(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
  ++alloc_calls;
  return reinterpret_cast<decltype(&::VirtualAlloc)>(original_alloc.load())(address, size, type, protect);
}
BOOL WINAPI CountedFree(LPVOID address, SIZE_T size, DWORD type) {
  return reinterpret_cast<decltype(&::VirtualFree)>(original_free.load())(address, size, type);
}
BOOL WINAPI RefuseFree(LPVOID, SIZE_T, DWORD) { return FALSE; }

// Makes the k-th call of either kind fail, and counts all calls.
int protect_calls;
int failing_protect_call;
int exchange_calls;
int failing_exchange_call;

BOOL WINAPI FailingProtect(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) {
  if (++protect_calls == failing_protect_call) {
    SetLastError(ERROR_ACCESS_DENIED);
    return FALSE;
  }
  return VirtualProtect(address, size, new_protect, old_protect);
}
void* FailingExchange(void** slot, void* desired, void* expected) {
  if (++exchange_calls == failing_exchange_call) return nullptr;  // as if other code had changed the slot
  return InterlockedCompareExchangePointer(slot, desired, expected);
}
constexpr ImportPatchSystem kFailingSystem = {&FailingProtect, &FailingExchange};

class ImportPatchTest : public testing::Test {
 protected:
  void SetUp() override {
    protect_calls = failing_protect_call = exchange_calls = failing_exchange_call = alloc_calls = 0;
    before_ = clr_.AllSlots();
  }

  // Microsoft's linker makes import tables read-only; MinGW's linker makes them writable.
  void MakeReadOnly() {
    DWORD old_protect = 0;
    ASSERT_TRUE(VirtualProtect(clr_.Slot("VirtualAlloc"), sizeof(void*), PAGE_READONLY, &old_protect));
  }
  DWORD Protection() {
    MEMORY_BASIC_INFORMATION information{};
    VirtualQuery(clr_.Slot("VirtualAlloc"), &information, sizeof(information));
    return information.Protect;
  }
  HRESULT Apply(const ImportPatchSystem& system = Win32ImportPatchSystem()) {
    return ImportPatch::Apply(clr_.get(), kHooks, kRequired, &patch_, &reason_, system);
  }

  const std::array<ImportHook, 2> kHooks = {{
      {"VirtualAlloc", reinterpret_cast<void*>(&CountedAlloc), &original_alloc},
      {"VirtualFree", reinterpret_cast<void*>(&CountedFree), &original_free},
  }};
  const std::array<const char*, 1> kRequired = {"VirtualAlloc"};
  FakeCoreClr clr_;
  std::vector<void*> before_;
  ImportPatch patch_;
  std::string reason_;
};

TEST_F(ImportPatchTest, CallsGoToTheReplacementUntilUndo) {
  ASSERT_EQ(Apply(), S_OK) << reason_;
  EXPECT_EQ(*clr_.Slot("VirtualAlloc"), reinterpret_cast<void*>(&CountedAlloc));
  void* memory = clr_.virtual_alloc(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS);
  EXPECT_NE(memory, nullptr);
  EXPECT_EQ(alloc_calls, 1);
  EXPECT_TRUE(clr_.virtual_free(memory, 0, MEM_RELEASE));

  EXPECT_EQ(patch_.Undo(), 0U);
  EXPECT_EQ(clr_.AllSlots(), before_);
  memory = clr_.virtual_alloc(nullptr, 4096, MEM_RESERVE, PAGE_NOACCESS);
  EXPECT_EQ(alloc_calls, 1);
  clr_.virtual_free(memory, 0, MEM_RELEASE);
  EXPECT_EQ(patch_.Undo(), 0U) << "a second time is harmless";
}

TEST_F(ImportPatchTest, OnlyTheNamedImportsChange) {
  ASSERT_EQ(Apply(), S_OK) << reason_;
  const std::vector<void*> after = clr_.AllSlots();
  ASSERT_EQ(after.size(), before_.size());
  int changed = 0;
  for (std::size_t index = 0; index < after.size(); ++index) changed += after[index] != before_[index];
  EXPECT_EQ(changed, 2);
  EXPECT_EQ(patch_.names().size(), 2U);
}

TEST_F(ImportPatchTest, ReadOnlyTableIsReadOnlyAfterwards) {
  MakeReadOnly();
  ASSERT_EQ(Apply(), S_OK) << reason_;
  EXPECT_EQ(Protection(), DWORD{PAGE_READONLY});
  EXPECT_EQ(patch_.Undo(), 0U);
  EXPECT_EQ(Protection(), DWORD{PAGE_READONLY});
  EXPECT_EQ(clr_.AllSlots(), before_);
}

TEST_F(ImportPatchTest, WritableTableKeepsItsProtection) {
  const DWORD protection = Protection();
  ASSERT_EQ(Apply(kFailingSystem), S_OK) << reason_;
  EXPECT_EQ(protect_calls, 0);
  EXPECT_EQ(Protection(), protection);
}

TEST_F(ImportPatchTest, FailedProtectionChangeLeavesEverythingAsItWas) {
  MakeReadOnly();
  int failures = 0;
  for (failing_protect_call = 1;; ++failing_protect_call) {
    protect_calls = 0;
    reason_.clear();
    const HRESULT hr = Apply(kFailingSystem);
    if (hr == S_OK) break;
    ++failures;
    EXPECT_EQ(hr, HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED)) << failing_protect_call;
    EXPECT_NE(reason_.find("fake_coreclr.dll"), std::string::npos) << reason_;
    EXPECT_EQ(clr_.AllSlots(), before_) << failing_protect_call;
    EXPECT_EQ(patch_.module(), nullptr);
    MakeReadOnly();  // the failed change may have been the one that restores the protection
  }
  EXPECT_GE(failures, 2) << "making it writable, and giving it back";
}

TEST_F(ImportPatchTest, ConcurrentImportChangeLeavesEverythingAsItWas) {
  MakeReadOnly();
  int failures = 0;
  for (failing_exchange_call = 1;; ++failing_exchange_call) {
    exchange_calls = 0;
    reason_.clear();
    const HRESULT hr = Apply(kFailingSystem);
    if (hr == S_OK) break;
    ++failures;
    EXPECT_EQ(hr, HOST_E_INVALIDOPERATION) << failing_exchange_call;
    EXPECT_NE(reason_.find("Other code changed"), std::string::npos) << reason_;
    EXPECT_EQ(clr_.AllSlots(), before_) << failing_exchange_call;
    EXPECT_EQ(Protection(), DWORD{PAGE_READONLY});
    EXPECT_EQ(patch_.module(), nullptr);
  }
  EXPECT_EQ(failures, 2) << "one for each import";
}

TEST_F(ImportPatchTest, UndoKeepsHooksOfOtherTools) {
  ASSERT_EQ(Apply(), S_OK) << reason_;
  *clr_.Slot("VirtualFree") = reinterpret_cast<void*>(&RefuseFree);
  EXPECT_EQ(patch_.Undo(), 1U);
  EXPECT_EQ(*clr_.Slot("VirtualFree"), reinterpret_cast<void*>(&RefuseFree));
  *clr_.Slot("VirtualFree") = original_free.load();
  EXPECT_EQ(clr_.AllSlots(), before_);
}

TEST_F(ImportPatchTest, EarlierHookIsTheOriginal) {
  *clr_.Slot("VirtualFree") = reinterpret_cast<void*>(&RefuseFree);
  ASSERT_EQ(Apply(), S_OK) << reason_;
  EXPECT_EQ(original_free.load(), reinterpret_cast<void*>(&RefuseFree));
  EXPECT_EQ(patch_.Undo(), 0U);
  EXPECT_EQ(*clr_.Slot("VirtualFree"), reinterpret_cast<void*>(&RefuseFree));
}

TEST_F(ImportPatchTest, SameReplacementTwiceIsRefused) {
  ASSERT_EQ(Apply(), S_OK) << reason_;
  ImportPatch second;
  EXPECT_EQ(ImportPatch::Apply(clr_.get(), kHooks, kRequired, &second, &reason_), HOST_E_INVALIDOPERATION);
  EXPECT_NE(reason_.find("patched already"), std::string::npos) << reason_;
  EXPECT_EQ(*clr_.Slot("VirtualAlloc"), reinterpret_cast<void*>(&CountedAlloc));
}

TEST_F(ImportPatchTest, MissingRequiredImportIsNamed) {
  const LoadedModule module(Beside(L"fake_without_free.dll"));
  const std::array<const char*, 2> required = {"VirtualAlloc", "VirtualFree"};
  EXPECT_EQ(ImportPatch::Apply(module.get(), kHooks, required, &patch_, &reason_), E_INVALIDARG);
  EXPECT_NE(reason_.find("VirtualFree"), std::string::npos) << reason_;
  EXPECT_EQ(reason_.find("VirtualAlloc"), std::string::npos) << reason_;
  EXPECT_NE(reason_.find("fake_without_free.dll"), std::string::npos) << reason_;
}

TEST_F(ImportPatchTest, HandlesThatAreNotCodeModulesAreRefused) {
  int on_the_stack = 0;
  void* page = VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  const LoadedModule data(Beside(L"fake_without_free.dll"), LOAD_LIBRARY_AS_DATAFILE);
  ASSERT_NE(data.get(), nullptr);
  const auto inside = reinterpret_cast<HMODULE>(reinterpret_cast<char*>(clr_.get()) + 4096);
  for (HMODULE module : {HMODULE{nullptr}, reinterpret_cast<HMODULE>(&on_the_stack), static_cast<HMODULE>(page),
                         reinterpret_cast<HMODULE>(std::uintptr_t{0x10000}),
                         reinterpret_cast<HMODULE>(~std::uintptr_t{0} - 15), data.get(), inside}) {
    reason_.clear();
    EXPECT_EQ(ImportPatch::Apply(module, kHooks, kRequired, &patch_, &reason_), E_INVALIDARG) << module;
    EXPECT_FALSE(reason_.empty()) << module;
  }
  VirtualFree(page, 0, MEM_RELEASE);
}

TEST_F(ImportPatchTest, ModuleStaysLoadedWhilePatched) {
  auto module = std::make_unique<LoadedModule>(Beside(L"fake_without_free.dll"));
  ASSERT_EQ(ImportPatch::Apply(module->get(), kHooks, kRequired, &patch_, &reason_), S_OK) << reason_;
  module.reset();
  EXPECT_NE(GetModuleHandleW(L"fake_without_free.dll"), nullptr);
  patch_.Undo();
  EXPECT_EQ(GetModuleHandleW(L"fake_without_free.dll"), nullptr);
}

TEST_F(ImportPatchTest, MovedPatchesUndoOnce) {
  {
    ASSERT_EQ(Apply(), S_OK) << reason_;
    ImportPatch moved(std::move(patch_));
    EXPECT_EQ(patch_.Undo(), 0U);  // NOLINT: a moved-from patch has nothing to undo
    EXPECT_NE(clr_.AllSlots(), before_);
  }
  EXPECT_EQ(clr_.AllSlots(), before_);
}

}  // namespace
}  // namespace clr_host_memory
