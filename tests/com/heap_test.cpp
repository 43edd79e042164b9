// Tests the heap of a CLR and of a bridge over Windows. IHostMalloc and IHeapBackend are two interfaces of one
// heap.
#include <algorithm>
#include <cstring>
#include <string>

#include "com/backend.h"
#include "every_size.h"
#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

class Heap : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_HR(S_OK, manager_.get()->CreateMalloc(MALLOC_THREADSAFE, malloc_.Receive()));
    heap_ = Query<IHeapBackend>(malloc_.get(), kIidHeapBackend);
    ASSERT_NE(nullptr, heap_.get());
  }
  char* Take(SIZE_T size, uint32_t flags = 0) {
    void* memory = Poison();
    EXPECT_HR(S_OK, heap_->Allocate(size, flags, eProcessCritical, &memory));
    return static_cast<char*>(memory);
  }
  SIZE_T SizeOf(const void* memory) {
    SIZE_T size = 12345;
    const HRESULT hr = heap_->GetSize(memory, &size);
    EXPECT_HR(size == 0 ? S_FALSE : S_OK, hr);
    return size;
  }
  ClrHostMemoryHeapFigures Figures() {
    ClrHostMemoryHeapFigures figures{};
    figures.size = sizeof(figures);
    EXPECT_HR(S_OK, heap_->GetFigures(&figures));
    EXPECT_EQ(1u, figures.version);
    return figures;
  }

  MemoryManager manager_ = MakeManager();
  ComReference<IHostMalloc> malloc_;
  ComReference<IHeapBackend> heap_;
};

TEST_F(Heap, BothInterfacesShareTheirBlocks) {
  char* block = Take(100);
  EXPECT_HR(S_OK, malloc_->Free(block));
  void* other = nullptr;
  ASSERT_HR(S_OK, malloc_->Alloc(100, eTaskCritical, &other));
  EXPECT_LE(SIZE_T{100}, SizeOf(other));
  EXPECT_HR(S_OK, heap_->FreeIfOwned(other));
  EXPECT_HR(S_FALSE, heap_->FreeIfOwned(other));
  EXPECT_HR(HOST_E_INVALIDOPERATION, malloc_->Free(other));
  EXPECT_HR(S_OK, heap_->FreeIfOwned(nullptr));
}

TEST_F(Heap, ForeignBlocksAreNeitherTouchedNorCounted) {
  void* const theirs = ::HeapAlloc(::GetProcessHeap(), 0, 100);
  const auto before = manager_.Statistics();
  ::SetLastError(kCallersError);
  void* moved = Poison();
  SIZE_T size = 1;
  EXPECT_HR(S_FALSE, heap_->FreeIfOwned(theirs));
  EXPECT_HR(S_FALSE, heap_->Reallocate(theirs, 200, 0, eProcessCritical, &moved));
  EXPECT_HR(S_FALSE, heap_->GetSize(theirs, &size));
  EXPECT_EQ(nullptr, moved);
  EXPECT_EQ(SIZE_T{0}, size);
  EXPECT_EQ(DWORD{kCallersError}, ::GetLastError());
  const auto after = manager_.Statistics();
  EXPECT_EQ(0, std::memcmp(before.calls, after.calls, sizeof(before.calls)));
  EXPECT_TRUE(::HeapFree(::GetProcessHeap(), 0, theirs));
}

TEST_F(Heap, ZeroesMemoryOnRequest) {
  for (const SIZE_T size : {SIZE_T{1}, SIZE_T{100}, SIZE_T{5000}, SIZE_T{100000}, SIZE_T{2} << 20}) {
    char* dirty = Take(size);
    std::memset(dirty, 0x5A, SizeOf(dirty));
    EXPECT_HR(S_OK, heap_->FreeIfOwned(dirty));
    char* block = Take(size, kHeapZero);
    EXPECT_TRUE(std::all_of(block, block + SizeOf(block), [](char c) { return c == 0; })) << size;
    std::memset(block, 0x77, size);
    void* moved = nullptr;
    ASSERT_HR(S_OK, heap_->Reallocate(block, 3 * size, kHeapZero, eProcessCritical, &moved));
    const char* bytes = static_cast<char*>(moved);
    EXPECT_TRUE(std::all_of(bytes, bytes + size, [](char c) { return c == 0x77; })) << size;
    EXPECT_TRUE(std::all_of(bytes + size, bytes + 3 * size, [](char c) { return c == 0; })) << size;
    EXPECT_HR(S_OK, heap_->FreeIfOwned(moved));
  }
  EXPECT_EQ(0u, Figures().blocks);
}

TEST_F(Heap, ReallocatesAsHeapReAllocDoes) {
  char* block = Take(100);
  void* moved = Poison();
  EXPECT_HR(E_OUTOFMEMORY, heap_->Reallocate(block, 100000, kHeapInPlace, eTaskCritical, &moved));
  EXPECT_EQ(nullptr, moved);
  ASSERT_HR(S_OK, heap_->Reallocate(block, 10, kHeapInPlace, eTaskCritical, &moved));
  EXPECT_EQ(block, moved);
  ASSERT_TRUE(manager_.SetLimit(64_KiB, 0, 0));
  EXPECT_HR(E_OUTOFMEMORY, heap_->Reallocate(block, 1 << 20, 0, eTaskCritical, &moved));
  EXPECT_EQ(nullptr, moved);
  EXPECT_NE(SIZE_T{0}, SizeOf(block));
  EXPECT_HR(S_OK, heap_->FreeIfOwned(block));
}

TEST_F(Heap, RefusesSizesBeyondTheAddressSpace) {
  constexpr SIZE_T kHalf = SIZE_MAX / 2 + 1;
  constexpr SIZE_T kSizes[] = {SIZE_MAX,         SIZE_MAX - 1, SIZE_MAX - 4095, SIZE_MAX - 4096,
                               SIZE_MAX - 65536, kHalf + 1,    kHalf,           kHalf - 1};
  for (const bool limited : {false, true}) {
    ASSERT_TRUE(manager_.SetLimit(limited ? 64_MiB : CLR_HOST_MEMORY_NO_LIMIT));
    char* const block = Take(100);
    for (const SIZE_T size : kSizes) {
      SCOPED_TRACE(size);
      const auto refused = [&](auto call) {
        void* memory = Poison();
        ::SetLastError(kCallersError);
        EXPECT_HR(E_OUTOFMEMORY, call(&memory));
        const DWORD error = ::GetLastError();
        EXPECT_EQ(nullptr, memory);
        EXPECT_TRUE(error == ERROR_NOT_ENOUGH_MEMORY || error == ERROR_COMMITMENT_LIMIT) << error;
      };
      refused([&](void** memory) { return malloc_->Alloc(size, eTaskCritical, memory); });
      refused([&](void** memory) { return malloc_->DebugAlloc(size, eTaskCritical, nullptr, 0, memory); });
      for (const uint32_t fill : {0u, static_cast<unsigned>(kHeapZero), static_cast<unsigned>(kHeapZeroBeyond)}) {
        refused([&](void** memory) { return heap_->Allocate(size, fill, eTaskCritical, memory); });
        refused([&](void** memory) { return heap_->Reallocate(block, size, fill, eTaskCritical, memory); });
        refused(
            [&](void** memory) { return heap_->Reallocate(block, size, fill | kHeapInPlace, eTaskCritical, memory); });
      }
    }
    EXPECT_HR(S_OK, malloc_->Free(block));
  }
}

TEST_F(Heap, RejectsInvalidArguments) {
  void* memory = Poison();
  EXPECT_HR(E_POINTER, heap_->Allocate(1, 0, eTaskCritical, nullptr));
  EXPECT_HR(E_INVALIDARG, heap_->Allocate(1, kHeapInPlace, eTaskCritical, &memory));
  EXPECT_EQ(nullptr, memory);
  EXPECT_HR(E_INVALIDARG, heap_->Allocate(1, 8, eTaskCritical, &memory));
  EXPECT_HR(E_INVALIDARG, heap_->Allocate(1, 0, static_cast<EMemoryCriticalLevel>(3), &memory));
  char* block = Take(1);
  EXPECT_HR(E_POINTER, heap_->Reallocate(block, 1, 0, eTaskCritical, nullptr));
  EXPECT_HR(E_INVALIDARG, heap_->Reallocate(block, 1, 8, eTaskCritical, &memory));
  EXPECT_HR(E_POINTER, heap_->GetSize(block, nullptr));
  EXPECT_HR(E_POINTER, heap_->GetFigures(nullptr));
  EXPECT_HR(E_POINTER, heap_->GetSite(0, nullptr));
  ClrHostMemoryHeapFigures figures{};
  EXPECT_HR(E_INVALIDARG, heap_->GetFigures(&figures));
  ClrHostMemoryHeapSite site{};
  EXPECT_HR(E_INVALIDARG, heap_->GetSite(0, &site));
}

TEST_F(Heap, IsChargedForItsCommittedPages) {
  for (const SIZE_T size : {SIZE_T{10}, SIZE_T{3000}, SIZE_T{30000}, SIZE_T{3} << 20}) static_cast<void>(Take(size));
  const auto statistics = manager_.Statistics();
  const auto figures = Figures();
  EXPECT_EQ(statistics.charged, statistics.heap_bytes);
  EXPECT_EQ(statistics.charged, figures.committed);
  EXPECT_EQ(4u, figures.blocks);
  EXPECT_LE(figures.live, figures.committed);
  EXPECT_LE(figures.committed, figures.reserved);
  EXPECT_EQ(std::uint64_t{0}, manager_.Audit().mismatch);
  EXPECT_EQ(statistics.charged, manager_.Audit().committed);
}

TEST_F(Heap, DebugAllocKeepsFileAndLineUntilTheBlockIsFreed) {
  void* blocks[3] = {};
  char here[] = "here.cpp";
  std::string long_name = "d:\\" + std::string(200, 'x') + "\\end.cpp";
  ASSERT_HR(S_OK, malloc_->DebugAlloc(100, eTaskCritical, here, 7, &blocks[0]));
  ASSERT_HR(S_OK, malloc_->DebugAlloc(100, eTaskCritical, here, 7, &blocks[1]));
  ASSERT_HR(S_OK, malloc_->DebugAlloc(2 << 20, eTaskCritical, long_name.data(), 8, &blocks[2]));
  const auto site_of = [&](int line) {
    ClrHostMemoryHeapSite site{};
    site.size = sizeof(site);
    for (uint32_t i = 0; heap_->GetSite(i, &site) == S_OK; ++i) {
      if (site.line == line) return site;
    }
    return ClrHostMemoryHeapSite{};
  };
  EXPECT_STREQ("here.cpp", site_of(7).file);
  EXPECT_EQ(2u, site_of(7).blocks);
  EXPECT_EQ(SizeOf(blocks[0]) * 2, site_of(7).bytes);
  EXPECT_EQ(2u << 20, site_of(8).bytes);
  EXPECT_STREQ(long_name.substr(long_name.size() - sizeof(ClrHostMemoryHeapSite::file) + 1).c_str(), site_of(8).file);
  for (void* block : blocks) EXPECT_HR(S_OK, malloc_->Free(block));
  EXPECT_EQ(0u, site_of(7).blocks + site_of(8).blocks);
}

TEST_F(Heap, FiguresAndSitesAreFilledUpToTheCallersSize) {
  void* block = nullptr;
  char here[] = "c:\\sources\\here.cpp";
  ASSERT_HR(S_OK, malloc_->DebugAlloc(100, eTaskCritical, here, 7, &block));
  ExpectFilledForEverySize<ClrHostMemoryHeapFigures>([&](auto* figures) { return heap_->GetFigures(figures); });
  ExpectFilledForEverySize<ClrHostMemoryHeapSite>(
      [&](auto* site) { return heap_->GetSite(0, site); },
      {{offsetof(ClrHostMemoryHeapSite, file), sizeof(ClrHostMemoryHeapSite::file), sizeof(char)}});
  EXPECT_HR(S_OK, malloc_->Free(block));
}

TEST_F(Heap, ExecutableHeapMemoryIsExecutable) {
  ComReference<IHostMalloc> code;
  ASSERT_HR(S_OK, manager_.get()->CreateMalloc(MALLOC_THREADSAFE | MALLOC_EXECUTABLE, code.Receive()));
  for (const SIZE_T size : {SIZE_T{16}, SIZE_T{100000}, SIZE_T{1} << 20}) {
    void* memory = nullptr;
    ASSERT_HR(S_OK, code->Alloc(size, eTaskCritical, &memory));
    MEMORY_BASIC_INFORMATION info{};
    ASSERT_NE(SIZE_T{0}, ::VirtualQuery(memory, &info, sizeof(info)));
    EXPECT_EQ(DWORD{PAGE_EXECUTE_READWRITE}, info.Protect);
    EXPECT_HR(S_OK, code->Free(memory));
  }
}

TEST_F(Heap, ServesHeapsWithoutTheThreadSafeFlag) {
  for (const DWORD type : {DWORD{0}, DWORD{MALLOC_EXECUTABLE}}) {
    ComReference<IHostMalloc> plain;
    ASSERT_HR(S_OK, manager_.get()->CreateMalloc(type, plain.Receive()));
    void* memory = nullptr;
    ASSERT_HR(S_OK, plain->Alloc(100, eTaskCritical, &memory));
    MEMORY_BASIC_INFORMATION info{};
    ASSERT_NE(SIZE_T{0}, ::VirtualQuery(memory, &info, sizeof(info)));
    EXPECT_EQ(static_cast<DWORD>(type == 0 ? PAGE_READWRITE : PAGE_EXECUTE_READWRITE), info.Protect);
    EXPECT_HR(S_OK, plain->Free(memory));
  }
}

TEST_F(Heap, VirtualFreeRefusesHeapMemory) {
  for (const SIZE_T size : {SIZE_T{100}, SIZE_T{100000}, SIZE_T{2} << 20}) {
    char* block = Take(size);
    EXPECT_HR(HOST_E_INVALIDOPERATION, manager_.get()->VirtualFree(block, 0, MEM_RELEASE));
    EXPECT_HR(HOST_E_INVALIDOPERATION, manager_.get()->VirtualFree(block, 4096, MEM_DECOMMIT));
    std::memset(block, 1, size);
    EXPECT_HR(S_OK, heap_->FreeIfOwned(block));
  }
}

}  // namespace
}  // namespace clr_host_memory::test
