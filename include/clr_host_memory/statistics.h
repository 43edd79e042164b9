// Figures the manager reports: statistics, the audit, requests by purpose and heap figures. Plain C structs.
//
// Sizes are in bytes. A struct begins with its own size, which the caller sets. The library fills the fields as far as
// that size reaches, and writes back how many bytes it filled. So a newer library serves an older caller.
#ifndef CLR_HOST_MEMORY_STATISTICS_H
#define CLR_HOST_MEMORY_STATISTICS_H

#include <clr_host_memory/hosting_abi.h>
#include <stdint.h>

enum { kClrHostMemoryLevelCount = 3 };  // eTaskCritical, eAppDomainCritical, eProcessCritical

// The counted methods: the ten of IHostMemoryManager in vtable order, then the three of IHostMalloc.
typedef enum ClrHostMemoryMethod {
  kClrHostMemoryCreateMalloc = 0,
  kClrHostMemoryVirtualAlloc,
  kClrHostMemoryVirtualFree,
  kClrHostMemoryVirtualQuery,
  kClrHostMemoryVirtualProtect,
  kClrHostMemoryGetMemoryLoad,
  kClrHostMemoryRegisterMemoryNotificationCallback,
  kClrHostMemoryNeedsVirtualAddressSpace,
  kClrHostMemoryAcquiredVirtualAddressSpace,
  kClrHostMemoryReleasedVirtualAddressSpace,
  kClrHostMemoryMallocAlloc,
  kClrHostMemoryMallocDebugAlloc,
  kClrHostMemoryMallocFree,
  kClrHostMemoryMethodCount
} ClrHostMemoryMethod;

// The HRESULTs the manager returns, as an index for counters.
typedef enum ClrHostMemoryCode {
  kClrHostMemoryOk = 0,
  kClrHostMemoryOutOfMemory,       // E_OUTOFMEMORY
  kClrHostMemoryTimeout,           // HOST_E_TIMEOUT
  kClrHostMemoryAbandoned,         // HOST_E_ABANDONED
  kClrHostMemoryNotOwner,          // HOST_E_NOT_OWNER
  kClrHostMemoryClrNotAvailable,   // HOST_E_CLRNOTAVAILABLE
  kClrHostMemoryInvalidOperation,  // HOST_E_INVALIDOPERATION
  kClrHostMemoryFail,              // E_FAIL
  kClrHostMemoryPointer,           // E_POINTER
  kClrHostMemoryInvalidArgument,   // E_INVALIDARG
  kClrHostMemoryCodeCount
} ClrHostMemoryCode;

// The stage of the manager's life.
typedef enum ClrHostMemoryState {
  kClrHostMemoryRunning = 0,
  kClrHostMemoryDraining,  // shut down: allocations return HOST_E_CLRNOTAVAILABLE, frees succeed, threads are ending
  kClrHostMemoryStopped    // drained: the manager's threads have ended, and it calls neither the CLR nor the host
} ClrHostMemoryState;

// Why the manager latched E_FAIL. The first cause is kept.
typedef enum ClrHostMemoryLatchCause {
  kClrHostMemoryNotLatched = 0,
  kClrHostMemoryLatchedByOs,        // the OS returned an address that was not requested, or refused to take one back
  kClrHostMemoryLatchedByException  // the COM boundary caught an exception
} ClrHostMemoryLatchCause;

// Everything the manager has done. Each counter is exact. If `consistent` is 1, all figures are of one moment.
// Otherwise calls ran while the figures were read, and figures may differ by those calls. An exclusive section prevents
// that (docs/stats.md).
typedef struct ClrHostMemoryStatistics {
  uint32_t size;     // sizeof(ClrHostMemoryStatistics) of the caller
  uint32_t version;  // 5
  uint64_t limit;    // bytes, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t app_domain_headroom;
  uint64_t process_headroom;
  uint64_t charged;       // bytes counted against the limit now: committed pages
  uint64_t peak_charged;  // the highest value of `charged`
  uint64_t page_bytes;    // part of `charged`: pages committed through VirtualAlloc, and sections committed as a whole
  uint64_t heap_bytes;    // part of `charged`: pages committed by the heaps of IHostMalloc
  uint64_t reserved;      // address space of the regions the manager reserved, committed or not
  uint64_t peak_reserved;
  uint64_t mapped;    // address space of views announced by AcquiredVirtualAddressSpace
  uint64_t metadata;  // bytes of the manager's own tables; not charged
  uint64_t regions;   // live reservations and announced views
  uint64_t
      stale_regions;  // records replaced because the OS returned their address again: a raw VirtualFree released it
  uint64_t calls[kClrHostMemoryMethodCount][kClrHostMemoryCodeCount];    // by method and result
  uint64_t refusals[kClrHostMemoryLevelCount][kClrHostMemoryCodeCount];  // failed allocations by level and result
  uint64_t limit_refusals[kClrHostMemoryLevelCount];  // part of `refusals`: E_OUTOFMEMORY from limit or headroom

  // Version 2
  uint32_t consistent;        // 1: all figures are of one moment
  uint32_t state;             // ClrHostMemoryState
  uint32_t latch_cause;       // ClrHostMemoryLatchCause
  uint32_t latch_method;      // ClrHostMemoryMethod that latched
  uint32_t latch_error;       // Win32 error, or 0
  uint32_t availability;      // EMemoryAvailable as the manager sees it
  uint64_t over_limit;        // bytes in use and held above the limit, after it was lowered or `outside` grew; 0: all
                              // fits
  uint64_t outside;           // private bytes of the process that are not charged, at the last sample
  uint64_t notifications[3];  // Low, Neutral and High notifications sent to the CLR
  uint64_t waiting;           // requests waiting now
  uint64_t waits[kClrHostMemoryLevelCount];          // requests that waited, by level
  uint64_t waits_granted[kClrHostMemoryLevelCount];  // part of `waits`: granted
  uint64_t waits_timed_out[kClrHostMemoryLevelCount];
  uint64_t waits_abandoned[kClrHostMemoryLevelCount];
  uint64_t committed_headroom;     // bytes of the process headroom to be kept committed
  uint64_t headroom_held;          // bytes of it that are committed now; they count against the limit, but are no
                                   // part of `charged`
  uint64_t headroom_given;         // sum of the bytes decommitted from it
  uint64_t headroom_uses;          // how often some of it was decommitted
  uint64_t headroom_taken_back;    // sum of the bytes committed again
  uint64_t address_space_reserve;  // bytes of the whole address space reserve
  uint64_t address_space_held;     // bytes of it that are reserved now
  uint64_t address_space_uses;     // how often it was released
  uint64_t sealed_regions;         // regions sealed now

  // Version 3
  uint64_t thrashes;  // windows the CLR spent in refusals and collections without progress

  // Version 4
  uint64_t placement_refusals;  // VirtualAlloc at a taken address: E_OUTOFMEMORY without a lack of memory, therefore
                                // not in `refusals`. A CLR that searches for room near its code tries the next address

  // Version 5
  uint64_t bound;       // the most that `charged` + `headroom_held` can be now: the limit, except after SetLimit to
                        // less than is in use; NO_LIMIT during a start
  uint64_t over_bound;  // the most by which they ever exceeded it; 0 is the invariant
  uint64_t gc_charged;  // part of `charged`: committed in what GCs have reserved
  uint64_t gc_limit;    // the limit that the running GC has, as its companion says; 0: no companion
} ClrHostMemoryStatistics;

// The ledger compared with what VirtualQuery reports of the same memory.
typedef struct ClrHostMemoryAudit {
  uint32_t size;     // sizeof(ClrHostMemoryAudit) of the caller
  uint32_t version;  // 1
  uint64_t charged;  // bytes of pages the ledger records as committed
  uint64_t
      committed;  // bytes of these pages, and of unknown pages in the same regions, that the OS reports as committed
  uint64_t mismatch;   // bytes on which the two disagree, page by page; 0 is the invariant
  uint64_t regions;    // reservations and views visited
  uint64_t in_flight;  // bytes not compared, because calls on them were in progress throughout
} ClrHostMemoryAudit;

// What a CLR needs memory for, as the bridge infers from the request and from how its region was reserved
// (docs/policy.md).
typedef enum ClrHostMemoryPurpose {
  kClrHostMemoryUnknownPurpose = 0,
  kClrHostMemoryGcHeap,
  kClrHostMemoryGcBookkeeping,  // card tables, mark array, handle tables, frozen objects
  kClrHostMemoryCodeHeap,       // executable: jitted code and stubs
  kClrHostMemoryLoaderHeap,     // the loader's types, methods and other tables
  kClrHostMemoryNativeHeap,     // heaps of the C run-time and the process
  kClrHostMemoryMappedView,
  kClrHostMemoryStack,
  kClrHostMemoryPurposeCount
} ClrHostMemoryPurpose;

// Requests to commit memory, by purpose.
typedef struct ClrHostMemoryPurposes {
  uint32_t size;     // sizeof(ClrHostMemoryPurposes) of the caller
  uint32_t version;  // 1
  uint64_t requests[kClrHostMemoryPurposeCount];
  uint64_t refusals[kClrHostMemoryPurposeCount];  // part of `requests`: not granted, except at a taken address
} ClrHostMemoryPurposes;

// The present figures of a heap. Its blocks are counted while other calls run.
typedef struct ClrHostMemoryHeapFigures {
  uint32_t size;       // sizeof(ClrHostMemoryHeapFigures) of the caller
  uint32_t version;    // 1
  uint64_t reserved;   // bytes of address space
  uint64_t committed;  // bytes, all of them charged
  uint64_t live;       // bytes in allocated blocks, as GetSize reports them
  uint64_t blocks;     // allocated blocks
} ClrHostMemoryHeapFigures;

// The blocks that one caller of DebugAlloc still has.
typedef struct ClrHostMemoryHeapSite {
  uint32_t size;  // sizeof(ClrHostMemoryHeapSite) of the caller
  int32_t line;   // the line DebugAlloc received
  uint64_t blocks;
  uint64_t bytes;  // as GetSize reports them
  char file[112];  // the end of the file name; empty: DebugAlloc received none, or the table was full
} ClrHostMemoryHeapSite;

#endif  // CLR_HOST_MEMORY_STATISTICS_H
