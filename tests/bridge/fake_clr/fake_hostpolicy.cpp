// Stands in for hostpolicy.dll: looks up coreclr_initialize with GetProcAddress and calls it.
#include <windows.h>

using Initialize = int(WINAPI*)(const char*, const char*, int, const char**, const char**, void**, unsigned int*);

// Returns the result of coreclr's coreclr_initialize. wanted is the result that it is to return. key and value: an
// additional property, or null.
extern "C" __declspec(dllexport) int FakeStartRuntimeWith(HMODULE coreclr, const char* wanted, const char* key,
                                                          const char* value) {
  const auto initialize =
      reinterpret_cast<Initialize>(reinterpret_cast<void*>(GetProcAddress(coreclr, "coreclr_initialize")));
  if (initialize == nullptr) return E_NOTIMPL;
  const char* keys[] = {"ANSWER", key};
  const char* values[] = {wanted, value};
  void* host = nullptr;
  unsigned int domain = 0;
  return initialize("fake.exe", "fake", key == nullptr ? 1 : 2, keys, values, &host, &domain);
}

extern "C" __declspec(dllexport) int FakeStartRuntime(HMODULE coreclr, const char* wanted) {
  return FakeStartRuntimeWith(coreclr, wanted, nullptr, nullptr);
}

// Looks up any other function, by name or by ordinal; the watch must not change the result.
extern "C" __declspec(dllexport) FARPROC FakeGetProcAddress(HMODULE module, LPCSTR name) {
  return GetProcAddress(module, name);
}
