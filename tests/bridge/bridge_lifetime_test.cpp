// Attaching and detaching while the module is in use.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

TEST(BridgeLifetime, DetachRestoresEveryByteAndReleasesTheManager) {
  FakeCoreClr clr;
  RecordingManager manager;
  const auto before = clr.AllSlots();
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  EXPECT_NE(clr.AllSlots(), before);
  EXPECT_GT(manager.references(), 1U);
  EXPECT_EQ(attachment.bridge->Detach(), S_OK);
  EXPECT_EQ(clr.AllSlots(), before);
  EXPECT_EQ(manager.references(), 1U);
  EXPECT_EQ(attachment.bridge->Detach(), S_OK) << "idempotent";
  EXPECT_EQ(attachment.bridge.Detach()->Release(), 0U);
  EXPECT_EQ(manager.references(), 1U);
}

TEST(BridgeLifetime, LastReleaseDetachesIfNoRuntimeHasStarted) {
  FakeCoreClr clr;
  RecordingManager manager;
  const auto before = clr.AllSlots();
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  attachment.bridge->AddRef();
  EXPECT_EQ(attachment.bridge->Release(), 1U);
  EXPECT_NE(clr.AllSlots(), before);
  EXPECT_EQ(attachment.bridge.Detach()->Release(), 0U);
  EXPECT_EQ(clr.AllSlots(), before);
  EXPECT_EQ(manager.references(), 1U);
  EXPECT_EQ(manager.detached, 0) << "no runtime has lost its limit";
}

TEST(BridgeLifetime, StartBeginsAtAttachAndEndsWhenTheRuntimeHasStarted) {
  FakeCoreClr clr;
  RecordingManager manager;
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  EXPECT_EQ(manager.begun_starts, 1);
  EXPECT_EQ(manager.ended_starts, 0);
  manager.end_start_answer = E_OUTOFMEMORY;
  EXPECT_EQ(attachment.bridge->NoteRuntimeStarted(), E_OUTOFMEMORY) << "it does not fit the limit";
  EXPECT_EQ(attachment.bridge->NoteRuntimeStarted(), S_OK) << "known already";
  EXPECT_EQ(manager.ended_starts, 1);
  attachment.bridge->Detach();
  EXPECT_EQ(manager.ended_starts, 1);
}

TEST(BridgeLifetime, DetachBeforeTheRuntimeStartsEndsTheStart) {
  FakeCoreClr clr;
  RecordingManager manager;
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  attachment.bridge->Detach();
  EXPECT_EQ(manager.ended_starts, 1) << "the limit holds again";
}

TEST(BridgeLifetime, CallCountSurvivesDetach) {
  FakeCoreClr clr;
  RecordingManager manager;
  Attachment attachment(clr.get(), &manager);
  MEMORY_BASIC_INFORMATION information{};
  clr.virtual_query(&information, &information, sizeof(information));
  attachment.bridge->Detach();
  clr.virtual_query(&information, &information, sizeof(information));
  uint64_t calls = 0;
  attachment.bridge->GetCallCount(&calls);
  EXPECT_EQ(calls, 1U);
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  EXPECT_EQ(attachment.bridge->GetModule(0, &module), S_FALSE);
}

TEST(BridgeLifetime, AttachAndDetachUnderTrafficLoseNoCall) {
  FakeCoreClr clr;
  RecordingManager manager;
  const auto before = clr.AllSlots();
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        void* memory = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        MEMORY_BASIC_INFORMATION information{};
        if (memory == nullptr || clr.virtual_query(memory, &information, sizeof(information)) == 0 ||
            information.AllocationBase != memory || !clr.virtual_free(memory, 0, MEM_RELEASE)) {
          ++failures;
        }
      }
    });
  }
  int gave_up = 0;  // a thread in a thunk got no CPU time for a second: Wine's lock on the address space is not fair
  for (int round = 0; round < 100; ++round) {
    const ULONG references = manager.references();
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    const ULONGLONG start = GetTickCount64();
    for (uint64_t calls = 0; calls < 20 && GetTickCount64() - start < 5000;) attachment.bridge->GetCallCount(&calls);
    const ULONGLONG detached = GetTickCount64();
    attachment.bridge->Detach();
    if (GetTickCount64() - detached < 900) {
      EXPECT_EQ(manager.references(), references);
    } else if (manager.references() != references) {
      ++gave_up;
    }
    EXPECT_EQ(clr.AllSlots(), before);
  }
  EXPECT_LT(gave_up, 50);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GE(manager.RequestsOf(Asked::kAlloc).size(), 100U);
}

TEST(BridgeLifetime, ManagerStaysAliveWhileACallIsInside) {
  FakeCoreClr clr;
  RecordingManager manager;
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  manager.inside_alloc = [&] {
    inside = true;
    while (!leave.load()) Sleep(1);
  };
  Attachment attachment(clr.get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK);
  void* memory = nullptr;
  std::thread caller([&] { memory = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_NOACCESS); });
  while (!inside.load()) Sleep(1);

  const ULONGLONG start = GetTickCount64();
  attachment.bridge->Detach();
  EXPECT_GE(GetTickCount64() - start, 900U);  // its return shows that it stops waiting
  EXPECT_GT(manager.references(), 1U);

  leave = true;
  caller.join();
  EXPECT_NE(memory, nullptr) << "the call is completed by the manager it began with";
  VirtualFree(memory, 0, MEM_RELEASE);
}

decltype(&::VirtualAlloc) hooked_thunk;
LPVOID WINAPI HookOver(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
  return hooked_thunk(address, size, type, protect);
}

TEST(BridgeLifetime, HookedOverThunkCallsWin32AndModuleCanReattach) {
  FakeCoreClr clr;
  RecordingManager manager;
  const auto before = clr.AllSlots();
  void** slot = clr.Slot("VirtualAlloc");
  void* const original = *slot;
  {
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.hr, S_OK);
    hooked_thunk = reinterpret_cast<decltype(hooked_thunk)>(*slot);
    *slot = reinterpret_cast<void*>(&HookOver);
  }
  EXPECT_EQ(*slot, reinterpret_cast<void*>(&HookOver)) << "not ours to take back";
  EXPECT_EQ(manager.references(), 1U);
  void* memory = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_NOACCESS);
  EXPECT_NE(memory, nullptr);
  EXPECT_TRUE(manager.requests().empty());
  VirtualFree(memory, 0, MEM_RELEASE);
  {
    Attachment attachment(clr.get(), &manager);
    ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
    memory = clr.virtual_alloc(nullptr, 65536, MEM_RESERVE, PAGE_NOACCESS);
    EXPECT_EQ(manager.RequestsOf(Asked::kAlloc).size(), 1U);
    VirtualFree(memory, 0, MEM_RELEASE);
  }
  *slot = original;
  EXPECT_EQ(clr.AllSlots(), before);
}

TEST(BridgeLifetime, BridgedModuleStaysLoadedUntilDetach) {
  auto gc = std::make_unique<LoadedModule>(Beside(L"clrgc_fake.dll"));
  RecordingManager manager;
  Attachment attachment(gc->get(), &manager);
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  gc.reset();
  EXPECT_NE(GetModuleHandleW(L"clrgc_fake.dll"), nullptr);
  attachment.bridge->Detach();
  EXPECT_EQ(GetModuleHandleW(L"clrgc_fake.dll"), nullptr);
}

}  // namespace
}  // namespace clrhm_test
