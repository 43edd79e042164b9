// The .NET Framework's entry. The .NET Framework SDK has metahost.h. Where that is not installed, the slots
// that the examples call are declared here.
#ifndef EXAMPLES_METAHOST_H
#define EXAMPLES_METAHOST_H

#include <mscoree.h>
#include <windows.h>
#if __has_include(<metahost.h>)
#include <metahost.h>
#else
struct DECLSPEC_UUID("BD39D1D2-BA2F-486A-89B0-B4B0CB466891") ICLRRuntimeInfo : IUnknown {
  virtual HRESULT STDMETHODCALLTYPE GetVersionString(LPWSTR version, DWORD* length) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetRuntimeDirectory(LPWSTR directory, DWORD* length) = 0;
  virtual HRESULT STDMETHODCALLTYPE IsLoaded(HANDLE process, BOOL* loaded) = 0;
  virtual HRESULT STDMETHODCALLTYPE LoadErrorString(UINT id, LPWSTR text, DWORD* length, LONG locale) = 0;
  virtual HRESULT STDMETHODCALLTYPE LoadLibrary(LPCWSTR name, HMODULE* module) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetProcAddress(LPCSTR name, LPVOID* function) = 0;
  virtual HRESULT STDMETHODCALLTYPE GetInterface(REFCLSID clsid, REFIID riid, LPVOID* object) = 0;
};
struct DECLSPEC_UUID("D332DB9E-B9B3-4125-8207-A14884F53216") ICLRMetaHost : IUnknown {
  virtual HRESULT STDMETHODCALLTYPE GetRuntime(LPCWSTR version, REFIID riid, LPVOID* runtime) = 0;
};
#ifdef __CRT_UUID_DECL  // MinGW-w64, which ignores the UUIDs above
__CRT_UUID_DECL(ICLRRuntimeInfo, 0xBD39D1D2, 0xBA2F, 0x486A, 0x89, 0xB0, 0xB4, 0xB0, 0xCB, 0x46, 0x68, 0x91)
__CRT_UUID_DECL(ICLRMetaHost, 0xD332DB9E, 0xB9B3, 0x4125, 0x82, 0x07, 0xA1, 0x48, 0x84, 0xF5, 0x32, 0x16)
#endif
#endif

#include <clr_host_memory/com_reference.h>

// Returns the CLR 4 of this process, which has not started yet; null: there is no .NET Framework 4.
inline clr_host_memory::ComReference<ICLRRuntimeHost> FindClr4() {
  constexpr GUID kMetaHost = {0x9280188D, 0x0E8E, 0x4867, {0xB3, 0x0C, 0x7F, 0xA8, 0x38, 0x84, 0xE8, 0xDE}};
  constexpr GUID kRuntimeHost = {0x90F1A06E, 0x7712, 0x4762, {0x86, 0xB5, 0x7A, 0x5E, 0xBA, 0x6B, 0xDB, 0x02}};
  using CreateInstance = HRESULT(STDMETHODCALLTYPE*)(REFCLSID clsid, REFIID riid, void** object);
  clr_host_memory::ComReference<ICLRMetaHost> meta_host;
  clr_host_memory::ComReference<ICLRRuntimeInfo> info;
  clr_host_memory::ComReference<ICLRRuntimeHost> host;
  HMODULE mscoree = LoadLibraryW(L"mscoree.dll");
  const auto create =
      reinterpret_cast<CreateInstance>(reinterpret_cast<void*>(GetProcAddress(mscoree, "CLRCreateInstance")));
  if (create == nullptr ||
      FAILED(create(kMetaHost, __uuidof(ICLRMetaHost), reinterpret_cast<void**>(meta_host.Receive()))) ||
      FAILED(
          meta_host->GetRuntime(L"v4.0.30319", __uuidof(ICLRRuntimeInfo), reinterpret_cast<void**>(info.Receive()))) ||
      FAILED(info->GetInterface(kRuntimeHost, __uuidof(ICLRRuntimeHost), reinterpret_cast<void**>(host.Receive())))) {
    return {};
  }
  return host;
}

#endif  // EXAMPLES_METAHOST_H
