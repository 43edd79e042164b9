// ClrHostMemory's binary interface: one C entry that makes the memory manager, and the COM interfaces it answers to.
// Everything here may cross a DLL border and a compiler border; memory_manager.h is the C++ face of it.
//
// Sizes are in bytes. Structs that may grow begin with their own size: figures are filled in as far as the caller's struct
// goes, so that a newer library serves an older caller.
// Threads: every function and method may be called from any thread at any time.
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

// For ClrHostMemoryOptions: no cap on committed memory.
#define CLR_HOST_MEMORY_NO_LIMIT UINT64_MAX
// For ClrHostMemoryOptions and SetLimit: let the library derive the headroom from the limit (docs/policy.md).
#define CLR_HOST_MEMORY_DEFAULT_HEADROOM UINT64_MAX

// What the host chooses when it makes the manager. Start from CLR_HOST_MEMORY_OPTIONS_INIT.
typedef struct ClrHostMemoryOptions {
  uint32_t size;                // sizeof(ClrHostMemoryOptions) of the caller
  uint32_t flags;               // 0; no flag is defined
  uint64_t limit;               // bytes the CLR may have committed, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t app_domain_headroom; // bytes eTaskCritical requests must leave to the higher levels, or DEFAULT_HEADROOM
  uint64_t process_headroom;    // bytes only eProcessCritical requests may use, or DEFAULT_HEADROOM
} ClrHostMemoryOptions;

#define CLR_HOST_MEMORY_OPTIONS_INIT                                               \
  {                                                                                \
    sizeof(ClrHostMemoryOptions), 0, CLR_HOST_MEMORY_NO_LIMIT,                     \
        CLR_HOST_MEMORY_DEFAULT_HEADROOM, CLR_HOST_MEMORY_DEFAULT_HEADROOM         \
  }

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

enum { kClrHostMemoryLevelCount = 3 };  // eTaskCritical, eAppDomainCritical, eProcessCritical

// What the manager has done so far. Each counter is exact; counters read while calls run may be of slightly different
// moments (docs/stats.md).
typedef struct ClrHostMemoryStatistics {
  uint32_t size;      // sizeof(ClrHostMemoryStatistics) of the caller
  uint32_t version;   // 1
  uint64_t limit;     // bytes, or CLR_HOST_MEMORY_NO_LIMIT
  uint64_t app_domain_headroom;
  uint64_t process_headroom;
  uint64_t charged;          // bytes counted against the limit now: pages and heap blocks
  uint64_t peak_charged;     // most of it at any time
  uint64_t page_bytes;       // of charged: pages committed through VirtualAlloc
  uint64_t heap_bytes;       // of charged: blocks given out by IHostMalloc
  uint64_t reserved;         // address space of the regions the manager reserved, committed or not
  uint64_t peak_reserved;
  uint64_t mapped;           // address space of views announced by AcquiredVirtualAddressSpace
  uint64_t metadata;         // bytes the manager keeps for its own tables; not charged
  uint64_t regions;          // reservations and announced views alive
  uint64_t healed_regions;   // records replaced because the OS gave their address out again behind our back
  uint64_t calls[kClrHostMemoryMethodCount][kClrHostMemoryCodeCount];        // by method and answer
  uint64_t refusals[kClrHostMemoryLevelCount][kClrHostMemoryCodeCount];      // failed allocations by level and answer
  uint64_t limit_refusals[kClrHostMemoryLevelCount];  // of them: E_OUTOFMEMORY because of limit or headroom
} ClrHostMemoryStatistics;

// The ledger compared with what VirtualQuery says of the same memory.
typedef struct ClrHostMemoryAudit {
  uint32_t size;             // sizeof(ClrHostMemoryAudit) of the caller
  uint32_t version;          // 1
  uint64_t charged_pages;    // bytes of pages the ledger holds as committed
  uint64_t committed_pages;  // bytes of them and of unknown ones in the same regions that the OS holds as committed
  uint64_t mismatch;         // bytes on which the two disagree, page by page; 0 is the invariant
  uint64_t regions;          // reservations and views visited
  uint64_t in_flight;        // bytes not judged since calls on them were running all the time
} ClrHostMemoryAudit;

// A region as the ledger knows it.
typedef struct ClrHostMemoryRegion {
  void* base;
  uint64_t reserved;  // bytes
  uint32_t is_view;   // 1: announced by AcquiredVirtualAddressSpace; 0: reserved through VirtualAlloc
  uint32_t unused;
} ClrHostMemoryRegion;

#undef INTERFACE
#define INTERFACE IClrHostMemoryControl
// The host's side of the manager: limits and figures. By QueryInterface from the manager.
DECLARE_INTERFACE_(IClrHostMemoryControl, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Fills *statistics, at most statistics->size bytes. E_POINTER; E_INVALIDARG: a size of no known version.
  STDMETHOD(GetStatistics)(THIS_ ClrHostMemoryStatistics * statistics) PURE;
  // Walks all memory the manager knows with VirtualQuery: milliseconds, not for a hot path. May run while calls run.
  STDMETHOD(Audit)(THIS_ ClrHostMemoryAudit * audit) PURE;
  // Takes effect for the next request; what is in use stays. E_INVALIDARG: headrooms add up to more than the limit.
  STDMETHOD(SetLimit)(THIS_ uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom) PURE;
  // Tells the CLR, through the callback it registered. S_FALSE: none is registered. Never call it from inside one of
  // the manager's calls; the callback runs on this thread.
  STDMETHOD(NotifyMemoryAvailable)(THIS_ EMemoryAvailable available) PURE;
  // From now on allocations are HOST_E_CLRNOTAVAILABLE; frees of what is held go on. Idempotent.
  STDMETHOD(Shutdown)(THIS) PURE;
};

#undef INTERFACE
#define INTERFACE IClrHostMemoryClient
// What a bridge needs besides IHostMemoryManager to stand in for the Win32 functions. By QueryInterface from the manager.
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
};
#undef INTERFACE

// One module a bridge serves.
typedef struct ClrHostMemoryBridgedModule {
  uint32_t size;          // sizeof(ClrHostMemoryBridgedModule) of the caller
  uint32_t import_count;  // imports that were pointed at the manager
  HMODULE module;
  wchar_t path[1024];     // full path of its file, cut at the end when longer
  char imports[2048];     // their names, separated by single spaces, cut at the end when longer
} ClrHostMemoryBridgedModule;

#undef INTERFACE
#define INTERFACE IClrHostMemoryBridge
// An attached CoreCLR bridge (core_clr_bridge.h has its C++ face and how to use it). The last Release detaches.
// reason parameters may be null; otherwise, on failure, they receive a null-terminated English sentence in UTF-8, cut to
// reason_size bytes, that says what is wrong and what to do.
DECLARE_INTERFACE_(IClrHostMemoryBridge, IUnknown) {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Points one more module at the same manager, all or nothing: a plug-in DLL, a native AOT library. Standalone GCs
  // (clrgc*.dll) that a bridged module loads with LoadLibraryExW are attached by themselves.
  STDMETHOD(AttachModule)(THIS_ HMODULE module, char* reason, SIZE_T reason_size) PURE;
  // Until this is called every request counts as eProcessCritical; from then on commits inside reservations of 16 MiB
  // and more, which are the GC's, count as eTaskCritical. Call it when coreclr_initialize has succeeded.
  STDMETHOD(NoteRuntimeStarted)(THIS) PURE;
  // Calls that have come in through bridged imports.
  STDMETHOD(GetCallCount)(THIS_ uint64_t * calls) PURE;
  // The index-th bridged module, in the order they were attached; S_FALSE: there is none.
  STDMETHOD(GetModule)(THIS_ uint32_t index, ClrHostMemoryBridgedModule * module) PURE;
  // S_OK: calls arrive. HOST_E_CLRNOTAVAILABLE: none does; reason names another loaded copy of coreclr.dll if there is one.
  STDMETHOD(VerifyCallsArrive)(THIS_ char* reason, SIZE_T reason_size) PURE;
  // Restores every import; idempotent. Calls inside the bridge at that moment are waited for, at most a second; the
  // manager is kept alive for those that stay.
  STDMETHOD(Detach)(THIS) PURE;
};
#undef INTERFACE

#ifdef __cplusplus
extern "C" {
#endif

// Makes a memory manager and returns the interface riid of it (IHostMemoryManager, IClrHostMemoryControl,
// IClrHostMemoryClient or IUnknown) with one reference, which the caller owns.
// options may be null: no limit. reason may be null; otherwise it receives, on failure, a static English sentence that
// names the field and what to change (null on success).
// S_OK; E_POINTER: object is null; E_INVALIDARG: an option is out of range; E_NOINTERFACE; E_OUTOFMEMORY.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryCreate(const ClrHostMemoryOptions* options, REFIID riid,
                                                                  void** object, const char** reason);

// Wraps manager in an IHostControl for ICLRRuntimeHost::SetHostControl: GetHostManager(IID_IHostMemoryManager) is the
// manager, every other IID and SetAppDomainManager go to inner, the embedder's own IHostControl, which may be null
// (then E_NOINTERFACE, and S_OK). Holds a reference to both. S_OK; E_POINTER: manager or object is null; E_OUTOFMEMORY.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryCreateHostControl(IHostMemoryManager* manager,
                                                                             IHostControl* inner,
                                                                             IHostControl** object);

// Points the memory imports of coreclr (the module handle of a loaded coreclr.dll whose runtime has not started) at
// manager, all or nothing, and returns the bridge with one reference. manager must be one of this library's.
// S_OK; E_POINTER: bridge or manager is null; E_INVALIDARG: coreclr is null, no module, or does not import VirtualAlloc
// and VirtualFree by name; HOST_E_INVALIDOPERATION: attached already, or another manager is bridged in this process;
// E_NOINTERFACE: a foreign manager; E_OUTOFMEMORY; HRESULT_FROM_WIN32: the import table could not be made writable.
CLR_HOST_MEMORY_API HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager,
                                                                           IClrHostMemoryBridge** bridge, char* reason,
                                                                           SIZE_T reason_size);

#ifdef __cplusplus
}  // extern "C"

namespace clr_host_memory {
inline constexpr GUID kIidClrHostMemoryControl = {
    0x2c71366f, 0xe425, 0x45cb, {0xa5, 0xba, 0x0b, 0x0a, 0xd9, 0x6f, 0xc5, 0x18}};
inline constexpr GUID kIidClrHostMemoryClient = {
    0x9fb38956, 0x4f1e, 0x4bef, {0x9d, 0x7f, 0xd4, 0x76, 0xa2, 0x9f, 0x9a, 0x7f}};
inline constexpr GUID kIidClrHostMemoryBridge = {
    0x95b6dd9f, 0xb085, 0x4560, {0x83, 0xb5, 0x6d, 0xce, 0xfc, 0xe1, 0xb1, 0x7f}};
}  // namespace clr_host_memory
#endif

#endif  // CLR_HOST_MEMORY_CLR_HOST_MEMORY_H
