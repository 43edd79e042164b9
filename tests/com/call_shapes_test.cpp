// Tests the calls of the desktop CLR, one shape at a time, on real Windows memory. Source of the shapes:
// dotnet/coreclr, release/1.0.0 (hosting.cpp, corhost.cpp, util.cpp, gc.cpp and the loader heaps).
#include <cstring>

#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

// The callback as corhost.cpp keeps it: a static object whose AddRef and Release always return 1.
class ClrCallback final : public ICLRMemoryNotificationCallback {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) noexcept override {
    if (!IsEqualGUID(riid, kIidClrMemoryNotificationCallback) && !IsEqualGUID(riid, IID_IUnknown)) return E_NOINTERFACE;
    *object = this;
    return S_OK;
  }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return 1; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return 1; }
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable) noexcept override {
    ++notifications;
    return S_OK;
  }
  int notifications = 0;
};
ClrCallback clr_callback;

class CallShapes : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_TRUE(LedgerIsExact(host()));
    EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().charged) << "what the test allocated, it must free";
  }
  [[nodiscard]] IHostMemoryManager* host() const { return manager_.get(); }
  void Release(void* memory) { EXPECT_HR(S_OK, host()->VirtualFree(memory, 0, MEM_RELEASE)); }
  MEMORY_BASIC_INFORMATION Describe(const void* address) {
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T written = 0;
    EXPECT_HR(S_OK, host()->VirtualQuery(const_cast<void*>(address), &info, sizeof(info), &written));
    EXPECT_EQ(sizeof(info), written);
    return info;
  }
  [[nodiscard]] std::uint64_t Charged() const { return manager_.Statistics().charged; }

  MemoryManager manager_ = MakeManager({.limit = 256_MiB});
};

TEST_F(CallShapes, RegistersAsCorhostDoes) {
  const auto control = CreateHostControl(manager_).value();
  IHostMemoryManager* memory_manager = nullptr;
  ASSERT_HR(S_OK, control->GetHostManager(kIidHostMemoryManager, reinterpret_cast<void**>(&memory_manager)));
  ASSERT_NE(nullptr, memory_manager);
  IHostMalloc* heap = nullptr;
  ASSERT_HR(S_OK, memory_manager->CreateMalloc(MALLOC_THREADSAFE, &heap));
  ASSERT_HR(S_OK, memory_manager->RegisterMemoryNotificationCallback(&clr_callback));
  EXPECT_HR(S_OK, manager_.control()->NotifyMemoryAvailable(eMemoryAvailableLow));
  EXPECT_EQ(1, clr_callback.notifications);
  // A CLR keeps all of these references. The test releases them for the tests that follow.
  EXPECT_HR(S_OK, memory_manager->RegisterMemoryNotificationCallback(nullptr));
  heap->Release();
  memory_manager->Release();
}

TEST_F(CallShapes, GcReservesCommitsInsideDecommitsAndReleases) {
  char* const heap = At(Allocate(host(), nullptr, 64 * kMiB, MEM_RESERVE, PAGE_READWRITE), 0);
  EXPECT_EQ(0u, Charged());
  for (SIZE_T offset = 0; offset < 8 * kMiB; offset += kMiB) {
    ASSERT_EQ(heap + offset, Allocate(host(), heap + offset, kMiB, MEM_COMMIT, PAGE_READWRITE));
    std::memset(heap + offset, 0x11, kMiB);
  }
  EXPECT_EQ(8 * kMiB, Charged());
  EXPECT_HR(S_OK, host()->VirtualFree(heap + 4 * kMiB, 4 * kMiB, MEM_DECOMMIT));
  EXPECT_EQ(4 * kMiB, Charged());
  EXPECT_EQ(DWORD{MEM_RESERVE}, Describe(heap + 4 * kMiB).State);
  Release(heap);
}

TEST_F(CallShapes, GcResetsPagesWithoutACharge) {
  void* const heap = Allocate(host(), nullptr, kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  const auto before = Charged();
  EXPECT_EQ(heap, Allocate(host(), heap, kMiB, MEM_RESET, PAGE_READWRITE));
  EXPECT_EQ(before, Charged());
  EXPECT_EQ(DWORD{MEM_COMMIT}, Describe(heap).State);
  Release(heap);
}

TEST_F(CallShapes, GcProbesForWriteWatchWithOneGranule) {
  void* const probe = Allocate(host(), nullptr, kGranule, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
  ASSERT_NE(nullptr, probe);
  ASSERT_EQ(probe, Allocate(host(), probe, 2 * kPage, MEM_COMMIT, PAGE_READWRITE));
  *At(probe, kPage) = 1;
  void* written[16] = {};
  ULONG_PTR count = 16;
  DWORD granularity = 0;
  ASSERT_EQ(0u, ::GetWriteWatch(0, probe, kGranule, written, &count, &granularity));
  ASSERT_EQ(ULONG_PTR{1}, count);
  EXPECT_EQ(static_cast<void*>(At(probe, kPage)), written[0]);
  Release(probe);
}

TEST_F(CallShapes, JitCommitsAtNullAndReleases) {
  void* const code = Allocate(host(), nullptr, 5000, MEM_COMMIT, PAGE_READWRITE);
  ASSERT_NE(nullptr, code);
  EXPECT_EQ(2 * kPage, Charged());
  EXPECT_EQ(2 * kPage, Describe(code).RegionSize);
  Release(code);
}

TEST_F(CallShapes, LoaderHeapsReserveNoAccessAndCommitPrefixes) {
  char* const heap = At(Allocate(host(), nullptr, 64 * kGranule, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical), 0);
  SIZE_T committed = 0;
  for (const SIZE_T step : {kPage, 3 * kPage, kGranule}) {
    ASSERT_EQ(heap + committed, Allocate(host(), heap + committed, step, MEM_COMMIT, PAGE_EXECUTE_READWRITE));
    committed += step;
    EXPECT_EQ(committed, Describe(heap).RegionSize);
    EXPECT_EQ(committed, Charged());
  }
  // Guard pages are committed but inaccessible.
  ASSERT_EQ(heap + committed, Allocate(host(), heap + committed, kPage, MEM_COMMIT, PAGE_NOACCESS));
  EXPECT_EQ(DWORD{PAGE_NOACCESS}, Describe(heap + committed).Protect);
  EXPECT_EQ(committed + kPage, Charged());
  Release(heap);
}

TEST_F(CallShapes, StubsReserveExecutableMemoryTopDown) {
  void* const stubs = Allocate(host(), nullptr, kGranule, MEM_RESERVE | MEM_TOP_DOWN, PAGE_EXECUTE_READWRITE);
  ASSERT_NE(nullptr, stubs);
  ASSERT_EQ(stubs, Allocate(host(), stubs, kPage, MEM_COMMIT, PAGE_EXECUTE_READWRITE));
  EXPECT_EQ(DWORD{PAGE_EXECUTE_READWRITE}, Describe(stubs).Protect);
  Release(stubs);
}

// Does what ClrVirtualAllocWithinRange does: searches for free space with VirtualQuery and reserves it. Another
// thread may reserve the place first.
void* AllocateNear(IHostMemoryManager* host, char* from, char* to, SIZE_T size, int* lost_races) {
  for (char* at = from; at < to;) {
    MEMORY_BASIC_INFORMATION info{};
    SIZE_T written = 0;
    if (FAILED(host->VirtualQuery(at, &info, sizeof(info), &written))) return nullptr;
    char* const aligned =
        reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(at) + kGranule - 1) & ~(kGranule - 1));
    char* const end = At(info.BaseAddress, info.RegionSize);
    if (info.State == MEM_FREE && aligned < end && static_cast<SIZE_T>(end - aligned) >= size) {
      if (*lost_races == 0) {  // a rival takes the place between the query and the reservation
        void* const rival = ::VirtualAlloc(aligned, size, MEM_RESERVE, PAGE_NOACCESS);
        EXPECT_EQ(aligned, rival);
      }
      void* memory = Poison();
      const HRESULT hr = host->VirtualAlloc(aligned, size, MEM_RESERVE, PAGE_EXECUTE_READWRITE, eTaskCritical, &memory);
      if (hr == S_OK) return memory;
      EXPECT_HR(E_OUTOFMEMORY, hr);
      EXPECT_EQ(nullptr, memory);
      EXPECT_EQ(DWORD{ERROR_INVALID_ADDRESS}, ::GetLastError());
      ++*lost_races;
      at = aligned + kGranule;
      continue;
    }
    at = end;
  }
  return nullptr;
}

TEST_F(CallShapes, CodeHeapsRetryNearTheClrAfterLosingARace) {
  char* const clr = reinterpret_cast<char*>(::GetModuleHandleW(L"kernel32.dll"));
  int lost_races = 0;
  constexpr SIZE_T kSize = 4 * kGranule;
  // A jump reaches 2 GiB, which on x86 is everything.
  char* from = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(clr) & ~std::uintptr_t{0xFFFF}) -
                                       (std::uintptr_t{1} << 28));
  char* to = clr + (1 << 28);
  if (sizeof(void*) == 4) {
    from = reinterpret_cast<char*>(std::uintptr_t{0x10000000});
    to = reinterpret_cast<char*>(std::uintptr_t{0x7F000000});
  }
  void* const code = AllocateNear(host(), from, to, kSize, &lost_races);
  ASSERT_NE(nullptr, code);
  EXPECT_GE(lost_races, 1);
  EXPECT_EQ(code, Allocate(host(), code, kPage, MEM_COMMIT, PAGE_EXECUTE_READWRITE));
  Release(code);
}

TEST_F(CallShapes, CommittingAgainChargesOnceAndSetsProtection) {
  void* const heap = Allocate(host(), nullptr, kGranule, MEM_RESERVE, PAGE_READWRITE);
  ASSERT_EQ(heap, Allocate(host(), heap, 4 * kPage, MEM_COMMIT, PAGE_READWRITE));
  *At(heap, 0) = 42;
  ASSERT_EQ(heap, Allocate(host(), heap, 8 * kPage, MEM_COMMIT, PAGE_READWRITE));
  EXPECT_EQ(8 * kPage, Charged());
  EXPECT_EQ(42, *At(heap, 0));
  ASSERT_EQ(heap, Allocate(host(), heap, 4 * kPage, MEM_COMMIT, PAGE_READONLY));
  EXPECT_EQ(DWORD{PAGE_READONLY}, Describe(heap).Protect);
  EXPECT_EQ(8 * kPage, Charged());
  Release(heap);
}

TEST_F(CallShapes, SizesAndAddressesAreRoundedAsWin32Does) {
  char* const heap = At(Allocate(host(), nullptr, 64 * kPage, MEM_RESERVE, PAGE_READWRITE), 0);
  // The range crosses a page border by one byte: commits two pages and returns the start of the first.
  EXPECT_EQ(heap + kPage, Allocate(host(), heap + 2 * kPage - 1, 2, MEM_COMMIT, PAGE_READWRITE));
  EXPECT_EQ(2 * kPage, Charged());
  EXPECT_HR(S_OK, host()->VirtualFree(heap + 2 * kPage + 5, 1, MEM_DECOMMIT));
  EXPECT_EQ(kPage, Charged());
  EXPECT_EQ(DWORD{MEM_COMMIT}, Describe(heap + kPage).State);
  EXPECT_EQ(DWORD{MEM_RESERVE}, Describe(heap + 2 * kPage).State);
  Release(heap);
}

TEST_F(CallShapes, VirtualQueryAndProtectServeForeignMemory) {
  int on_stack = 0;
  const MEMORY_BASIC_INFORMATION stack = Describe(&on_stack);
  EXPECT_EQ(DWORD{MEM_COMMIT}, stack.State);
  EXPECT_EQ(DWORD{MEM_PRIVATE}, stack.Type);
  const MEMORY_BASIC_INFORMATION image = Describe(::GetModuleHandleW(nullptr));
  EXPECT_EQ(DWORD{MEM_IMAGE}, image.Type);

  void* const theirs = ::VirtualAlloc(nullptr, 2 * kPage, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  DWORD old = 0;
  EXPECT_HR(S_OK, host()->VirtualProtect(theirs, kPage, PAGE_READONLY, &old));
  EXPECT_EQ(DWORD{PAGE_READWRITE}, old);
  EXPECT_EQ(DWORD{PAGE_READONLY}, Describe(theirs).Protect);
  ::VirtualFree(theirs, 0, MEM_RELEASE);
  EXPECT_EQ(DWORD{MEM_FREE}, Describe(theirs).State);
  ASSERT_FALSE(::VirtualProtect(theirs, kPage, PAGE_READONLY, &old));
  const DWORD win32_error = ::GetLastError();  // Windows and Wine set different errors
  ::SetLastError(kCallersError);
  EXPECT_HR(E_INVALIDARG, host()->VirtualProtect(theirs, kPage, PAGE_READONLY, &old));
  EXPECT_EQ(win32_error, ::GetLastError());

  // Makes code of this program's image writable and restores the protection, as a CLR does to apply fix-ups.
  void* const code = ::GetModuleHandleW(nullptr);
  EXPECT_HR(S_OK, host()->VirtualProtect(code, kPage, PAGE_READWRITE, &old));
  DWORD ignored = 0;
  EXPECT_HR(S_OK, host()->VirtualProtect(code, kPage, old, &ignored));
}

TEST_F(CallShapes, MallocFreesNullAndServesEveryKindOfHeap) {
  for (const DWORD kind : {0u, 1u, 2u, 3u}) {
    ComReference<IHostMalloc> heap;
    ASSERT_HR(S_OK, host()->CreateMalloc(kind, heap.Receive()));
    EXPECT_HR(S_OK, heap->Free(nullptr));
    for (const SIZE_T size : {SIZE_T{0}, SIZE_T{1}, SIZE_T{100}, SIZE_T{70000}, SIZE_T{2} << 20}) {
      void* block = Poison();
      ASSERT_HR(S_OK, heap->Alloc(size, eTaskCritical, &block));
      ASSERT_NE(nullptr, block);
      if (size != 0) std::memset(block, 0x77, size);
      EXPECT_GE(Charged(), size);
      EXPECT_HR(S_OK, heap->Free(block));
    }
    int local = 0;
    EXPECT_HR(HOST_E_INVALIDOPERATION, heap->Free(&local));
    heap.Reset();
    EXPECT_EQ(0u, Charged());
  }
}

TEST_F(CallShapes, FreeRefusesForeignPointersOfEveryKind) {
  ComReference<IHostMalloc> heap;
  ComReference<IHostMalloc> other;
  ASSERT_HR(S_OK, host()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  ASSERT_HR(S_OK, host()->CreateMalloc(MALLOC_THREADSAFE, other.Receive()));
  void* block = nullptr;
  ASSERT_HR(S_OK, other->Alloc(64, eTaskCritical, &block));
  void* const process_block = ::HeapAlloc(::GetProcessHeap(), 0, 64);
  void* const reserved = ::VirtualAlloc(nullptr, kGranule, MEM_RESERVE, PAGE_NOACCESS);
  static int in_image = 0;
  for (void* const foreign : {block, static_cast<void*>(At(block, 16)), process_block, reserved,
                              static_cast<void*>(&in_image), reinterpret_cast<void*>(1), reinterpret_cast<void*>(-8)}) {
    EXPECT_HR(HOST_E_INVALIDOPERATION, heap->Free(foreign)) << foreign;
  }
  EXPECT_HR(S_OK, other->Free(block));
  ::HeapFree(::GetProcessHeap(), 0, process_block);
  ::VirtualFree(reserved, 0, MEM_RELEASE);
}

TEST_F(CallShapes, CommitsInAnnouncedViewsAreCharged) {
  constexpr SIZE_T kSize = 16 * kGranule;
  // The CLR found no room for a view and asks the host for address space. The host has no reserve.
  EXPECT_HR(E_OUTOFMEMORY, host()->NeedsVirtualAddressSpace(nullptr, kSize));
  HANDLE const section =
      ::CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE | SEC_RESERVE, 0, kSize, nullptr);
  ASSERT_NE(nullptr, section);
  void* const view = ::MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, kSize);
  ASSERT_NE(nullptr, view);
  EXPECT_HR(S_OK, host()->AcquiredVirtualAddressSpace(view, kSize));
  EXPECT_EQ(kSize, manager_.Statistics().mapped);
  EXPECT_EQ(0u, Charged());
  ASSERT_EQ(view, Allocate(host(), view, 3 * kPage, MEM_COMMIT, PAGE_READWRITE));
  *At(view, 2 * kPage) = 1;
  EXPECT_EQ(3 * kPage, Charged());
  ASSERT_EQ(view, Allocate(host(), view, 4 * kPage, MEM_COMMIT, PAGE_READWRITE));
  EXPECT_EQ(4 * kPage, Charged());
  EXPECT_TRUE(LedgerIsExact(host()));

  EXPECT_TRUE(::UnmapViewOfFile(view));
  EXPECT_HR(S_OK, host()->ReleasedVirtualAddressSpace(view));
  ::CloseHandle(section);
  EXPECT_EQ(std::uint64_t{0}, manager_.Statistics().mapped);
}

TEST_F(CallShapes, ReleaseOfAnUnannouncedViewSucceeds) {
  EXPECT_HR(S_OK, host()->ReleasedVirtualAddressSpace(::GetModuleHandleW(nullptr)));
}

TEST_F(CallShapes, GetMemoryLoadReflectsTheLimit) {
  DWORD load = 0;
  SIZE_T available = 0;
  ASSERT_HR(S_OK, host()->GetMemoryLoad(&load, &available));
  EXPECT_LE(available, 256 * kMiB);
  void* const memory = Allocate(host(), nullptr, 64 * kMiB, MEM_COMMIT, PAGE_READWRITE);
  DWORD load_after = 0;
  SIZE_T available_after = 0;
  ASSERT_HR(S_OK, host()->GetMemoryLoad(&load_after, &available_after));
  EXPECT_LE(available_after, 192 * kMiB);
  EXPECT_GE(load_after, 24u);
  Release(memory);
}

}  // namespace
}  // namespace clr_host_memory::test
