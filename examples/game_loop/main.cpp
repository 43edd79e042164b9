// A game-like loop whose scripts are managed: each frame calls Game.Frame. The CLR has a hard cap, which changes while
// the loop runs: it is raised for a scene with many objects, and lowered again when that scene ends.
//   game_loop HOSTFXR.DLL GAME.DLL
// Prints a line per scene. The exit code is 0 if the CLR kept to each cap, and 101 if the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <atomic>
#include <cstdio>

#include "../component.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

struct Scene {
  const char* name;
  std::uint64_t cap;  // bytes
  int objects;        // per frame, of about 1 KiB; they live for the scene
  int frames;
};

int wmain(int argc, wchar_t** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: game_loop HOSTFXR.DLL GAME.DLL\n");
    return 1;
  }
  const Scene scenes[] = {{"menu", 48_MiB, 10, 60}, {"battle", 96_MiB, 600, 90}, {"map", 48_MiB, 10, 60}};

  auto manager = CreateMemoryManager({.limit = scenes[0].cap});
  if (!manager) return Fail(manager.error());
  std::atomic<std::uint64_t> refusals = 0;
  auto listening = manager->OnEvent([&](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventRefusal) refusals += event.count;
  });
  if (!listening) return Fail(listening.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());

  Component game(argv[2]);
  const bool started = game.Start(argv[1]);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  const auto frame = started ? game.Method<int(__stdcall*)(int)>(L"Frame") : nullptr;
  const auto end_scene = started ? game.Method<void(__stdcall*)()>(L"EndScene") : nullptr;
  if (frame == nullptr || end_scene == nullptr) return 1;

  bool kept = true;
  for (const Scene& scene : scenes) {
    // The next scene begins at its cap. Where the CLR still has more, a bound above the cap goes down as it gives it
    // up.
    if (auto set = manager->SetLimit(scene.cap); !set) return Fail(set.error());
    int shown = 0;
    for (int number = 0; number < scene.frames; ++number) {
      shown = frame(scene.objects);
      Sleep(4);  // the rest of the frame: input, physics, drawing
    }
    end_scene();
    const ClrHostMemoryStatistics figures = manager->Statistics();
    std::printf("%s: cap %llu MiB, %d objects, charged %llu KiB, refused %llu\n", scene.name,
                static_cast<unsigned long long>(scene.cap / 1_MiB), shown,
                static_cast<unsigned long long>(figures.charged / 1_KiB),
                static_cast<unsigned long long>(refusals.load()));
    kept = kept && figures.charged <= scene.cap && figures.over_bound == 0;
  }
  const ClrHostMemoryAudit audit = manager->Audit();
  std::printf("mismatch %llu\n", static_cast<unsigned long long>(audit.mismatch));
  return kept && audit.mismatch == 0 ? 0 : 2;
}
