// A host with the settings that docs/configuration.md proposes:
//   configured_host server|plugins|desktop HOSTFXR.DLL COMPONENT.DLL MOST
//   configured_host late HOSTFXR.DLL COMPONENT.DLL MOST
// The second attaches to its runtime after the start. Prints what Component.Fill(MOST) returns. The exit code is 0;
// 101: the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdio>
#include <cwchar>
#include <string>

#include "../../examples/component.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

static Result<MemoryManager> ServersManager() {
  auto manager = CreateMemoryManager({.limit = 512_MiB});
  return manager;
}

static Result<MemoryManager> PluginHostsManager() {
  auto manager = CreateMemoryManager(
      {.limit = 512_MiB, .app_domain_headroom = 8_MiB, .process_headroom = 32_MiB, .committed_headroom = 16_MiB});
  return manager;
}

static Result<MemoryManager> DesktopProgramsManager() {
  auto manager = CreateMemoryManager({.limit = 512_MiB,
                                      .committed_headroom = 8_MiB,
                                      .address_space_reserve = sizeof(void*) == 4 ? 16_MiB : 0,
                                      .wait_ms = {250, 250, 1000},
                                      .thresholds = {10, 20, 40, 50, 1000, 8192}});
  return manager;
}

static int Use(const Component& component, const MemoryManager& manager, const wchar_t* most) {
  const auto fill = component.Method<component_entry_point_fn>(L"Fill", /*unmanaged_callers_only=*/false);
  if (fill == nullptr) return 1;
  std::printf("held %d\n", fill(nullptr, static_cast<int>(std::wcstol(most, nullptr, 10))));
  const ClrHostMemoryStatistics figures = manager.Statistics();
  std::fprintf(stderr, "peak %llu\nover bound %llu\n", static_cast<unsigned long long>(figures.peak_charged),
               static_cast<unsigned long long>(figures.over_bound));
  return 0;
}

static int RunLate(wchar_t** argv) {
  Component component(argv[3]);
  if (!component.Start(argv[2])) return 1;
  auto manager = CreateMemoryManager({.limit = 512_MiB});
  if (!manager) return Fail(manager.error());
  auto bridge = AttachToRunningCoreClr(*manager);
  if (!bridge) return Fail(bridge.error());
  return Use(component, *manager, argv[4]);
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 5) return 1;
  const std::wstring kind = argv[1];
  if (kind == L"late") return RunLate(argv);
  auto manager = kind == L"server"    ? ServersManager()
                 : kind == L"plugins" ? PluginHostsManager()
                                      : DesktopProgramsManager();
  if (!manager) return Fail(manager.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());
  if (kind == L"plugins") {
    auto attached = bridge->AttachModulesNamed(L"plugin.dll");
    if (!attached) return Fail(attached.error());
  }
  Component component(argv[3]);
  const bool started = component.Start(argv[2]);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  return started ? Use(component, *manager, argv[4]) : 1;
}
