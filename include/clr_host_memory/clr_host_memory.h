// ClrHostMemory's binary interface: one C entry that makes the memory manager, and the COM interfaces it answers to.
// Everything here may cross a DLL border and a compiler border; memory_manager.h is the C++ face of it.
//
// Sizes are in bytes. Structs that may grow begin with their own size: figures are filled in as far as the caller's
// struct goes, so that a newer library serves an older caller. `size` says how far that was, then. A text that is cut
// there is null-terminated all the same. Threads: every function and method may be called from any thread at any time.
#ifndef CLR_HOST_MEMORY_CLR_HOST_MEMORY_H
#define CLR_HOST_MEMORY_CLR_HOST_MEMORY_H

#include <clr_host_memory/hosting_abi.h>
#include <stdint.h>

#if defined(CLR_HOST_MEMORY_BUILDING_SHARED)
#define CLR_HOST_MEMORY_API __declspec(dllexport)
#elif defined(CLR_HOST_MEMORY_SHARED)
#define CLR_HOST_MEMORY_API __declspec(dllimport)
#else
#define CLR_HOST_MEMORY_API
#endif

// IIDs, as initialisers of a GUID, for C; kIidClrHostMemoryControl and so on in C++.
#define CLR_HOST_MEMORY_IID_CONTROL {0xf3b8f1b8, 0x391c, 0x432e, {0x86, 0x33, 0xa4, 0xbb, 0x5f, 0x6e, 0xe7, 0x58}}
#define CLR_HOST_MEMORY_IID_CLIENT {0xb2ef67b1, 0x6e19, 0x47fc, {0x85, 0x58, 0xd9, 0x3e, 0xeb, 0xe1, 0x56, 0x08}}
#define CLR_HOST_MEMORY_IID_HEAP {0xfc188362, 0x7d9b, 0x45ab, {0xbf, 0x46, 0xe5, 0xb9, 0xc5, 0x0a, 0xc0, 0xe8}}
#define CLR_HOST_MEMORY_IID_EVENT_SINK {0x06158559, 0x1aff, 0x436f, {0x99, 0x04, 0xcd, 0x20, 0x9c, 0xf9, 0x9e, 0x68}}
#define CLR_HOST_MEMORY_IID_BRIDGE {0x95b6dd9f, 0xb085, 0x4560, {0x83, 0xb5, 0x6d, 0xce, 0xfc, 0xe1, 0xb1, 0x7f}}

// For limits: no cap on committed memory.
#define CLR_HOST_MEMORY_NO_LIMIT UINT64_MAX
// For headrooms: let the library derive the headroom from the limit (docs/policy.md).
#define CLR_HOST_MEMORY_DEFAULT_HEADROOM UINT64_MAX
// For headrooms: that many percent of the limit, 0 to 100.
#define CLR_HOST_MEMORY_PERCENT(percent) (UINT64_C(0xFFFFFFFF00000000) | (uint64_t)(uint32_t)(percent))

enum { kClrHostMemoryLevelCount = 3 };  // eTaskCritical, eAppDomainCritical, eProcessCritical

// When memory counts as Low or High: in percent of what is available, of the tightest of limit (less the headrooms,
// since eTaskCritical requests are refused there), job, physical memory and commit charge. enter_low < leave_low <=
// leave_high < enter_high <= 100.
typedef struct ClrHostMemoryThresholds {
  uint32_t enter_low;      // Low at or below
  uint32_t leave_low;      // no longer Low at or above
  uint32_t leave_high;     // no longer High at or below
  uint32_t enter_high;     // High at or above
  uint32_t dwell_ms;       // how long a state lasts at least before one that is not Low follows
  uint32_t repeat_low_ms;  // Low is said again as often while it lasts; above 0
} ClrHostMemoryThresholds;

// The CLR acts on Low at most once per 8192 ms, so it is not repeated more often.
#define CLR_HOST_MEMORY_THRESHOLDS_INIT {8, 15, 40, 50, 1000, 8192}

// Bits of ClrHostMemoryOptions::flags.
enum {
  // What the process has committed besides (private bytes less charged bytes) counts against the limit, too. It is
  // sampled, so the limit holds to within what is committed between two samples, and what is committed in mapped views,
  // which is charged but no private bytes.
  kClrHostMemoryCountWholeProcess = 1,
  // Until SetLimit is called, eProcessCritical requests are not held to the limit, which is told to the CLR all the
  // same: a
  // host sees what its runtime takes to start, before it decides (docs/tool.md, The least limit).
  kClrHostMemoryLetStart = 2,
  // The emergency reserve is for requests of every level that the limit refuses: eTaskCritical leaves a quarter of it
  // and eAppDomainCritical an eighth to those above. For a CLR whose heap has a limit of its own below this one: its GC
  // plans
  // for that, and is not refused for what the CLR has besides.
  kClrHostMemoryShareReserve = 4
};

// What the host chooses when it makes the manager. Start from CLR_HOST_MEMORY_OPTIONS_INIT.
typedef struct ClrHostMemoryOptions {
  uint32_t size;   // sizeof(ClrHostMemoryOptions) of the caller
  uint32_t flags;  // bits kClrHostMemory..., or 0
  uint64_t limit;  // bytes the CLR may have committed, at least 65536, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t
      app_domain_headroom;     // what eTaskCritical requests must leave to the higher levels: bytes, PERCENT or DEFAULT
  uint64_t process_headroom;   // what only eProcessCritical requests may use: bytes, PERCENT or DEFAULT
  uint64_t emergency_reserve;  // bytes committed at once and given up when the OS, or for eProcessCritical the limit,
                               // refuses; beside the limit, so that limit + reserve is the most there can be. At most
                               // as large as the limit, unless it is shared (kClrHostMemoryShareReserve)
  uint64_t address_space_reserve;  // bytes of address space given up when there is no room for a view or a reservation
  uint32_t wait_ms[kClrHostMemoryLevelCount];  // how long a request of each level may wait for memory; 0: not at all
  uint32_t sampling_ms;                        // how often the OS is asked about memory, 1 to 60000
  ClrHostMemoryThresholds thresholds;

  // Callers whose struct ends here have the defaults of what follows.
  uint32_t thrash_window_ms;  // how long the CLR may spin at its limit before the host is told, 1000 to 3600000;
                              // 0: the host is not told. A large heap's collections take long: give it longer
  uint32_t thrash_refusals;   // how many requests are refused in that time at least; above 0
} ClrHostMemoryOptions;

#define CLR_HOST_MEMORY_OPTIONS_INIT \
  {sizeof(ClrHostMemoryOptions),     \
   0,                                \
   CLR_HOST_MEMORY_NO_LIMIT,         \
   CLR_HOST_MEMORY_DEFAULT_HEADROOM, \
   CLR_HOST_MEMORY_DEFAULT_HEADROOM, \
   0,                                \
   0,                                \
   {0, 0, 0},                        \
   100,                              \
   CLR_HOST_MEMORY_THRESHOLDS_INIT,  \
   5000,                             \
   40}

// The methods that are counted: IHostMemoryManager's ten in vtable order, then IHostMalloc's three.
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

// The HRESULTs the manager answers with, as an index for counters.
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

// Where the manager is in its life.
typedef enum ClrHostMemoryState {
  kClrHostMemoryRunning = 0,
  kClrHostMemoryDraining,  // shut down: allocations are HOST_E_CLRNOTAVAILABLE, frees go on, its threads are ending
  kClrHostMemoryStopped  // the same, and nothing of the manager's own runs any more, nor is the CLR or the host called
} ClrHostMemoryState;

// Why E_FAIL has latched: the first cause, kept for the host to read.
typedef enum ClrHostMemoryLatchCause {
  kClrHostMemoryNotLatched = 0,
  kClrHostMemoryLatchedByOs,  // the OS answered with an address that was not asked for, or would not take one back
  kClrHostMemoryLatchedByException  // an exception was stopped at the COM edge
} ClrHostMemoryLatchCause;

// What the manager has done so far. Each counter is exact. With `consistent` all are of one moment; otherwise calls ran
// all the while and they may be of slightly different ones, which an exclusive section keeps from happening
// (docs/stats.md).
typedef struct ClrHostMemoryStatistics {
  uint32_t size;     // sizeof(ClrHostMemoryStatistics) of the caller
  uint32_t version;  // 4
  uint64_t limit;    // bytes, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t app_domain_headroom;
  uint64_t process_headroom;
  uint64_t charged;       // bytes counted against the limit now: committed pages
  uint64_t peak_charged;  // most of it at any time
  uint64_t page_bytes;    // of charged: pages committed through VirtualAlloc, and sections committed as a whole
  uint64_t heap_bytes;    // of charged: pages that IHostMalloc's heaps have committed
  uint64_t reserved;      // address space of the regions the manager reserved, committed or not
  uint64_t peak_reserved;
  uint64_t mapped;         // address space of views announced by AcquiredVirtualAddressSpace
  uint64_t metadata;       // bytes the manager keeps for its own tables; not charged
  uint64_t regions;        // reservations and announced views alive
  uint64_t stale_regions;  // records replaced because the OS gave their address out again behind our back
  uint64_t calls[kClrHostMemoryMethodCount][kClrHostMemoryCodeCount];    // by method and answer
  uint64_t refusals[kClrHostMemoryLevelCount][kClrHostMemoryCodeCount];  // failed allocations by level and answer
  uint64_t limit_refusals[kClrHostMemoryLevelCount];  // of them: E_OUTOFMEMORY because of limit or headroom

  // Version 2
  uint32_t consistent;        // 1: all figures are of one moment
  uint32_t state;             // ClrHostMemoryState
  uint32_t latch_cause;       // ClrHostMemoryLatchCause
  uint32_t latch_method;      // ClrHostMemoryMethod that was being called
  uint32_t latch_error;       // Win32 error, or 0
  uint32_t availability;      // EMemoryAvailable as the manager sees it
  uint64_t over_limit;        // bytes in use above the limit, since it was lowered or `outside` grew; 0: it fits
  uint64_t outside;           // private bytes of the process that are not charged, at the last sample
  uint64_t notifications[3];  // Low, Neutral and High told to the CLR
  uint64_t waiting;           // requests that wait now
  uint64_t waits[kClrHostMemoryLevelCount];          // requests that had to wait, by level
  uint64_t waits_granted[kClrHostMemoryLevelCount];  // of them: given what they waited for
  uint64_t waits_timed_out[kClrHostMemoryLevelCount];
  uint64_t waits_abandoned[kClrHostMemoryLevelCount];
  uint64_t emergency_reserve;      // bytes it has when whole
  uint64_t emergency_held;         // of it: committed now
  uint64_t emergency_given;        // bytes given up so far, each time counted
  uint64_t emergency_uses;         // how often something was given up
  uint64_t emergency_taken_back;   // bytes committed again so far
  uint64_t address_space_reserve;  // bytes it has when whole
  uint64_t address_space_held;     // of it: reserved now
  uint64_t address_space_uses;     // how often it was given up
  uint64_t sealed_regions;

  // Version 3
  uint64_t thrashes;  // windows the CLR has spent in refusals and collections without progress

  // Version 4
  uint64_t placement_refusals;  // VirtualAlloc at an address that is taken: E_OUTOFMEMORY, but no lack of memory, and
                                // therefore not in `refusals`. A CLR that looks for room near its code tries the next
} ClrHostMemoryStatistics;

// The ledger compared with what VirtualQuery says of the same memory.
typedef struct ClrHostMemoryAudit {
  uint32_t size;       // sizeof(ClrHostMemoryAudit) of the caller
  uint32_t version;    // 1
  uint64_t charged;    // bytes of pages the ledger holds as committed
  uint64_t committed;  // bytes of them and of unknown ones in the same regions that the OS holds as committed
  uint64_t mismatch;   // bytes on which the two disagree, page by page; 0 is the invariant
  uint64_t regions;    // reservations and views visited
  uint64_t in_flight;  // bytes not judged since calls on them were running all the time
} ClrHostMemoryAudit;

// A region as the ledger knows it.
typedef struct ClrHostMemoryRegion {
  void* base;
  uint64_t reserved;  // bytes
  uint32_t is_view;   // 1: announced by AcquiredVirtualAddressSpace; 0: reserved through VirtualAlloc
  // PAGE_* it was reserved with, without modifiers, and bits kClrHostMemory... below; 0 for a view
  uint32_t reserved_as;
} ClrHostMemoryRegion;

enum {
  kClrHostMemoryCommittedAtOnce = 0x100,  // the call that reserved it committed it, too
  kClrHostMemoryOfHeap = 0x200            // an IHostMalloc's heap gives out blocks of it
};

// What a CLR wants memory for, as the bridge tells from the request and from how its region was reserved
// (docs/policy.md).
typedef enum ClrHostMemoryPurpose {
  kClrHostMemoryUnknownPurpose = 0,
  kClrHostMemoryGcHeap,
  kClrHostMemoryGcBookkeeping,  // card tables, mark array, handle tables, frozen objects
  kClrHostMemoryCodeHeap,       // executable: jitted code and stubs
  kClrHostMemoryLoaderHeap,     // types, methods and other tables of the loader's
  kClrHostMemoryNativeHeap,     // the C run-time's and process heaps
  kClrHostMemoryMappedView,
  kClrHostMemoryStack,
  kClrHostMemoryPurposeCount
} ClrHostMemoryPurpose;

// Requests that asked for memory to be committed, by purpose.
typedef struct ClrHostMemoryPurposes {
  uint32_t size;     // sizeof(ClrHostMemoryPurposes) of the caller
  uint32_t version;  // 1
  uint64_t requests[kClrHostMemoryPurposeCount];
  uint64_t refusals[kClrHostMemoryPurposeCount];  // of them: not granted, but for those at an address that was taken
} ClrHostMemoryPurposes;

// What a host is told about (docs/policy.md).
typedef enum ClrHostMemoryEventKind {
  kClrHostMemoryEventRefusal = 1,  // requests of `level` were refused with `code`: `count` since the last such event
  kClrHostMemoryEventPressure,     // `availability` has changed, or Low was said again
  kClrHostMemoryEventReserveUsed,  // `bytes` of the reserves, of memory or of address space, were given up
  kClrHostMemoryEventReserveRestored,  // both reserves are whole again
  kClrHostMemoryEventOverLimit,        // in use is more than the limit, by `bytes`; 0: it fits again
  kClrHostMemoryEventLatch,            // E_FAIL has latched; the statistics have the cause
  kClrHostMemoryEventState,            // `state` has changed
  // The CLR spins at its limit: in `window_ms`, `count` requests were refused, it has collected `collections` times or
  // so, and obtained `bytes`. Said again for every such window
  kClrHostMemoryEventThrash,
  // `count` requests named an address that is taken, since the last such event. No memory is lacking
  kClrHostMemoryEventPlacement,
  // A bridge was detached from a runtime that had started, `count` times since the last such event: no limit holds for
  // that runtime from now on. An event that no sink heard is told to the next one.
  kClrHostMemoryEventDetached
} ClrHostMemoryEventKind;

typedef struct ClrHostMemoryEvent {
  uint32_t size;          // sizeof(ClrHostMemoryEvent) of the library
  uint32_t kind;          // ClrHostMemoryEventKind
  uint64_t milliseconds;  // since the manager was made
  uint64_t charged;       // bytes, when the event was noticed
  uint64_t limit;         // bytes, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t bytes;         // as the kind says
  uint64_t count;         // as the kind says
  uint32_t level;         // EMemoryCriticalLevel
  HRESULT code;
  uint32_t availability;       // EMemoryAvailable
  uint32_t available_percent;  // of the tightest bound
  uint32_t state;              // ClrHostMemoryState
  uint32_t window_ms;          // as the kind says, or 0
  uint64_t collections;        // as the kind says, or 0; how often the CLR asked how much memory there is
} ClrHostMemoryEvent;

#undef INTERFACE
#define INTERFACE IClrHostMemoryEventSink
// The host's ear. Called on the manager's own thread, one call at a time and never inside another, outside of all
// locks: it may call every method of the manager, and should not take long, since pressure is not watched meanwhile (a
// sink in managed code makes it a thread that a GC suspends). Refusals come in sums, so that a storm of them is a few
// events. A latch is told to a sink that comes later, too.
DECLARE_INTERFACE_(IClrHostMemoryEventSink, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // event is the library's and gone after the call. The answer is ignored.
  STDMETHOD(OnEvent)(THIS_ const ClrHostMemoryEvent* event) PURE;
};

#undef INTERFACE
#define INTERFACE IClrHostMemoryControl
// The host's side of the manager. By QueryInterface from the manager.
DECLARE_INTERFACE_(IClrHostMemoryControl, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Fills *statistics, at most statistics->size bytes. E_POINTER; E_INVALIDARG: a size below 8.
  STDMETHOD(GetStatistics)(THIS_ ClrHostMemoryStatistics * statistics) PURE;
  // Walks all memory the manager knows with VirtualQuery: milliseconds, not for a hot path. May run while calls run.
  STDMETHOD(Audit)(THIS_ ClrHostMemoryAudit * audit) PURE;
  // Takes effect for the next request; what is in use stays, and while it is more than the limit nothing new is
  // admitted for the lower levels and the CLR is told Low; eProcessCritical goes on with what it has and the emergency
  // reserve. All three are set: DEFAULT headrooms replace what was chosen before. E_INVALIDARG: the limit is below
  // 65536 bytes, a percentage above 100, or the headrooms add up to more than the limit; ClrHostMemoryCheckOptions says
  // which.
  STDMETHOD(SetLimit)(THIS_ uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom) PURE;
  // E_POINTER; E_INVALIDARG: they are not in order, or repeat_low_ms is 0. Nothing is changed then.
  STDMETHOD(SetThresholds)(THIS_ const ClrHostMemoryThresholds* thresholds) PURE;
  // How long a request of this level may wait for memory, for requests from now on; 0: not at all. E_INVALIDARG: no
  // such level, or more than an hour. E_OUTOFMEMORY: no thread or memory to serve waits with. HOST_E_CLRNOTAVAILABLE:
  // shut down.
  STDMETHOD(SetWait)(THIS_ EMemoryCriticalLevel level, uint32_t milliseconds) PURE;
  // Every request that waits now ends with HOST_E_ABANDONED. Later ones wait as ever.
  STDMETHOD(CancelWaits)(THIS) PURE;
  // Holds the manager still for this thread: once it returns S_OK no allocation of another thread is at work, and until
  // LeaveExclusive each waits within its level's bound or is HOST_E_NOT_OWNER. Frees go on. Nests. Waits at most
  // `milliseconds` for another owner to leave and for allocations that are at work: HOST_E_TIMEOUT, or HOST_E_NOT_OWNER
  // when milliseconds is 0 and another thread owns it. HOST_E_CLRNOTAVAILABLE: shut down. Not for threads the CLR runs
  // on. The owner's own requests never wait. A thread that ends inside its section holds it for ever.
  STDMETHOD(EnterExclusive)(THIS_ uint32_t milliseconds) PURE;
  // HOST_E_NOT_OWNER: this thread owns no section; nothing is changed.
  STDMETHOD(LeaveExclusive)(THIS) PURE;
  // From now on the CLR may neither free, reprotect nor commit in the pages of [address, address + size): its calls are
  // HOST_E_NOT_OWNER. So is IHostMalloc::Free of a block that touches them, which stays the caller's; and no block that
  // touches them is given out. Calls at work already may still end otherwise. E_INVALIDARG: no such range, or it meets
  // a pinned one; E_OUTOFMEMORY: 64 are pinned.
  STDMETHOD(SealRegion)(THIS_ void* address, uint64_t size) PURE;
  // S_FALSE: no pinned region begins there.
  STDMETHOD(UnsealRegion)(THIS_ void* address) PURE;
  // Who is told of events from now on; null: nobody. Takes a reference. When it returns, the one before is not called
  // any more (but when called from inside OnEvent, that one call ends as it will). E_OUTOFMEMORY: no thread to call it
  // on. HOST_E_CLRNOTAVAILABLE: shut down.
  STDMETHOD(SetEventSink)(THIS_ IClrHostMemoryEventSink * sink) PURE;
  // Tells the CLR, through the callback it registered. S_FALSE: none is registered. Never call it from inside one of
  // the manager's calls; the callback runs on this thread. A Low of the host's is for the host to end; at the latest
  // Shutdown does.
  STDMETHOD(NotifyMemoryAvailable)(THIS_ EMemoryAvailable available) PURE;
  // Draining, then stopped: from now on allocations are HOST_E_CLRNOTAVAILABLE, requests that wait HOST_E_ABANDONED;
  // frees of what is held go on. A CLR that may believe in Low is told Neutral. When it returns, the manager's threads
  // have ended, and neither the CLR nor the host is called any more. Called from inside a call of any callback (OnEvent
  // or the CLR's, of any manager), it returns at once, and all that follows when such calls have returned. Idempotent.
  // A .NET Framework CLR that still runs ends the process when it is refused, so first the CLR ends, then this is
  // called, then the last reference released. A bridged modern CLR is served by the original functions from here on: it
  // goes on, and no limit holds any more. No CLR can be unloaded, so most hosts never call this. In the end of a
  // process it does nothing.
  STDMETHOD(Shutdown)(THIS) PURE;
  // As ClrHostMemoryOptions' fields; a window that is under way begins again. E_INVALIDARG: out of range.
  STDMETHOD(SetThrashGuard)(THIS_ uint32_t window_ms, uint32_t refusals) PURE;
  // How much of [address, address + size) is charged as pages, from the ledger: no system call. For private memory;
  // what is committed in mapped views need not be charged where it is seen. E_POINTER; E_INVALIDARG: no such range.
  STDMETHOD(GetCharged)(THIS_ const void* address, uint64_t size, uint64_t* bytes) PURE;
};

// Memory as the CLR should see the machine: what GlobalMemoryStatusEx would say of one that has what the limit allows.
typedef struct ClrHostMemoryStatus {
  uint32_t size;            // sizeof(ClrHostMemoryStatus) of the caller
  uint32_t percent_in_use;  // of the tightest bound
  uint64_t total_physical;  // the least of limit, job and physical memory
  uint64_t available_physical;
  uint64_t total_commit;  // the least of limit, job and commit limit
  uint64_t available_commit;
} ClrHostMemoryStatus;

#undef INTERFACE
#define INTERFACE IClrHostMemoryClient
// What a bridge needs besides IHostMemoryManager to stand in for the Win32 functions. By QueryInterface from the
// manager.
DECLARE_INTERFACE_(IClrHostMemoryClient, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // IHostMemoryManager::VirtualAlloc with VirtualAllocExNuma's preferred node.
  STDMETHOD(VirtualAllocOnNode)
  (THIS_ void* address, SIZE_T size, DWORD allocation_type, DWORD protect, DWORD node, EMemoryCriticalLevel level,
   void** memory) PURE;
  // The region that holds address, from the ledger: no system call, never waits. S_FALSE: none the manager knows.
  STDMETHOD(FindRegion)(THIS_ const void* address, ClrHostMemoryRegion* region) PURE;
  // As cheap as GetMemoryLoad, and of the same figures. E_POINTER; E_INVALIDARG: a size below 8;
  // HOST_E_CLRNOTAVAILABLE: shut down.
  STDMETHOD(GetMemoryStatus)(THIS_ ClrHostMemoryStatus * status) PURE;

  // Sections backed by the paging file. What is committed in the views of one is charged once, however often it is
  // mapped, until its last handle is closed and its last view unmapped.
  //
  // Before a section of so many bytes is made; committed: with all its pages (SEC_COMMIT), which are charged at this
  // level now. *section: its name, not 0, with one reference, for DropSection when it could not be made or its handle
  // is closed. E_POINTER; E_INVALIDARG: of no size; E_OUTOFMEMORY; HOST_E_*, as VirtualAlloc.
  STDMETHOD(AddSection)(THIS_ uint64_t size, BOOL committed, EMemoryCriticalLevel level, uint64_t* section) PURE;
  // One more handle. HOST_E_INVALIDOPERATION: no such section is alive.
  STDMETHOD(KeepSection)(THIS_ uint64_t section) PURE;
  STDMETHOD(DropSection)(THIS_ uint64_t section) PURE;
  // AcquiredVirtualAddressSpace for a view that shows section from offset on.
  STDMETHOD(AcquireViewOfSection)(THIS_ void* base, SIZE_T size, uint64_t section, uint64_t offset) PURE;
  // Calls unmap(address), and takes the view that holds address for gone if its answer, which *unmapped is then, is not
  // FALSE; the last error is unmap's. S_OK also when it failed, or when no view is known there. E_POINTER.
  STDMETHOD(UnmapView)(THIS_ const void* address, BOOL(STDMETHODCALLTYPE * unmap)(const void* address), BOOL* unmapped)
      PURE;
  // The client's requests no longer come here, though its runtime goes on: the host is told with
  // kClrHostMemoryEventDetached. Always S_OK.
  STDMETHOD(NoteDetached)(THIS) PURE;
  // *state: the ClrHostMemoryState. Cheap. A bridge tells by it what HOST_E_CLRNOTAVAILABLE comes from: a manager that
  // is latched is running. E_POINTER.
  STDMETHOD(GetState)(THIS_ uint32_t* state) PURE;
};
#undef INTERFACE

// Bits of `flags` in IClrHostMemoryHeap's methods.
enum {
  kClrHostMemoryHeapZero = 1,        // new bytes are zero: all of a new block, or those beyond the old size
  kClrHostMemoryHeapZeroBeyond = 2,  // bytes beyond the size that is asked for are zero, as far as GetSize goes
  kClrHostMemoryHeapInPlace = 4      // Reallocate only: the block is not moved
};

// What a heap has now; its blocks are counted when it is asked, while others go on.
typedef struct ClrHostMemoryHeapFigures {
  uint32_t size;       // sizeof(ClrHostMemoryHeapFigures) of the caller
  uint32_t version;    // 1
  uint64_t reserved;   // bytes of address space
  uint64_t committed;  // bytes, which are charged
  uint64_t live;       // of them: in blocks that are given out, as GetSize has them
  uint64_t blocks;     // that are given out
} ClrHostMemoryHeapFigures;

// What is still held of one place that called DebugAlloc.
typedef struct ClrHostMemoryHeapSite {
  uint32_t size;  // sizeof(ClrHostMemoryHeapSite) of the caller
  int32_t line;   // as it was given
  uint64_t blocks;
  uint64_t bytes;  // as GetSize has them
  char file[112];  // the end of the name that was given; empty: none was, or of places there was no room for
} ClrHostMemoryHeapSite;

#undef INTERFACE
#define INTERFACE IClrHostMemoryHeap
// What HeapAlloc and malloc have and IHostMalloc has not. By QueryInterface from an IHostMalloc of this library; the
// same heap, so that blocks of the one are blocks of the other. Allocate and Reallocate are counted as Alloc,
// FreeIfOwned as Free. Every block is aligned to 16 bytes. memory parameters may have any value.
DECLARE_INTERFACE_(IClrHostMemoryHeap, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // IHostMalloc::Alloc with flags. E_INVALIDARG: other flags.
  STDMETHOD(Allocate)(THIS_ SIZE_T size, uint32_t flags, EMemoryCriticalLevel level, void** memory) PURE;
  // *moved: the block with the bytes of the old one as far as both go; the old one is gone, unless they are the same.
  // On failure it is unchanged, *moved null. A block can always be made smaller. HOST_E_NOT_OWNER: it touches a pinned
  // page, and would have to be moved. S_FALSE: no block of this heap, nothing is done and *moved null.
  STDMETHOD(Reallocate)
  (THIS_ void* memory, SIZE_T size, uint32_t flags, EMemoryCriticalLevel level, void** moved) PURE;
  // As IHostMalloc::Free, but for a pointer that is no block of this heap: S_FALSE, and it is not counted; and for a
  // block that touches a pinned page: S_OK. Its memory is given back when it is not pinned any more.
  STDMETHOD(FreeIfOwned)(THIS_ void* memory) PURE;
  // How many bytes of the block may be used, at least what was asked for. S_FALSE: no block of this heap, *size is 0.
  STDMETHOD(GetSize)(THIS_ const void* memory, SIZE_T* size) PURE;
  STDMETHOD(GetFigures)(THIS_ ClrHostMemoryHeapFigures * figures) PURE;
  // The index-th place that has called DebugAlloc, from 0; its figures are 0 once nothing is held. 511 are told apart,
  // the rest is one. S_FALSE: there are no more. E_INVALIDARG: a size below 8.
  STDMETHOD(GetSite)(THIS_ uint32_t index, ClrHostMemoryHeapSite* site) PURE;
};
#undef INTERFACE

// One module a bridge serves.
typedef struct ClrHostMemoryBridgedModule {
  uint32_t size;          // sizeof(ClrHostMemoryBridgedModule) of the caller
  uint32_t import_count;  // imports that were pointed at the manager
  HMODULE module;
  wchar_t path[1024];  // full path of its file, cut at the end when longer
  char imports[2048];  // their names, separated by single spaces, cut at the end when longer
} ClrHostMemoryBridgedModule;

// Properties that a runtime is to be started with.
enum { kClrHostMemoryStartPropertyCapacity = 8 };
typedef struct ClrHostMemoryStartProperty {
  char key[64];    // UTF-8, null-terminated
  char value[64];  // the same; numbers are decimal
} ClrHostMemoryStartProperty;
typedef struct ClrHostMemoryStartProperties {
  uint32_t size;     // sizeof(ClrHostMemoryStartProperties) of the caller
  uint32_t version;  // 1
  uint32_t count;    // how many of `properties` are used, from the first on
  uint32_t unused;   // 0
  ClrHostMemoryStartProperty properties[kClrHostMemoryStartPropertyCapacity];
} ClrHostMemoryStartProperties;

#undef INTERFACE
#define INTERFACE IClrHostMemoryBridge
// An attached CoreCLR bridge (core_clr_bridge.h has its C++ face and how to use it).
//
// A CoreCLR is never unloaded. Once the runtime of a bridge has started, the bridge is attached for the rest of the
// process: the last Release leaves every import, name and limit as it is, and keeps a reference to the manager. The
// same coreclr.dll attached again to the same manager returns that bridge. Only Detach ends it. Before the start the
// last Release detaches. reason parameters may be null; otherwise, on failure, they receive a null-terminated English
// sentence in UTF-8, cut to reason_size bytes, that says what is wrong and what to do.
DECLARE_INTERFACE_(IClrHostMemoryBridge, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Points one more module at the same manager, all or nothing: a plug-in DLL, a native AOT library. The JIT
  // compiler and standalone GCs (clrgc*.dll) that a bridged module loads are attached by themselves. Of other modules
  // than the CLR's, malloc and HeapAlloc stay as they are. So they do of a module of the CLR's where not every way back
  // of a block can be guarded, as with a debug C run-time; its imports (GetModule) are without malloc then.
  STDMETHOD(AttachModule)(THIS_ HMODULE module, char* reason, SIZE_T reason_size) PURE;
  // Until the runtime has started every request counts as eProcessCritical; from then on growth of the GC's heap counts
  // as eTaskCritical. The bridge notices the start by itself: the runtime loads the first assembly besides its core
  // library, which is after coreclr_initialize. A call of this method, at any time, is the same said by the host; it is
  // not needed.
  STDMETHOD(NoteRuntimeStarted)(THIS) PURE;
  // Calls that have come in through bridged imports.
  STDMETHOD(GetCallCount)(THIS_ uint64_t* calls) PURE;
  // The index-th bridged module, in the order they were attached; S_FALSE: there is none. E_POINTER; E_INVALIDARG: a
  // size below 8.
  STDMETHOD(GetModule)(THIS_ uint32_t index, ClrHostMemoryBridgedModule* module) PURE;
  // S_OK: calls arrive. HOST_E_CLRNOTAVAILABLE: none does; reason names another loaded copy of coreclr.dll if there is
  // one.
  STDMETHOD(VerifyCallsArrive)(THIS_ char* reason, SIZE_T reason_size) PURE;
  // Restores every import; idempotent. Calls inside the bridge at that moment are waited for, at most a second; the
  // manager is kept alive for those that stay. If the runtime has started, no limit holds for it any more: the host is
  // told with kClrHostMemoryEventDetached, and the same runtime cannot be attached again.
  STDMETHOD(Detach)(THIS) PURE;
  // What the requests that came in were for. Each counter is exact. E_POINTER; E_INVALIDARG: a size below 8.
  STDMETHOD(GetPurposes)(THIS_ ClrHostMemoryPurposes * purposes) PURE;
  // Attaches every module of that file name (L"plugin.dll") that is loaded, and from now on each that is loaded later:
  // before LoadLibrary returns where a bridged module loads it, or what brings it along; soon after it is loaded
  // otherwise, on a thread of the bridge's own. What cannot be attached later is told by VerifyCallsArrive. A bridged
  // module stays loaded until its bridge is detached. Results as of AttachModule, of the first that failed;
  // E_INVALIDARG also for what is no file name. Neither this nor Detach under the loader lock.
  STDMETHOD(AttachModulesNamed)(THIS_ const wchar_t* file_name, char* reason, SIZE_T reason_size) PURE;
  // Whether the runtime sees the manager's limit as a container's (a job object's memory limit) where it is less than
  // the machine has: its GC then sets itself a hard limit, 75 percent of it unless System.GC.HeapHardLimitPercent or
  // System.GC.HeapHardLimit says otherwise. Before the runtime starts. HOST_E_CLRNOTAVAILABLE: detached.
  STDMETHOD(PresentAsContainer)(THIS_ BOOL as_container) PURE;
  // What coreclr_initialize (or hostfxr_set_runtime_property_value) is to be given besides the `count` properties that
  // the host passes; both arrays may be null for 0. Call it once the limit is set, before the runtime starts. It adds
  // - System.GC.RegionRange, when the manager leaves less memory than the machine has: without it the workstation GC of
  //   .NET 10 does not start below 10 MiB, and cannot use a limit that is raised later;
  // - System.GC.HeapHardLimit, when gc_hard_limit (bytes) is not 0: a GC plans for a limit that it knows.
  // Neither is added where the properties or the environment (DOTNET_..., COMPlus_...) have chosen otherwise.
  // E_POINTER; E_INVALIDARG: a size of no known version; HOST_E_CLRNOTAVAILABLE: detached.
  STDMETHOD(GetStartProperties)(THIS_ uint32_t count, const char* const* keys, const char* const* values,
                                uint64_t gc_hard_limit, ClrHostMemoryStartProperties* additions) PURE;
};
#undef INTERFACE

#ifdef __cplusplus
extern "C" {
#endif

// Makes a memory manager and returns the interface riid of it (IHostMemoryManager, IClrHostMemoryControl,
// IClrHostMemoryClient or IUnknown) with one reference, which the caller owns. E_OUTOFMEMORY also when the OS has not
// what is to be kept in reserve. options may be null: no limit. reason may be null; otherwise it receives, on failure,
// a static English sentence that names the field and what to change (null on success). S_OK; E_POINTER: object is null;
// E_INVALIDARG: an option is out of range; E_NOINTERFACE; E_OUTOFMEMORY.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryCreate(const ClrHostMemoryOptions* options, REFIID riid,
                                                                  void** object, const char** reason);

// Checks options as ClrHostMemoryCreate does, and makes nothing: what a host sets later, with SetLimit, SetThresholds,
// SetThrashGuard or SetWait, can be checked as the same fields, too, with the others as CLR_HOST_MEMORY_OPTIONS_INIT
// has them. options and reason as of ClrHostMemoryCreate. S_OK; E_INVALIDARG: an option is out of range.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryCheckOptions(const ClrHostMemoryOptions* options,
                                                                        const char** reason);

// Wraps manager in an IHostControl for ICLRRuntimeHost::SetHostControl: GetHostManager(IID_IHostMemoryManager) is the
// manager, every other IID and SetAppDomainManager go to inner, the embedder's own IHostControl, which may be null
// (then E_NOINTERFACE, and S_OK). Holds a reference to both. S_OK; E_POINTER: manager or object is null; E_OUTOFMEMORY.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryCreateHostControl(IHostMemoryManager* manager,
                                                                             IHostControl* inner,
                                                                             IHostControl** object);

// Points the memory imports of coreclr (the module handle of a loaded coreclr.dll whose runtime has not started) at
// manager, all or nothing, and returns the bridge with one reference. manager must be one of this library's. A bridge
// of the two that was released after the start is returned as it is. S_OK; E_POINTER: bridge or manager is null;
// E_INVALIDARG: coreclr is null, no module, or does not import VirtualAlloc and VirtualFree by name;
// HOST_E_INVALIDOPERATION: attached already, another manager is bridged in this process, or the runtime has started
// (what its GC has reserved by then would be on no account); E_NOINTERFACE: a foreign manager; E_OUTOFMEMORY;
// HRESULT_FROM_WIN32: the import table could not be made writable.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager,
                                                                           IClrHostMemoryBridge** bridge, char* reason,
                                                                           SIZE_T reason_size);

#ifdef __cplusplus
}  // extern "C"

namespace clr_host_memory {
inline constexpr GUID kIidClrHostMemoryControl = CLR_HOST_MEMORY_IID_CONTROL;
inline constexpr GUID kIidClrHostMemoryClient = CLR_HOST_MEMORY_IID_CLIENT;
inline constexpr GUID kIidClrHostMemoryHeap = CLR_HOST_MEMORY_IID_HEAP;
inline constexpr GUID kIidClrHostMemoryEventSink = CLR_HOST_MEMORY_IID_EVENT_SINK;
inline constexpr GUID kIidClrHostMemoryBridge = CLR_HOST_MEMORY_IID_BRIDGE;
}  // namespace clr_host_memory
#endif

#endif  // CLR_HOST_MEMORY_CLR_HOST_MEMORY_H
