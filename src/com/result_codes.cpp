#include "com/result_codes.h"

#include <algorithm>
#include <array>

namespace clr_host_memory {
namespace {

struct ErrorEntry {
  win32::Error error;
  ErrorFamily family;
};

// Win32 errors of VirtualAlloc(ExNuma), VirtualFree, VirtualQuery, VirtualProtect, GlobalMemoryStatusEx, HeapCreate and
// HeapFree: those their pages name, and those RtlNtStatusToDosError makes of the NTSTATUS values of the system services
// beneath them.
constexpr std::array kErrors = {
    ErrorEntry{win32::kNotEnoughMemory, ErrorFamily::kMemory},           // STATUS_NO_MEMORY, heap
    ErrorEntry{win32::kOutOfMemory, ErrorFamily::kMemory},
    ErrorEntry{win32::kCommitmentLimit, ErrorFamily::kMemory},           // STATUS_COMMITMENT_LIMIT, job limit
    ErrorEntry{win32::kCommitmentMinimum, ErrorFamily::kMemory},         // STATUS_COMMITMENT_MINIMUM
    ErrorEntry{win32::kNoSystemResources, ErrorFamily::kMemory},         // STATUS_INSUFFICIENT_RESOURCES
    ErrorEntry{win32::kNonpagedSystemResources, ErrorFamily::kMemory},
    ErrorEntry{win32::kPagedSystemResources, ErrorFamily::kMemory},
    ErrorEntry{win32::kWorkingSetQuota, ErrorFamily::kMemory},           // STATUS_WORKING_SET_QUOTA
    ErrorEntry{win32::kPagefileQuota, ErrorFamily::kMemory},             // STATUS_PAGEFILE_QUOTA
    ErrorEntry{win32::kNotEnoughQuota, ErrorFamily::kMemory},            // STATUS_QUOTA_EXCEEDED
    ErrorEntry{win32::kInvalidAddress, ErrorFamily::kPlacement},         // STATUS_CONFLICTING_ADDRESSES, ..NOT_MAPPED..
    ErrorEntry{win32::kAccessDenied, ErrorFamily::kRequest},             // image or locked section pages
    ErrorEntry{win32::kInvalidHandle, ErrorFamily::kRequest},
    ErrorEntry{win32::kBadLength, ErrorFamily::kRequest},                // VirtualQuery: STATUS_INFO_LENGTH_MISMATCH
    ErrorEntry{win32::kNotSupported, ErrorFamily::kRequest},
    ErrorEntry{win32::kInvalidParameter, ErrorFamily::kRequest},         // STATUS_INVALID_PARAMETER, ..PAGE_PROTECTION
    ErrorEntry{win32::kNoAccess, ErrorFamily::kRequest},                 // STATUS_ACCESS_VIOLATION: a bad out pointer
    ErrorEntry{win32::kInvalidFlags, ErrorFamily::kRequest},
    ErrorEntry{win32::kPrivilegeNotHeld, ErrorFamily::kRequest},         // MEM_LARGE_PAGES without the privilege
    ErrorEntry{win32::kDynamicCodeBlocked, ErrorFamily::kRequest},       // arbitrary code guard
    ErrorEntry{win32::kSemTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kWaitTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kAbandonedWait, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kOperationAborted, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kCancelled, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kNotOwner, ErrorFamily::kNotOwner},
};

[[nodiscard]] bool DocumentsOutOfMemory(ClrHostMemoryMethod method) {
  return method == kClrHostMemoryVirtualAlloc || method == kClrHostMemoryCreateMalloc ||
         method == kClrHostMemoryMallocAlloc || method == kClrHostMemoryMallocDebugAlloc ||
         method == kClrHostMemoryNeedsVirtualAddressSpace || method == kClrHostMemoryAcquiredVirtualAddressSpace;
}

[[nodiscard]] bool Frees(ClrHostMemoryMethod method) {
  return method == kClrHostMemoryVirtualFree || method == kClrHostMemoryMallocFree;
}

[[nodiscard]] HRESULT OfError(win32::Error error, ClrHostMemoryMethod method) {
  switch (FamilyOf(error)) {
    case ErrorFamily::kMemory:
      return DocumentsOutOfMemory(method) ? E_OUTOFMEMORY : E_FAIL;
    case ErrorFamily::kPlacement:
      // A refused placement is for VirtualAlloc a kind of having no memory; a free of such an address is of none of ours.
      if (DocumentsOutOfMemory(method)) return E_OUTOFMEMORY;
      return Frees(method) ? HOST_E_INVALIDOPERATION : E_INVALIDARG;
    case ErrorFamily::kRequest:
      return E_INVALIDARG;
    case ErrorFamily::kTimeout:
      return HOST_E_TIMEOUT;
    case ErrorFamily::kAbandoned:
      return HOST_E_ABANDONED;
    case ErrorFamily::kNotOwner:
      return HOST_E_NOT_OWNER;
    case ErrorFamily::kUnlisted:
      break;
  }
  return E_FAIL;
}

}  // namespace

ErrorFamily FamilyOf(win32::Error error) noexcept {
  const auto entry = std::find_if(kErrors.begin(), kErrors.end(), [&](const ErrorEntry& e) { return e.error == error; });
  return entry == kErrors.end() ? ErrorFamily::kUnlisted : entry->family;
}

HRESULT ToHresult(const Outcome& outcome, ClrHostMemoryMethod method) noexcept {
  switch (outcome.verdict) {
    case Verdict::kDone:
      return S_OK;
    case Verdict::kOverLimit:
    case Verdict::kNoTracking:
      return E_OUTOFMEMORY;
    case Verdict::kOsRefused:
      return OfError(outcome.error, method);
    case Verdict::kNotOurs:
      return HOST_E_INVALIDOPERATION;
    case Verdict::kTimedOut:
      return HOST_E_TIMEOUT;
    case Verdict::kAbandoned:
      return HOST_E_ABANDONED;
    case Verdict::kNotOwner:
    case Verdict::kHeldStill:
      return HOST_E_NOT_OWNER;
    case Verdict::kUnavailable:
      return HOST_E_CLRNOTAVAILABLE;
    case Verdict::kInvariantBroken:
      break;
  }
  return E_FAIL;
}

ClrHostMemoryCode CodeIndexOf(HRESULT hr) noexcept {
  switch (hr) {
    case S_OK:
    case S_FALSE:
      return kClrHostMemoryOk;
    case E_OUTOFMEMORY:
      return kClrHostMemoryOutOfMemory;
    case HOST_E_TIMEOUT:
      return kClrHostMemoryTimeout;
    case HOST_E_ABANDONED:
      return kClrHostMemoryAbandoned;
    case HOST_E_NOT_OWNER:
      return kClrHostMemoryNotOwner;
    case HOST_E_CLRNOTAVAILABLE:
      return kClrHostMemoryClrNotAvailable;
    case HOST_E_INVALIDOPERATION:
      return kClrHostMemoryInvalidOperation;
    case E_POINTER:
      return kClrHostMemoryPointer;
    case E_INVALIDARG:
      return kClrHostMemoryInvalidArgument;
    default:
      return kClrHostMemoryFail;
  }
}

}  // namespace clr_host_memory
