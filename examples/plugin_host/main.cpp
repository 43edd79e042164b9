// A plug-in host. One manager caps the CLR as a whole, and the host gives each plug-in a share of that. When the
// manager reports that memory is low, the host unloads the plug-ins that exceed their shares. The others go on.
//   plugin_host HOSTFXR.DLL PLUGINS.DLL
// The exit code is 0 if exactly the greedy plug-in was unloaded, and 101 if the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <atomic>
#include <cstdio>

#include "../component.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: plugin_host HOSTFXR.DLL PLUGINS.DLL\n");
    return 1;
  }
  constexpr int kPlugins = 4;
  constexpr int kGreedy = 2;
  constexpr std::uint64_t kLimit = 64_MiB;
  constexpr std::uint64_t kShare = 12_MiB;  // of each plug-in; the rest is the runtime's

  // Low comes when 40 % are left: early enough to unload plug-ins before any allocation fails.
  auto manager = CreateMemoryManager({.limit = kLimit,
                                      .thresholds = {.enter_low = 40,
                                                     .leave_low = 50,
                                                     .leave_high = 60,
                                                     .enter_high = 70,
                                                     .dwell_ms = 0,
                                                     .repeat_low_ms = 8192}});
  if (!manager) return Fail(manager.error());
  // The function runs on the manager's own thread, so it only takes a note.
  std::atomic<bool> is_low = false;
  auto listening = manager->OnEvent([&](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventPressure) is_low = event.availability == eMemoryAvailableLow;
  });
  if (!listening) return Fail(listening.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());

  Component plugins(argv[2]);
  const bool started = plugins.Start(argv[1]);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  if (!started) return 1;
  const auto load = plugins.Method<void(__stdcall*)(int)>(L"Load");
  const auto work = plugins.Method<int(__stdcall*)(int, int)>(L"Work");
  const auto held = plugins.Method<long long(__stdcall*)(int)>(L"Held");
  const auto unload = plugins.Method<void(__stdcall*)(int)>(L"Unload");
  if (load == nullptr || work == nullptr || held == nullptr || unload == nullptr) return 1;

  for (int id = 0; id < kPlugins; ++id) load(id);
  bool loaded[kPlugins] = {true, true, true, true};
  for (int round = 0; round < 200; ++round) {
    bool failed = false;
    for (int id = 0; id < kPlugins && !failed; ++id) {
      // In a round a modest plug-in keeps 64 KiB more, up to 8 MiB, and the greedy one keeps 512 KiB more.
      if (!loaded[id] || (id != kGreedy && held(id) >= static_cast<long long>(8_MiB))) continue;
      failed = work(id, id == kGreedy ? 8 : 1) == 0;
    }
    if (is_low || failed) {
      for (int id = 0; id < kPlugins; ++id) {
        if (held(id) <= static_cast<long long>(kShare)) continue;
        std::printf("plug-in %d holds %lld KiB and is unloaded\n", id, held(id) / 1024);
        unload(id);
        loaded[id] = false;
      }
    }
    Sleep(5);
  }

  bool as_expected = true;
  for (int id = 0; id < kPlugins; ++id) {
    std::printf("plug-in %d: %s, %lld KiB\n", id, loaded[id] ? "runs" : "unloaded", held(id) / 1024);
    as_expected = as_expected && loaded[id] == (id != kGreedy);
  }
  const ClrHostMemoryStatistics figures = manager->Statistics();
  std::printf(
      "peak %llu KiB of %llu KiB, mismatch %llu\n", static_cast<unsigned long long>(figures.peak_charged / 1_KiB),
      static_cast<unsigned long long>(kLimit / 1_KiB), static_cast<unsigned long long>(manager->Audit().mismatch));
  return as_expected && figures.peak_charged <= kLimit ? 0 : 2;
}
