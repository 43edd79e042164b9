// The places where blocks of a bridged module are taken back. Cases: imports that other tools have hooked, C run-times
// of all kinds, modules with their own hooks, and bridges that attach and detach repeatedly.
#include <clr_host_memory/core_clr_bridge.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bridge/fake_clr.h"

namespace clrhm_test {
namespace {

using clr_host_memory::CreateMemoryManager;
using clr_host_memory::MemoryManager;

MemoryManager MakeManager() {
  auto made = CreateMemoryManager({});
  EXPECT_TRUE(made) << made.error().reason();
  return std::move(*made);
}

std::uint64_t Served(const MemoryManager& manager) {
  return manager.Statistics().calls[kClrHostMemoryMallocAlloc][kClrHostMemoryOk];
}
std::uint64_t Freed(const MemoryManager& manager) {
  return manager.Statistics().calls[kClrHostMemoryMallocFree][kClrHostMemoryOk];
}

// Returns the imports of the bridge's index-th module that are redirected to the manager, each with a space on either
// side.
std::string BridgedImports(const Attachment& attachment, uint32_t index = 0) {
  ClrHostMemoryBridgedModule module{};
  module.size = sizeof(module);
  if (attachment.bridge->GetModule(index, &module) != S_OK) return "no module";
  return std::string(" ") + module.imports + " ";
}
bool Has(const std::string& imports, const char* name) {
  return imports.find(std::string(" ") + name + " ") != std::string::npos;
}

// Another tool's hook in a module's import, removed by the destructor.
class Hook {
 public:
  template <typename Function>
  Hook(void** slot, Function* hook, Function** original) : slot_(slot), original_(*slot) {
    *original = reinterpret_cast<Function*>(original_);
    Write(reinterpret_cast<void*>(hook));
  }
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;
  ~Hook() { Write(original_); }

 private:
  void Write(void* value) {
    DWORD protect = 0;
    EXPECT_TRUE(VirtualProtect(slot_, sizeof(void*), PAGE_READWRITE, &protect));
    *slot_ = value;
    EXPECT_TRUE(VirtualProtect(slot_, sizeof(void*), protect, &protect));
  }
  void** slot_;
  void* original_;
};

// ---- A leak finder that has hooked malloc and related functions

struct LeakFinder {
  void* (*malloc)(std::size_t);
  void* (*calloc)(std::size_t, std::size_t);
  void* (*realloc)(void*, std::size_t);
  void (*free)(void*);
  int calls;
} finder;
void* FinderMalloc(std::size_t size) {
  ++finder.calls;
  return finder.malloc(size);
}
void* FinderCalloc(std::size_t count, std::size_t size) {
  ++finder.calls;
  return finder.calloc(count, size);
}
void* FinderRealloc(void* memory, std::size_t size) {
  ++finder.calls;
  return finder.realloc(memory, size);
}
void FinderFree(void* memory) {
  ++finder.calls;
  finder.free(memory);
}

TEST(HeapGuards, BypassALeakFinderThatHookedMalloc) {
  const MemoryManager manager = MakeManager();
  FakeCoreClr clr;
  finder = {};
  const Hook malloc_hook(clr.Slot("malloc"), &FinderMalloc, &finder.malloc);
  const Hook calloc_hook(clr.Slot("calloc"), &FinderCalloc, &finder.calloc);
  const Hook realloc_hook(clr.Slot("realloc"), &FinderRealloc, &finder.realloc);
  const Hook free_hook(clr.Slot("free"), &FinderFree, &finder.free);
  void* earlier = clr.malloc(100);
  const Attachment attachment(clr.get(), manager.get());
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  finder.calls = 0;
  auto* block = static_cast<char*>(clr.malloc(100));
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(Served(manager), 1U);
  std::memset(block, 0x42, 100);
  block = static_cast<char*>(clr.realloc(block, 5000));
  ASSERT_NE(block, nullptr);
  EXPECT_TRUE(std::all_of(block, block + 100, [](char c) { return c == 0x42; }));
  block = static_cast<char*>(std::realloc(block, 50000));  // called from this program, which uses the same C run-time
  ASSERT_NE(block, nullptr);
  std::free(block);
  EXPECT_EQ(Freed(manager), 1U);
  std::free(clr.calloc(1, 100));
  EXPECT_EQ(Freed(manager), 2U);
  EXPECT_EQ(finder.calls, 0) << "no block of the manager's passes the leak finder";
  clr.free(earlier);
  EXPECT_EQ(finder.calls, 1) << "what it has seen come it sees go";
}

// ---- C run-times

struct RuntimeCase {
  const char* name;
  const wchar_t* clr;
  const wchar_t* runtime;
  bool guarded;
};

class CRuntimes : public testing::TestWithParam<RuntimeCase> {};

TEST_P(CRuntimes, AreGuardedOrModuleGetsNoBlocks) {
  const MemoryManager manager = MakeManager();
  FakeCoreClr clr(Beside(GetParam().clr));
  ASSERT_NE(clr.get(), nullptr) << GetLastError();
  const LoadedModule runtime(Beside(GetParam().runtime));
  ASSERT_NE(runtime.get(), nullptr) << GetLastError();
  const auto foreign_blocks = runtime.Export<long()>("FakeRuntimeForeignBlocks");
  const auto runtime_free = runtime.Export<void(void*)>("free");
  const std::vector<void*> before = ImportsOf(runtime.get());
  const Attachment attachment(clr.get(), manager.get());
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  const std::string imports = BridgedImports(attachment);
  EXPECT_TRUE(Has(imports, "VirtualAlloc")) << imports;
  for (const char* name : {"malloc", "calloc", "realloc", "free", "HeapAlloc"}) {
    EXPECT_EQ(Has(imports, name), GetParam().guarded) << name << " and" << imports;
  }
  EXPECT_EQ(ImportsOf(runtime.get()) != before, GetParam().guarded) << "nothing stays patched for nothing";

  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{50000}, std::size_t{2} << 20}) {
    auto* block = static_cast<char*>(clr.malloc(size));
    ASSERT_NE(block, nullptr);
    std::memset(block, 0x42, size);
    block = static_cast<char*>(clr.realloc(block, 3 * size));
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(std::all_of(block, block + size, [](char c) { return c == 0x42; }));
    runtime_free(block);
    clr.free(clr.calloc(1, size));
    EXPECT_TRUE(clr.heap_free(GetProcessHeap(), 0, clr.heap_alloc(GetProcessHeap(), 0, size)));
  }
  EXPECT_EQ(foreign_blocks(), 0);
  EXPECT_EQ(Freed(manager), GetParam().guarded ? 12U : 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CRuntimes,
    testing::Values(RuntimeCase{"Plain", L"fake_clr_of_plain.dll", L"ucrtbase_plain.dll", true},
                    RuntimeCase{"Debug", L"fake_clr_of_debug.dll", L"ucrtbase_plaind.dll", false},
                    RuntimeCase{"WithoutImports", L"fake_clr_of_no_imports.dll", L"ucrtbase_no_imports.dll", false},
                    RuntimeCase{"PastItsImports", L"fake_clr_of_past_imports.dll", L"ucrtbase_past_imports.dll", false},
                    RuntimeCase{"OfWhichOneOnlyFrees", L"fake_clr_of_two.dll", L"ucrtbase_free_alone.dll", false}),
    [](const auto& runtime) { return std::string(runtime.param.name); });

TEST(HeapGuards, LetRecallocZeroAllAddedBytes) {
  const MemoryManager manager = MakeManager();
  FakeCoreClr clr(Beside(L"fake_clr_of_plain.dll"));
  const LoadedModule runtime(Beside(L"ucrtbase_plain.dll"));
  const auto recalloc = runtime.Export<void*(void*, std::size_t, std::size_t)>("_recalloc");
  const Attachment attachment(clr.get(), manager.get());
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{100}, std::size_t{900}, std::size_t{17000}, std::size_t{600000}}) {
    // Fill the block's future memory with nonzero bytes.
    void* dirty = clr.malloc(size + 8);
    std::memset(dirty, 0x5A, size + 8);
    clr.free(dirty);
    for (const bool shrunk : {false, true}) {
      auto* block = static_cast<char*>(clr.malloc(shrunk ? size + 8 : size));
      std::memset(block, 1, shrunk ? size + 8 : size);
      if (shrunk) block = static_cast<char*>(clr.realloc(block, size));
      block = static_cast<char*>(recalloc(block, 1, 2 * size + 100));
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(std::all_of(block, block + size, [](char c) { return c == 1; })) << size;
      EXPECT_TRUE(std::all_of(block + size, block + 2 * size + 100, [](char c) { return c == 0; })) << size;
      clr.free(block);
    }
  }
  EXPECT_EQ(Served(manager), 5U * 6U);
}

// ---- Modules with their own hooks

decltype(&::HeapFree) logged_free;
std::atomic<int> logged;
// Acts as a tool that logs what is freed, in blocks of the C run-time.
BOOL WINAPI LogAndFree(HANDLE heap, DWORD flags, LPVOID memory) {
  if (++logged > 100) return FALSE;  // endless recursion
  std::free(std::malloc(32));
  return logged_free(heap, flags, memory);
}

TEST(HeapGuards, SendEachModulesCallsToItsOwnOriginals) {
  const HANDLE process = GetProcessHeap();
  const MemoryManager manager = MakeManager();
  const CopiedModule copy(L"other_coreclr.dll");
  FakeCoreClr a;
  FakeCoreClr b(copy.path());
  const Hook hook(b.Slot("HeapFree"), &LogAndFree, &logged_free);
  const Attachment attachment(a.get(), manager.get());
  ASSERT_EQ(attachment.hr, S_OK) << attachment.reason.data();
  std::array<char, 1024> reason{};
  ASSERT_EQ(attachment.bridge->AttachModule(b.get(), reason.data(), reason.size()), S_OK) << reason.data();
  EXPECT_TRUE(Has(BridgedImports(attachment, 1), "malloc"));

  logged = 0;
  EXPECT_TRUE(a.heap_free(process, 0, HeapAlloc(process, 0, 10)));
  std::free(std::malloc(10));
  a.free(std::malloc(10));
  b.free(std::malloc(10));
  EXPECT_EQ(logged, 0) << "only B's HeapFree is hooked";
  EXPECT_TRUE(b.heap_free(process, 0, HeapAlloc(process, 0, 10)));
  EXPECT_EQ(logged, 1) << "which ends where it did before";
  // Whichever module frees a block, the manager gets it back, and no tool sees it.
  for (FakeCoreClr* from : {&a, &b}) {
    for (FakeCoreClr* to : {&a, &b}) {
      const std::uint64_t freed = Freed(manager);
      EXPECT_TRUE(to->heap_free(process, 0, from->heap_alloc(process, 0, 100)));
      to->free(from->malloc(100));
      EXPECT_EQ(Freed(manager), freed + 2);
    }
  }
  EXPECT_EQ(logged, 1);
}

decltype(&::HeapSize) hooked_size;
SIZE_T WINAPI HookOverSize(HANDLE heap, DWORD flags, LPCVOID memory) { return hooked_size(heap, flags, memory); }

TEST(HeapGuards, AreRemadeOverAnotherToolsHook) {
  FakeCoreClr clr;
  const MemoryManager first = MakeManager();
  auto attachment = std::make_unique<Attachment>(clr.get(), first.get());
  ASSERT_EQ(attachment->hr, S_OK) << attachment->reason.data();
  void* block = clr.malloc(100);
  void** slot = clr.Slot("HeapFree");
  void* const border = *slot;
  // The tool restores what it found before the bridge was attached, while a block is in use.
  *slot = reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "HeapFree"));
  const Hook hook(clr.Slot("HeapSize"), &HookOverSize, &hooked_size);
  attachment.reset();
  const MemoryManager second = MakeManager();
  attachment = std::make_unique<Attachment>(clr.get(), second.get());
  ASSERT_EQ(attachment->hr, S_OK) << attachment->reason.data();
  EXPECT_NE(*slot, border);
  EXPECT_TRUE(clr.heap_free(GetProcessHeap(), 0, clr.malloc(100)));
  EXPECT_EQ(Freed(second), 1U);
  EXPECT_TRUE(clr.heap_free(GetProcessHeap(), 0, block));
  EXPECT_EQ(Freed(first), 1U);
  EXPECT_GE(clr.heap_size(GetProcessHeap(), 0, clr.malloc(100)), 100U);
}

void* (*hooked_malloc)(std::size_t);
void* HookOverMalloc(std::size_t size) { return hooked_malloc(size); }

TEST(HeapGuards, DetachedModulesGetNoBlocksThroughAToolsHook) {
  const CopiedModule copy(L"other_coreclr.dll");
  FakeCoreClr detached;
  FakeCoreClr other(copy.path());
  const MemoryManager manager = MakeManager();
  auto attachment = std::make_unique<Attachment>(detached.get(), manager.get());
  ASSERT_EQ(attachment->hr, S_OK) << attachment->reason.data();
  const Hook hook(detached.Slot("malloc"), &HookOverMalloc, &hooked_malloc);
  attachment.reset();
  attachment = std::make_unique<Attachment>(other.get(), manager.get());
  ASSERT_EQ(attachment->hr, S_OK) << attachment->reason.data();
  // The hook still calls the thunk, and a heap serves blocks. But the functions that would take back the block are not
  // guarded.
  void* block = detached.malloc(100);
  EXPECT_NE(block, nullptr);
  EXPECT_EQ(Served(manager), 0U);
  detached.free(block);
  other.free(other.malloc(100));
  EXPECT_EQ(Served(manager), 1U);
}

// ---- Bridges that attach and detach repeatedly

TEST(HeapGuards, HoldWhileBridgesAttachAndDetachUnderLoad) {
  constexpr int kRounds = 40;
  constexpr long kOperationsARound = 2000;
  struct Block {
    unsigned char* bytes;
    std::size_t size;
    unsigned char value;
  };
  FakeCoreClr clr;
  const HANDLE process = GetProcessHeap();
  std::atomic<bool> stop{false};
  std::atomic<long> operations{0};
  std::atomic<long> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      std::vector<Block> blocks;
      const auto holds = [](const Block& block, std::size_t size) {
        return std::all_of(block.bytes, block.bytes + std::min(size, block.size),
                           [&block](unsigned char c) { return c == block.value; });
      };
      while (!stop) {
        ++operations;
        const unsigned what = random() % 100;
        if (what < 45 && blocks.size() < 200) {
          const std::size_t size = 1 + (random() % 8 == 0 ? random() % 200000 : random() % 600);
          const auto value = static_cast<unsigned char>(random());
          auto* bytes = static_cast<unsigned char*>(what % 2 == 0 ? clr.malloc(size) : clr.calloc(1, size));
          if (bytes == nullptr) continue;
          std::memset(bytes, value, size);
          blocks.push_back({bytes, size, value});
        } else if (what < 65 && !blocks.empty()) {
          Block& block = blocks[random() % blocks.size()];
          const std::size_t size = 1 + random() % 3000;
          void* made = what % 2 == 0 ? clr.realloc(block.bytes, size) : std::realloc(block.bytes, size);
          if (made == nullptr) continue;
          block.bytes = static_cast<unsigned char*>(made);
          if (!holds(block, size)) ++wrong;
          block.size = size;
          std::memset(block.bytes, block.value, size);
        } else if (what < 95 && !blocks.empty()) {
          std::swap(blocks[random() % blocks.size()], blocks.back());
          if (!holds(blocks.back(), blocks.back().size)) ++wrong;
          what % 2 == 0 ? clr.free(blocks.back().bytes) : std::free(blocks.back().bytes);
          blocks.pop_back();
        } else {
          void* block = clr.heap_alloc(process, HEAP_ZERO_MEMORY, 300);
          if (block != nullptr && !clr.heap_free(process, 0, block)) ++wrong;
        }
      }
      for (const Block& block : blocks) {
        if (!holds(block, block.size)) ++wrong;
        clr.free(block.bytes);
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    const MemoryManager manager = MakeManager();
    const Attachment attachment(clr.get(), manager.get());
    ASSERT_EQ(attachment.hr, S_OK) << round << ": " << attachment.reason.data();
    const long until = operations + kOperationsARound;
    while (operations < until) std::this_thread::yield();
    EXPECT_GT(Served(manager), 0U);
    EXPECT_EQ(manager.Audit().mismatch, 0U);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace clrhm_test
