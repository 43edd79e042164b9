// Tests IClrHostMemoryControl::WriteReport: the lines of a known state, over the fake OS.
#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "heap/arena.h"
#include "host_callbacks.h"
#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

constexpr Limits kLimits{.limit = {8 * kMiB}, .app_domain_headroom = {kMiB}, .process_headroom = {kMiB / 2}};

void* PlaceAt(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

void STDMETHODCALLTYPE KeepLine(const char* line, void* lines) {
  static_cast<std::vector<std::string>*>(lines)->emplace_back(line);
}

class Report : public ::testing::Test {
 protected:
  [[nodiscard]] HostMemoryManager* manager() const { return manager_.get(); }
  [[nodiscard]] IHostMemoryManager* client() const { return manager_.get(); }

  [[nodiscard]] std::vector<std::string> Lines() const {
    std::vector<std::string> lines;
    EXPECT_HR(S_OK, manager()->WriteReport(&KeepLine, &lines));
    return lines;
  }
  // Expects each of these lines in the report, exactly once.
  void ExpectLines(const std::vector<std::string>& expected) const {
    const std::vector<std::string> lines = Lines();
    for (const std::string& line : expected) {
      EXPECT_EQ(1, std::count(lines.begin(), lines.end(), line)) << line << "\n in " << ::testing::PrintToString(lines);
    }
  }

  FakeMemorySystem os_;
  FakeThreadSystem threads_;
  ComReference<HostMemoryManager> manager_{new HostMemoryManager(os_, threads_, kLimits)};
};

TEST_F(Report, OfANewManagerHasEveryLine) {
  EXPECT_EQ((std::vector<std::string>{
                "ClrHostMemory report, sizes in bytes",
                "figures of one moment: yes",
                "stage: running",
                "latch: none",
                "limit: 8388608, app-domain headroom 1048576, process headroom 524288",
                "charged: 0, peak 0, pages 0, heaps 0, over the limit 0, outside 0",
                "reserved: 0, peak 0, views 0, metadata 0",
                "bound: 8388608, ever exceeded by 0",
                "committed headroom: 0, held 0, given 0, uses 0, taken back 0",
                "GC: charged 0, limit 0",
                "address space reserve: 0, held 0, uses 0",
                "refusals, task: 0, limit 0, system 0, timed out 0, abandoned 0, not owner 0, not available 0, other 0",
                "refusals, app-domain: 0, limit 0, system 0, timed out 0, abandoned 0, not owner 0, not available 0, "
                "other 0",
                "refusals, process: 0, limit 0, system 0, timed out 0, abandoned 0, not owner 0, not available 0, "
                "other 0",
                "refusals, placement: 0",
                "waits, task: 0, granted 0, timed out 0, abandoned 0",
                "waits, app-domain: 0, granted 0, timed out 0, abandoned 0",
                "waits, process: 0, granted 0, timed out 0, abandoned 0",
                "waiting now: 0",
                "notifications: low 0, neutral 0, high 0, now neutral",
                "thrashes: 0",
                "regions: 0, stale 0",
                "regions not listed: 0",
                "heaps: regions 0, reserved 0, charged 0",
                "sealed regions: 0",
                "end of report",
            }),
            Lines());
}

TEST_F(Report, HasChargesByRegionKindAndOwner) {
  void* const region = Allocate(client(), PlaceAt(0x10000000), kMiB, MEM_RESERVE, PAGE_NOACCESS);
  Allocate(client(), At(region, kGranule), 3 * kPage, MEM_COMMIT, PAGE_READWRITE);
  Allocate(client(), At(region, 2 * kGranule), kPage, MEM_COMMIT, PAGE_READWRITE);
  EXPECT_HR(S_OK, client()->VirtualFree(At(region, 2 * kGranule), kPage, MEM_DECOMMIT));
  const Address view = os_.MapView(0x20000000, kGranule, ViewPages::kReserved).address;
  EXPECT_HR(S_OK, client()->AcquiredVirtualAddressSpace(PlaceAt(static_cast<std::uintptr_t>(view)), kGranule));
  os_.SetSearchRange(0x30000000, 0x40000000);
  ComReference<IHostMalloc> heap;
  ASSERT_HR(S_OK, client()->CreateMalloc(MALLOC_THREADSAFE, heap.Receive()));
  void* block = nullptr;
  ASSERT_HR(S_OK, heap->Alloc(20 * kPage, eTaskCritical, &block));  // a run: whole pages
  static_assert(kArenaSize == 1048576);
  ExpectLines({"charged: 94208, peak 94208, pages 12288, heaps 81920, over the limit 0, outside 0",
               "regions: 3, stale 0", "region: 0x0000000010000000, size 1048576, reserved, owner CLR, charged 12288",
               "region: 0x0000000020000000, size 65536, view, owner CLR, charged 0",
               "region: 0x0000000030000000, size 1048576, reserved, owner heap, charged 81920",
               "heaps: regions 1, reserved 1048576, charged 81920"});
  EXPECT_HR(S_OK, heap->Free(block));
}

TEST_F(Report, HasSealedRegionsAndReserves) {
  ComReference<HostMemoryManager> reserving(new HostMemoryManager(os_, threads_, kLimits));
  ASSERT_EQ(nullptr,
            reserving->Configure({.limits = {.committed_headroom = {kMiB / 2}}, .address_space_reserve = {2 * kMiB}}));
  manager_ = std::move(reserving);
  ASSERT_HR(S_OK, manager()->SealRegion(PlaceAt(0x10001000), 5 * kPage));
  ASSERT_HR(S_OK, manager()->SealRegion(PlaceAt(0x20000000), kPage));
  // The limit would refuse it, and half of the committed headroom helps.
  void* const most =
      Allocate(client(), nullptr, 8 * kMiB - kMiB / 4, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
  EXPECT_NE(nullptr, most);
  ExpectLines({"charged: 8126464, peak 8126464, pages 8126464, heaps 0, over the limit 0, outside 0",
               "committed headroom: 524288, held 262144, given 262144, uses 1, taken back 0",
               "address space reserve: 2097152, held 2097152, uses 0", "sealed regions: 2",
               "sealed region: 0x0000000010001000, size 20480", "sealed region: 0x0000000020000000, size 4096"});
}

TEST_F(Report, HasRefusalsByLevelAndCause) {
  void* const region = Allocate(client(), PlaceAt(0x10000000), 16 * kMiB, MEM_RESERVE, PAGE_NOACCESS);
  const auto commit = [&](SIZE_T size, EMemoryCriticalLevel level) {
    return Allocate(client(), region, size, MEM_COMMIT, PAGE_READWRITE, level);
  };
  EXPECT_EQ(nullptr, Allocate(client(), region, kPage, MEM_RESERVE, PAGE_READWRITE));
  EXPECT_EQ(nullptr, commit(7 * kMiB, eTaskCritical));
  EXPECT_EQ(nullptr, commit(9 * kMiB, eTaskCritical));
  os_.Fail(OsCall::kAllocate, ERROR_NOT_ENOUGH_MEMORY);
  EXPECT_EQ(nullptr, commit(kPage, eTaskCritical));
  os_.Fail(OsCall::kAllocate, ERROR_TIMEOUT);
  EXPECT_EQ(nullptr, commit(kPage, eAppDomainCritical));
  os_.Fail(OsCall::kAllocate, ERROR_MOD_NOT_FOUND);
  EXPECT_EQ(nullptr, commit(kPage, eAppDomainCritical));
  ASSERT_HR(S_OK, manager()->SealRegion(region, kPage));
  EXPECT_EQ(nullptr, commit(kPage, eProcessCritical));
  ExpectLines({"refusals, task: 3, limit 2, system 1, timed out 0, abandoned 0, not owner 0, not available 0, other 0",
               "refusals, app-domain: 2, limit 0, system 0, timed out 1, abandoned 0, not owner 0, not available 0, "
               "other 1",
               "refusals, process: 1, limit 0, system 0, timed out 0, abandoned 0, not owner 1, not available 0, "
               "other 0",
               "refusals, placement: 1"});
}

TEST_F(Report, HasWaitsThatEndedAndThatAreInProgress) {
  ASSERT_HR(S_OK, manager()->SetWait(eAppDomainCritical, 1000));
  void* const all = Allocate(client(), nullptr, 8 * kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical);
  ASSERT_NE(nullptr, all);
  std::vector<std::string> meanwhile;
  threads_.SetWaitHook([&](EventHandle, Milliseconds deadline) {
    (void)manager()->engine().ServeWaiters(threads_.Now());
    meanwhile = Lines();
    threads_.SetNow(deadline);
  });
  EXPECT_EQ(nullptr, Allocate(client(), nullptr, kPage, MEM_COMMIT, PAGE_READWRITE, eAppDomainCritical));
  EXPECT_EQ(1, std::count(meanwhile.begin(), meanwhile.end(), "waiting now: 1"));
  (void)manager()->engine().ServeWaiters(threads_.Now());
  ExpectLines({"waits, task: 0, granted 0, timed out 0, abandoned 0",
               "waits, app-domain: 1, granted 0, timed out 1, abandoned 0", "waiting now: 0"});
  threads_.SetWaitHook({});
}

TEST_F(Report, HasNotifications) {
  Callback callback;
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(&callback));
  ASSERT_HR(S_OK, manager()->NotifyMemoryAvailable(eMemoryAvailableLow));
  ASSERT_HR(S_OK, manager()->NotifyMemoryAvailable(eMemoryAvailableLow));
  ASSERT_HR(S_OK, manager()->NotifyMemoryAvailable(eMemoryAvailableHigh));
  ExpectLines({"notifications: low 2, neutral 0, high 1, now neutral"});
  ASSERT_HR(S_OK, manager()->RegisterMemoryNotificationCallback(nullptr));
}

TEST_F(Report, HasLatchAndStage) {
  DWORD old = 0;
  void* const page = Allocate(client(), nullptr, kPage, MEM_COMMIT, PAGE_READWRITE);
  os_.OnNext(OsCall::kProtect, Moment::kBefore, [](const OsCallInfo&) { throw 42; });
  EXPECT_HR(E_FAIL, client()->VirtualProtect(page, kPage, PAGE_READONLY, &old));
  ExpectLines({"stage: running", "latch: exception, method VirtualProtect, error 50"});
  ASSERT_HR(S_OK, manager()->Shutdown());
  ExpectLines({"stage: stopped", "latch: exception, method VirtualProtect, error 50"});
}

TEST_F(Report, ShowsNoLimitAsNone) {
  ASSERT_HR(S_OK, manager()->SetLimit(CLR_HOST_MEMORY_NO_LIMIT, 0, 0));
  ExpectLines({"limit: none, app-domain headroom 0, process headroom 0"});
}

TEST_F(Report, ListsAtMost256RegionsAndCountsTheRest) {
  constexpr SIZE_T kRegions = 300;
  for (SIZE_T i = 0; i < kRegions; ++i) {
    Allocate(client(), At(PlaceAt(0x10000000), i * kGranule), kGranule, MEM_RESERVE, PAGE_NOACCESS);
  }
  const std::vector<std::string> lines = Lines();
  EXPECT_EQ(256, std::count_if(lines.begin(), lines.end(),
                               [](const std::string& line) { return line.rfind("region: ", 0) == 0; }));
  ExpectLines({"regions: 300, stale 0", "region: 0x0000000010FF0000, size 65536, reserved, owner CLR, charged 0",
               "regions not listed: 44"});
}

TEST_F(Report, AllocatesNothing) {
  Allocate(client(), nullptr, kMiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  os_.ResetCalls();
  EXPECT_LT(20u, Lines().size());
  EXPECT_EQ(0u, os_.Calls(OsCall::kAllocate));
  EXPECT_EQ(0u, os_.Calls(OsCall::kAllocateMetadata));
}

void STDMETHODCALLTYPE Act(const char* line, void* act) {
  (*static_cast<std::function<void(std::string)>*>(act))(line);
}

TEST_F(Report, MayBeWrittenByACallbackThatCallsTheManager) {
  int calls = 0;
  std::function<void(std::string)> act = [&](const std::string& line) {
    if (line != "regions: 0, stale 0") return;
    ++calls;
    EXPECT_NE(nullptr, Allocate(client(), PlaceAt(0x10000000), kMiB, MEM_RESERVE, PAGE_NOACCESS));
    ExpectLines({"region: 0x0000000010000000, size 1048576, reserved, owner CLR, charged 0"});
  };
  EXPECT_HR(S_OK, manager()->WriteReport(&Act, &act));
  EXPECT_EQ(1, calls);
}

TEST_F(Report, KeepsTheManagerThatItsCallbackReleases) {
  FakeMemorySystem os;
  auto* const other = new HostMemoryManager(os, threads_, kLimits);
  ASSERT_NE(nullptr, Allocate(other, PlaceAt(0x10000000), kMiB, MEM_RESERVE, PAGE_NOACCESS));
  bool released = false;
  bool alive_at_the_end = false;
  std::function<void(std::string)> act = [&](const std::string& line) {
    if (!std::exchange(released, true)) {
      EXPECT_EQ(1u, other->Release());
    }
    if (line == "end of report") alive_at_the_end = os.LiveMetadata() != 0;
  };
  EXPECT_HR(S_OK, other->WriteReport(&Act, &act));
  EXPECT_TRUE(alive_at_the_end);
  EXPECT_EQ(0u, os.LiveMetadata());
}

TEST_F(Report, RefusesANullFunction) { EXPECT_HR(E_POINTER, manager()->WriteReport(nullptr, nullptr)); }

}  // namespace
}  // namespace clr_host_memory::test
