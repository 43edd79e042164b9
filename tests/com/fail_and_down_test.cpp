// Tests E_FAIL and HOST_E_CLRNOTAVAILABLE: the causes that break the manager. A manager that is down must still free
// memory.
#include <functional>
#include <stdexcept>
#include <string>

#include "com/result_codes.h"
#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

// Expects HOST_E_CLRNOTAVAILABLE from every method. The manager must be down.
void ExpectDown(HostOverFake& host) {
  for (const auto& [method, name] : kMethods) {
    SCOPED_TRACE(name);
    if (method == kClrHostMemoryVirtualFree || method == kClrHostMemoryMallocFree)
      continue;  // frees of foreign memory: below
    const Answer answer = host.Call(method);
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, answer.hr);
    EXPECT_TRUE(answer.outputs_cleared);
    EXPECT_EQ(DWORD{ERROR_NOT_SUPPORTED}, answer.last_error);
  }
  int local = 0;
  EXPECT_HR(HOST_E_CLRNOTAVAILABLE, host.manager()->VirtualFree(At(host.region(), 1 << 30), 0, MEM_RELEASE));
  EXPECT_HR(HOST_E_CLRNOTAVAILABLE, host.malloc()->Free(&local));
}

void ExpectHeldMemoryCanBeFreed(HostOverFake& host) {
  EXPECT_HR(S_OK, host.malloc()->Free(nullptr));
  EXPECT_HR(S_OK, host.malloc()->Free(host.block()));
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.page(), kPage, MEM_DECOMMIT));
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), 0, MEM_RELEASE));
  // As the desktop CLR does: unmaps first and notifies the host afterwards.
  EXPECT_EQ(win32::kSuccess, host.os.UnmapView(reinterpret_cast<std::uintptr_t>(host.view())));
  EXPECT_HR(S_OK, host.manager()->ReleasedVirtualAddressSpace(host.view()));
}

class ClrNotAvailable : public ::testing::TestWithParam<Down> {};

TEST_P(ClrNotAvailable, IsReturnedByAllThirteenMethods) {
  HostOverFake host;
  TakeDown(host, GetParam());
  ExpectDown(host);
}

TEST_P(ClrNotAvailable, LetsHeldMemoryBeFreedAndUncharged) {
  HostOverFake host;
  TakeDown(host, GetParam());
  ExpectHeldMemoryCanBeFreed(host);
  const auto statistics = StatisticsOf(host.manager());
  EXPECT_EQ(std::uint64_t{0}, statistics.charged);
  EXPECT_EQ(std::uint64_t{1}, statistics.regions) << "address space of the heap, until its last Release";
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST_P(ClrNotAvailable, AllocatesNothingFromTheOs) {
  HostOverFake host;
  TakeDown(host, GetParam());
  const std::uint64_t allocations = host.os.Calls(OsCall::kAllocate);
  ExpectDown(host);
  EXPECT_EQ(allocations, host.os.Calls(OsCall::kAllocate));
}

TEST_P(ClrNotAvailable, LeavesTheHostsControlUsable) {
  HostOverFake host;
  TakeDown(host, GetParam());
  const auto control = ControlOf(host.manager());
  EXPECT_HR(S_OK, control->SetLimit(1 << 20, 0, 0));
  EXPECT_HR(S_OK, control->Shutdown());
  EXPECT_EQ(std::uint64_t{1 << 20}, StatisticsOf(host.manager()).limit);
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

INSTANTIATE_TEST_SUITE_P(Manager, ClrNotAvailable, ::testing::Values(Down::kShutDown, Down::kLatched),
                         [](const auto& how) { return how.param == Down::kShutDown ? "ShutDown" : "Latched"; });

// ---- E_FAIL by a broken invariant

struct Break {
  const char* what;
  std::function<HRESULT(HostOverFake&)> bring_about;
};

HRESULT AllocateAt(HostOverFake& host, void* address, SIZE_T size, DWORD type) {
  void* memory = Poison();
  const HRESULT hr = host.manager()->VirtualAlloc(address, size, type, PAGE_READWRITE, eProcessCritical, &memory);
  EXPECT_EQ(nullptr, memory);
  return hr;
}

const Break kBreaks[] = {
    {"a reservation in the middle of a granule",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, 0x7'0000'1000);
       return AllocateAt(host, nullptr, kGranule, MEM_RESERVE);
     }},
    {"a reservation at null",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, 0);
       return AllocateAt(host, nullptr, kGranule, MEM_RESERVE | MEM_COMMIT);
     }},
    {"a reservation outside of user space",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, 0xFFFF'8000'0000'0000);
       return AllocateAt(host, nullptr, kGranule, MEM_RESERVE);
     }},
    {"a reservation at another address than asked for",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1, 0x7'0001'0000);
       return AllocateAt(host, reinterpret_cast<void*>(std::uintptr_t{0x5000'0000}), kGranule, MEM_RESERVE);
     }},
    {"a commit at another address than asked for",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1,
                    reinterpret_cast<std::uintptr_t>(host.region()) + 5 * kGranule);
       return AllocateAt(host, At(host.region(), kGranule), kPage, MEM_COMMIT);
     }},
    {"a commit over two words at another address than asked for",
     [](HostOverFake& host) {
       host.os.Fail(OsCall::kAllocate, win32::kSuccess, 0, 1,
                    reinterpret_cast<std::uintptr_t>(host.region()) + 5 * kGranule);
       return AllocateAt(host, At(host.region(), kGranule), 128 * kPage, MEM_COMMIT);
     }},
};

TEST(Fail, BrokenInvariantLatchesButHeldMemoryCanBeFreed) {
  for (const Break& broken : kBreaks) {
    SCOPED_TRACE(broken.what);
    HostOverFake host;
    const auto charged = StatisticsOf(host.manager()).charged;
    ::SetLastError(kCallersError);
    EXPECT_HR(E_FAIL, broken.bring_about(host));
    EXPECT_EQ(DWORD{ERROR_NOT_SUPPORTED}, ::GetLastError());
    EXPECT_EQ(charged, StatisticsOf(host.manager()).charged);
    EXPECT_TRUE(LedgerIsExact(host.manager()));
    ExpectDown(host);
    ExpectHeldMemoryCanBeFreed(host);
    EXPECT_EQ(std::uint64_t{0}, StatisticsOf(host.manager()).charged);
  }
}

// ---- E_FAIL by an exception

// Returns the OS function through which an exception can reach the method. AcquiredVirtualAddressSpace calls the OS
// only for tables. RegisterMemoryNotificationCallback, NeedsVirtualAddressSpace and ReleasedVirtualAddressSpace make
// no OS call, so nothing in them can throw.
std::optional<OsCall> ThrowingSeamOf(ClrHostMemoryMethod method) {
  return method == kClrHostMemoryAcquiredVirtualAddressSpace ? OsCall::kAllocateMetadata : SeamOf(method);
}

Answer CallOnNewMemory(HostOverFake& host, ClrHostMemoryMethod method) {
  if (method != kClrHostMemoryAcquiredVirtualAddressSpace) return host.Call(method);
  auto* const base = reinterpret_cast<void*>(static_cast<std::uintptr_t>(0x5000'0000));
  return Ask([&] { return host.manager()->AcquiredVirtualAddressSpace(base, kGranule); });
}

TEST(Fail, UnknownFreeTypeAcceptedByTheOsDoesNotLatch) {
  HostOverFake host;
  host.os.Fail(OsCall::kFree, win32::kSuccess);
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), 0, 0x12345));
  EXPECT_TRUE(LedgerIsExact(host.manager()));
  void* memory = nullptr;
  EXPECT_HR(S_OK, host.manager()->VirtualAlloc(At(host.region(), kGranule), kPage, MEM_COMMIT, PAGE_READWRITE,
                                               eTaskCritical, &memory));
}

TEST(Fail, ReleaseWithASizeAcceptedByTheOsDoesNotLatch) {
  HostOverFake host;
  host.os.Fail(OsCall::kFree, win32::kSuccess);
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), kPage, MEM_RELEASE));
  EXPECT_TRUE(LedgerIsExact(host.manager()));
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), 0, MEM_RELEASE));
}

TEST(Fail, ExceptionIsCaughtAndLatches) {
  for (const auto& [method, name] : kMethods) {
    const auto seam = ThrowingSeamOf(method);
    if (!seam) continue;
    for (const Moment moment : {Moment::kBefore, Moment::kAfter}) {
      SCOPED_TRACE(std::string(name) + (moment == Moment::kBefore ? " before" : " after") + " the OS acts");
      HostOverFake host;
      host.os.OnNext(*seam, moment, [](const OsCallInfo&) { throw std::runtime_error("a defect"); });
      const Answer answer = CallOnNewMemory(host, method);
      EXPECT_HR(E_FAIL, answer.hr);
      EXPECT_TRUE(answer.outputs_cleared);
      EXPECT_EQ(DWORD{ERROR_NOT_SUPPORTED}, answer.last_error);
      ExpectDown(host);
      if (method == kClrHostMemoryMallocFree) continue;  // the state of the block is unknown
      EXPECT_HR(S_OK, host.malloc()->Free(host.block()));
      EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), 0, MEM_RELEASE));
    }
  }
}

TEST(Fail, UnlistedOsErrorIsReportedWithoutLatching) {
  HostOverFake host;
  for (const auto& [method, name] : kMethods) {
    const auto seam = SeamOf(method);
    if (!seam) continue;
    SCOPED_TRACE(name);
    host.os.Fail(*seam, ERROR_MOD_NOT_FOUND);
    const Answer answer = host.Call(method);
    EXPECT_HR(E_FAIL, answer.hr);
    EXPECT_EQ(DWORD{ERROR_MOD_NOT_FOUND}, answer.last_error);
    EXPECT_TRUE(answer.outputs_cleared);
    EXPECT_HR(S_OK, host.Call(method).hr);
  }
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(Fail, EveryOperationReturnsItForABrokenInvariant) {
  for (const auto& [operation, name] : kOperations) {
    EXPECT_HR(E_FAIL, ToHresult(Outcome::InvariantBroken(), operation)) << name;
  }
}

}  // namespace
}  // namespace clr_host_memory::test
