// The seam: everything the manager asks of the operating system. os/windows implements it over Win32, tests by a
// fake.
//
// Contract for implementers:
// - Every function may be called from any thread at any time, also while other threads are suspended inside it.
// - No function calls back into the manager, and none allocates from the C or C++ heap.
// - Failures are returned as Win32 error numbers, never as 0. Functions do not throw. If one throws in a test, the
//   COM barrier turns the exception into E_FAIL.
// - A call that succeeds leaves the thread's last error unchanged.
#ifndef CLRHM_OS_MEMORY_SYSTEM_H
#define CLRHM_OS_MEMORY_SYSTEM_H

#include <cstddef>
#include <cstdint>

#include "base/units.h"
#include "base/win32.h"

namespace clr_host_memory {

struct AllocateRequest {
  Address address = 0;  // 0: the OS chooses
  std::uint64_t size = 0;
  std::uint32_t type = 0;     // MEM_*
  std::uint32_t protect = 0;  // PAGE_*
  std::uint32_t node = win32::kNoPreferredNode;
};

struct [[nodiscard]] AllocateResult {
  Address address = 0;
  win32::Error error = win32::kSuccess;
};

// A run of pages in the same state, beginning at a page, as VirtualQuery describes it.
struct PageRun {
  Address base = 0;
  Address allocation_base = 0;  // 0 if free
  std::uint64_t size = 0;       // bytes from base; 0: the address is outside of user space
  bool committed = false;
  bool is_private = false;  // neither a mapped view nor an image
};

// The memory that the machine, the job and the process have left. A total of 0 or kUnlimited means no bound.
struct MemoryLoad {
  std::uint32_t percent_in_use = 0;  // of physical memory
  Bytes available_physical;
  Bytes total_physical;
  Bytes available_commit;  // MEMORYSTATUSEX' page file figures: commit charge still available to this process
  Bytes total_commit;
  Bytes available_in_job;  // by the tighter of the job's limit and its process limit
  Bytes total_in_job;
  Bytes process_private;       // commit charge of the whole process (PrivateUsage)
  bool low_signalled = false;  // the OS's own low- and high-memory resource notifications
  bool high_signalled = false;
};

class MemorySystem {
 public:
  virtual ~MemorySystem() = default;

  // Calls VirtualAlloc, or VirtualAllocExNuma for this process if a node is named.
  virtual AllocateResult Allocate(const AllocateRequest& request) = 0;
  // Calls VirtualFree. Returns kSuccess or the error.
  [[nodiscard]] virtual win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) = 0;
  // Calls VirtualQuery with the caller's buffer; the result is unchanged.
  [[nodiscard]] virtual win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) = 0;
  // Calls VirtualProtect. *old_protect is as Win32 leaves it.
  [[nodiscard]] virtual win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect,
                                             std::uint32_t* old_protect) = 0;
  // Calls VirtualQuery and returns the result in the ledger's terms.
  [[nodiscard]] virtual PageRun Describe(Address address) = 0;
  // Returns whether a section page committed through one view shows as committed in every other view. Wine 8 shows a
  // commit that reaches the end of a view in that view alone.
  [[nodiscard]] virtual bool ViewsShareCommits() const { return true; }
  // Asks GlobalMemoryStatusEx, the job object, K32GetProcessMemoryInfo and the memory resource notifications: several
  // system calls. Only the first one can fail. A figure that another one does not report stays 0.
  [[nodiscard]] virtual win32::Error Load(MemoryLoad* load) = 0;

  // Returns zeroed, committed, page-aligned memory for the manager's own tables, or null if there is none. It is not
  // charged.
  [[nodiscard]] virtual void* AllocateMetadata(std::size_t size) = 0;
  virtual void FreeMetadata(void* memory, std::size_t size) = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_MEMORY_SYSTEM_H
