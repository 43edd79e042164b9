// Tests every entry of the error table, and that each method returns the codes of its column.
#include <algorithm>
#include <set>
#include <string>

#include "com/result_codes.h"
#include "host_over_fake.h"

namespace clr_host_memory::test {
namespace {

struct Entry {
  const char* name;
  DWORD error;
  ErrorFamily family;
};
#define ENTRY(error, family) \
  Entry { #error, error, ErrorFamily::family }

constexpr Entry kTable[] = {
    ENTRY(ERROR_NOT_ENOUGH_MEMORY, kMemory),
    ENTRY(ERROR_OUTOFMEMORY, kMemory),
    ENTRY(ERROR_COMMITMENT_LIMIT, kMemory),
    ENTRY(ERROR_COMMITMENT_MINIMUM, kMemory),
    ENTRY(ERROR_NO_SYSTEM_RESOURCES, kMemory),
    ENTRY(ERROR_NONPAGED_SYSTEM_RESOURCES, kMemory),
    ENTRY(ERROR_PAGED_SYSTEM_RESOURCES, kMemory),
    ENTRY(ERROR_WORKING_SET_QUOTA, kMemory),
    ENTRY(ERROR_PAGEFILE_QUOTA, kMemory),
    ENTRY(ERROR_NOT_ENOUGH_QUOTA, kMemory),
    ENTRY(ERROR_INVALID_ADDRESS, kPlacement),
    ENTRY(ERROR_ACCESS_DENIED, kRequest),
    ENTRY(ERROR_INVALID_HANDLE, kRequest),
    ENTRY(ERROR_BAD_LENGTH, kRequest),
    ENTRY(ERROR_NOT_SUPPORTED, kRequest),
    ENTRY(ERROR_INVALID_PARAMETER, kRequest),
    ENTRY(ERROR_NOACCESS, kRequest),
    ENTRY(ERROR_INVALID_FLAGS, kRequest),
    ENTRY(ERROR_PRIVILEGE_NOT_HELD, kRequest),
    Entry{"ERROR_DYNAMIC_CODE_BLOCKED", 1655, ErrorFamily::kRequest},
    ENTRY(ERROR_SEM_TIMEOUT, kTimeout),
    ENTRY(WAIT_TIMEOUT, kTimeout),
    ENTRY(ERROR_TIMEOUT, kTimeout),
    ENTRY(ERROR_ABANDONED_WAIT_0, kAbandoned),
    ENTRY(ERROR_OPERATION_ABORTED, kAbandoned),
    ENTRY(ERROR_CANCELLED, kAbandoned),
    ENTRY(ERROR_NOT_OWNER, kNotOwner),
    ENTRY(ERROR_SUCCESS, kUnlisted),
    ENTRY(ERROR_MOD_NOT_FOUND, kUnlisted),
    ENTRY(ERROR_FILE_NOT_FOUND, kUnlisted),
};
#undef ENTRY

constexpr ClrHostMemoryMethod kOutOfMemoryMethods[] = {
    kClrHostMemoryVirtualAlloc, kClrHostMemoryCreateMalloc, kClrHostMemoryMallocAlloc, kClrHostMemoryMallocDebugAlloc,
    kClrHostMemoryNeedsVirtualAddressSpace,
    // The hosting reference names no code for this method. It returns E_OUTOFMEMORY if there is no memory to record
    // the view.
    kClrHostMemoryAcquiredVirtualAddressSpace};
constexpr ClrHostMemoryMethod kFreeMethods[] = {kClrHostMemoryVirtualFree, kClrHostMemoryMallocFree};

template <std::size_t kSize>
bool Has(const ClrHostMemoryMethod (&methods)[kSize], ClrHostMemoryMethod method) {
  return std::find(std::begin(methods), std::end(methods), method) != std::end(methods);
}

Operation OperationOf(ClrHostMemoryMethod method) {
  if (Has(kOutOfMemoryMethods, method)) return Operation::kAllocate;
  return Has(kFreeMethods, method) ? Operation::kFree : Operation::kUse;
}

HRESULT ExpectedOf(ErrorFamily family, Operation operation) {
  switch (family) {
    case ErrorFamily::kMemory: return operation == Operation::kAllocate ? E_OUTOFMEMORY : E_FAIL;
    case ErrorFamily::kPlacement:
      if (operation == Operation::kAllocate) return E_OUTOFMEMORY;
      return operation == Operation::kFree ? HOST_E_INVALIDOPERATION : E_INVALIDARG;
    case ErrorFamily::kRequest: return E_INVALIDARG;
    case ErrorFamily::kTimeout: return HOST_E_TIMEOUT;
    case ErrorFamily::kAbandoned: return HOST_E_ABANDONED;
    case ErrorFamily::kNotOwner: return HOST_E_NOT_OWNER;
    case ErrorFamily::kUnlisted: break;
  }
  return E_FAIL;
}

// Returns the codes of the hosting reference, and E_POINTER and E_INVALIDARG in their usual COM sense.
std::set<HRESULT> DocumentedBy(ClrHostMemoryMethod method) {
  std::set<HRESULT> codes = {
      S_OK,        HOST_E_CLRNOTAVAILABLE, HOST_E_TIMEOUT, HOST_E_NOT_OWNER, HOST_E_ABANDONED, E_FAIL, E_POINTER,
      E_INVALIDARG};
  if (Has(kOutOfMemoryMethods, method)) codes.insert(E_OUTOFMEMORY);
  if (Has(kFreeMethods, method)) codes.insert(HOST_E_INVALIDOPERATION);
  return codes;
}

TEST(ErrorTable, MapsEachErrorToItsFamilyAndCode) {
  for (const Entry& entry : kTable) {
    EXPECT_EQ(entry.family, FamilyOf(entry.error)) << entry.name;
    for (const auto& [operation, name] : kOperations) {
      EXPECT_HR(ExpectedOf(entry.family, operation), ToHresult(Outcome::OsRefused(entry.error), operation))
          << entry.name << " in " << name;
    }
  }
}

TEST(ErrorTable, LeavesAllOtherErrorsUnlisted) {
  std::set<DWORD> listed;
  for (const Entry& entry : kTable) listed.insert(entry.error);
  for (DWORD error = 0; error < 20000; ++error) {
    if (listed.count(error) == 0) {
      EXPECT_EQ(ErrorFamily::kUnlisted, FamilyOf(error)) << error;
    }
  }
}

TEST(ErrorTable, MapsEachVerdictToItsCode) {
  for (const auto& [operation, name] : kOperations) {
    SCOPED_TRACE(name);
    EXPECT_HR(S_OK, ToHresult(Outcome::Done(), operation));
    EXPECT_HR(E_OUTOFMEMORY, ToHresult(Outcome::OverLimit(), operation));
    EXPECT_HR(E_OUTOFMEMORY, ToHresult(Outcome::NoMetadata(), operation));
    EXPECT_HR(HOST_E_INVALIDOPERATION, ToHresult(Outcome::NotOurs(), operation));
    EXPECT_HR(HOST_E_CLRNOTAVAILABLE, ToHresult(Outcome::Unavailable(), operation));
    EXPECT_HR(E_FAIL, ToHresult(Outcome::InvariantBroken(), operation));
  }
}

TEST(ErrorTable, GivesEachCodeItsOwnCounter) {
  constexpr HRESULT kCodes[] = {S_OK,
                                E_OUTOFMEMORY,
                                HOST_E_TIMEOUT,
                                HOST_E_ABANDONED,
                                HOST_E_NOT_OWNER,
                                HOST_E_CLRNOTAVAILABLE,
                                HOST_E_INVALIDOPERATION,
                                E_FAIL,
                                E_POINTER,
                                E_INVALIDARG};
  static_assert(std::size(kCodes) == kClrHostMemoryCodeCount);
  for (std::size_t i = 0; i < std::size(kCodes); ++i) {
    EXPECT_EQ(static_cast<ClrHostMemoryCode>(i), CodeIndexOf(kCodes[i])) << Hr{kCodes[i]};
  }
}

TEST(DocumentedCodes, AreTheOnlyCodesForAnyOsError) {
  HostOverFake host;
  std::set<HRESULT> seen;
  for (const auto& [method, name] : kMethods) {
    const auto seam = SeamOf(method);
    const auto documented = DocumentedBy(method);
    for (DWORD error = 1; error < 6000 && seam; ++error) {
      host.os.Fail(*seam, error);
      const Answer answer = host.Call(method);
      seen.insert(answer.hr);
      ASSERT_EQ(1u, documented.count(answer.hr)) << name << " error " << error << ": " << Hr{answer.hr};
      ASSERT_HR(ExpectedOf(FamilyOf(error), OperationOf(method)), answer.hr) << name << " error " << error;
      ASSERT_NE(S_OK, answer.hr) << name << " error " << error;
      ASSERT_EQ(error, answer.last_error) << name;
      ASSERT_TRUE(answer.outputs_cleared) << name << " error " << error;
    }
    // The manager is still healthy after all of these errors.
    const HRESULT healthy = method == kClrHostMemoryNeedsVirtualAddressSpace ? E_OUTOFMEMORY : S_OK;
    EXPECT_HR(healthy, host.Call(method).hr) << name;
  }
  const std::set<HRESULT> all = {E_OUTOFMEMORY,           HOST_E_TIMEOUT, HOST_E_ABANDONED, HOST_E_NOT_OWNER,
                                 HOST_E_INVALIDOPERATION, E_FAIL,         E_INVALIDARG};
  EXPECT_EQ(all, seen);
  EXPECT_TRUE(LedgerIsExact(host.manager()));
}

TEST(DocumentedCodes, MemoryStaysChargedWhenTheOsRefusesToFree) {
  HostOverFake host;
  const auto charged = StatisticsOf(host.manager()).charged;
  for (const DWORD error : {DWORD{ERROR_INVALID_ADDRESS}, DWORD{ERROR_INVALID_PARAMETER}, DWORD{ERROR_MOD_NOT_FOUND}}) {
    host.os.Fail(OsCall::kFree, error, 0, 2);
    EXPECT_HRESULT_FAILED(host.manager()->VirtualFree(host.page(), kPage, MEM_DECOMMIT));
    EXPECT_HRESULT_FAILED(host.manager()->VirtualFree(host.region(), 0, MEM_RELEASE));
    host.os.Fail(OsCall::kFree, error);
    EXPECT_HRESULT_FAILED(host.malloc()->Free(host.block()));
    EXPECT_EQ(charged, StatisticsOf(host.manager()).charged);
    EXPECT_TRUE(LedgerIsExact(host.manager()));
  }
  EXPECT_HR(S_OK, host.malloc()->Free(host.block()));
  EXPECT_HR(S_OK, host.manager()->VirtualFree(host.region(), 0, MEM_RELEASE));
  EXPECT_EQ(std::uint64_t{0}, StatisticsOf(host.manager()).charged);
}

}  // namespace
}  // namespace clr_host_memory::test
