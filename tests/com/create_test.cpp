// Tests the C entry: every option is checked, and the reason names the field.
#include <cstring>
#include <string>

#include "com/backend.h"
#include "every_size.h"
#include "manager_client.h"

namespace clr_host_memory::test {
namespace {

struct Made {
  HRESULT hr = E_UNEXPECTED;
  std::string reason;
  ComReference<IHostMemoryManager> manager;
};

Made Make(const ClrHostMemoryOptions* options, const GUID& iid = kIidHostMemoryManager) {
  Made made;
  auto* object = static_cast<IHostMemoryManager*>(Poison());
  const char* reason = "left over";
  made.hr = ClrHostMemoryCreate(options, iid, reinterpret_cast<void**>(&object), &reason);
  made.reason = reason == nullptr ? "" : reason;
  made.manager = ComReference<IHostMemoryManager>(object);
  return made;
}

// Returns a manager with a limit of 64 MiB, 4 MiB of it for the process.
Made MakeForCompanion() {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 64_MiB;
  options.app_domain_headroom = 0;
  options.process_headroom = 4_MiB;
  return Make(&options);
}

// Returns the first reading of a companion whose GC has no limit.
ClrHostMemoryGcReading FirstReading() {
  ClrHostMemoryGcReading reading{};
  reading.size = sizeof(reading);
  reading.follows = 1;
  reading.gc_limit = CLR_HOST_MEMORY_NO_LIMIT;
  return reading;
}

// Waits until the watcher has lowered the bound to `bytes`, for 20 seconds at most.
bool BoundFallsTo(IHostMemoryManager* manager, std::uint64_t bytes) {
  for (int round = 0; round < 2000 && StatisticsOf(manager).bound != bytes; ++round) Sleep(10);
  return StatisticsOf(manager).bound == bytes;
}

struct BadOption {
  const char* what;
  void (*spoil)(ClrHostMemoryOptions&);
  const char* reason_names;
};
constexpr BadOption kBadOptions[] = {
    {"size 0", [](ClrHostMemoryOptions& o) { o.size = 0; }, "size"},
    {"size of no struct there was", [](ClrHostMemoryOptions& o) { o.size -= 4; }, "size"},
    {"size of less than the first", [](ClrHostMemoryOptions& o) { o.size -= 16; }, "size"},
    {"size of a newer struct", [](ClrHostMemoryOptions& o) { o.size += 8; }, "size"},
    {"a flag that is not defined", [](ClrHostMemoryOptions& o) { o.flags = 8; }, "flags"},
    {"the highest flag", [](ClrHostMemoryOptions& o) { o.flags = 0x80000000; }, "flags"},
    {"limit 0", [](ClrHostMemoryOptions& o) { o.limit = 0; }, "limit is 0"},
    {"limit 1", [](ClrHostMemoryOptions& o) { o.limit = 1; }, "limit is below 65536"},
    {"a limit that holds nothing", [](ClrHostMemoryOptions& o) { o.limit = 64_KiB - 1; }, "limit is below 65536"},
    {"app_domain_headroom over limit",
     [](ClrHostMemoryOptions& o) {
       o.limit = 64_KiB;
       o.process_headroom = 0;
       o.app_domain_headroom = 64_KiB + 1;
     },
     "app_domain_headroom"},
    {"process_headroom over limit",
     [](ClrHostMemoryOptions& o) {
       o.limit = 64_KiB;
       o.app_domain_headroom = 0;
       o.process_headroom = 64_KiB + 1;
     },
     "process_headroom"},
    {"headrooms that together exceed the limit",
     [](ClrHostMemoryOptions& o) {
       o.limit = 64_KiB;
       o.app_domain_headroom = o.process_headroom = 32_KiB + 1;
     },
     "add up"},
    {"headrooms whose sum overflows",
     [](ClrHostMemoryOptions& o) {
       o.limit = 64_KiB;
       o.app_domain_headroom = o.process_headroom = CLR_HOST_MEMORY_PERCENT(0) - 1;
     },
     "add up"},
    {"app_domain_headroom above 100 percent",
     [](ClrHostMemoryOptions& o) { o.app_domain_headroom = CLR_HOST_MEMORY_PERCENT(101); }, "app_domain_headroom"},
    {"process_headroom of a negative percentage",
     [](ClrHostMemoryOptions& o) { o.process_headroom = CLR_HOST_MEMORY_PERCENT(-2); }, "process_headroom"},
    {"percentages that add up to more than the limit",
     [](ClrHostMemoryOptions& o) {
       o.limit = 1_GiB;
       o.app_domain_headroom = o.process_headroom = CLR_HOST_MEMORY_PERCENT(51);
     },
     "add up"},
    {"a committed headroom above the headroom",
     [](ClrHostMemoryOptions& o) {
       o.limit = 16_MiB;
       o.process_headroom = 1_MiB;
       o.committed_headroom = 2_MiB;
     },
     "committed_headroom is larger than process_headroom"},
    {"a committed headroom above a quarter of the limit",
     [](ClrHostMemoryOptions& o) {
       o.limit = 4_MiB;
       o.committed_headroom = 2_MiB;
     },
     "committed_headroom"},
    {"a committed headroom no process has", [](ClrHostMemoryOptions& o) { o.committed_headroom = UINT64_MAX; },
     "committed_headroom"},
    {"a flag of an older version", [](ClrHostMemoryOptions& o) { o.flags = 2; }, "flags"},
    {"address space no process has", [](ClrHostMemoryOptions& o) { o.address_space_reserve = UINT64_MAX; },
     "address_space_reserve"},
    {"a wait of more than an hour", [](ClrHostMemoryOptions& o) { o.wait_ms[2] = 3600001; }, "wait_ms"},
    {"no sampling", [](ClrHostMemoryOptions& o) { o.sampling_ms = 0; }, "sampling_ms"},
    {"sampling once in a while", [](ClrHostMemoryOptions& o) { o.sampling_ms = 60001; }, "sampling_ms"},
    {"Low entered where it is left", [](ClrHostMemoryOptions& o) { o.thresholds.enter_low = o.thresholds.leave_low; },
     "enter_low"},
    {"Low left above where High is", [](ClrHostMemoryOptions& o) { o.thresholds.leave_low = 41; }, "leave_low"},
    {"High entered where it is left",
     [](ClrHostMemoryOptions& o) { o.thresholds.enter_high = o.thresholds.leave_high; }, "leave_high"},
    {"High above everything", [](ClrHostMemoryOptions& o) { o.thresholds.enter_high = 101; }, "enter_high"},
    {"a window too short to look into", [](ClrHostMemoryOptions& o) { o.thrash_window_ms = 999; }, "thrash_window_ms"},
    {"a window of more than an hour", [](ClrHostMemoryOptions& o) { o.thrash_window_ms = 3600001; },
     "thrash_window_ms"},
    {"no refusals at all", [](ClrHostMemoryOptions& o) { o.thrash_refusals = 0; }, "thrash_refusals"},
    {"Low said without a pause", [](ClrHostMemoryOptions& o) { o.thresholds.repeat_low_ms = 0; }, "repeat_low_ms"},
};

TEST(Create, RefusesEachOptionOutOfRangeAndNamesIt) {
  for (const BadOption& bad : kBadOptions) {
    SCOPED_TRACE(bad.what);
    ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
    bad.spoil(options);
    const Made made = Make(&options);
    EXPECT_HR(E_INVALIDARG, made.hr);
    EXPECT_EQ(nullptr, made.manager.get());
    EXPECT_NE(std::string::npos, made.reason.find(bad.reason_names)) << made.reason;
    // ClrHostMemoryCheckOptions returns the same result and reason.
    const char* reason = nullptr;
    EXPECT_HR(E_INVALIDARG, ClrHostMemoryCheckOptions(&options, &reason));
    EXPECT_EQ(made.reason, reason);
    EXPECT_HR(E_INVALIDARG, ClrHostMemoryCheckOptions(&options, nullptr));
  }
}

TEST(CheckOptions, AcceptsValidOptions) {
  const char* reason = "something";
  EXPECT_HR(S_OK, ClrHostMemoryCheckOptions(nullptr, &reason));
  EXPECT_EQ(nullptr, reason);
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 64_MiB;
  EXPECT_HR(S_OK, ClrHostMemoryCheckOptions(&options, &reason));
  EXPECT_EQ(nullptr, reason);
}

TEST(Create, AcceptsOptionsAtTheirBounds) {
  struct Case {
    std::uint64_t limit, app_domain, process;
  };
  constexpr Case kCases[] = {
      {64_KiB, 0, 0}, {64_KiB, 50, 64_KiB - 50}, {64_KiB, 64_KiB, 0}, {64_KiB, 0, 64_KiB}, {UINT64_MAX - 1, 0, 0}};
  for (const Case& c : kCases) {
    ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
    options.limit = c.limit;
    options.app_domain_headroom = c.app_domain;
    options.process_headroom = c.process;
    const Made made = Make(&options);
    ASSERT_HR(S_OK, made.hr) << made.reason;
    EXPECT_EQ("", made.reason);
    const auto statistics = StatisticsOf(made.manager.get());
    EXPECT_EQ(c.limit, statistics.limit);
    EXPECT_EQ(c.app_domain, statistics.app_domain_headroom);
    EXPECT_EQ(c.process, statistics.process_headroom);
  }
}

TEST(Create, CommittedHeadroomRaisesTheDefaultHeadroom) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 16_MiB;
  options.committed_headroom = 3_MiB;
  const Made made = Make(&options);
  ASSERT_HR(S_OK, made.hr) << made.reason;
  const ClrHostMemoryStatistics statistics = StatisticsOf(made.manager.get());
  EXPECT_EQ(3_MiB, statistics.committed_headroom);
  EXPECT_EQ(3_MiB, statistics.headroom_held);
  EXPECT_EQ(3_MiB, statistics.process_headroom);
  EXPECT_EQ(16_MiB, statistics.bound);
}

TEST(Create, SetsNoLimitByDefault) {
  const ClrHostMemoryOptions defaults = CLR_HOST_MEMORY_OPTIONS_INIT;
  for (const ClrHostMemoryOptions* options : {static_cast<const ClrHostMemoryOptions*>(nullptr), &defaults}) {
    const Made made = Make(options);
    ASSERT_HR(S_OK, made.hr);
    const auto statistics = StatisticsOf(made.manager.get());
    EXPECT_EQ(CLR_HOST_MEMORY_NO_LIMIT, statistics.limit);
    EXPECT_EQ(std::uint64_t{0}, statistics.app_domain_headroom);
    EXPECT_EQ(std::uint64_t{0}, statistics.process_headroom);
  }
}

TEST(Create, AcceptsShorterOptionsOfOlderCallers) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 256_MiB;
  options.size = offsetof(ClrHostMemoryOptions, thrash_window_ms);
  options.thrash_window_ms = 1;  // beyond the caller's struct, ignored
  const Made made = Make(&options);
  ASSERT_HR(S_OK, made.hr) << made.reason;
  EXPECT_EQ(256_MiB, StatisticsOf(made.manager.get()).limit);
}

TEST(Create, StartAllowsProcessCriticalExcessUntilItEnds) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 8_MiB;
  const Made made = Make(&options);
  ASSERT_HR(S_OK, made.hr) << made.reason;
  IHostMemoryManager* manager = made.manager.get();
  ComReference<IClrHostMemoryControl> control;
  ASSERT_HR(S_OK, manager->QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  std::uint64_t least = 1;
  EXPECT_HR(S_FALSE, control->EndStart(&least)) << "none was begun";
  EXPECT_EQ(0u, least);
  ASSERT_HR(S_OK, control->BeginStart());
  EXPECT_EQ(CLR_HOST_MEMORY_NO_LIMIT, StatisticsOf(manager).bound);
  void* memory = nullptr;
  const auto commit = [&](SIZE_T size, EMemoryCriticalLevel level) {
    return manager->VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, level, &memory);
  };
  EXPECT_HR(E_OUTOFMEMORY, commit(10_MiB, eTaskCritical));
  EXPECT_HR(E_OUTOFMEMORY, commit(10_MiB, eAppDomainCritical));
  ASSERT_HR(S_OK, commit(10_MiB, eProcessCritical));
  void* const above = memory;
  EXPECT_EQ(8_MiB, StatisticsOf(manager).limit) << "which is what the CLR is told";
  EXPECT_EQ(2_MiB, StatisticsOf(manager).over_limit);

  std::uint64_t charged = 0;
  EXPECT_HR(E_POINTER, control->GetCharged(above, 4096, nullptr));
  EXPECT_HR(E_INVALIDARG, control->GetCharged(above, UINT64_MAX, &charged));
  EXPECT_HR(S_OK, control->GetCharged(static_cast<char*>(above) - 0x10000, 11_MiB, &charged));
  EXPECT_EQ(10_MiB, charged);
  EXPECT_HR(S_OK, control->GetCharged(static_cast<char*>(above) + 1_MiB, 8192, &charged));
  EXPECT_EQ(8192u, charged);

  EXPECT_HR(E_OUTOFMEMORY, control->EndStart(&least));
  EXPECT_EQ(14_MiB, least);
  EXPECT_EQ(11_MiB, StatisticsOf(manager).bound) << "what is in use, and the headroom";
  EXPECT_HR(E_OUTOFMEMORY, commit(1_MiB + 4096, eProcessCritical));
  EXPECT_HR(S_OK, manager->VirtualFree(above, 0, MEM_RELEASE));
  EXPECT_TRUE(BoundFallsTo(manager, 8_MiB));
  EXPECT_EQ(0u, StatisticsOf(manager).over_bound);
  EXPECT_HR(S_FALSE, control->EndStart(nullptr));
}

TEST(Create, StartThatFitsEndsWithoutAnError) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 8_MiB;
  const Made made = Make(&options);
  ComReference<IClrHostMemoryControl> control;
  ASSERT_HR(S_OK,
            made.manager.get()->QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  ASSERT_HR(S_OK, control->BeginStart());
  EXPECT_HR(S_OK, control->EndStart(nullptr));
  EXPECT_EQ(8_MiB, StatisticsOf(made.manager.get()).bound);
}

// A GC counts what it committed before it came under the manager, so its limit is higher by as much.
TEST(Create, CompanionOfALateGcReceivesALimitThatIncludesItsEarlierMemory) {
  const Made made = MakeForCompanion();
  ComReference<IClrHostMemoryControl> control;
  ComReference<IManagerBackend> backend;
  IHostMemoryManager* manager = made.manager.get();
  ASSERT_HR(S_OK, manager->QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  ASSERT_HR(S_OK, manager->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(backend.Receive())));
  char* heap = static_cast<char*>(VirtualAlloc(nullptr, 256_MiB, MEM_RESERVE, PAGE_READWRITE));
  ASSERT_NE(nullptr, VirtualAlloc(heap, 5_MiB, MEM_COMMIT, PAGE_READWRITE));
  ASSERT_HR(S_OK, backend->AddEarlierReservation(heap, 256_MiB, 5_MiB));
  EXPECT_HR(S_FALSE, backend->AddEarlierReservation(heap, 256_MiB, 5_MiB));
  EXPECT_HR(E_INVALIDARG, backend->AddEarlierReservation(heap, 0, 0));
  BackendRegion region{};
  ASSERT_HR(S_OK, backend->FindRegion(heap + 100, &region));
  EXPECT_EQ(heap, region.base);
  EXPECT_EQ(256_MiB, region.reserved);
  EXPECT_EQ(DWORD{PAGE_READWRITE}, region.reserved_as);

  void* more = nullptr;
  ASSERT_HR(S_OK, manager->VirtualAlloc(heap + 5_MiB, 8_MiB, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &more));
  ClrHostMemoryGcReading reading = FirstReading();
  ClrHostMemoryGcOrder order{};
  order.size = sizeof(order);
  ASSERT_HR(S_OK, control->FollowGc(&reading, 0, &order));
  EXPECT_EQ(8_MiB + 5_MiB, order.gc_charged);
  EXPECT_EQ(64_MiB - 4_MiB + 5_MiB - 512_KiB, order.gc_limit) << "less half of a 64th of the limit";
  EXPECT_EQ(8_MiB, StatisticsOf(manager).gc_charged);
  ASSERT_HR(S_OK, manager->VirtualFree(more, 8_MiB, MEM_DECOMMIT));
  VirtualFree(heap, 0, MEM_RELEASE);
}

TEST(Create, CompanionIsGivenWhatTheLimitLeavesToTheGc) {
  const Made made = MakeForCompanion();
  IHostMemoryManager* manager = made.manager.get();
  ComReference<IClrHostMemoryControl> control;
  ASSERT_HR(S_OK, manager->QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  ClrHostMemoryGcReading reading = FirstReading();
  ClrHostMemoryGcOrder order{};
  order.size = sizeof(order);
  EXPECT_HR(E_POINTER, control->FollowGc(nullptr, 0, &order));
  EXPECT_HR(E_POINTER, control->FollowGc(&reading, 0, nullptr));
  ClrHostMemoryGcReading newer = reading;
  newer.size += 8;
  EXPECT_HR(E_INVALIDARG, control->FollowGc(&newer, 0, &order));

  // A GC has reserved 256 MiB and committed 8 of them, and the loader has 10 MiB.
  void* heap = nullptr;
  ASSERT_HR(S_OK, manager->VirtualAlloc(nullptr, 256_MiB, MEM_RESERVE, PAGE_READWRITE, eTaskCritical, &heap));
  ASSERT_HR(S_OK, manager->VirtualAlloc(heap, 8_MiB, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &heap));
  void* code = nullptr;
  ASSERT_HR(S_OK, manager->VirtualAlloc(nullptr, 32_MiB, MEM_RESERVE, PAGE_NOACCESS, eProcessCritical, &code));
  ASSERT_HR(S_OK, manager->VirtualAlloc(code, 10_MiB, MEM_COMMIT, PAGE_READWRITE, eProcessCritical, &code));
  EXPECT_EQ(8_MiB, StatisticsOf(manager).gc_charged);
  ASSERT_HR(S_OK, control->FollowGc(&reading, 0, &order));
  EXPECT_EQ(0u, order.collect);
  EXPECT_EQ(64_MiB - 4_MiB - 10_MiB - 512_KiB, order.gc_limit) << "less half of a 64th of the limit";
  EXPECT_EQ(8_MiB, order.gc_charged);

  reading.gc_limit = order.gc_limit;
  EXPECT_HR(S_FALSE, control->FollowGc(&reading, 0, &order));
  EXPECT_EQ(reading.gc_limit, StatisticsOf(manager).gc_limit);
  // The loader grows, so the GC has to shrink.
  ASSERT_HR(S_OK, manager->VirtualAlloc(static_cast<char*>(code) + 10_MiB, 2_MiB, MEM_COMMIT, PAGE_READWRITE,
                                        eProcessCritical, &code));
  ASSERT_HR(S_OK, control->FollowGc(&reading, 1000, &order));
  EXPECT_EQ(64_MiB - 4_MiB - 12_MiB - 2_MiB, order.gc_limit) << "room for as much growth again";
  reading.gc_limit = order.gc_limit;
  // Below what is in use, the GC's limit comes first: what was in use stays usable until the GC has received it.
  ASSERT_HR(S_OK, control->SetLimit(18_MiB, 0, 1_MiB));
  EXPECT_EQ(21_MiB, StatisticsOf(manager).bound);
  ASSERT_HR(S_OK, control->FollowGc(&reading, 1000, &order));
  EXPECT_EQ(18_MiB - 1_MiB - 12_MiB - 18_MiB / 16, order.gc_limit);
  ASSERT_HR(S_OK, control->FollowGc(&reading, 0, &order)) << "still needed";
  ASSERT_HR(S_OK, manager->VirtualFree(heap, 4_MiB, MEM_DECOMMIT));
  ASSERT_HR(S_OK, manager->VirtualAlloc(heap, 2_MiB, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &heap));
  reading.gc_limit = order.gc_limit;
  ASSERT_HR(S_OK, control->FollowGc(&reading, 0, &order));
  EXPECT_EQ(18_MiB - 1_MiB - 12_MiB - 144_KiB, order.gc_limit) << "the rest grows no more";
  EXPECT_HR(E_OUTOFMEMORY, manager->VirtualAlloc(static_cast<char*>(heap) + 2_MiB, 2_MiB, MEM_COMMIT, PAGE_READWRITE,
                                                 eTaskCritical, &code));
  ASSERT_HR(S_OK, control->SetLimit(CLR_HOST_MEMORY_NO_LIMIT, 0, 0));
  ASSERT_HR(S_OK, control->FollowGc(&reading, 1000, &order));
  EXPECT_EQ(CLR_HOST_MEMORY_NO_LIMIT, order.gc_limit);
  ASSERT_HR(S_OK, control->Shutdown());
  EXPECT_HR(HOST_E_CLRNOTAVAILABLE, control->FollowGc(&reading, 60000, &order));
}

TEST(Create, CompanionThatCannotFollowIsToldToCollectAboveTheLimit) {
  const Made made = Make(nullptr);
  IHostMemoryManager* manager = made.manager.get();
  ComReference<IClrHostMemoryControl> control;
  ASSERT_HR(S_OK, manager->QueryInterface(kIidClrHostMemoryControl, reinterpret_cast<void**>(control.Receive())));
  ClrHostMemoryGcReading reading{};
  reading.size = sizeof(reading);
  reading.gc_limit = 10_MiB;
  ClrHostMemoryGcOrder order{};
  order.size = sizeof(order);
  void* memory = nullptr;
  ASSERT_HR(S_OK,
            manager->VirtualAlloc(nullptr, 20_MiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory));
  EXPECT_HR(S_FALSE, control->FollowGc(&reading, 0, &order));
  ASSERT_HR(S_OK, control->SetLimit(16_MiB, 0, 1_MiB));
  ASSERT_HR(S_OK, control->FollowGc(&reading, 0, &order));
  EXPECT_EQ(1u, order.collect);
  EXPECT_EQ(10_MiB, order.gc_limit) << "as it is";
  EXPECT_HR(S_FALSE, control->FollowGc(&reading, 1, &order)) << "not again at once";
  EXPECT_HR(S_OK, control->FollowGc(&reading, 0, &order)) << "what is needed now";
}

TEST(Create, DerivesDefaultHeadroomFromTheLimit) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 256_MiB;
  const auto statistics = StatisticsOf(Make(&options).manager.get());
  EXPECT_EQ(8_MiB, statistics.process_headroom);
  EXPECT_EQ(2_MiB, statistics.app_domain_headroom);
}

TEST(Create, RefusesANullObjectPointer) {
  const char* reason = nullptr;
  EXPECT_HR(E_POINTER, ClrHostMemoryCreate(nullptr, kIidHostMemoryManager, nullptr, &reason));
  ASSERT_NE(nullptr, reason);
  EXPECT_NE(nullptr, std::strstr(reason, "object"));
}

TEST(Create, AcceptsANullReasonPointer) {
  void* object = Poison();
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  options.limit = 0;
  EXPECT_HR(E_INVALIDARG, ClrHostMemoryCreate(&options, kIidHostMemoryManager, &object, nullptr));
  EXPECT_EQ(nullptr, object);
  options.limit = 64_KiB;
  ASSERT_HR(S_OK, ClrHostMemoryCreate(&options, IID_IUnknown, &object, nullptr));
  EXPECT_EQ(0u, static_cast<IUnknown*>(object)->Release());
}

TEST(Create, RefusesAnUnsupportedInterface) {
  const Made made = Make(nullptr, kIidHostControl);
  EXPECT_HR(E_NOINTERFACE, made.hr);
  EXPECT_EQ(nullptr, made.manager.get());
  EXPECT_NE(std::string::npos, made.reason.find("riid"));
}

TEST(Create, ReturnsEachInterfaceWithOneReference) {
  for (const GUID& iid : {kIidHostMemoryManager, kIidClrHostMemoryControl, kIidManagerBackend, IID_IUnknown}) {
    void* object = nullptr;
    ASSERT_HR(S_OK, ClrHostMemoryCreate(nullptr, iid, &object, nullptr));
    EXPECT_EQ(0u, static_cast<IUnknown*>(object)->Release());
  }
}

TEST(Control, FillsOnlyTheCallersStruct) {
  const MemoryManager manager = MakeManager({.limit = 1_GiB});
  for (const std::uint32_t size : {8u, 16u, 40u, static_cast<unsigned>(sizeof(ClrHostMemoryStatistics))}) {
    ClrHostMemoryStatistics statistics;
    std::memset(&statistics, 0xCC, sizeof(statistics));
    statistics.size = size;
    ASSERT_HR(S_OK, manager.control()->GetStatistics(&statistics));
    EXPECT_EQ(size, statistics.size);
    EXPECT_EQ(5u, statistics.version);
    const auto* bytes = reinterpret_cast<const unsigned char*>(&statistics);
    for (std::size_t i = size; i < sizeof(statistics); ++i) ASSERT_EQ(0xCC, bytes[i]) << i;
    if (size >= 16) {
      EXPECT_EQ(1_GiB, statistics.limit);
    }
  }
  ClrHostMemoryStatistics none{};
  EXPECT_HR(E_INVALIDARG, manager.control()->GetStatistics(&none));
  EXPECT_HR(E_POINTER, manager.control()->GetStatistics(nullptr));
  ClrHostMemoryAudit audit{};
  EXPECT_HR(E_INVALIDARG, manager.control()->Audit(&audit));
  EXPECT_HR(E_POINTER, manager.control()->Audit(nullptr));
  // A newer caller's struct is longer: size reports how much of it was filled.
  struct Longer {
    ClrHostMemoryAudit audit;
    std::uint64_t further;
  } longer{};
  longer.audit.size = sizeof(longer);
  EXPECT_HR(S_OK, manager.control()->Audit(&longer.audit));
  EXPECT_EQ(sizeof(ClrHostMemoryAudit), longer.audit.size);
}

TEST(SizedStructs, AreFilledUpToTheCallersSize) {
  const MemoryManager manager = MakeManager({.limit = 64_MiB});
  IClrHostMemoryControl* const control = manager.control();
  const auto client = Query<IManagerBackend>(manager.get(), kIidManagerBackend);
  ExpectFilledForEverySize<ClrHostMemoryStatistics>([&](auto* figures) { return control->GetStatistics(figures); });
  ExpectFilledForEverySize<ClrHostMemoryAudit>([&](auto* audit) { return control->Audit(audit); });
  ExpectFilledForEverySize<BackendMemoryStatus>([&](auto* status) { return client->GetMemoryStatus(status); });
}

TEST(Client, FindsTheRegionOfAnyInnerAddress) {
  const MemoryManager manager = MakeManager();
  const auto client = Query<IManagerBackend>(manager.get(), kIidManagerBackend);
  ASSERT_TRUE(client);
  void* const memory = Allocate(manager.get(), nullptr, 100 * kPage, MEM_RESERVE, PAGE_NOACCESS);
  BackendRegion region{};
  for (const SIZE_T offset : {SIZE_T{0}, SIZE_T{1}, 50 * kPage, 100 * kPage - 1}) {
    ASSERT_HR(S_OK, client->FindRegion(At(memory, offset), &region)) << offset;
    EXPECT_EQ(memory, region.base);
    EXPECT_EQ(100 * kPage, region.reserved);
    EXPECT_EQ(0u, region.is_view);
  }
  EXPECT_HR(S_FALSE, client->FindRegion(At(memory, 100 * kPage), &region));
  EXPECT_EQ(nullptr, region.base);
  EXPECT_HR(E_POINTER, client->FindRegion(memory, nullptr));
  EXPECT_HR(S_OK, manager.get()->VirtualFree(memory, 0, MEM_RELEASE));
  EXPECT_HR(S_FALSE, client->FindRegion(memory, &region));
}

TEST(Client, AllocatesOnANode) {
  const MemoryManager manager = MakeManager();
  const auto client = Query<IManagerBackend>(manager.get(), kIidManagerBackend);
  void* memory = Poison();
  ASSERT_HR(S_OK, client->VirtualAllocOnNode(nullptr, kGranule, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, 0,
                                             eTaskCritical, &memory));
  EXPECT_EQ(kGranule, manager.Statistics().charged);
  EXPECT_HR(S_OK, manager.get()->VirtualFree(memory, 0, MEM_RELEASE));
}

}  // namespace
}  // namespace clr_host_memory::test
