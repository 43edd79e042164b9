// The flags and error numbers of Win32 by value, for the layers that must build without its headers. os/windows
// checks each against <windows.h>. Source: winnt.h, winerror.h of the Windows SDK.
#ifndef CLRHM_BASE_WIN32_H
#define CLRHM_BASE_WIN32_H

#include <cstdint>

namespace clr_host_memory::win32 {

inline constexpr std::uint32_t kMemCommit = 0x00001000;
inline constexpr std::uint32_t kMemReserve = 0x00002000;
inline constexpr std::uint32_t kMemDecommit = 0x00004000;
inline constexpr std::uint32_t kMemRelease = 0x00008000;
inline constexpr std::uint32_t kMemFree = 0x00010000;
inline constexpr std::uint32_t kMemPrivate = 0x00020000;
inline constexpr std::uint32_t kMemReset = 0x00080000;
inline constexpr std::uint32_t kMemTopDown = 0x00100000;
inline constexpr std::uint32_t kMemWriteWatch = 0x00200000;
inline constexpr std::uint32_t kMemResetUndo = 0x01000000;
inline constexpr std::uint32_t kMemLargePages = 0x20000000;

inline constexpr std::uint32_t kPageNoAccess = 0x01;
inline constexpr std::uint32_t kPageReadWrite = 0x04;

// The "any node" value of VirtualAllocExNuma.
inline constexpr std::uint32_t kNoPreferredNode = 0xFFFFFFFF;

using Error = std::uint32_t;
inline constexpr Error kSuccess = 0;
inline constexpr Error kAccessDenied = 5;
inline constexpr Error kInvalidHandle = 6;
inline constexpr Error kNotEnoughMemory = 8;
inline constexpr Error kOutOfMemory = 14;
inline constexpr Error kBadLength = 24;
inline constexpr Error kNotSupported = 50;
inline constexpr Error kInvalidParameter = 87;
inline constexpr Error kSemTimeout = 121;
inline constexpr Error kWaitTimeout = 258;
inline constexpr Error kNotOwner = 288;
inline constexpr Error kInvalidAddress = 487;
inline constexpr Error kCommitmentMinimum = 635;
inline constexpr Error kAbandonedWait = 735;
inline constexpr Error kOperationAborted = 995;
inline constexpr Error kNoAccess = 998;
inline constexpr Error kPrivilegeNotHeld = 1314;
inline constexpr Error kInvalidFlags = 1004;
inline constexpr Error kCancelled = 1223;
inline constexpr Error kNoSystemResources = 1450;
inline constexpr Error kNonpagedSystemResources = 1451;
inline constexpr Error kPagedSystemResources = 1452;
inline constexpr Error kWorkingSetQuota = 1453;
inline constexpr Error kPagefileQuota = 1454;
inline constexpr Error kCommitmentLimit = 1455;
inline constexpr Error kTimeout = 1460;
inline constexpr Error kDynamicCodeBlocked = 1655;
inline constexpr Error kNotEnoughQuota = 1816;

}  // namespace clr_host_memory::win32

#endif  // CLRHM_BASE_WIN32_H
