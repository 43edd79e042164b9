// A module that allocates but cannot free. It is not a CLR, and half of its calls could not be accounted for.
#include <windows.h>

extern "C" __declspec(dllexport) LPVOID WINAPI FakeVirtualAlloc(LPVOID address, SIZE_T size, DWORD type,
                                                                DWORD protect) {
  return VirtualAlloc(address, size, type, protect);
}
