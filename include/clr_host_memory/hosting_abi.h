// The CLR hosting interfaces that concern memory, as a CLR and its host share them.
//
// If the Windows SDK's mscoree.h (NETFX SDK) declares them, its declarations are used. Otherwise (MinGW-w64) the
// declarations below stand in, with the same IIDs, vtable order, calling convention and enum values.
// Source: .NET Framework unmanaged API reference, "Hosting interfaces"; mscoree.h of the Windows SDK.
// Usable from C (methods through lpVtbl) and from C++.
#ifndef CLR_HOST_MEMORY_HOSTING_ABI_H
#define CLR_HOST_MEMORY_HOSTING_ABI_H

#ifndef _WIN32
#error "clr_host_memory: the hosting interfaces are COM interfaces and need a Windows target"
#endif

// If windows.h comes for the first time here, it must not include winsock.h: winsock2.h could not follow it any more.
#if !defined(_WINSOCKAPI_) && !defined(WIN32_LEAN_AND_MEAN)
#define _WINSOCKAPI_
#define CLR_HOST_MEMORY_WITHOUT_WINSOCK
#endif
#include <objbase.h>
#include <unknwn.h>
#include <windows.h>
#ifdef CLR_HOST_MEMORY_WITHOUT_WINSOCK
#undef _WINSOCKAPI_
#undef CLR_HOST_MEMORY_WITHOUT_WINSOCK
#endif

#if defined(__has_include)
#if __has_include(<mscoree.h>)
#include <mscoree.h>
#endif
#if __has_include(<corerror.h>)
#include <corerror.h>
#endif
#endif

#ifndef HOST_E_DEADLOCK
#define HOST_E_DEADLOCK ((HRESULT)0x80131020L)
#define HOST_E_INTERRUPTED ((HRESULT)0x80131021L)
#define HOST_E_INVALIDOPERATION ((HRESULT)0x80131022L)
#define HOST_E_CLRNOTAVAILABLE ((HRESULT)0x80131023L)
#define HOST_E_TIMEOUT ((HRESULT)0x80131024L)
#define HOST_E_NOT_OWNER ((HRESULT)0x80131025L)
#define HOST_E_ABANDONED ((HRESULT)0x80131026L)
#endif

// The documented IIDs as initialisers of a GUID, for C. C++ has kIidHostMemoryManager and so on.
#define CLR_HOST_MEMORY_IID_HOST_MEMORY_MANAGER \
  {0x7BC698D1, 0xF9E3, 0x4460, {0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA, 0x25}}
#define CLR_HOST_MEMORY_IID_HOST_MALLOC {0x1831991C, 0xCC53, 0x4A31, {0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64, 0x79}}
#define CLR_HOST_MEMORY_IID_MEMORY_NOTIFICATION_CALLBACK \
  {0x47EB8E57, 0x0846, 0x4546, {0xAF, 0x76, 0x6F, 0x42, 0xFC, 0xFC, 0x26, 0x49}}
#define CLR_HOST_MEMORY_IID_HOST_CONTROL {0x02CA073C, 0x7079, 0x4860, {0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91}}

// Gives an interface its IID for __uuidof, so that QueryInterface by type works (WRL, WIL, C++/WinRT).
// DECLARE_INTERFACE_IID_ does that for compilers in MSVC's dialect. MinGW's GCC takes it from a template.
#if defined(__cplusplus) && defined(__CRT_UUID_DECL) && !defined(_MSC_VER)
#define CLR_HOST_MEMORY_DECLARE_IID(name, ...) __CRT_UUID_DECL(name, __VA_ARGS__)
#else
#define CLR_HOST_MEMORY_DECLARE_IID(name, ...)
#endif

#ifndef __IHostMemoryManager_INTERFACE_DEFINED__
#define __IHostMemoryManager_INTERFACE_DEFINED__

// What the failure of a request costs: the task, the application domain, or the process.
typedef enum EMemoryCriticalLevel {
  eTaskCritical = 0,
  eAppDomainCritical = 1,
  eProcessCritical = 2
} EMemoryCriticalLevel;

// What a host tells the CLR about the memory that is left.
typedef enum EMemoryAvailable {
  eMemoryAvailableLow = 1,
  eMemoryAvailableNeutral = 2,
  eMemoryAvailableHigh = 3
} EMemoryAvailable;

// Kinds of heap a CLR asks CreateMalloc for; bits, to be combined.
typedef enum MALLOC_TYPE { MALLOC_THREADSAFE = 0x1, MALLOC_EXECUTABLE = 0x2 } MALLOC_TYPE;

#undef INTERFACE
#define INTERFACE ICLRMemoryNotificationCallback
// Implemented by the CLR. OnMemoryNotification never blocks and replaces CreateMemoryResourceNotification.
DECLARE_INTERFACE_IID_(ICLRMemoryNotificationCallback, IUnknown, "47EB8E57-0846-4546-AF76-6F42FCFC2649") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  STDMETHOD(OnMemoryNotification)(THIS_ EMemoryAvailable memory_available) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(ICLRMemoryNotificationCallback, 0x47EB8E57, 0x0846, 0x4546, 0xAF, 0x76, 0x6F, 0x42, 0xFC,
                            0xFC, 0x26, 0x49)

#undef INTERFACE
#define INTERFACE IHostMalloc
// A heap the host keeps for the CLR. Free(NULL) is S_OK; memory of another heap is HOST_E_INVALIDOPERATION.
DECLARE_INTERFACE_IID_(IHostMalloc, IUnknown, "1831991C-CC53-4A31-B218-04E910446479") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  STDMETHOD(Alloc)(THIS_ SIZE_T size, EMemoryCriticalLevel level, void** memory) PURE;
  STDMETHOD(DebugAlloc)
  (THIS_ SIZE_T size, EMemoryCriticalLevel level, char* file_name, int line, void** memory) PURE;
  STDMETHOD(Free)(THIS_ void* memory) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IHostMalloc, 0x1831991C, 0xCC53, 0x4A31, 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64, 0x79)

#undef INTERFACE
#define INTERFACE IHostMemoryManager
// The host's replacement for the Win32 virtual memory functions. Every method documents S_OK, HOST_E_CLRNOTAVAILABLE,
// HOST_E_TIMEOUT, HOST_E_NOT_OWNER, HOST_E_ABANDONED and E_FAIL; docs/return-codes.md says what causes each here.
DECLARE_INTERFACE_IID_(IHostMemoryManager, IUnknown, "7BC698D1-F9E3-4460-9CDE-D04248E9FA25") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  STDMETHOD(CreateMalloc)(THIS_ DWORD malloc_type, IHostMalloc * *malloc) PURE;
  STDMETHOD(VirtualAlloc)
  (THIS_ void* address, SIZE_T size, DWORD allocation_type, DWORD protect, EMemoryCriticalLevel level, void** memory)
      PURE;
  STDMETHOD(VirtualFree)(THIS_ LPVOID address, SIZE_T size, DWORD free_type) PURE;
  STDMETHOD(VirtualQuery)(THIS_ void* address, void* buffer, SIZE_T length, SIZE_T* result) PURE;
  STDMETHOD(VirtualProtect)(THIS_ void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) PURE;
  STDMETHOD(GetMemoryLoad)(THIS_ DWORD * memory_load, SIZE_T * available_bytes) PURE;
  STDMETHOD(RegisterMemoryNotificationCallback)(THIS_ ICLRMemoryNotificationCallback * callback) PURE;
  STDMETHOD(NeedsVirtualAddressSpace)(THIS_ LPVOID start_address, SIZE_T size) PURE;
  STDMETHOD(AcquiredVirtualAddressSpace)(THIS_ LPVOID start_address, SIZE_T size) PURE;
  STDMETHOD(ReleasedVirtualAddressSpace)(THIS_ LPVOID start_address) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IHostMemoryManager, 0x7BC698D1, 0xF9E3, 0x4460, 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA,
                            0x25)
#undef INTERFACE
#endif  // __IHostMemoryManager_INTERFACE_DEFINED__

#ifndef __IHostControl_INTERFACE_DEFINED__
#define __IHostControl_INTERFACE_DEFINED__
#undef INTERFACE
#define INTERFACE IHostControl
// Implemented by the host; the CLR asks it once for each manager.
DECLARE_INTERFACE_IID_(IHostControl, IUnknown, "02CA073C-7079-4860-880A-C2F7A449C991") {
#ifndef __cplusplus
  STDMETHOD(QueryInterface)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD_(ULONG, AddRef)(THIS) PURE;
  STDMETHOD_(ULONG, Release)(THIS) PURE;
#endif
  STDMETHOD(GetHostManager)(THIS_ REFIID riid, void** object) PURE;
  STDMETHOD(SetAppDomainManager)(THIS_ DWORD app_domain_id, IUnknown * app_domain_manager) PURE;
};
CLR_HOST_MEMORY_DECLARE_IID(IHostControl, 0x02CA073C, 0x7079, 0x4860, 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91)
#undef INTERFACE
#endif  // __IHostControl_INTERFACE_DEFINED__

#ifdef __cplusplus
namespace clr_host_memory {

// The documented IIDs. They are constants here because MinGW's import libraries carry none of them.
inline constexpr GUID kIidHostMemoryManager = CLR_HOST_MEMORY_IID_HOST_MEMORY_MANAGER;
inline constexpr GUID kIidHostMalloc = CLR_HOST_MEMORY_IID_HOST_MALLOC;
inline constexpr GUID kIidClrMemoryNotificationCallback = CLR_HOST_MEMORY_IID_MEMORY_NOTIFICATION_CALLBACK;
inline constexpr GUID kIidHostControl = CLR_HOST_MEMORY_IID_HOST_CONTROL;

static_assert(eTaskCritical == 0 && eAppDomainCritical == 1 && eProcessCritical == 2);
static_assert(eMemoryAvailableLow == 1 && eMemoryAvailableNeutral == 2 && eMemoryAvailableHigh == 3);
static_assert(MALLOC_THREADSAFE == 1 && MALLOC_EXECUTABLE == 2);
static_assert(sizeof(EMemoryCriticalLevel) == 4 && sizeof(EMemoryAvailable) == 4);
static_assert(sizeof(IHostMemoryManager) == sizeof(void*) && sizeof(IHostMalloc) == sizeof(void*) &&
              sizeof(ICLRMemoryNotificationCallback) == sizeof(void*) && sizeof(IHostControl) == sizeof(void*));
static_assert(static_cast<unsigned long>(HOST_E_INVALIDOPERATION) == 0x80131022UL &&
              static_cast<unsigned long>(HOST_E_CLRNOTAVAILABLE) == 0x80131023UL &&
              static_cast<unsigned long>(HOST_E_TIMEOUT) == 0x80131024UL &&
              static_cast<unsigned long>(HOST_E_NOT_OWNER) == 0x80131025UL &&
              static_cast<unsigned long>(HOST_E_ABANDONED) == 0x80131026UL);

}  // namespace clr_host_memory
#endif  // __cplusplus

#endif  // CLR_HOST_MEMORY_HOSTING_ABI_H
