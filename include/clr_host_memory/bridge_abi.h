// The binary interface of the CoreCLR bridge: the C function that attaches it, and IClrHostMemoryBridge.
// core_clr_bridge.h is its C++ face and shows how to use it. For sizes and threads see memory_manager_abi.h.
#ifndef CLR_HOST_MEMORY_BRIDGE_ABI_H
#define CLR_HOST_MEMORY_BRIDGE_ABI_H

#include <clr_host_memory/memory_manager_abi.h>

#define CLR_HOST_MEMORY_IID_BRIDGE {0x5b0e3d71, 0x6c48, 0x4f9a, {0x8e, 0x27, 0xd1, 0x4a, 0x93, 0x0c, 0x75, 0xe6}}

// One bridged module.
typedef struct ClrHostMemoryBridgedModule {
  uint32_t size;          // sizeof(ClrHostMemoryBridgedModule) of the caller
  uint32_t import_count;  // imports that point at the manager
  HMODULE module;
  wchar_t path[1024];  // full path of its file; the end of a longer path is cut
  char imports[2048];  // their names, separated by single spaces; the end of a longer list is cut
} ClrHostMemoryBridgedModule;

// For the GC's limit: what the manager's limit leaves to a heap; a companion keeps it up to date (docs/policy.md, The
// GC's limit).
#define CLR_HOST_MEMORY_GC_LIMIT_AUTO UINT64_MAX

// Properties to start a runtime with.
enum { kClrHostMemoryStartPropertyCapacity = 8 };
typedef struct ClrHostMemoryStartProperty {
  char key[64];    // UTF-8, null-terminated
  char value[64];  // UTF-8, null-terminated; numbers are decimal
} ClrHostMemoryStartProperty;
typedef struct ClrHostMemoryStartProperties {
  uint32_t size;              // sizeof(ClrHostMemoryStartProperties) of the caller
  uint32_t version;           // 1
  uint32_t count;             // used elements of `properties`, from the first
  uint32_t loads_companion;   // 1: the runtime is .NET 8 or later, which can load the companion; 0: it cannot
  uint32_t gc_limit_follows;  // 1: a companion may change the GC's limit, since it is AUTO; 0: it must not
  ClrHostMemoryStartProperty properties[kClrHostMemoryStartPropertyCapacity];
  // Full path of ClrHostMemory.Companion.dll, UTF-8, null-terminated, to add to TRUSTED_PLATFORM_ASSEMBLIES. Empty: the
  // runtime cannot load it, or it is not beside the file that holds this library (the .exe or ClrHostMemory.dll).
  char companion[1024];
} ClrHostMemoryStartProperties;

// A runtime that has just started, before managed code runs in it. All pointers are valid during the call only.
typedef struct ClrHostMemoryRuntimeStart {
  uint32_t size;     // sizeof(ClrHostMemoryRuntimeStart) of the library
  uint32_t version;  // 1
  HRESULT result;    // of coreclr_initialize, or why the runtime was not started
  uint32_t domain;   // as coreclr_initialize returned it, like host; 0 if it failed
  void* host;
  uint32_t property_count;  // the properties that the runtime received: the host's own and those the bridge added
  const char* const* keys;
  const char* const* values;
  const ClrHostMemoryStartProperties* added;  // null: there was no memory for them, or the bridge was not attached
} ClrHostMemoryRuntimeStart;

// What BridgeHostFxr does at the runtime's start. Set size; 0 is a valid value of each other field.
typedef struct ClrHostMemoryHostFxrOptions {
  uint32_t size;               // sizeof(ClrHostMemoryHostFxrOptions) of the caller
  uint32_t without_companion;  // 1: the GC keeps its limit of the start
  uint64_t gc_hard_limit;      // as for GetStartProperties
  // Called for each attempt, on the thread that starts the runtime: after the start, before managed code runs, or after
  // a start that failed. If it returns a failure, managed code does not run and the host receives that failure. It may
  // call IClrHostMemoryControl::EndStart; otherwise the bridge does so afterwards. Detach does not wait for a call in
  // progress, so context must be valid until a start in progress has ended. Null: nothing is called.
  HRESULT(STDMETHODCALLTYPE* started)(void* context, const ClrHostMemoryRuntimeStart* start);
  void* context;
} ClrHostMemoryHostFxrOptions;

#undef INTERFACE
#define INTERFACE IClrHostMemoryBridge
// An attached CoreCLR bridge.
//
// A CoreCLR is never unloaded. Once the runtime has started, its bridge stays attached until the process ends. The last
// Release then leaves every import, name and limit unchanged and keeps a reference to the manager. Attaching the same
// coreclr.dll to the same manager again returns that bridge. Only Detach ends it. Before the start the last Release
// detaches.
//
// reason parameters may be null. Otherwise, on failure, they receive a null-terminated English sentence in UTF-8, cut
// to reason_size bytes, that names the problem and what to do.
DECLARE_INTERFACE_IID_(IClrHostMemoryBridge, IUnknown, "5B0E3D71-6C48-4F9A-8E27-D14A930C75E6") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  // Bridges one more module to the same manager, all imports or none: a plug-in DLL, a native AOT library. The bridge
  // attaches the JIT compiler and standalone GCs (clrgc*.dll) without this call when a bridged module loads them. Of
  // modules other than the CLR's, malloc and HeapAlloc are not bridged. Nor are they in a module of the CLR's whose
  // blocks cannot all be guarded on their way back (a debug C run-time). GetModule then lists its imports without
  // malloc.
  STDMETHOD(AttachModule)(THIS_ HMODULE module, char* reason, SIZE_T reason_size) PURE;
  // Tells the bridge that the runtime has started: call it after coreclr_initialize, before managed code runs. Before
  // the start every request counts as eProcessCritical, and is granted regardless of the limit. Afterwards growth of
  // the GC's heap counts as eTaskCritical, and the limit holds. E_OUTOFMEMORY: the runtime does not fit the limit. Do
  // not run managed code then; IClrHostMemoryControl::EndStart, called before this, returns the least limit that works.
  // Without this call the bridge notices that the runtime loads the first assembly after its core library, which
  // follows coreclr_initialize.
  STDMETHOD(NoteRuntimeStarted)(THIS) PURE;
  // Returns how many calls came through bridged imports.
  STDMETHOD(GetCallCount)(THIS_ uint64_t* calls) PURE;
  // Returns the index-th bridged module in order of attachment. S_FALSE: index is past the last. E_POINTER;
  // E_INVALIDARG: a size below 8.
  STDMETHOD(GetModule)(THIS_ uint32_t index, ClrHostMemoryBridgedModule* module) PURE;
  // S_OK: calls arrive. HOST_E_CLRNOTAVAILABLE: none arrives. If another copy of coreclr.dll is loaded, reason names
  // it.
  STDMETHOD(VerifyCallsArrive)(THIS_ char* reason, SIZE_T reason_size) PURE;
  // Restores every import. Idempotent. Waits at most a second for calls inside the bridge; calls that stay longer keep
  // the manager alive. If the runtime has started, no limit holds for it any more: the host receives
  // kClrHostMemoryEventDetached, and the same runtime cannot be attached again.
  STDMETHOD(Detach)(THIS) PURE;
  // Returns the purposes of the requests so far. Each counter is exact. E_POINTER; E_INVALIDARG: a size below 8.
  STDMETHOD(GetPurposes)(THIS_ ClrHostMemoryPurposes * purposes) PURE;
  // Attaches every loaded module of that file name (L"plugin.dll"), and every such module loaded later. If a bridged
  // module loads it, or loads a module that depends on it, it is attached before LoadLibrary returns. Otherwise a
  // thread of the bridge attaches it soon afterwards. VerifyCallsArrive reports a later module that cannot be attached.
  // A bridged module stays loaded until its bridge is detached. Results as AttachModule, of the first failure;
  // E_INVALIDARG also if file_name is no file name. Call neither this nor Detach under the loader lock.
  STDMETHOD(AttachModulesNamed)(THIS_ const wchar_t* file_name, char* reason, SIZE_T reason_size) PURE;
  // Chooses whether the runtime sees the manager's limit as a container's (a job object's memory limit), if the machine
  // has more memory than the limit. The GC then sets itself a hard limit: 75 percent of it, unless
  // System.GC.HeapHardLimitPercent or System.GC.HeapHardLimit is set. Call it before the runtime starts.
  // HOST_E_CLRNOTAVAILABLE: detached.
  STDMETHOD(PresentAsContainer)(THIS_ BOOL as_container) PURE;
  // Returns the properties to pass to coreclr_initialize (or hostfxr_set_runtime_property_value) in addition to the
  // host's `count` properties. Both arrays may be null if count is 0. Call it after the limit is set, before the
  // runtime starts. It adds
  // - System.GC.RegionRange, if the manager leaves less memory than the machine has. Without it the workstation GC of
  //   .NET 10 does not start below 10 MiB, and cannot use a limit that is raised later;
  // - System.GC.RegionRange and System.GC.RegionSize, with AUTO, so that the limit can be raised later;
  // - System.GC.HeapHardLimit, if gc_hard_limit (bytes) is not 0: a GC plans for a limit that it knows.
  //   CLR_HOST_MEMORY_GC_LIMIT_AUTO: what the manager's limit leaves to a heap at the start, if there is a limit. A
  //   companion that is started later may then change it.
  // It adds none where the properties or the environment (DOTNET_..., COMPlus_...) already set it.
  // E_POINTER; E_INVALIDARG: a size of no known version; HOST_E_CLRNOTAVAILABLE: detached.
  STDMETHOD(GetStartProperties)(THIS_ uint32_t count, const char* const* keys, const char* const* values,
                                uint64_t gc_hard_limit, ClrHostMemoryStartProperties* additions) PURE;
  // Starts the companion in the runtime, which then tells its GC what the manager's limit leaves to the heap. Call it
  // after coreclr_initialize, with its results, and before managed code runs. TRUSTED_PLATFORM_ASSEMBLIES must name
  // ClrHostMemory.Companion.dll, and the last properties of GetStartProperties must have been passed. Call
  // NoteRuntimeStarted before it to learn whether the runtime fits the limit. If this fails, the GC keeps its limit of
  // the start, and the manager's limit holds all the same. E_INVALIDARG: host is null; HOST_E_CLRNOTAVAILABLE:
  // detached; HOST_E_INVALIDOPERATION: the runtime is older than .NET 8; E_OUTOFMEMORY: no memory for its thread;
  // otherwise the failure of coreclr_create_delegate.
  STDMETHOD(StartCompanion)(THIS_ void* host, unsigned int domain, char* reason, SIZE_T reason_size) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IClrHostMemoryBridge, 0x5B0E3D71, 0x6C48, 0x4F9A, 0x8E, 0x27, 0xD1, 0x4A, 0x93, 0x0C, 0x75,
                            0xE6)
#undef INTERFACE

#ifdef __cplusplus
extern "C" {
#endif

// Bridges coreclr to manager: points its memory imports at the manager, all or none. coreclr is the module handle of a
// loaded coreclr.dll whose runtime has not started. Returns the bridge with one reference. manager must come from this
// library. If a bridge of the two was released after the start, returns that bridge.
// - S_OK; E_OUTOFMEMORY.
// - E_POINTER: bridge or manager is null.
// - E_INVALIDARG: coreclr is null, no module, or does not import VirtualAlloc and VirtualFree by name.
// - E_NOINTERFACE: a foreign manager.
// - HOST_E_INVALIDOPERATION: already attached, another manager is bridged in this process, or the runtime has started:
//   use ClrHostMemoryAttachToRunningCoreClr.
// - HRESULT_FROM_WIN32: the import table could not be made writable.
HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager,
                                                       IClrHostMemoryBridge** bridge, char* reason, SIZE_T reason_size);

// Bridges the runtime that is running in this process, late: coreclr.dll, and the JIT compiler and standalone GCs
// beside it. Its threads keep running. What the runtime has committed by then is not charged: it is part of the
// statistics' `outside`, and counts against the limit only with count_whole_process. Each later commit is charged, and
// the limit holds for them. The GC keeps the limit that it started with, and no companion can be started. If the
// modules cannot be bridged, the runtime goes on as before. Returns the bridge with one reference; see
// ClrHostMemoryAttachToCoreClr for its life.
// - S_OK; E_OUTOFMEMORY; E_NOINTERFACE: a foreign manager; E_POINTER: bridge or manager is null.
// - HOST_E_CLRNOTAVAILABLE: no runtime has started.
// - HOST_E_INVALIDOPERATION: the runtime is bridged already, or another manager is bridged in this process.
// - E_INVALIDARG, HRESULT_FROM_WIN32: as AttachModule.
HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToRunningCoreClr(IHostMemoryManager* manager,
                                                              IClrHostMemoryBridge** bridge, char* reason,
                                                              SIZE_T reason_size);

// Bridges the runtime that hostfxr will start in this process. It is for hosts that do not call coreclr_initialize
// themselves: those of hostfxr and nethost, and those that load a comhost or C++/CLI assembly. Call it before the first
// hostfxr_get_runtime_delegate or hostfxr_run_app; hostfxr need not be loaded yet. When hostpolicy.dll, or the
// program's .exe itself, asks its coreclr.dll for coreclr_initialize, the bridge attaches that file. At the start it
// adds the properties of GetStartProperties and verifies that calls arrive. Then it ends the start (NoteRuntimeStarted)
// and starts the companion.
//
// If the file cannot be bridged or no call arrives, managed code does not run, and VerifyCallsArrive has the reason. If
// the runtime does not fit the limit, managed code does not run either. hostfxr then reports a failure. The bridge
// stays attached until the process ends or until Detach, also if the host releases it before the start. options: may be
// null. Returns the bridge with one reference.
// - S_OK; E_OUTOFMEMORY; E_NOINTERFACE: a foreign manager.
// - E_POINTER: bridge or manager is null.
// - E_INVALIDARG: a size below 8, or a loaded hostpolicy.dll does not import GetProcAddress.
// - HOST_E_INVALIDOPERATION: a runtime has started in this process already, another manager is bridged, or this
//   was called before and no runtime has started since.
// - HRESULT_FROM_WIN32: hostpolicy.dll cannot be watched.
HRESULT STDMETHODCALLTYPE ClrHostMemoryBridgeHostFxr(IHostMemoryManager* manager,
                                                     const ClrHostMemoryHostFxrOptions* options,
                                                     IClrHostMemoryBridge** bridge, char* reason, SIZE_T reason_size);

#ifdef __cplusplus
}  // extern "C"

namespace clr_host_memory {
inline constexpr GUID kIidClrHostMemoryBridge = CLR_HOST_MEMORY_IID_BRIDGE;
}  // namespace clr_host_memory
#endif

#endif  // CLR_HOST_MEMORY_BRIDGE_ABI_H
