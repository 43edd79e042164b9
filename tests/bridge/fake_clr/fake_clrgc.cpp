// Stands in for a standalone garbage collector, which coreclr.dll loads with LoadLibraryExW.
#include <windows.h>

#define FAKE_EXPORT extern "C" __declspec(dllexport)

#if defined(FAKE_GC_EXPORTS_ENTRY)
FAKE_EXPORT HRESULT GC_Initialize(void*, void**, void**, void*) { return E_NOTIMPL; }
#endif

FAKE_EXPORT LPVOID WINAPI FakeGcVirtualAlloc(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
  return VirtualAlloc(address, size, type, protect);
}
FAKE_EXPORT BOOL WINAPI FakeGcVirtualFree(LPVOID address, SIZE_T size, DWORD type) {
  return VirtualFree(address, size, type);
}
FAKE_EXPORT HMODULE WINAPI FakeGcLoadLibraryExW(LPCWSTR name, HANDLE file, DWORD flags) {
  return LoadLibraryExW(name, file, flags);
}
