// Ends with a host in a DLL (ending_host.cpp) in the situation that its first argument names: 7, or 1 when that could
// not be brought about. A second argument: the host shuts its manager down in the end.
#include <windows.h>

int main(int argc, char** argv) {
  const HMODULE host = argc < 2 ? nullptr : ::LoadLibraryW(L"ending_host.dll");
  if (host == nullptr) return 1;
  const FARPROC begin = ::GetProcAddress(host, "Begin");
  const auto call = reinterpret_cast<BOOL (*)(const char*, BOOL)>(reinterpret_cast<void*>(begin));
  return call(argv[1], argc > 2 ? TRUE : FALSE) ? 7 : 1;
}
