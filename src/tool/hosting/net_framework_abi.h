// The .NET Framework's hosting interfaces that clrmem calls and that MinGW's headers lack. Each vtable is in the
// documented order (metahost.h and mscoree.h of the Windows SDK; mscorlib.tlb for _AppDomain and IAppDomainSetup).
// The names differ from the SDK's, so that both can be included.
#ifndef CLRHM_TOOL_HOSTING_NET_FRAMEWORK_ABI_H
#define CLRHM_TOOL_HOSTING_NET_FRAMEWORK_ABI_H

#include <clr_host_memory/hosting_abi.h>
#include <oleauto.h>

namespace clr_host_memory::tool {

inline constexpr GUID kClsidMetaHost = {0x9280188D, 0x0E8E, 0x4867, {0xB3, 0x0C, 0x7F, 0xA8, 0x38, 0x84, 0xE8, 0xDE}};
inline constexpr GUID kIidMetaHost = {0xD332DB9E, 0xB9B3, 0x4125, {0x82, 0x07, 0xA1, 0x48, 0x84, 0xF5, 0x32, 0x16}};
inline constexpr GUID kIidRuntimeInfo = {0xBD39D1D2, 0xBA2F, 0x486A, {0x89, 0xB0, 0xB4, 0xB0, 0xCB, 0x46, 0x68, 0x91}};
inline constexpr GUID kClsidRuntimeHost = {
    0x90F1A06E, 0x7712, 0x4762, {0x86, 0xB5, 0x7A, 0x5E, 0xBA, 0x6B, 0xDB, 0x02}};
inline constexpr GUID kIidRuntimeHost = {0x90F1A06C, 0x7712, 0x4762, {0x86, 0xB5, 0x7A, 0x5E, 0xBA, 0x6B, 0xDB, 0x02}};
inline constexpr GUID kClsidCorRuntimeHost = {
    0xCB2F6723, 0xAB3A, 0x11D2, {0x9C, 0x40, 0x00, 0xC0, 0x4F, 0xA3, 0x0A, 0x3E}};
inline constexpr GUID kIidCorRuntimeHost = {
    0xCB2F6722, 0xAB3A, 0x11D2, {0x9C, 0x40, 0x00, 0xC0, 0x4F, 0xA3, 0x0A, 0x3E}};
inline constexpr GUID kIidAppDomain = {0x05F696DC, 0x2B29, 0x3663, {0xAD, 0x8B, 0xC4, 0x38, 0x9C, 0xF2, 0xA7, 0x13}};
inline constexpr GUID kIidAppDomainSetup = {
    0x27FFF232, 0xA7A8, 0x40DD, {0x8D, 0x4A, 0x73, 0x4A, 0xD5, 0x9F, 0xCD, 0x41}};

// Declares a slot that clrmem never calls. Only its place in the vtable matters.
#define CLRHM_UNUSED_SLOT(name) virtual HRESULT STDMETHODCALLTYPE name() = 0

struct MetaHost : IUnknown {  // ICLRMetaHost
  virtual HRESULT STDMETHODCALLTYPE GetRuntime(LPCWSTR version, REFIID riid, void** runtime) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetVersionFromFile(LPCWSTR file, LPWSTR version, DWORD* length) = 0;
  virtual HRESULT STDMETHODCALLTYPE EnumerateInstalledRuntimes(IEnumUnknown** enumerator) = 0;
  CLRHM_UNUSED_SLOT(EnumerateLoadedRuntimes);
  CLRHM_UNUSED_SLOT(RequestRuntimeLoadedNotification);
  CLRHM_UNUSED_SLOT(QueryLegacyV2RuntimeBinding);
  CLRHM_UNUSED_SLOT(ExitProcess);
};

struct RuntimeInfo : IUnknown {  // ICLRRuntimeInfo
  virtual HRESULT STDMETHODCALLTYPE GetVersionString(LPWSTR version, DWORD* length) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetRuntimeDirectory(LPWSTR directory, DWORD* length) = 0;
  CLRHM_UNUSED_SLOT(IsLoaded);
  CLRHM_UNUSED_SLOT(LoadErrorString);
  CLRHM_UNUSED_SLOT(LoadLibrarySlot);
  CLRHM_UNUSED_SLOT(GetProcAddressSlot);
  virtual HRESULT STDMETHODCALLTYPE GetInterface(REFCLSID clsid, REFIID riid, void** object) = 0;
  virtual HRESULT STDMETHODCALLTYPE IsLoadable(BOOL* loadable) = 0;
  CLRHM_UNUSED_SLOT(SetDefaultStartupFlags);
  CLRHM_UNUSED_SLOT(GetDefaultStartupFlags);
  CLRHM_UNUSED_SLOT(BindAsLegacyV2Runtime);
  CLRHM_UNUSED_SLOT(IsStarted);
};

struct RuntimeHost : IUnknown {  // ICLRRuntimeHost
  virtual HRESULT STDMETHODCALLTYPE Start() = 0;
  virtual HRESULT STDMETHODCALLTYPE Stop() = 0;
  virtual HRESULT STDMETHODCALLTYPE SetHostControl(IHostControl* control) = 0;
  CLRHM_UNUSED_SLOT(GetCLRControl);
  CLRHM_UNUSED_SLOT(UnloadAppDomain);
  CLRHM_UNUSED_SLOT(ExecuteInAppDomain);
  CLRHM_UNUSED_SLOT(GetCurrentAppDomainId);
  CLRHM_UNUSED_SLOT(ExecuteApplication);
  CLRHM_UNUSED_SLOT(ExecuteInDefaultAppDomain);
};

struct CorRuntimeHost : IUnknown {  // ICorRuntimeHost
  CLRHM_UNUSED_SLOT(CreateLogicalThreadState);
  CLRHM_UNUSED_SLOT(DeleteLogicalThreadState);
  CLRHM_UNUSED_SLOT(SwitchInLogicalThreadState);
  CLRHM_UNUSED_SLOT(SwitchOutLogicalThreadState);
  CLRHM_UNUSED_SLOT(LocksHeldByLogicalThread);
  CLRHM_UNUSED_SLOT(MapFile);
  CLRHM_UNUSED_SLOT(GetConfiguration);
  virtual HRESULT STDMETHODCALLTYPE Start() = 0;
  virtual HRESULT STDMETHODCALLTYPE Stop() = 0;
  CLRHM_UNUSED_SLOT(CreateDomain);
  virtual HRESULT STDMETHODCALLTYPE GetDefaultDomain(IUnknown** domain) = 0;
  CLRHM_UNUSED_SLOT(EnumDomains);
  CLRHM_UNUSED_SLOT(NextDomain);
  CLRHM_UNUSED_SLOT(CloseEnum);
  virtual HRESULT STDMETHODCALLTYPE CreateDomainEx(LPCWSTR friendly_name, IUnknown* setup, IUnknown* evidence,
                                                   IUnknown** domain) = 0;
  virtual HRESULT STDMETHODCALLTYPE CreateDomainSetup(IUnknown** setup) = 0;
  CLRHM_UNUSED_SLOT(CreateEvidence);
  CLRHM_UNUSED_SLOT(UnloadDomain);
  CLRHM_UNUSED_SLOT(CurrentDomain);
};

struct AppDomainSetup : IUnknown {  // IAppDomainSetup
  virtual HRESULT STDMETHODCALLTYPE GetApplicationBase(BSTR* value) = 0;
  virtual HRESULT STDMETHODCALLTYPE SetApplicationBase(BSTR value) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetApplicationName(BSTR* value) = 0;
  virtual HRESULT STDMETHODCALLTYPE SetApplicationName(BSTR value) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetCachePath(BSTR* value) = 0;
  virtual HRESULT STDMETHODCALLTYPE SetCachePath(BSTR value) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetConfigurationFile(BSTR* value) = 0;
  virtual HRESULT STDMETHODCALLTYPE SetConfigurationFile(BSTR value) = 0;
};

struct AppDomain : IUnknown {  // _AppDomain
  CLRHM_UNUSED_SLOT(GetTypeInfoCount);
  CLRHM_UNUSED_SLOT(GetTypeInfo);
  CLRHM_UNUSED_SLOT(GetIDsOfNames);
  CLRHM_UNUSED_SLOT(Invoke);
  CLRHM_UNUSED_SLOT(ToString);
  CLRHM_UNUSED_SLOT(Equals);
  CLRHM_UNUSED_SLOT(GetHashCode);
  CLRHM_UNUSED_SLOT(GetType);
  CLRHM_UNUSED_SLOT(InitializeLifetimeService);
  CLRHM_UNUSED_SLOT(GetLifetimeService);
  CLRHM_UNUSED_SLOT(GetEvidence);
  CLRHM_UNUSED_SLOT(AddDomainUnload);
  CLRHM_UNUSED_SLOT(RemoveDomainUnload);
  CLRHM_UNUSED_SLOT(AddAssemblyLoad);
  CLRHM_UNUSED_SLOT(RemoveAssemblyLoad);
  CLRHM_UNUSED_SLOT(AddProcessExit);
  CLRHM_UNUSED_SLOT(RemoveProcessExit);
  CLRHM_UNUSED_SLOT(AddTypeResolve);
  CLRHM_UNUSED_SLOT(RemoveTypeResolve);
  CLRHM_UNUSED_SLOT(AddResourceResolve);
  CLRHM_UNUSED_SLOT(RemoveResourceResolve);
  CLRHM_UNUSED_SLOT(AddAssemblyResolve);
  CLRHM_UNUSED_SLOT(RemoveAssemblyResolve);
  CLRHM_UNUSED_SLOT(AddUnhandledException);
  CLRHM_UNUSED_SLOT(RemoveUnhandledException);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly2);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly3);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly4);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly5);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly6);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly7);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly8);
  CLRHM_UNUSED_SLOT(DefineDynamicAssembly9);
  CLRHM_UNUSED_SLOT(CreateInstance);
  CLRHM_UNUSED_SLOT(CreateInstanceFrom);
  CLRHM_UNUSED_SLOT(CreateInstance2);
  CLRHM_UNUSED_SLOT(CreateInstanceFrom2);
  CLRHM_UNUSED_SLOT(CreateInstance3);
  CLRHM_UNUSED_SLOT(CreateInstanceFrom3);
  CLRHM_UNUSED_SLOT(Load);
  CLRHM_UNUSED_SLOT(Load2);
  CLRHM_UNUSED_SLOT(Load3);
  CLRHM_UNUSED_SLOT(Load4);
  CLRHM_UNUSED_SLOT(Load5);
  CLRHM_UNUSED_SLOT(Load6);
  CLRHM_UNUSED_SLOT(Load7);
  CLRHM_UNUSED_SLOT(ExecuteAssembly);
  CLRHM_UNUSED_SLOT(ExecuteAssembly2);
  // Runs the assembly's entry point. If an exception leaves Main, returns the exception's HRESULT.
  virtual HRESULT STDMETHODCALLTYPE ExecuteAssembly3(BSTR file, IUnknown* evidence, SAFEARRAY* arguments,
                                                     LONG* exit_code) = 0;
};

#undef CLRHM_UNUSED_SLOT

// The signature of mscoree.dll's CLRCreateInstance.
using ClrCreateInstance = HRESULT(STDMETHODCALLTYPE*)(REFCLSID clsid, REFIID riid, void** object);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_NET_FRAMEWORK_ABI_H
