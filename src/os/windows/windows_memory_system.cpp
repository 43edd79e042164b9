#include "os/windows/windows_memory_system.h"

#include <windows.h>
// psapi.h needs windows.h before it.
#include <psapi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "os/job_bound.h"
#include "os/windows/kept_last_error.h"

namespace clr_host_memory {
namespace {

static_assert(win32::kMemCommit == MEM_COMMIT && win32::kMemReserve == MEM_RESERVE);
static_assert(win32::kMemDecommit == MEM_DECOMMIT && win32::kMemRelease == MEM_RELEASE);
static_assert(win32::kMemFree == MEM_FREE && win32::kMemPrivate == MEM_PRIVATE && win32::kMemReset == MEM_RESET);
static_assert(win32::kMemTopDown == MEM_TOP_DOWN && win32::kMemWriteWatch == MEM_WRITE_WATCH);
static_assert(win32::kMemLargePages == MEM_LARGE_PAGES && win32::kMemResetUndo == 0x01000000);
static_assert(win32::kAccessDenied == ERROR_ACCESS_DENIED && win32::kInvalidHandle == ERROR_INVALID_HANDLE);
static_assert(win32::kNotEnoughMemory == ERROR_NOT_ENOUGH_MEMORY && win32::kOutOfMemory == ERROR_OUTOFMEMORY);
static_assert(win32::kBadLength == ERROR_BAD_LENGTH);
static_assert(win32::kNotSupported == ERROR_NOT_SUPPORTED && win32::kInvalidParameter == ERROR_INVALID_PARAMETER);
static_assert(win32::kSemTimeout == ERROR_SEM_TIMEOUT && win32::kWaitTimeout == WAIT_TIMEOUT);
static_assert(win32::kNotOwner == ERROR_NOT_OWNER && win32::kInvalidAddress == ERROR_INVALID_ADDRESS);
static_assert(win32::kCommitmentMinimum == ERROR_COMMITMENT_MINIMUM && win32::kAbandonedWait == ERROR_ABANDONED_WAIT_0);
static_assert(win32::kOperationAborted == ERROR_OPERATION_ABORTED && win32::kNoAccess == ERROR_NOACCESS);
static_assert(win32::kPrivilegeNotHeld == ERROR_PRIVILEGE_NOT_HELD && win32::kInvalidFlags == ERROR_INVALID_FLAGS);
static_assert(win32::kCancelled == ERROR_CANCELLED && win32::kNoSystemResources == ERROR_NO_SYSTEM_RESOURCES);
static_assert(win32::kNonpagedSystemResources == ERROR_NONPAGED_SYSTEM_RESOURCES);
static_assert(win32::kPagedSystemResources == ERROR_PAGED_SYSTEM_RESOURCES);
static_assert(win32::kWorkingSetQuota == ERROR_WORKING_SET_QUOTA && win32::kPagefileQuota == ERROR_PAGEFILE_QUOTA);
static_assert(win32::kCommitmentLimit == ERROR_COMMITMENT_LIMIT && win32::kTimeout == ERROR_TIMEOUT);
static_assert(win32::kDynamicCodeBlocked == 1655 && win32::kNotEnoughQuota == ERROR_NOT_ENOUGH_QUOTA);

[[nodiscard]] void* ToPointer(Address address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }
[[nodiscard]] Address ToAddress(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

// Returns size as a SIZE_T. A size that came from a caller's SIZE_T fits. A computed size too large for a 32-bit
// build becomes SIZE_MAX, which cannot be served.
[[nodiscard]] SIZE_T ToSize(std::uint64_t size) {
  if constexpr (sizeof(SIZE_T) < sizeof(std::uint64_t)) {
    if (size > SIZE_MAX) return SIZE_MAX;
  }
  return static_cast<SIZE_T>(size);
}

// Returns the error of a failed call, never 0: a failure without a number would look like success.
[[nodiscard]] win32::Error FailureOf(DWORD error) { return error == ERROR_SUCCESS ? ERROR_INVALID_PARAMETER : error; }

// Returns the figures of the job that this process is in, if any. A figure that the OS does not report stays 0.
[[nodiscard]] JobFigures AskJob(Bytes process_private) {
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  if (!::QueryInformationJobObject(nullptr, JobObjectExtendedLimitInformation, &limits, sizeof(limits), nullptr)) {
    return {};
  }
  JobFigures figures{.process_used = process_private};
  const DWORD flags = limits.BasicLimitInformation.LimitFlags;
  if ((flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0) figures.process_limit = {limits.ProcessMemoryLimit};
  if ((flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0) {
    figures.job_limit = {limits.JobMemoryLimit};
    // The layout of JOBOBJECT_MEMORY_USAGE_INFORMATION (Windows 10), which some headers lack.
    struct {
      std::uint64_t job_memory;
      std::uint64_t peak_job_memory_used;
    } usage{};
    constexpr int kJobObjectMemoryUsageInformation = 28;
    if (::QueryInformationJobObject(nullptr, static_cast<JOBOBJECTINFOCLASS>(kJobObjectMemoryUsageInformation), &usage,
                                    sizeof(usage), nullptr)) {
      figures.job_used = {usage.job_memory};
    }
  }
  return figures;
}

[[nodiscard]] Bytes AskProcessPrivate() {
  PROCESS_MEMORY_COUNTERS_EX counters{};
  counters.cb = sizeof(counters);
  if (!::K32GetProcessMemoryInfo(::GetCurrentProcess(), reinterpret_cast<PROCESS_MEMORY_COUNTERS*>(&counters),
                                 sizeof(counters))) {
    return {};
  }
  // Both members hold the same figure. Wine 8 sets only the older one, and to the touched memory.
  return {std::max<std::uint64_t>(counters.PrivateUsage, counters.PagefileUsage)};
}

// One of the OS's memory resource notifications. Its handle is created at the first query and kept.
class ResourceNotification {
 public:
  explicit ResourceNotification(MEMORY_RESOURCE_NOTIFICATION_TYPE type) : type_(type) {}

  [[nodiscard]] bool Signalled() {
    BOOL signalled = FALSE;
    const HANDLE handle = Handle();
    return handle != nullptr && ::QueryMemoryResourceNotification(handle, &signalled) && signalled;
  }

 private:
  [[nodiscard]] HANDLE Handle() {
    HANDLE handle = handle_.load();
    if (handle != nullptr) return handle;
    const HANDLE made = ::CreateMemoryResourceNotification(type_);
    if (made == nullptr || handle_.compare_exchange_strong(handle, made)) return made;
    ::CloseHandle(made);  // another thread was first
    return handle;
  }

  const MEMORY_RESOURCE_NOTIFICATION_TYPE type_;
  std::atomic<HANDLE> handle_ = nullptr;
};

class WindowsSystem final : public MemorySystem {
 public:
  // Wine 8 answers zeros to a thread whose call meets the process's first call on another thread. So the first call is
  // made here, before the manager has threads and before a CLR asks.
  WindowsSystem() {
    MemoryLoad load;
    (void)Load(&load);
  }

  AllocateResult Allocate(const AllocateRequest& request) override {
    // Windows refuses a range that passes the end of the address space. Wine lets it wrap round in a 32-bit process and
    // reserves less than was asked for.
    if constexpr (sizeof(void*) == 4) {
      if (request.address + request.size > std::uint64_t{1} << 32) return {0, ERROR_INVALID_PARAMETER};
    }
    void* memory = request.node == win32::kNoPreferredNode
                       ? ::VirtualAlloc(ToPointer(request.address), ToSize(request.size), request.type, request.protect)
                       : ::VirtualAllocExNuma(::GetCurrentProcess(), ToPointer(request.address), ToSize(request.size),
                                              request.type, request.protect, request.node);
    if (memory == nullptr) return {0, FailureOf(::GetLastError())};
    return {ToAddress(memory), win32::kSuccess};
  }

  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) override {
    return ::VirtualFree(ToPointer(address), ToSize(size), type) ? win32::kSuccess : FailureOf(::GetLastError());
  }

  win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) override {
    const SIZE_T size = ::VirtualQuery(ToPointer(address), static_cast<MEMORY_BASIC_INFORMATION*>(buffer), length);
    *written = size;
    return size != 0 ? win32::kSuccess : FailureOf(::GetLastError());
  }

  win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect,
                       std::uint32_t* old_protect) override {
    DWORD old = *old_protect;
    const BOOL done = ::VirtualProtect(ToPointer(address), ToSize(size), protect, &old);
    const win32::Error error = done ? win32::kSuccess : FailureOf(::GetLastError());
    *old_protect = old;
    return error;
  }

  PageRun Describe(Address address) override {
    const KeptLastError kept;
    MEMORY_BASIC_INFORMATION info{};
    if (::VirtualQuery(ToPointer(address), &info, sizeof(info)) == 0) return {};
    return {.base = ToAddress(info.BaseAddress),
            .allocation_base = info.State == MEM_FREE ? 0 : ToAddress(info.AllocationBase),
            .size = info.RegionSize,
            .committed = info.State == MEM_COMMIT,
            .is_private = info.Type == MEM_PRIVATE};
  }

  bool ViewsShareCommits() const override { return views_share_commits_; }

  win32::Error Load(MemoryLoad* load) override {
    const KeptLastError kept;
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof(status);
    if (!::GlobalMemoryStatusEx(&status)) return FailureOf(::GetLastError());
    const Bytes process_private = AskProcessPrivate();
    const JobBound job = TightestInJob(AskJob(process_private));
    // A 32-bit Wine counts the machine's memory in 32 bits: it reports less in all than is free, and a wrong
    // percentage.
    const std::uint64_t total = std::max<std::uint64_t>(status.ullTotalPhys, status.ullAvailPhys);
    const auto free_percent = static_cast<std::uint32_t>(total == 0 ? 0 : status.ullAvailPhys * 100 / total);
    *load = {.percent_in_use = status.dwMemoryLoad <= 100 ? std::uint32_t{status.dwMemoryLoad} : 100 - free_percent,
             .available_physical = {status.ullAvailPhys},
             .total_physical = {total},
             .available_commit = {status.ullAvailPageFile},
             .total_commit = {status.ullTotalPageFile},
             .available_in_job = job.available,
             .total_in_job = job.total,
             .process_private = process_private,
             .low_signalled = low_.Signalled(),
             .high_signalled = high_.Signalled()};
    return win32::kSuccess;
  }

  void* AllocateMetadata(std::size_t size) override {
    const KeptLastError kept;
    return ::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  }

  void FreeMetadata(void* memory, std::size_t /*size*/) override {
    const KeptLastError kept;
    ::VirtualFree(memory, 0, MEM_RELEASE);
  }

 private:
  ResourceNotification low_{LowMemoryResourceNotification};
  ResourceNotification high_{HighMemoryResourceNotification};
  const bool views_share_commits_ = ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == nullptr;
};

}  // namespace

MemorySystem& WindowsMemorySystem() {
  // Never destroyed, because a CLR may free memory while the process ends.
  alignas(WindowsSystem) static std::array<std::byte, sizeof(WindowsSystem)> place;
  static WindowsSystem* const system = new (place.data()) WindowsSystem;
  return *system;
}

}  // namespace clr_host_memory
