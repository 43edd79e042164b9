// A host that calls a managed component through hostfxr, as nethost's documentation shows:
//   component_host HOSTFXR.DLL LIMIT_MIB COMPONENT.RUNTIMECONFIG.JSON COMPONENT.DLL MOST
// Prints what Component.Fill(MOST) returns. The exit code is 0; 101: the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdio>
#include <cwchar>

#include "../../examples/hostfxr.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 6) return 1;
  const std::uint64_t limit = std::wcstoull(argv[2], nullptr, 10) * 1_MiB;
  HMODULE hostfxr = LoadLibraryExW(argv[1], nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  const auto initialize =
      Find<hostfxr_initialize_for_runtime_config_fn>(hostfxr, "hostfxr_initialize_for_runtime_config");
  const auto get_delegate = Find<hostfxr_get_runtime_delegate_fn>(hostfxr, "hostfxr_get_runtime_delegate");
  const auto close = Find<hostfxr_close_fn>(hostfxr, "hostfxr_close");

  hostfxr_handle context = nullptr;
  if (initialize(argv[3], nullptr, &context) < 0) return 1;

  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());

  void* delegate = nullptr;
  const int result = get_delegate(context, hdt_load_assembly_and_get_function_pointer, &delegate);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  close(context);
  if (result != 0) return 1;

  void* fill = nullptr;
  const auto load_assembly = reinterpret_cast<load_assembly_and_get_function_pointer_fn>(delegate);
  if (load_assembly(argv[4], L"Component, Component", L"Fill", nullptr, nullptr, &fill) != 0) return 1;
  const int most = static_cast<int>(std::wcstol(argv[5], nullptr, 10));
  std::printf("held %d\n", reinterpret_cast<component_entry_point_fn>(fill)(nullptr, most));
  std::fprintf(stderr, "peak %llu\n", static_cast<unsigned long long>(manager->Statistics().peak_charged));
  return 0;
}
