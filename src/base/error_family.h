// Families of Win32 errors: the kind of refusal that an error means.
#ifndef CLRHM_BASE_ERROR_FAMILY_H
#define CLRHM_BASE_ERROR_FAMILY_H

#include <array>
#include <cstdint>

#include "base/win32.h"

namespace clr_host_memory {

enum class ErrorFamily : std::uint8_t {
  kMemory,     // no memory, commit charge, quota or system resources
  kPlacement,  // that address is not available
  kRequest,    // the request itself is impossible: wrong argument, not permitted
  kTimeout,    // a wait ended at its deadline
  kAbandoned,  // a wait was cancelled
  kNotOwner,   // the caller does not own what it acts on
  kUnlisted,   // documented for none of these functions
};

namespace internal {

struct ErrorEntry {
  win32::Error error;
  ErrorFamily family;
};

// The Win32 errors of VirtualAlloc(ExNuma), VirtualFree, VirtualQuery, VirtualProtect, GlobalMemoryStatusEx,
// HeapCreate and HeapFree. Sources: the documentation of these functions, and RtlNtStatusToDosError applied to the
// NTSTATUS values of the system services beneath them.
inline constexpr std::array kErrors = {
    ErrorEntry{win32::kNotEnoughMemory, ErrorFamily::kMemory},  // STATUS_NO_MEMORY, heap
    ErrorEntry{win32::kOutOfMemory, ErrorFamily::kMemory},
    ErrorEntry{win32::kCommitmentLimit, ErrorFamily::kMemory},    // STATUS_COMMITMENT_LIMIT, job limit
    ErrorEntry{win32::kCommitmentMinimum, ErrorFamily::kMemory},  // STATUS_COMMITMENT_MINIMUM
    ErrorEntry{win32::kNoSystemResources, ErrorFamily::kMemory},  // STATUS_INSUFFICIENT_RESOURCES
    ErrorEntry{win32::kNonpagedSystemResources, ErrorFamily::kMemory},
    ErrorEntry{win32::kPagedSystemResources, ErrorFamily::kMemory},
    ErrorEntry{win32::kWorkingSetQuota, ErrorFamily::kMemory},    // STATUS_WORKING_SET_QUOTA
    ErrorEntry{win32::kPagefileQuota, ErrorFamily::kMemory},      // STATUS_PAGEFILE_QUOTA
    ErrorEntry{win32::kNotEnoughQuota, ErrorFamily::kMemory},     // STATUS_QUOTA_EXCEEDED
    ErrorEntry{win32::kInvalidAddress, ErrorFamily::kPlacement},  // STATUS_CONFLICTING_ADDRESSES, ..NOT_MAPPED..
    ErrorEntry{win32::kAccessDenied, ErrorFamily::kRequest},      // image or locked section pages
    ErrorEntry{win32::kInvalidHandle, ErrorFamily::kRequest},
    ErrorEntry{win32::kBadLength, ErrorFamily::kRequest},  // VirtualQuery: STATUS_INFO_LENGTH_MISMATCH
    ErrorEntry{win32::kNotSupported, ErrorFamily::kRequest},
    ErrorEntry{win32::kInvalidParameter, ErrorFamily::kRequest},  // STATUS_INVALID_PARAMETER, ..PAGE_PROTECTION
    ErrorEntry{win32::kNoAccess, ErrorFamily::kRequest},          // STATUS_ACCESS_VIOLATION: a bad out pointer
    ErrorEntry{win32::kInvalidFlags, ErrorFamily::kRequest},
    ErrorEntry{win32::kPrivilegeNotHeld, ErrorFamily::kRequest},    // MEM_LARGE_PAGES without the privilege
    ErrorEntry{win32::kDynamicCodeBlocked, ErrorFamily::kRequest},  // arbitrary code guard
    ErrorEntry{win32::kSemTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kWaitTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kTimeout, ErrorFamily::kTimeout},
    ErrorEntry{win32::kAbandonedWait, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kOperationAborted, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kCancelled, ErrorFamily::kAbandoned},
    ErrorEntry{win32::kNotOwner, ErrorFamily::kNotOwner},
};

}  // namespace internal

[[nodiscard]] constexpr ErrorFamily FamilyOf(win32::Error error) noexcept {
  for (const internal::ErrorEntry& entry : internal::kErrors) {
    if (entry.error == error) return entry.family;
  }
  return ErrorFamily::kUnlisted;
}

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_ERROR_FAMILY_H
