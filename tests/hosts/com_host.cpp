// A host that creates a managed COM class: com_host COMHOST.DLL LIMIT_MIB MOST. It calls the comhost.dll as
// CoCreateInstance does, but needs no registration. Prints what the class's Fill(MOST) returns. The exit code is 0;
// 101: the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdio>
#include <cwchar>

#include "../../examples/hostfxr.h"

using namespace clr_host_memory;

// The class and the interface of tests/programs/ComComponent.
constexpr GUID kComComponent = {0x6686db58, 0xb5de, 0x40bc, {0x9d, 0x77, 0x83, 0x71, 0xc4, 0x99, 0xff, 0x1b}};
constexpr GUID kIidFill = {0x5ae523eb, 0xf9c1, 0x44df, {0xa0, 0x71, 0x14, 0x74, 0xc3, 0x23, 0x20, 0x17}};
struct IFill : IUnknown {
  virtual int STDMETHODCALLTYPE Fill(int most) = 0;
};
using dll_get_class_object_fn = HRESULT(STDMETHODCALLTYPE*)(REFCLSID class_id, REFIID interface_id, void** object);

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

int wmain(int argc, wchar_t** argv) {
  if (argc < 4) return 1;
  const std::uint64_t limit = std::wcstoull(argv[2], nullptr, 10) * 1_MiB;
  if (FAILED(CoInitializeEx(nullptr, COINIT_MULTITHREADED))) return 1;
  HMODULE comhost = LoadLibraryExW(argv[1], nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  const auto get_class = Find<dll_get_class_object_fn>(comhost, "DllGetClassObject");
  if (get_class == nullptr) return 1;

  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = BridgeHostFxr(*manager);
  if (!bridge) return Fail(bridge.error());

  void* created = nullptr;
  const HRESULT result = get_class(kComComponent, IID_IClassFactory, &created);
  if (auto verified = bridge->VerifyCallsArrive(); !verified) return Fail(verified.error());
  if (FAILED(result)) return 1;
  const ComReference<IClassFactory> factory(static_cast<IClassFactory*>(created));

  if (FAILED(factory->CreateInstance(nullptr, kIidFill, &created))) return 1;
  const ComReference<IFill> component(static_cast<IFill*>(created));
  std::printf("held %d\n", component->Fill(static_cast<int>(std::wcstol(argv[3], nullptr, 10))));
  std::fprintf(stderr, "peak %llu\n", static_cast<unsigned long long>(manager->Statistics().peak_charged));
  std::fprintf(stderr, "mismatch %llu\n", static_cast<unsigned long long>(manager->Audit().mismatch));
  return 0;
}
