// ClrHostMemory's binary interface: the C function that creates the memory manager, and the COM interfaces of the
// host's side. Everything here may cross a DLL boundary and a compiler boundary. memory_manager.h is its C++ face.
//
// Sizes are in bytes. Structs that may grow begin with their own size; see statistics.h. A text that is cut to a
// struct's end is still null-terminated. Threads: every function and method may be called from any thread at any time.
#ifndef CLR_HOST_MEMORY_MEMORY_MANAGER_ABI_H
#define CLR_HOST_MEMORY_MEMORY_MANAGER_ABI_H

#include <clr_host_memory/hosting_abi.h>
#include <clr_host_memory/statistics.h>
#include <clr_host_memory/version.h>
#include <stdint.h>

// IIDs as initialisers of a GUID, for C. C++ has kIidClrHostMemoryControl and so on.
#define CLR_HOST_MEMORY_IID_CONTROL {0x5d0b7e12, 0x3c4f, 0x4b9a, {0x8e, 0x21, 0x6a, 0x97, 0xd4, 0x0f, 0x5b, 0xc3}}
#define CLR_HOST_MEMORY_IID_HEAP {0xfc188362, 0x7d9b, 0x45ab, {0xbf, 0x46, 0xe5, 0xb9, 0xc5, 0x0a, 0xc0, 0xe8}}
#define CLR_HOST_MEMORY_IID_EVENT_SINK {0x06158559, 0x1aff, 0x436f, {0x99, 0x04, 0xcd, 0x20, 0x9c, 0xf9, 0x9e, 0x68}}

// For limits: no cap on committed memory.
#define CLR_HOST_MEMORY_NO_LIMIT UINT64_MAX
// For headrooms: the library derives the headroom from the limit (docs/policy.md).
#define CLR_HOST_MEMORY_DEFAULT_HEADROOM UINT64_MAX
// For headrooms: that many percent of the limit, 0 to 100.
#define CLR_HOST_MEMORY_PERCENT(percent) (UINT64_C(0xFFFFFFFF00000000) | (uint64_t)(uint32_t)(percent))

// When memory counts as Low or High, in percent of the memory available. The tightest of four bounds decides: the limit
// less both headrooms (eTaskCritical requests are refused there), the job, physical memory and commit charge.
// enter_low < leave_low <= leave_high < enter_high <= 100.
typedef struct ClrHostMemoryThresholds {
  uint32_t enter_low;      // Low begins at or below
  uint32_t leave_low;      // Low ends at or above
  uint32_t leave_high;     // High ends at or below
  uint32_t enter_high;     // High begins at or above
  uint32_t dwell_ms;       // the least time a state lasts before a state other than Low follows
  uint32_t repeat_low_ms;  // how often the Low notification is repeated while Low lasts; above 0
} ClrHostMemoryThresholds;

// The CLR acts on Low at most once in 8192 ms, so the manager does not repeat it more often.
#define CLR_HOST_MEMORY_THRESHOLDS_INIT {8, 15, 40, 50, 1000, 8192}

// Bits of ClrHostMemoryOptions::flags.
enum {
  // The limit also counts what the rest of the process has committed: its private bytes less the charged bytes. The
  // manager samples that figure, so the limit can be exceeded by what is committed between two samples. Pages committed
  // in mapped views are charged but are no private bytes, and can exceed the limit, too.
  kClrHostMemoryCountWholeProcess = 1
};

// The host's choices. Start from CLR_HOST_MEMORY_OPTIONS_INIT.
typedef struct ClrHostMemoryOptions {
  uint32_t size;                 // sizeof(ClrHostMemoryOptions) of the caller
  uint32_t flags;                // bits kClrHostMemory..., or 0
  uint64_t limit;                // bytes the CLR may commit, at least 65536, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t app_domain_headroom;  // left by eTaskCritical requests to the higher levels: bytes, PERCENT or DEFAULT
  uint64_t process_headroom;     // kept for eProcessCritical requests: bytes, PERCENT or DEFAULT
  uint64_t committed_headroom;   // bytes of process_headroom that are committed at the start, and decommitted for an
                                 // eProcessCritical request that the OS or the limit would refuse. They count against
                                 // the limit while they are held. At most process_headroom; any size without a limit
  // Bytes of address space released when a view or a reservation finds no room. The first that asks gets it, which with
  // a CoreCLR is the GC's next segment. Commits in reserved regions need none.
  uint64_t address_space_reserve;
  uint32_t wait_ms[kClrHostMemoryLevelCount];  // how long a request of each level may wait for memory; 0: no wait
  uint32_t sampling_ms;                        // how often the manager asks the OS about memory, 1 to 60000
  ClrHostMemoryThresholds thresholds;

  // If the caller's struct ends here, the fields below have their defaults.
  uint32_t thrash_window_ms;  // how long the CLR may spin at its limit before the thrash event, 1000 to 3600000; 0: no
                              // event. A large heap's collections are slow: choose a longer window for it
  uint32_t thrash_refusals;   // the least number of refused requests in that window; above 0
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

// The events of a manager (docs/policy.md).
typedef enum ClrHostMemoryEventKind {
  kClrHostMemoryEventRefusal = 1,  // the manager refused `count` requests of `level` with `code` since the last such
                                   // event
  kClrHostMemoryEventPressure,     // `availability` changed, or Low is repeated
  // The manager gave up `bytes` of the committed headroom or of the address space reserve
  kClrHostMemoryEventReserveUsed,
  kClrHostMemoryEventReserveRestored,  // both are whole again
  kClrHostMemoryEventOverLimit,        // memory in use exceeds the limit by `bytes`; 0: it fits again
  kClrHostMemoryEventLatch,            // E_FAIL latched; the statistics name the cause
  kClrHostMemoryEventState,            // `state` changed
  // The CLR spins at its limit: within `window_ms` the manager refused `count` requests, the CLR collected about
  // `collections` times and obtained `bytes`. count 0: the GC keeps to its own limit. It has spent at least 98 % of
  // the window in collections, and each gained less than 2 % of the heap. Repeated for each such window
  kClrHostMemoryEventThrash,
  // `count` requests named a taken address since the last such event. No memory is lacking
  kClrHostMemoryEventPlacement,
  // A bridge was detached from a started runtime, `count` times since the last such event. No limit holds for that
  // runtime any more. If no sink is registered, the next sink receives the event
  kClrHostMemoryEventDetached
} ClrHostMemoryEventKind;

typedef struct ClrHostMemoryEvent {
  uint32_t size;          // sizeof(ClrHostMemoryEvent) of the library
  uint32_t kind;          // ClrHostMemoryEventKind
  uint64_t milliseconds;  // since the manager was created
  uint64_t charged;       // bytes, when the manager noticed the event
  uint64_t limit;         // bytes, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t bytes;         // see the kind
  uint64_t count;         // see the kind
  uint32_t level;         // EMemoryCriticalLevel
  HRESULT code;
  uint32_t availability;       // EMemoryAvailable
  uint32_t available_percent;  // of the tightest bound
  uint32_t state;              // ClrHostMemoryState
  uint32_t window_ms;          // see the kind; 0 otherwise
  uint64_t collections;        // see the kind; 0 otherwise. Counts the CLR's questions about available memory
} ClrHostMemoryEvent;

#undef INTERFACE
#define INTERFACE IClrHostMemoryEventSink
// Receives events. The host implements it.
//
// The manager calls it on the manager's own thread, one call at a time, never inside another call and outside of all
// locks. A sink may therefore call every method of the manager. A sink should return soon: the manager does not watch
// pressure during the call. A sink in managed code makes that thread one that a GC suspends. Refusals are summed, so
// that many refusals are few events. A latch that came before the sink was registered is reported to it, too.
DECLARE_INTERFACE_IID_(IClrHostMemoryEventSink, IUnknown, "06158559-1AFF-436F-9904-CD209CF99E68") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // The library owns event, which is valid during the call only. The result is ignored.
  STDMETHOD(OnEvent)(THIS_ const ClrHostMemoryEvent* event) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IClrHostMemoryEventSink, 0x06158559, 0x1AFF, 0x436F, 0x99, 0x04, 0xCD, 0x20, 0x9C, 0xF9,
                            0x9E, 0x68)

// A reading of a running GC. Bytes, unless a name tells otherwise; all since the start of the runtime.
typedef struct ClrHostMemoryGcReading {
  uint32_t size;         // sizeof(ClrHostMemoryGcReading) of the caller
  uint32_t follows;      // 1: the caller tells the GC the limit of each order. 0: it cannot, or must not
  uint64_t gc_limit;     // the limit that the GC has now, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t pause_ms;     // time that the GC has paused the program
  uint64_t collections;  // number of collections
  uint64_t allocated;    // allocated by the program
  uint64_t heap;         // the heap's size after the last collection
} ClrHostMemoryGcReading;

// What a GC has to do, and what it has.
typedef struct ClrHostMemoryGcOrder {
  uint32_t size;        // sizeof(ClrHostMemoryGcOrder) of the caller
  uint32_t collect;     // 1: collect, compact and decommit now, since more is in use than the limit allows
  uint64_t gc_limit;    // the limit to tell the GC, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t gc_charged;  // bytes that GCs have of the charge now; also without an order
} ClrHostMemoryGcOrder;

// Receives a report, one line at a time: UTF-8, null-terminated, without a line break, at most 511 bytes. line is valid
// during the call only. context: the argument of WriteReport. The function may call the manager, and may release it. It
// must not throw.
typedef void(STDMETHODCALLTYPE* ClrHostMemoryReportLine)(const char* line, void* context);

#undef INTERFACE
#define INTERFACE IClrHostMemoryControl
// The host's side of the manager. QueryInterface of the manager returns it.
DECLARE_INTERFACE_IID_(IClrHostMemoryControl, IUnknown, "5D0B7E12-3C4F-4B9A-8E21-6A97D40F5BC3") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Fills *statistics, at most statistics->size bytes. E_POINTER; E_INVALIDARG: a size below 8.
  STDMETHOD(GetStatistics)(THIS_ ClrHostMemoryStatistics * statistics) PURE;
  // Compares all memory the manager knows with VirtualQuery. Takes milliseconds. Calls may run meanwhile.
  STDMETHOD(Audit)(THIS_ ClrHostMemoryAudit * audit) PURE;
  // Sets the limit and both headrooms for the next request. DEFAULT headrooms replace earlier choices.
  // Memory in use stays. The new limit may leave less than process_headroom free. Then eProcessCritical requests may
  // have process_headroom in addition to what is in use now, but never more than the limit before.
  // ClrHostMemoryStatistics::bound is the most that can be in use. The bound goes down with the memory in use.
  // Meanwhile the manager refuses new memory to the lower levels and reports Low to the CLR. E_INVALIDARG: the limit is
  // below 65536 bytes, a percentage exceeds 100, or the headrooms add up to more than the limit;
  // ClrHostMemoryCheckOptions names the field.
  STDMETHOD(SetLimit)(THIS_ uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom) PURE;
  // E_POINTER; E_INVALIDARG: the thresholds are not in order, or repeat_low_ms is 0; nothing changes.
  STDMETHOD(SetThresholds)(THIS_ const ClrHostMemoryThresholds* thresholds) PURE;
  // Sets how long a request of this level may wait for memory, for requests that begin later; 0: no wait. E_INVALIDARG:
  // no such level, or more than an hour. E_OUTOFMEMORY: no thread or memory for the dispatcher of waits.
  // HOST_E_CLRNOTAVAILABLE: shut down.
  STDMETHOD(SetWait)(THIS_ EMemoryCriticalLevel level, uint32_t milliseconds) PURE;
  // Ends every present wait with HOST_E_ABANDONED. Later requests wait as before.
  STDMETHOD(CancelWaits)(THIS) PURE;
  // Enters an exclusive section. On S_OK no other thread has an allocation in progress. Until LeaveExclusive, each
  // allocation of another thread waits within its level's bound, or returns HOST_E_NOT_OWNER. Frees succeed. The
  // owner's own requests never wait. Sections nest. Waits at most `milliseconds` for another owner and for allocations
  // in progress. HOST_E_TIMEOUT; HOST_E_NOT_OWNER: milliseconds is 0 and another thread owns the section.
  // HOST_E_CLRNOTAVAILABLE: shut down. Not for threads the CLR runs on. If a thread ends inside its section, the
  // section never ends.
  STDMETHOD(EnterExclusive)(THIS_ uint32_t milliseconds) PURE;
  // HOST_E_NOT_OWNER: this thread owns no section; nothing changes.
  STDMETHOD(LeaveExclusive)(THIS) PURE;
  // Seals the pages of [address, address + size). From now on the CLR's calls that free, reprotect or commit a sealed
  // page return HOST_E_NOT_OWNER. IHostMalloc::Free of a block that touches a sealed page returns it, too, and the
  // caller keeps the block. The heaps allocate no block that touches a sealed page. Calls in progress may still
  // succeed. E_INVALIDARG: no such range, or it overlaps a sealed region; E_OUTOFMEMORY: 64 regions are sealed.
  STDMETHOD(SealRegion)(THIS_ void* address, uint64_t size) PURE;
  // S_FALSE: no sealed region begins there.
  STDMETHOD(UnsealRegion)(THIS_ void* address) PURE;
  // Registers the sink for events from now on; null unregisters. Takes a reference. When it returns, the previous sink
  // receives no more calls. If called from inside OnEvent, that one call still ends. E_OUTOFMEMORY: no thread to call
  // the sink on. HOST_E_CLRNOTAVAILABLE: shut down.
  STDMETHOD(SetEventSink)(THIS_ IClrHostMemoryEventSink * sink) PURE;
  // Notifies the CLR through its registered callback, on this thread. S_FALSE: the CLR registered none. Do not call it
  // from inside a call of the manager. If the host reports Low, the host has to end it; Shutdown does at the latest.
  STDMETHOD(NotifyMemoryAvailable)(THIS_ EMemoryAvailable available) PURE;
  // Drains the manager, then stops it. Idempotent. Has no effect while the process ends.
  // From now on allocations return HOST_E_CLRNOTAVAILABLE, waiting requests end with HOST_E_ABANDONED, and frees of
  // held memory succeed. If the CLR may believe in Low, the manager sends Neutral. When Shutdown returns, the manager's
  // threads have ended, and it calls neither the CLR nor the host. If called inside a call of a callback (OnEvent or
  // the CLR's, of any manager), it returns at once. The rest follows when those calls have returned. A running .NET
  // Framework CLR ends the process when it is refused: end that CLR first, call Shutdown, then release the last
  // reference. A bridged modern CLR continues with the original functions and without a limit. No CLR can be unloaded,
  // so most hosts never call Shutdown.
  STDMETHOD(Shutdown)(THIS) PURE;
  // Sets the fields thrash_window_ms and thrash_refusals of ClrHostMemoryOptions. The present window starts again.
  // E_INVALIDARG: out of range.
  STDMETHOD(SetThrashGuard)(THIS_ uint32_t window_ms, uint32_t refusals) PURE;
  // Returns how many bytes of [address, address + size) are charged as pages. Reads the ledger without a system call.
  // For private memory: pages committed in mapped views may be charged at another address. E_POINTER; E_INVALIDARG: no
  // such range.
  STDMETHOD(GetCharged)(THIS_ const void* address, uint64_t size, uint64_t* bytes) PURE;
  // Writes the manager's state as plain text, for a log or a bug report: each line is one call of write_line on this
  // thread. Writes the figures of GetStatistics, then at most 256 of the known regions with their charged
  // bytes. Then follow the totals of the heaps and the sealed regions (docs/troubleshooting.md, The report). The
  // wording may change with every version. Allocates nothing and works in every state. Calls may run meanwhile, and
  // regions may then differ from the figures. E_POINTER: write_line is null.
  STDMETHOD(WriteReport)(THIS_ ClrHostMemoryReportLine write_line, void* context) PURE;
  // Begins a start of a runtime: until EndStart, eProcessCritical requests are granted regardless of the limit. A
  // runtime that is refused memory while it starts fails in hundreds of ways. The CLR sees the limit. A bridge begins a
  // start when it is attached, and ends it when the runtime has started. Always S_OK.
  STDMETHOD(BeginStart)(THIS) PURE;
  // Ends the start: the limit holds from now on. least_limit may be null. S_FALSE: no start was in progress.
  // E_OUTOFMEMORY: the runtime has so much in use that managed code cannot begin within the limit. Do not run it. Then
  // *least_limit receives the least limit that works, bytes; 0: none with this headroom.
  STDMETHOD(EndStart)(THIS_ uint64_t* least_limit) PURE;
  // For a companion in the runtime, which sets the GC's limit (docs/policy.md, The GC's limit). Passes a reading of the
  // GC. Waits up to `milliseconds` for an order, and *order receives it; 0: what is needed now. S_OK: it has to do
  // something. S_FALSE: nothing. E_POINTER; E_INVALIDARG: the size of the reading is not that of this library, or that
  // of the order is below 8. HOST_E_CLRNOTAVAILABLE: shut down. Call it on a thread that no GC waits for, such as a
  // thread in preemptive mode.
  STDMETHOD(FollowGc)(THIS_ const ClrHostMemoryGcReading* reading, uint32_t milliseconds, ClrHostMemoryGcOrder* order)
      PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IClrHostMemoryControl, 0x5D0B7E12, 0x3C4F, 0x4B9A, 0x8E, 0x21, 0x6A, 0x97, 0xD4, 0x0F, 0x5B,
                            0xC3)

#undef INTERFACE
#define INTERFACE IClrHostMemoryHeap
// Figures of a heap behind an IHostMalloc. QueryInterface of an IHostMalloc of this library returns it.
DECLARE_INTERFACE_IID_(IClrHostMemoryHeap, IUnknown, "FC188362-7D9B-45AB-BF46-E5B9C50AC0E8") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Returns the usable bytes of a block, at least the requested size. memory may have any value. S_FALSE: no block of
  // this heap, and *size is 0. E_POINTER.
  STDMETHOD(GetSize)(THIS_ const void* memory, SIZE_T* size) PURE;
  // E_POINTER; E_INVALIDARG: a size below 8.
  STDMETHOD(GetFigures)(THIS_ ClrHostMemoryHeapFigures * figures) PURE;
  // Returns the index-th caller of DebugAlloc, from 0. Its figures are 0 after all its blocks are freed. The table
  // tells 511 callers apart and sums the rest. S_FALSE: index is past the last caller. E_POINTER; E_INVALIDARG: a size
  // below 8.
  STDMETHOD(GetSite)(THIS_ uint32_t index, ClrHostMemoryHeapSite* site) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IClrHostMemoryHeap, 0xFC188362, 0x7D9B, 0x45AB, 0xBF, 0x46, 0xE5, 0xB9, 0xC5, 0x0A, 0xC0,
                            0xE8)
#undef INTERFACE

#ifdef __cplusplus
extern "C" {
#endif

// Returns CLR_HOST_MEMORY_VERSION of the library.
uint32_t STDMETHODCALLTYPE ClrHostMemoryVersion(void);

// Creates a memory manager and returns its interface riid (IHostMemoryManager, IClrHostMemoryControl or IUnknown) with
// one reference, which the caller owns. options may be null: no limit. reason may be null. Otherwise it receives null
// on success, and on failure a static English sentence that names the field and the change to make. S_OK; E_POINTER:
// object is null; E_INVALIDARG: an option is out of range; E_NOINTERFACE; E_OUTOFMEMORY: no memory for the manager or
// for its reserves.
HRESULT STDMETHODCALLTYPE ClrHostMemoryCreate(const ClrHostMemoryOptions* options, REFIID riid, void** object,
                                              const char** reason);

// Checks options as ClrHostMemoryCreate does, without creating a manager. A host can check values for SetLimit,
// SetThresholds, SetThrashGuard or SetWait as the fields of the same name, with CLR_HOST_MEMORY_OPTIONS_INIT for the
// others. For options and reason see ClrHostMemoryCreate. S_OK; E_INVALIDARG: an option is out of range.
HRESULT STDMETHODCALLTYPE ClrHostMemoryCheckOptions(const ClrHostMemoryOptions* options, const char** reason);

// Wraps manager in an IHostControl for ICLRRuntimeHost::SetHostControl. GetHostManager(IID_IHostMemoryManager) returns
// the manager. Every other IID and SetAppDomainManager go to inner, the embedder's IHostControl. inner may be null:
// then they return E_NOINTERFACE and S_OK. Holds a reference to both. S_OK; E_POINTER: manager or object is null;
// E_OUTOFMEMORY.
HRESULT STDMETHODCALLTYPE ClrHostMemoryCreateHostControl(IHostMemoryManager* manager, IHostControl* inner,
                                                         IHostControl** object);

#ifdef __cplusplus
}  // extern "C"

namespace clr_host_memory {
inline constexpr GUID kIidClrHostMemoryControl = CLR_HOST_MEMORY_IID_CONTROL;
inline constexpr GUID kIidClrHostMemoryHeap = CLR_HOST_MEMORY_IID_HEAP;
inline constexpr GUID kIidClrHostMemoryEventSink = CLR_HOST_MEMORY_IID_EVENT_SINK;
}  // namespace clr_host_memory
#endif

#endif  // CLR_HOST_MEMORY_MEMORY_MANAGER_ABI_H
