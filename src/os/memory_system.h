// The seam: all the manager asks of the operating system. os/windows implements it over Win32, tests by a fake.
//
// Contract for implementers:
// - Every function may be called from any thread at any time, also while other threads are suspended inside it.
// - No function calls back into the manager, and none allocates from the C or C++ heap.
// - Failures are returned as Win32 error numbers, never 0 for a failure. Functions do not throw; should one do so in a
//   test, the COM barrier turns it into E_FAIL.
// - A call that succeeds leaves the thread's last error as it was.
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

// A run of pages in the same state, from a page on, as VirtualQuery describes it.
struct PageRun {
  Address base = 0;
  Address allocation_base = 0;  // 0 where free
  std::uint64_t size = 0;       // bytes from base; 0: the address is outside of user space
  bool committed = false;
  bool is_private = false;  // neither a mapped view nor an image
};

// What the machine, the job and the process have left. A total of 0 or kUnlimited is no bound.
struct MemoryLoad {
  std::uint32_t percent_in_use = 0;  // of physical memory
  Bytes available_physical;
  Bytes total_physical;
  Bytes available_commit;  // MEMORYSTATUSEX' page file figures: commit charge that this process may still get
  Bytes total_commit;
  Bytes available_in_job;  // by the tightest of the job's and the process' commit limits in it
  Bytes total_in_job;
  Bytes process_private;       // commit charge of the whole process (PrivateUsage)
  bool low_signalled = false;  // the OS's own low- and high-memory resource notifications
  bool high_signalled = false;
};

class MemorySystem {
 public:
  virtual ~MemorySystem() = default;

  // VirtualAlloc, or VirtualAllocExNuma for this process when a node is named.
  virtual AllocateResult Allocate(const AllocateRequest& request) = 0;
  // VirtualFree. kSuccess or the error.
  [[nodiscard]] virtual win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) = 0;
  // VirtualQuery into the caller's buffer, unchanged.
  [[nodiscard]] virtual win32::Error Query(Address address, void* buffer, std::size_t length, std::size_t* written) = 0;
  // VirtualProtect. *old_protect as Win32 leaves it.
  [[nodiscard]] virtual win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect,
                                             std::uint32_t* old_protect) = 0;
  // VirtualQuery, in the ledger's terms.
  [[nodiscard]] virtual PageRun Describe(Address address) = 0;
  // Whether a page of a section that was committed through one view is shown as committed by every other. Wine 8 keeps
  // a commit that reaches the end of a view to that view alone.
  [[nodiscard]] virtual bool ViewsShareCommits() const { return true; }
  // GlobalMemoryStatusEx, the job object, K32GetProcessMemoryInfo and the memory resource notifications: several system
  // calls. Only the first can fail; what another does not tell stays 0.
  [[nodiscard]] virtual win32::Error Load(MemoryLoad* load) = 0;

  // Zeroed, committed, page-aligned memory for the manager's own tables; null when there is none. Not charged.
  [[nodiscard]] virtual void* AllocateMetadata(std::size_t size) = 0;
  virtual void FreeMetadata(void* memory, std::size_t size) = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_MEMORY_SYSTEM_H
