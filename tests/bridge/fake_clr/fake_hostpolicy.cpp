// Stands in for hostpolicy.dll: looks coreclr_initialize up with GetProcAddress and calls it.
#include <windows.h>

using Initialize = int(WINAPI*)(const char*, const char*, int, const char**, const char**, void**, unsigned int*);

// What coreclr_initialize of coreclr answered; wanted is what it is told to answer.
extern "C" __declspec(dllexport) int FakeStartRuntime(HMODULE coreclr, const char* wanted) {
  const auto initialize = reinterpret_cast<Initialize>(reinterpret_cast<void*>(GetProcAddress(coreclr, "coreclr_initialize")));
  if (initialize == nullptr) return E_NOTIMPL;
  const char* key = "ANSWER";
  void* host = nullptr;
  unsigned int domain = 0;
  return initialize("fake.exe", "fake", 1, &key, &wanted, &host, &domain);
}

// Any other look-up, by name or by ordinal, goes as ever.
extern "C" __declspec(dllexport) FARPROC FakeGetProcAddress(HMODULE module, LPCSTR name) {
  return GetProcAddress(module, name);
}
