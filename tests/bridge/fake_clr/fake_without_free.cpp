// A module that allocates but cannot free. It is not a CLR, and half of its calls could not be accounted for.
#include <windows.h>

extern "C" __declspec(dllexport) LPVOID WINAPI FakeVirtualAlloc(LPVOID address, SIZE_T size, DWORD type,
                                                                DWORD protect) {
  return VirtualAlloc(address, size, type, protect);
}

#if defined(__MINGW32__)
// The entry of a DLL without MinGW's start-up code, which imports GetProcAddress on x86.
extern "C" BOOL WINAPI DllMainCRTStartup(HINSTANCE, DWORD, LPVOID) { return TRUE; }
#endif
