// A host in a DLL, such as a plug-in, that keeps its manager in a static object. The object is destroyed after
// ExitProcess has killed the manager's threads at arbitrary points.
#include <clr_host_memory/core_clr_bridge.h>
#include <clr_host_memory/memory_manager.h>

#include <atomic>
#include <string_view>

namespace {

using namespace clr_host_memory;

std::atomic<bool> reached = false;

void StayHere() {
  reached = true;
  ::Sleep(INFINITE);
}

class Callback final : public ICLRMemoryNotificationCallback {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void** object) noexcept override {
    *object = nullptr;
    return E_NOINTERFACE;
  }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return 2; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return 1; }
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable) noexcept override {
    if (stays) StayHere();
    return S_OK;
  }
  std::atomic<bool> stays = false;
};

struct Host {
  MemoryManager manager;
  ComReference<IHostMalloc> heap;
  ComReference<IHostControl> host_control;
  CoreClrBridge bridge;
  Callback callback;
  bool shuts_down = false;

  Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  // Ends as hosts do: by releasing everything, or by an ordered shutdown.
  ~Host() {
    if (!shuts_down || manager.get() == nullptr) return;
    bridge.Detach();
    (void)manager.OnEvent({});
    manager.get()->RegisterMemoryNotificationCallback(nullptr);
    constexpr ClrHostMemoryThresholds kThresholds = CLR_HOST_MEMORY_THRESHOLDS_INIT;
    (void)manager.SetThresholds(kThresholds);
    (void)manager.UnsealRegion(nullptr);
    manager.control()->NotifyMemoryAvailable(eMemoryAvailableNeutral);
    manager.Shutdown();
  }
};
Host host;  // NOLINT(cert-err58-cpp)

constexpr std::uint64_t kLimit = 64_MiB;

DWORD WINAPI WaitForMemory(void* module) {
  // Allocates through the bridge if there is a module, otherwise as a hosted CLR does.
  if (module != nullptr) {
    const FARPROC fake = ::GetProcAddress(static_cast<HMODULE>(module), "FakeVirtualAlloc");
    reinterpret_cast<decltype(&::VirtualAlloc)>(reinterpret_cast<void*>(fake))(nullptr, 1_MiB, MEM_RESERVE | MEM_COMMIT,
                                                                               PAGE_READWRITE);
  } else {
    void* memory = nullptr;
    host.manager.get()->VirtualAlloc(nullptr, 1_MiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eProcessCritical,
                                     &memory);
  }
  return 0;
}

}  // namespace

// Creates the situation that way_name names. Returns TRUE on success.
extern "C" __declspec(dllexport) BOOL Begin(const char* way_name, BOOL shuts_down) {
  const std::string_view way = way_name;
  auto made = CreateMemoryManager({.limit = kLimit, .app_domain_headroom = 0, .process_headroom = 0});
  if (!made) return FALSE;
  host.manager = std::move(*made);
  host.shuts_down = shuts_down != FALSE;
  IHostMemoryManager* const manager = host.manager.get();
  host.host_control = CreateHostControl(host.manager).value();
  void* block = nullptr;
  if (manager->CreateMalloc(MALLOC_THREADSAFE, host.heap.Receive()) != S_OK ||
      host.heap->Alloc(100000, eProcessCritical, &block) != S_OK) {
    return FALSE;
  }
  if (way == "callback") host.callback.stays = true;
  if (manager->RegisterMemoryNotificationCallback(&host.callback) != S_OK) return FALSE;
  if (way == "callback") {
    while (!reached) ::Sleep(1);
    return TRUE;
  }
  if (way == "event") {
    void* refused = nullptr;
    if (!host.manager.OnEvent([](const ClrHostMemoryEvent&) { StayHere(); })) return FALSE;
    manager->VirtualAlloc(nullptr, 2 * kLimit, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &refused);
    while (!reached) ::Sleep(1);
    return TRUE;
  }
  HMODULE module = nullptr;
  if (way == "bridge") {
    module = ::LoadLibraryW(L"fake_coreclr.dll");
    auto bridge = AttachToCoreClr(module, host.manager);
    if (!bridge) return FALSE;
    host.bridge = std::move(*bridge);
    if (host.manager.control()->EndStart(nullptr) != S_OK) return FALSE;
  } else if (way != "waiter") {
    return FALSE;
  }
  void* rest = nullptr;
  const std::uint64_t left = kLimit - host.manager.Statistics().charged;
  if (!host.manager.SetWait(eProcessCritical, 60000) ||
      manager->VirtualAlloc(nullptr, static_cast<SIZE_T>(left), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                            eProcessCritical, &rest) != S_OK) {
    return FALSE;
  }
  ::CloseHandle(::CreateThread(nullptr, 0, &WaitForMemory, module, 0, nullptr));
  while (host.manager.Statistics().waiting == 0) ::Sleep(1);
  return TRUE;
}
