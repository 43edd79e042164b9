// Blocks of a bridged module: the manager serves them, and any module may free them.
#include <clr_host_memory/core_clr_bridge.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "bridge/fake_clr.h"
#include "com/backend.h"

namespace clrhm_test {
namespace {

using clr_host_memory::ComReference;
using clr_host_memory::CreateMemoryManager;
using clr_host_memory::kIidManagerBackend;
using clr_host_memory::MemoryManager;

class BridgedBlocks : public testing::Test {
 protected:
  void SetUp() override {
    manager_ = CreateMemoryManager().value();
    attachment_.emplace(clr_.get(), manager_.get());
    ASSERT_EQ(attachment_->hr, S_OK) << attachment_->reason.data();
  }
  [[nodiscard]] std::uint64_t Served() const {
    return manager_.Statistics().calls[kClrHostMemoryMallocAlloc][kClrHostMemoryOk];
  }
  [[nodiscard]] std::uint64_t Freed() const {
    return manager_.Statistics().calls[kClrHostMemoryMallocFree][kClrHostMemoryOk];
  }
  // Calls make() and expects the manager to serve the block.
  template <typename Make>
  void* Ours(Make make) {
    const std::uint64_t before = Served();
    void* memory = make();
    EXPECT_NE(memory, nullptr);
    EXPECT_EQ(Served(), before + 1);
    return memory;
  }
  template <typename Free>
  void ExpectFreed(Free free) {
    const std::uint64_t before = Freed();
    free();
    EXPECT_EQ(Freed(), before + 1);
  }

  const HANDLE process_ = GetProcessHeap();
  FakeCoreClr clr_;
  MemoryManager manager_;
  std::optional<Attachment> attachment_;
};

TEST_F(BridgedBlocks, EveryAllocationFunctionIsServedByManager) {
  void* blocks[] = {Ours([&] { return clr_.malloc(100); }),
                    Ours([&] { return clr_.malloc(0); }),
                    Ours([&] { return clr_.calloc(10, 10); }),
                    Ours([&] { return clr_.realloc(nullptr, 100); }),
                    Ours([&] { return clr_.heap_alloc(process_, 0, 100); }),
                    Ours([&] { return clr_.heap_alloc(process_, HEAP_NO_SERIALIZE, 1 << 20); })};
  for (void* block : blocks) ExpectFreed([&] { clr_.free(block); });
  EXPECT_EQ(manager_.Audit().mismatch, 0u);
}

TEST_F(BridgedBlocks, MayBeFreedByEveryFreeingFunction) {
  const std::vector<std::function<void(void*)>> ways = {
      [&](void* block) { clr_.free(block); }, [&](void* block) { EXPECT_TRUE(clr_.heap_free(process_, 0, block)); },
      [&](void* block) { EXPECT_EQ(clr_.realloc(block, 0), nullptr); },
      [](void* block) { std::free(block); },  // imported by this program, which is not bridged
  };
  for (const auto& way : ways) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{50000}, std::size_t{2} << 20}) {
      ExpectFreed([&] { way(clr_.malloc(size)); });
      ExpectFreed([&] { way(clr_.heap_alloc(process_, 0, size)); });
    }
  }
}

TEST_F(BridgedBlocks, ForeignBlocksReturnToTheirOwnHeap) {
  const std::uint64_t freed = Freed();
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{50000}, std::size_t{2} << 20}) {
    clr_.free(std::malloc(size));
    EXPECT_TRUE(clr_.heap_free(process_, 0, HeapAlloc(process_, 0, size)));
    void* block = clr_.realloc(std::malloc(size), 2 * size);
    EXPECT_NE(block, nullptr);
    std::free(block);
    void* other = HeapAlloc(process_, 0, size);
    EXPECT_EQ(clr_.heap_size(process_, 0, other), size);
    EXPECT_TRUE(HeapFree(process_, 0, other));
  }
  clr_.free(nullptr);
  EXPECT_EQ(Freed(), freed);
}

TEST_F(BridgedBlocks, KeepTheirBytesWhenReallocatedOnEitherSide) {
  for (const bool by_others : {false, true}) {
    auto* block = static_cast<char*>(clr_.malloc(100));
    std::memset(block, 0x42, 100);
    for (const std::size_t size : {std::size_t{300}, std::size_t{40000}, std::size_t{3} << 20, std::size_t{100}}) {
      block = static_cast<char*>(by_others ? std::realloc(block, size) : clr_.realloc(block, size));
      ASSERT_NE(block, nullptr);
      EXPECT_TRUE(std::all_of(block, block + 100, [](char c) { return c == 0x42; }));
      EXPECT_GE(clr_.heap_size(process_, 0, block), size);
    }
    ExpectFreed([&] { clr_.free(block); });
  }
}

TEST_F(BridgedBlocks, AreZeroWhereRequestedAndBeyondRequestedSize) {
  const auto all_zero = [](const char* from, std::size_t size) {
    return std::all_of(from, from + size, [](char c) { return c == 0; });
  };
  for (const std::size_t size : {std::size_t{7}, std::size_t{900}, std::size_t{30000}, std::size_t{1} << 20}) {
    auto* dirty = static_cast<char*>(clr_.malloc(size));
    std::memset(dirty, 0x5A, size);
    clr_.free(dirty);
    auto* block = static_cast<char*>(clr_.calloc(1, size));
    EXPECT_TRUE(all_zero(block, size)) << size;
    clr_.free(block);
    // The bytes from the requested size up to the end that _msize and HeapSize report are zero, since _recalloc does
    // not zero them.
    for (const bool anew : {false, true}) {
      dirty = static_cast<char*>(clr_.malloc(size + 16));
      std::memset(dirty, 0x5A, size + 16);
      if (anew) clr_.free(dirty);
      block = static_cast<char*>(anew ? clr_.malloc(size) : clr_.realloc(dirty, size));
      const std::size_t whole = clr_.heap_size(process_, 0, block);
      EXPECT_TRUE(all_zero(block + size, whole - size)) << size;
      clr_.free(block);
    }
    // A block allocated without HEAP_ZERO_MEMORY and grown with it: all bytes after the old size are zero, even those
    // that the old block already had.
    auto* grown = static_cast<char*>(clr_.heap_alloc(process_, 0, size));
    std::memset(grown, 0x77, size);
    grown = static_cast<char*>(clr_.heap_re_alloc(process_, HEAP_ZERO_MEMORY, grown, 3 * size));
    EXPECT_TRUE(all_zero(grown + size, 2 * size)) << size;
    EXPECT_TRUE(clr_.heap_free(process_, 0, grown));
  }
}

TEST_F(BridgedBlocks, RefusalsComeFromTheOriginalFunctions) {
  ASSERT_EQ(manager_.control()->EndStart(nullptr), S_OK);
  ASSERT_TRUE(manager_.SetLimit(64 * 1024, 0, 0));
  errno = 0;
  EXPECT_EQ(clr_.malloc(100000), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(clr_.calloc(1000, 1000), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(clr_.realloc(nullptr, 100000), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(clr_.heap_alloc(process_, 0, 100000), nullptr);
  EXPECT_GE(manager_.Statistics().limit_refusals[eProcessCritical], 4u);
  EXPECT_EQ(clr_.calloc(SIZE_MAX / 2, 4), nullptr) << "as it overflows";
  ASSERT_TRUE(manager_.SetLimit(CLR_HOST_MEMORY_NO_LIMIT, 0, 0));
  void* block = clr_.malloc(100);
  ASSERT_TRUE(manager_.SetLimit(64 * 1024, 0, 0));
  EXPECT_EQ(clr_.realloc(block, 10 << 20), nullptr);
  EXPECT_EQ(clr_.heap_re_alloc(process_, 0, block, 10 << 20), nullptr);
  EXPECT_EQ(clr_.heap_re_alloc(process_, HEAP_REALLOC_IN_PLACE_ONLY, block, 10 << 20), nullptr);
  EXPECT_EQ(clr_.heap_re_alloc(process_, HEAP_REALLOC_IN_PLACE_ONLY, block, 50), block);
  errno = 0;
  EXPECT_EQ(clr_.realloc(block, 10 << 20), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  clr_.free(block);
}

TEST_F(BridgedBlocks, AreCountedAsNativeHeap) {
  const auto counted = [&] {
    ClrHostMemoryPurposes purposes{};
    purposes.size = sizeof(purposes);
    EXPECT_EQ(attachment_->bridge->GetPurposes(&purposes), S_OK);
    return std::pair(purposes.requests[kClrHostMemoryNativeHeap], purposes.refusals[kClrHostMemoryNativeHeap]);
  };
  EXPECT_EQ(counted(), std::pair(std::uint64_t{0}, std::uint64_t{0}));
  void* block = clr_.malloc(100);
  clr_.free(clr_.calloc(1, 100));
  clr_.free(clr_.realloc(nullptr, 100));
  clr_.free(clr_.heap_alloc(process_, 0, 100));
  EXPECT_EQ(counted(), std::pair(std::uint64_t{4}, std::uint64_t{0}));
  ASSERT_EQ(manager_.control()->EndStart(nullptr), S_OK);
  ASSERT_TRUE(manager_.SetLimit(64 * 1024, 0, 0));
  EXPECT_EQ(clr_.malloc(10 << 20), nullptr);
  EXPECT_EQ(counted(), std::pair(std::uint64_t{5}, std::uint64_t{1}));

  ComReference<clr_host_memory::IManagerBackend> client;
  ASSERT_EQ(manager_.get()->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(client.Receive())), S_OK);
  clr_host_memory::BackendRegion region{};
  ASSERT_EQ(client->FindRegion(block, &region), S_OK);
  EXPECT_NE(region.reserved_as & clr_host_memory::kRegionOfHeap, 0U);
  clr_.free(block);
}

TEST_F(BridgedBlocks, ModulesOwnHeapsStayWithTheOs) {
  const std::uint64_t served = Served();
  for (const DWORD options : {DWORD{0}, DWORD{HEAP_NO_SERIALIZE}, DWORD{HEAP_CREATE_ENABLE_EXECUTE}}) {
    const HANDLE heap = clr_.heap_create(options, 0, 0);
    ASSERT_NE(heap, nullptr);
    void* block = clr_.heap_alloc(heap, 0, 100);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(clr_.heap_size(heap, 0, block), 100U);
    EXPECT_TRUE(HeapValidate(heap, 0, block));
    EXPECT_TRUE(clr_.heap_free(heap, 0, block));
    EXPECT_TRUE(clr_.heap_destroy(heap));
  }
  EXPECT_EQ(Served(), served);
}

TEST_F(BridgedBlocks, HeapDestroyedAfterBridgeLeavesNoCharge) {
  attachment_.reset();
  const std::uint64_t charged = manager_.Statistics().charged;
  for (int cycle = 0; cycle < 10; ++cycle) {
    attachment_.emplace(clr_.get(), manager_.get());
    ASSERT_EQ(attachment_->hr, S_OK) << attachment_->reason.data();
    const HANDLE heap = clr_.heap_create(0, 0, 0);
    for (int i = 0; i < 100; ++i) EXPECT_NE(clr_.heap_alloc(heap, 0, 4096), nullptr);
    clr_.free(Ours([&] { return clr_.malloc(4096); }));
    attachment_.reset();
    EXPECT_TRUE(clr_.heap_destroy(heap));
    ASSERT_EQ(manager_.Statistics().charged, charged) << cycle;
  }
}

TEST_F(BridgedBlocks, OutliveTheBridgeAndCanStillBeFreed) {
  std::vector<void*> blocks;
  for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{50000}, std::size_t{2} << 20}) {
    for (int i = 0; i < 4; ++i) blocks.push_back(clr_.malloc(size));
  }
  attachment_->bridge->Detach();
  const std::uint64_t served = Served();
  clr_.free(clr_.malloc(100));
  EXPECT_EQ(Served(), served) << "nothing new is the manager's";
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    ExpectFreed([&] {
      switch (i % 4) {
        case 0: return clr_.free(blocks[i]);
        case 1: return static_cast<void>(clr_.heap_free(process_, 0, blocks[i]));
        case 2: return std::free(blocks[i]);
        default: return std::free(std::realloc(blocks[i], 200));
      }
    });
  }
}

decltype(&::HeapFree) hooked_border;
std::atomic<int> hooked_calls{0};
BOOL WINAPI HookOverBorder(HANDLE heap, DWORD flags, LPVOID memory) {
  ++hooked_calls;
  return hooked_border(heap, flags, memory);
}

TEST_F(BridgedBlocks, ReattachWorksOverAHookedBorder) {
  void** slot = clr_.Slot("HeapFree");
  hooked_border = reinterpret_cast<decltype(hooked_border)>(*slot);
  *slot = reinterpret_cast<void*>(&HookOverBorder);
  attachment_->bridge->Detach();
  EXPECT_EQ(*slot, reinterpret_cast<void*>(&HookOverBorder)) << "not ours to take back";
  for (int round = 0; round < 2; ++round) {
    Attachment again(clr_.get(), manager_.get());
    ASSERT_EQ(again.hr, S_OK) << again.reason.data();
    hooked_calls = 0;
    EXPECT_TRUE(clr_.heap_free(process_, 0, HeapAlloc(process_, 0, 100))) << "comes to its end";
    EXPECT_EQ(hooked_calls, 1);
    ExpectFreed([&] { EXPECT_TRUE(clr_.heap_free(process_, 0, clr_.malloc(100))); });
  }
  *slot = reinterpret_cast<void*>(hooked_border);
}

TEST_F(BridgedBlocks, ModuleUsesOriginalsAfterShutdown) {
  void* block = clr_.malloc(100);
  ASSERT_EQ(manager_.control()->Shutdown(), S_OK);
  void* other = clr_.malloc(100);
  EXPECT_NE(other, nullptr);
  clr_.free(other);
  ExpectFreed([&] { clr_.free(block); });
}

// Blocks whose heap gives out no more blocks: what can still be done with them.
class BlocksOfAStoppedHeap : public BridgedBlocks, public testing::WithParamInterface<bool> {
 protected:
  static constexpr std::size_t kSize = 3000;
  char* Block() {
    auto* block = static_cast<char*>(Ours([&] { return clr_.malloc(kSize); }));
    std::memset(block, 0x42, kSize);
    return block;
  }
  void Stop() {
    if (GetParam()) {
      ASSERT_EQ(manager_.control()->Shutdown(), S_OK);
    } else {
      attachment_->bridge->Detach();
    }
    served_ = Served();
  }
  static bool Is(char value, const char* from, std::size_t size) {
    return std::all_of(from, from + size, [value](char c) { return c == value; });
  }
  std::uint64_t served_ = 0;
};

TEST_P(BlocksOfAStoppedHeap, MoveToTheOriginalsWhenReallocated) {
  enum Way { kByModule, kByOthers, kByHeap };
  for (const Way way : {kByModule, kByOthers, kByHeap}) {
    SCOPED_TRACE(way);
    SetUp();
    char* block = Block();
    Stop();
    char* moved = nullptr;
    ExpectFreed([&] {
      moved = static_cast<char*>(way == kByModule   ? clr_.realloc(block, 100000)
                                 : way == kByOthers ? std::realloc(block, 100000)
                                                    : clr_.heap_re_alloc(process_, HEAP_ZERO_MEMORY, block, 100000));
    });
    ASSERT_NE(moved, nullptr);
    EXPECT_EQ(Served(), served_);
    EXPECT_TRUE(Is(0x42, moved, kSize));
    const std::uint64_t freed = Freed();
    if (way == kByHeap) {
      EXPECT_TRUE(Is(0, moved + kSize, 100000 - kSize));
      EXPECT_TRUE(HeapFree(process_, 0, moved)) << "it is the process heap's";
    } else {
      std::free(moved);
    }
    EXPECT_EQ(Freed(), freed);
    EXPECT_EQ(manager_.Audit().mismatch, 0U);
  }
}

TEST_P(BlocksOfAStoppedHeap, StayInPlaceWhenRequestedOrSufficient) {
  char* block = Block();
  Stop();
  SetLastError(0);
  EXPECT_EQ(clr_.heap_re_alloc(process_, HEAP_REALLOC_IN_PLACE_ONLY, block, 100000), nullptr);
  EXPECT_EQ(GetLastError(), DWORD{ERROR_NOT_ENOUGH_MEMORY});
  EXPECT_TRUE(Is(0x42, block, kSize)) << "refused, it is as it was";
  EXPECT_EQ(clr_.realloc(block, kSize - 100), block);
  EXPECT_TRUE(Is(0, block + kSize - 100, 100)) << "as _recalloc counts on";
  EXPECT_EQ(clr_.heap_re_alloc(process_, HEAP_REALLOC_IN_PLACE_ONLY, block, 10), block);
  EXPECT_TRUE(Is(0x42, block, 10));
  ExpectFreed([&] { clr_.free(block); });
}

TEST_P(BlocksOfAStoppedHeap, AreUnchangedWhenOriginalHasNoMemory) {
  char* block = Block();
  Stop();
  errno = 0;
  EXPECT_EQ(clr_.realloc(block, SIZE_MAX - 0xFFFF), nullptr);
  // A detached module calls the C run-time's realloc, and Wine's realloc does not set errno.
  if (GetParam()) {
    EXPECT_EQ(errno, ENOMEM);
  }
  EXPECT_EQ(clr_.heap_re_alloc(process_, 0, block, SIZE_MAX - 0xFFFF), nullptr);
  EXPECT_TRUE(Is(0x42, block, kSize));
  ExpectFreed([&] { EXPECT_EQ(clr_.realloc(block, 0), nullptr); });
}

INSTANTIATE_TEST_SUITE_P(Heaps, BlocksOfAStoppedHeap, testing::Bool(),
                         [](const auto& end) { return end.param ? "AfterShutdown" : "AfterDetach"; });

TEST_F(BridgedBlocks, CrossTheBorderInBothDirectionsUnderLoad) {
  constexpr int kRounds = 20000;
  // A block of the manager may be freed by all functions. A block of the process heap may be freed by HeapFree. A
  // block of the C run-time, whose heap may be another one (msvcrt's), may be freed by free. Each holds for both
  // sides. The lowest bits hold the kind.
  enum Kind : std::uintptr_t { kOurs, kOfProcessHeap, kOfCRuntime };
  std::array<std::atomic<std::uintptr_t>, 512> slots{};
  const auto free = [&](std::uintptr_t tagged, unsigned way) {
    void* block = reinterpret_cast<void*>(tagged & ~std::uintptr_t{3});
    const auto kind = static_cast<Kind>(tagged & 3);
    if (block == nullptr) return;
    if (kind == kOurs && way % 3 == 2) block = clr_.realloc(block, 300);
    const bool by_heap = kind == kOfProcessHeap || (kind == kOurs && way % 2 == 0);
    if (by_heap) {
      EXPECT_TRUE(way % 4 < 2 || kind == kOurs ? clr_.heap_free(process_, 0, block) : HeapFree(process_, 0, block));
    } else if (way % 4 < 2) {
      clr_.free(block);
    } else {
      std::free(block);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (int round = 0; round < kRounds; ++round) {
        const std::size_t size = random() % (random() % 50 == 0 ? 100000 : 1000);
        void* block = nullptr;
        Kind kind = kOurs;
        switch (random() % 5) {
          case 0: block = clr_.malloc(size); break;
          case 1: block = clr_.heap_alloc(process_, 0, size); break;
          case 2:
            block = HeapAlloc(process_, 0, size);
            kind = kOfProcessHeap;
            break;
          case 3:
            block = std::calloc(1, size);
            kind = kOfCRuntime;
            break;
          default: block = clr_.realloc(nullptr, size);
        }
        ASSERT_NE(block, nullptr);
        free(slots[random() % slots.size()].exchange(reinterpret_cast<std::uintptr_t>(block) | kind),
             static_cast<unsigned>(random() >> 3));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& slot : slots) free(slot.exchange(0), 1);
  EXPECT_EQ(manager_.Audit().mismatch, 0u);
}

}  // namespace
}  // namespace clrhm_test
