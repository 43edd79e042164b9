// Runs a managed program through hostfxr under a memory limit:
//   hostfxr_host HOSTFXR.DLL LIMIT_MIB APP.DLL [ARGUMENT...]
// The exit code is the program's; 101: the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdio>
#include <cwchar>

#include "../hostfxr.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

static void PrintSummary(const MemoryManager& manager) {
  const ClrHostMemoryStatistics figures = manager.Statistics();
  std::uint64_t refused = 0;
  for (const std::uint64_t count : figures.limit_refusals) refused += count;
  std::fprintf(stderr, "limit %llu MiB, peak %llu bytes, refused %llu requests, mismatch %llu bytes\n",
               static_cast<unsigned long long>(figures.limit / 1_MiB),
               static_cast<unsigned long long>(figures.peak_charged), static_cast<unsigned long long>(refused),
               static_cast<unsigned long long>(manager.Audit().mismatch));
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: hostfxr_host HOSTFXR.DLL LIMIT_MIB APP.DLL [ARGUMENT...]\n");
    return 1;
  }
  const std::uint64_t limit = std::wcstoull(argv[2], nullptr, 10) * 1_MiB;
  HMODULE hostfxr = LoadLibraryExW(argv[1], nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  const auto initialize =
      Find<hostfxr_initialize_for_dotnet_command_line_fn>(hostfxr, "hostfxr_initialize_for_dotnet_command_line");
  const auto run = Find<hostfxr_run_app_fn>(hostfxr, "hostfxr_run_app");
  const auto close = Find<hostfxr_close_fn>(hostfxr, "hostfxr_close");

  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());

  hostfxr_handle context = nullptr;
  if (initialize(argc - 3, const_cast<const wchar_t**>(argv) + 3, nullptr, &context) < 0) return 1;
  const int exit_code = run(context);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  PrintSummary(*manager);
  close(context);
  return exit_code;
}
