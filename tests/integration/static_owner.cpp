// A DLL of a host that owns a manager and a bridge in static objects. They are destroyed when the process ends, after
// the OS has ended the other threads at arbitrary points.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdint>
#include <optional>
#include <thread>

namespace {

std::optional<clr_host_memory::MemoryManager> manager;
std::optional<clr_host_memory::CoreClrBridge> bridge;

}  // namespace

// Attaches coreclr and starts threads that call the bridge until they end. So at nearly every moment one of them holds
// the bridge's lock.
extern "C" __declspec(dllexport) HRESULT OwnBridge(HMODULE coreclr) {
  using namespace clr_host_memory;
  auto made = CreateMemoryManager();
  if (!made) return made.error().code();
  manager.emplace(*std::move(made));
  auto attached = AttachToCoreClr(coreclr, *manager);
  if (!attached) return attached.error().code();
  bridge.emplace(*std::move(attached));
  for (int index = 0; index < 4; ++index) {
    std::thread([asked = bridge->get()] {
      for (std::uint64_t calls = 0;;) asked->GetCallCount(&calls);
    }).detach();
  }
  Sleep(50);
  return S_OK;
}
