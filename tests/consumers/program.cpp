// What a host does first with the library. It includes winsock2.h and WRL after the library's headers, and has no
// settings for windows.h: all of that must work together. Exit code 0: all is as expected.
#include <clr_host_memory/core_clr_bridge.h>
#include <winsock2.h>
#include <wrl/client.h>

#include <cstdio>

using namespace Microsoft::WRL;
using namespace clr_host_memory;

namespace {

int Fail(const char* what) {
  std::printf("FAILED: %s\n", what);
  return 1;
}

}  // namespace

int main() {
  if (ClrHostMemoryVersion() != CLR_HOST_MEMORY_VERSION) return Fail("the library has the version of its headers");

  const auto manager = CreateMemoryManager({.limit = 1_MiB, .app_domain_headroom = 0, .process_headroom = 0});
  if (!manager) return Fail(manager.error().reason());
  // By type: each interface carries its IID.
  ComPtr<IClrHostMemoryControl> control;
  if (FAILED(ComPtr<IHostMemoryManager>(manager->get()).As(&control))) return Fail("QueryInterface by type");

  void* memory = nullptr;
  if (manager->get()->VirtualAlloc(nullptr, 768 * 1024, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                                   &memory) != S_OK) {
    return Fail("768 KiB fit a limit of 1 MiB");
  }
  void* more = nullptr;
  if (manager->get()->VirtualAlloc(nullptr, 512 * 1024, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                                   &more) != E_OUTOFMEMORY) {
    return Fail("512 KiB more are refused");
  }
  if (manager->Statistics().charged != 768 * 1024) return Fail("768 KiB are charged");
  if (manager->get()->VirtualFree(memory, 0, MEM_RELEASE) != S_OK) return Fail("VirtualFree");

  const auto bridge = AttachToCoreClr(GetModuleHandleW(L"kernel32.dll"), *manager);
  if (bridge) return Fail("kernel32.dll is no runtime");
  std::printf("ok: %s\n", bridge.error().reason());
  return 0;
}
