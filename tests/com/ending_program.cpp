// Exits with a host in a DLL (ending_host.cpp) that is in the situation named by the first argument. Exit code: 7, or
// 1 if the situation could not be created. If there is a second argument, the host shuts its manager down at exit.
#include <windows.h>

int main(int argc, char** argv) {
  const HMODULE host = argc < 2 ? nullptr : ::LoadLibraryW(L"ending_host.dll");
  if (host == nullptr) return 1;
  const FARPROC begin = ::GetProcAddress(host, "Begin");
  const auto call = reinterpret_cast<BOOL (*)(const char*, BOOL)>(reinterpret_cast<void*>(begin));
  return call(argv[1], argc > 2 ? TRUE : FALSE) ? 7 : 1;
}
