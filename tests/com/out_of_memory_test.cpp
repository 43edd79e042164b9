// Tests E_OUTOFMEMORY in the methods that document it. Causes: limit and headroom at each criticality, the OS,
// address space, the manager's own tables, and a taken address.
#include <algorithm>

#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

constexpr EMemoryCriticalLevel kLevels[] = {eTaskCritical, eAppDomainCritical, eProcessCritical};
constexpr ClrHostMemoryMethod kAllocators[] = {kClrHostMemoryVirtualAlloc, kClrHostMemoryMallocAlloc,
                                               kClrHostMemoryMallocDebugAlloc};

void ExpectOutOfMemory(const Answer& answer, DWORD error) {
  EXPECT_HR(E_OUTOFMEMORY, answer.hr);
  EXPECT_EQ(error, answer.last_error);
  EXPECT_TRUE(answer.outputs_cleared);
}

// ---- the limit

class OutOfMemoryByLimit : public ::testing::Test {
 protected:
  static constexpr SIZE_T kLimit = 64 * kPage;
  static constexpr SIZE_T kAppDomainHeadroom = 8 * kPage;
  static constexpr SIZE_T kProcessHeadroom = 16 * kPage;
  static constexpr SIZE_T kCeilings[] = {kLimit - kProcessHeadroom - kAppDomainHeadroom, kLimit - kProcessHeadroom,
                                         kLimit};

  // Commits at the end of the region until `charged` bytes are charged, up to whole pages.
  void FillTo(SIZE_T charged) {
    const auto now = static_cast<SIZE_T>(StatisticsOf(host_.manager()).charged);
    ASSERT_LE(now, charged);
    filler_ = At(host_.region(), 8 * kGranule);
    filled_ = (charged - now) / kPage * kPage;
    ASSERT_NE(nullptr, Allocate(host_.manager(), filler_, filled_, MEM_COMMIT, PAGE_READWRITE, eProcessCritical));
  }
  void Drain() { EXPECT_HR(S_OK, host_.manager()->VirtualFree(filler_, filled_, MEM_DECOMMIT)); }

  HostOverFake host_{
      Limits{.limit = {kLimit}, .app_domain_headroom = {kAppDomainHeadroom}, .process_headroom = {kProcessHeadroom}}};
  void* filler_ = nullptr;
  SIZE_T filled_ = 0;
};

TEST_F(OutOfMemoryByLimit, EachLevelIsRefusedAboveItsCeiling) {
  for (const EMemoryCriticalLevel filled_to : kLevels) {
    FillTo(kCeilings[filled_to]);
    const auto left = kCeilings[filled_to] - static_cast<SIZE_T>(StatisticsOf(host_.manager()).charged);
    ASSERT_LT(left, kPage);
    for (const EMemoryCriticalLevel level : kLevels) {
      SCOPED_TRACE(::testing::Message() << "filled to the ceiling of " << filled_to << ", asked at " << level);
      const Answer answer = host_.Call(kClrHostMemoryVirtualAlloc, level);
      if (level <= filled_to) {
        ExpectOutOfMemory(answer, ERROR_COMMITMENT_LIMIT);
      } else {
        EXPECT_HR(S_OK, answer.hr);
      }
    }
    Drain();
  }
  EXPECT_TRUE(LedgerIsExact(host_.manager()));
}

TEST_F(OutOfMemoryByLimit, LastPageBelowTheCeilingIsGranted) {
  for (const EMemoryCriticalLevel level : kLevels) {
    FillTo(kCeilings[level] - kPage);
    EXPECT_HR(S_OK, host_.Call(kClrHostMemoryVirtualAlloc, level).hr) << level;
    Drain();
  }
}

TEST_F(OutOfMemoryByLimit, HeapBlocksObeyTheSameCeilings) {
  for (const EMemoryCriticalLevel level : kLevels) {
    FillTo(kCeilings[level]);
    void* refused = Poison();
    EXPECT_HR(E_OUTOFMEMORY, host_.malloc()->Alloc(1, level, &refused)) << level;
    EXPECT_EQ(nullptr, refused);
    refused = Poison();
    EXPECT_HR(E_OUTOFMEMORY, host_.malloc()->DebugAlloc(1, level, nullptr, 0, &refused)) << level;
    EXPECT_EQ(nullptr, refused);
    EXPECT_EQ(DWORD{ERROR_COMMITMENT_LIMIT}, ::GetLastError());
    Drain();
    FillTo(kCeilings[level] - 4 * kPage);
    void* memory = nullptr;
    EXPECT_HR(S_OK, host_.malloc()->Alloc(1, level, &memory)) << level;
    EXPECT_HR(S_OK, host_.malloc()->Free(memory));
    Drain();
    // The heap keeps a slab that would serve the next level. A larger allocation makes it give the slab up.
    FillTo(kCeilings[level] - 8 * kPage);
    ASSERT_HR(S_OK, host_.malloc()->Alloc(9 * kPage, level, &memory));
    EXPECT_HR(S_OK, host_.malloc()->Free(memory));
    Drain();
  }
}

TEST_F(OutOfMemoryByLimit, ReserveRecommitAndResetSucceedAtTheLimit) {
  FillTo(kCeilings[eProcessCritical]);
  EXPECT_NE(nullptr, Allocate(host_.manager(), nullptr, 1 << 30, MEM_RESERVE, PAGE_READWRITE));
  EXPECT_EQ(host_.page(), Allocate(host_.manager(), host_.page(), kPage, MEM_COMMIT, PAGE_READONLY));
  EXPECT_EQ(host_.page(), Allocate(host_.manager(), host_.page(), kPage, MEM_RESET, PAGE_READWRITE));
}

TEST_F(OutOfMemoryByLimit, RefusalAllocatesNothingFromTheOs) {
  FillTo(kCeilings[eProcessCritical]);
  const std::uint64_t calls = host_.os.Calls(OsCall::kAllocate);
  for (const auto method : kAllocators) {
    if (method == kClrHostMemoryVirtualAlloc) {
      ExpectOutOfMemory(host_.Call(method, eTaskCritical), ERROR_COMMITMENT_LIMIT);
    } else {
      void* memory = Poison();
      EXPECT_HR(E_OUTOFMEMORY, host_.malloc()->Alloc(2 * kPage, eTaskCritical, &memory));
    }
  }
  EXPECT_EQ(calls, host_.os.Calls(OsCall::kAllocate));
}

TEST_F(OutOfMemoryByLimit, LimitRefusalsAreCountedByLevel) {
  FillTo(kCeilings[eProcessCritical]);
  for (const EMemoryCriticalLevel level : kLevels) {
    for (int i = 0; i <= level; ++i) static_cast<void>(host_.Call(kClrHostMemoryVirtualAlloc, level));
  }
  host_.os.Fail(OsCall::kAllocate, ERROR_COMMITMENT_LIMIT);
  void* memory = nullptr;
  EXPECT_HR(E_OUTOFMEMORY,
            host_.manager()->VirtualAlloc(nullptr, kPage, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &memory));
  const auto statistics = StatisticsOf(host_.manager());
  for (const EMemoryCriticalLevel level : kLevels) {
    const std::uint64_t by_limit = static_cast<std::uint64_t>(level) + 1;
    EXPECT_EQ(by_limit, statistics.limit_refusals[level]) << level;
    EXPECT_EQ(by_limit + (level == eTaskCritical ? 1 : 0), statistics.refusals[level][kClrHostMemoryOutOfMemory]);
  }
}

TEST_F(OutOfMemoryByLimit, FreeingAndSetLimitTakeEffectAtOnce) {
  FillTo(kCeilings[eProcessCritical]);
  ExpectOutOfMemory(host_.Call(kClrHostMemoryVirtualAlloc, eProcessCritical), ERROR_COMMITMENT_LIMIT);
  Drain();
  EXPECT_HR(S_OK, host_.Call(kClrHostMemoryVirtualAlloc, eProcessCritical).hr);
  FillTo(kGranule);
  ASSERT_HR(S_OK, ControlOf(host_.manager())->SetLimit(kGranule, 0, 0));
  ExpectOutOfMemory(host_.Call(kClrHostMemoryVirtualAlloc, eProcessCritical), ERROR_COMMITMENT_LIMIT);
  ASSERT_HR(S_OK, ControlOf(host_.manager())->SetLimit(CLR_HOST_MEMORY_NO_LIMIT, 0, 0));
  EXPECT_HR(S_OK, host_.Call(kClrHostMemoryVirtualAlloc, eTaskCritical).hr);
}

// ---- the operating system

TEST(OutOfMemoryByOs, EveryMemoryErrorBecomesOutOfMemory) {
  constexpr DWORD kErrors[] = {ERROR_NOT_ENOUGH_MEMORY,      ERROR_OUTOFMEMORY,         ERROR_COMMITMENT_LIMIT,
                               ERROR_COMMITMENT_MINIMUM,     ERROR_NO_SYSTEM_RESOURCES, ERROR_NONPAGED_SYSTEM_RESOURCES,
                               ERROR_PAGED_SYSTEM_RESOURCES, ERROR_WORKING_SET_QUOTA,   ERROR_PAGEFILE_QUOTA,
                               ERROR_NOT_ENOUGH_QUOTA};
  constexpr ClrHostMemoryMethod kDocumenting[] = {kClrHostMemoryVirtualAlloc, kClrHostMemoryCreateMalloc,
                                                  kClrHostMemoryMallocAlloc, kClrHostMemoryMallocDebugAlloc};
  HostOverFake host;
  const auto charged = StatisticsOf(host.manager()).charged;
  for (const DWORD error : kErrors) {
    for (const auto method : kDocumenting) {
      host.os.Fail(*SeamOf(method), error);
      ExpectOutOfMemory(host.Call(method), error);
      EXPECT_HR(S_OK, host.Call(method).hr);
    }
  }
  EXPECT_EQ(charged, StatisticsOf(host.manager()).charged);
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(OutOfMemoryByOs, CommitFailsAtTheOsCommitLimit) {
  HostOverFake host;
  host.os.SetCommitLimit(host.os.Committed().InBytes() + Bytes{kPage});
  void* const start = At(host.region(), 2 * kGranule);
  EXPECT_EQ(start, Allocate(host.manager(), start, kPage, MEM_COMMIT, PAGE_READWRITE));
  void* memory = Poison();
  const Answer answer = Ask([&] {
    return host.manager()->VirtualAlloc(At(start, kPage), kPage, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &memory);
  });
  ExpectOutOfMemory(answer, ERROR_COMMITMENT_LIMIT);
  EXPECT_EQ(nullptr, memory);
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(OutOfMemoryByOs, ReserveFailsWithoutAddressSpace) {
  HostOverFake host;
  host.os.SetSearchRange(0x7000'0000, 0x7010'0000);
  void* memory = Poison();
  EXPECT_HR(E_OUTOFMEMORY,
            host.manager()->VirtualAlloc(nullptr, 0x20'0000, MEM_RESERVE, PAGE_NOACCESS, eTaskCritical, &memory));
  EXPECT_EQ(nullptr, memory);
  EXPECT_EQ(DWORD{ERROR_NOT_ENOUGH_MEMORY}, ::GetLastError());
  EXPECT_NE(nullptr, Allocate(host.manager(), nullptr, 0x10'0000, MEM_RESERVE, PAGE_NOACCESS));
}

TEST(OutOfMemoryByOs, HeapAllocFailsAtTheOsCommitLimit) {
  HostOverFake host;
  void* memory = nullptr;
  ASSERT_HR(S_OK, host.malloc()->Alloc(1000, eProcessCritical, &memory));
  host.os.SetCommitLimit(host.os.Committed().InBytes());
  for (const SIZE_T size : {SIZE_T{2000}, SIZE_T{20000}, SIZE_T{2} << 20}) {
    void* refused = Poison();
    EXPECT_HR(E_OUTOFMEMORY, host.malloc()->Alloc(size, eProcessCritical, &refused)) << size;
    EXPECT_EQ(nullptr, refused);
    EXPECT_EQ(DWORD{ERROR_COMMITMENT_LIMIT}, ::GetLastError());
  }
  EXPECT_HR(S_OK, host.malloc()->Alloc(1000, eTaskCritical, &memory)) << "there are pages for it";
  EXPECT_HR(S_OK, host.malloc()->Free(memory));
}

// ---- a taken address: not out of memory, but the CLR knows no other code for it and tries the next address

TEST(OutOfMemoryByPlacement, TakenAddressLeavesTheManagerUsable) {
  HostOverFake host;
  const auto before = StatisticsOf(host.manager());
  void* memory = Poison();
  const Answer answer = Ask([&] {
    return host.manager()->VirtualAlloc(host.region(), kGranule, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical, &memory);
  });
  ExpectOutOfMemory(answer, ERROR_INVALID_ADDRESS);
  EXPECT_EQ(nullptr, memory);
  // A commit of unreserved memory gives the same code.
  memory = Poison();
  EXPECT_HR(E_OUTOFMEMORY,
            host.manager()->VirtualAlloc(reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x7000'0000)), kPage,
                                         MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory));
  EXPECT_EQ(nullptr, memory);
  const auto after = StatisticsOf(host.manager());
  EXPECT_EQ(before.charged, after.charged);
  EXPECT_EQ(before.reserved, after.reserved);
  EXPECT_EQ(std::uint64_t{0}, after.limit_refusals[eTaskCritical] + after.limit_refusals[eProcessCritical]);
  EXPECT_HR(S_OK, host.Call(kClrHostMemoryVirtualAlloc).hr);
}

TEST(OutOfMemoryByPlacement, IsCountedSeparatelyFromRefusals) {
  HostOverFake host;
  void* memory = nullptr;
  for (const DWORD type : {DWORD{MEM_RESERVE}, DWORD{MEM_RESERVE | MEM_COMMIT}}) {
    EXPECT_HR(E_OUTOFMEMORY,
              host.manager()->VirtualAlloc(host.region(), kGranule, type, PAGE_READWRITE, eProcessCritical, &memory));
  }
  const auto statistics = StatisticsOf(host.manager());
  EXPECT_EQ(2u, statistics.placement_refusals);
  for (const auto& level : statistics.refusals) {
    for (const std::uint64_t refusals : level) EXPECT_EQ(0u, refusals);
  }
  EXPECT_EQ(2u, statistics.calls[kClrHostMemoryVirtualAlloc][kClrHostMemoryOutOfMemory]) << "it was the answer";
}

// ---- the manager's own tables

TEST(OutOfMemoryByMetadata, UntrackableReservationIsReleased) {
  HostOverFake host;
  const auto before = StatisticsOf(host.manager());
  const std::size_t regions = host.os.RegionCount();
  auto* const far_away = reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x7000'0000));
  for (const DWORD type : {DWORD{MEM_RESERVE}, DWORD{MEM_RESERVE | MEM_COMMIT}}) {
    host.os.Fail(OsCall::kAllocateMetadata, ERROR_NOT_ENOUGH_MEMORY, 0, 100);
    void* memory = Poison();
    const Answer answer = Ask(
        [&] { return host.manager()->VirtualAlloc(far_away, kGranule, type, PAGE_READWRITE, eTaskCritical, &memory); });
    ExpectOutOfMemory(answer, ERROR_NOT_ENOUGH_MEMORY);
    EXPECT_EQ(nullptr, memory);
    host.os.ClearFaults();
  }
  EXPECT_EQ(regions, host.os.RegionCount());
  EXPECT_EQ(before.charged, StatisticsOf(host.manager()).charged);
  EXPECT_EQ(before.regions, StatisticsOf(host.manager()).regions);
  EXPECT_NE(nullptr, Allocate(host.manager(), far_away, kGranule, MEM_RESERVE, PAGE_READWRITE));
}

TEST(OutOfMemoryByMetadata, UntrackableCommitIsRefused) {
  if (PageMap::kLeavesWithRegion) GTEST_SKIP() << "a region has tables for all its pages here";
  HostOverFake host;
  // The region is so long that tables for its pages do not exist yet. There is one table per 64 MiB.
  constexpr SIZE_T kTable = SIZE_T{1} << 26;
  auto* const base = reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x2000'0000));
  ASSERT_EQ(base, Allocate(host.manager(), base, 12 * kTable, MEM_RESERVE, PAGE_NOACCESS));
  const auto committed = host.os.Committed();
  for (SIZE_T made_before = 0; made_before < 2; ++made_before) {
    host.os.Fail(OsCall::kAllocateMetadata, ERROR_NOT_ENOUGH_MEMORY, made_before, 100);
    // The range crosses the border of two tables, so the second table may fail after the first was made.
    void* const start = At(base, 5 * kTable * (made_before + 1) - kPage);
    void* memory = Poison();
    EXPECT_HR(E_OUTOFMEMORY,
              host.manager()->VirtualAlloc(start, 128 * kPage, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &memory));
    EXPECT_EQ(nullptr, memory);
    host.os.ClearFaults();
  }
  EXPECT_EQ(committed, host.os.Committed());
  EXPECT_TRUE(LedgerIsExact(host.manager()));
  void* const start = At(base, 10 * kTable);
  EXPECT_EQ(start, Allocate(host.manager(), start, kPage, MEM_COMMIT, PAGE_READWRITE));
}

TEST(OutOfMemoryByMetadata, UntrackableViewIsRefused) {
  HostOverFake host;
  const auto view = host.os.MapView(0x6000'0000, kGranule, ViewPages::kReserved);
  auto* const base = reinterpret_cast<void*>(static_cast<std::uintptr_t>(view.address));
  host.os.Fail(OsCall::kAllocateMetadata, ERROR_NOT_ENOUGH_MEMORY, 0, 100);
  const Answer answer = Ask([&] { return host.manager()->AcquiredVirtualAddressSpace(base, kGranule); });
  ExpectOutOfMemory(answer, ERROR_NOT_ENOUGH_MEMORY);
  host.os.ClearFaults();
  EXPECT_HR(S_OK, host.manager()->AcquiredVirtualAddressSpace(base, kGranule));
}

// ---- NeedsVirtualAddressSpace, refused because the host has no address-space reserve: the CLR must not try again

TEST(OutOfMemoryByHost, NeedsVirtualAddressSpaceIsRefusedWithoutAReserve) {
  HostOverFake host;
  const std::uint64_t calls = host.os.AllCalls();
  ExpectOutOfMemory(host.Call(kClrHostMemoryNeedsVirtualAddressSpace), ERROR_NOT_ENOUGH_MEMORY);
  EXPECT_EQ(calls, host.os.AllCalls());
}

}  // namespace
}  // namespace clr_host_memory::test
