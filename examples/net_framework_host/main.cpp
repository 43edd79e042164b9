// A host of the .NET Framework 4: its CLR takes the memory manager through IHostControl, which is set before the start.
//   net_framework_host LIMIT_MIB ASSEMBLY TYPE METHOD ARGUMENT
// METHOD is static, takes a string and returns an int, which becomes the exit code. 101: the library refused; 102:
// there is no .NET Framework 4, or it failed.
#include <clr_host_memory/memory_manager.h>

#include <cstdio>
#include <cwchar>

#include "../metahost.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: net_framework_host LIMIT_MIB ASSEMBLY TYPE METHOD ARGUMENT\n");
    return 1;
  }
  const std::uint64_t limit = std::wcstoull(argv[1], nullptr, 10) * 1_MiB;
  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto host_control = CreateHostControl(*manager);
  if (!host_control) return Fail(host_control.error());

  const auto clr = FindClr4();
  if (!clr) {
    std::fprintf(stderr, "there is no .NET Framework 4 here\n");
    return 102;
  }
  DWORD exit_code = 0;
  HRESULT hr = clr->SetHostControl(host_control->get());
  if (SUCCEEDED(hr)) hr = clr->Start();
  if (SUCCEEDED(hr)) hr = clr->ExecuteInDefaultAppDomain(argv[2], argv[3], argv[4], argv[5], &exit_code);
  if (FAILED(hr)) {
    std::fprintf(stderr, "the CLR failed: 0x%08x\n", static_cast<unsigned>(hr));
    return 102;
  }
  const ClrHostMemoryStatistics figures = manager->Statistics();
  std::fprintf(stderr, "peak %llu\n", static_cast<unsigned long long>(figures.peak_charged));
  return static_cast<int>(exit_code);
}
