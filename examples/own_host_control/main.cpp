// A host of the .NET Framework 4 that has an IHostControl already. The library's IHostControl answers for the memory
// manager and passes everything else on, so the host's class stays as it is.
//   own_host_control LIMIT_MIB ASSEMBLY TYPE METHOD ARGUMENT
// The exit code is as for net_framework_host. Without arguments the program only shows which questions reach the host's
// class: this part needs no CLR.
#include <clr_host_memory/memory_manager.h>

#include <atomic>
#include <cstdio>
#include <cwchar>

#include "../metahost.h"

using namespace clr_host_memory;

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

// The host's own class. It replaces no manager of the CLR, and prints what it is asked.
class MyHostControl final : public IHostControl {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) override {
    *object = nullptr;
    if (!IsEqualGUID(riid, __uuidof(IHostControl)) && !IsEqualGUID(riid, __uuidof(IUnknown))) return E_NOINTERFACE;
    *object = static_cast<IHostControl*>(this);
    AddRef();
    return S_OK;
  }
  ULONG STDMETHODCALLTYPE AddRef() override { return ++references_; }
  ULONG STDMETHODCALLTYPE Release() override {
    const ULONG left = --references_;
    if (left == 0) delete this;
    return left;
  }
  HRESULT STDMETHODCALLTYPE GetHostManager(REFIID riid, void** object) override {
    std::printf("asked for the manager %08lx\n", static_cast<unsigned long>(riid.Data1));
    *object = nullptr;
    return E_NOINTERFACE;
  }
  HRESULT STDMETHODCALLTYPE SetAppDomainManager(DWORD domain, IUnknown*) override {
    std::printf("domain %lu has started\n", static_cast<unsigned long>(domain));
    return S_OK;
  }

 private:
  std::atomic<ULONG> references_ = 1;
};

// Asks as a CLR does when it starts.
static int Show(IHostControl* control) {
  constexpr GUID kTaskManager = {0x997FF24C, 0x43B7, 0x4352, {0x86, 0x67, 0x0D, 0xC0, 0x4F, 0xAF, 0xD3, 0x54}};
  void* object = nullptr;
  if (control->GetHostManager(__uuidof(IHostMemoryManager), &object) != S_OK) return 2;
  const ComReference<IHostMemoryManager> memory(static_cast<IHostMemoryManager*>(object));
  std::printf("the memory manager is the library's\n");
  return control->GetHostManager(kTaskManager, &object) == E_NOINTERFACE ? 0 : 2;
}

int wmain(int argc, wchar_t** argv) {
  const std::uint64_t limit = argc < 2 ? 64_MiB : std::wcstoull(argv[1], nullptr, 10) * 1_MiB;
  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  const ComReference<IHostControl> my_host_control(new MyHostControl());
  auto host_control = CreateHostControl(*manager, my_host_control.get());
  if (!host_control) return Fail(host_control.error());
  if (argc < 6) return Show(host_control->get());

  const auto clr = FindClr4();
  if (!clr) {
    std::fprintf(stderr, "there is no .NET Framework 4 here\n");
    return 102;
  }
  DWORD exit_code = 0;
  HRESULT hr = clr->SetHostControl(host_control->get());
  if (SUCCEEDED(hr)) hr = clr->Start();
  if (SUCCEEDED(hr)) hr = clr->ExecuteInDefaultAppDomain(argv[2], argv[3], argv[4], argv[5], &exit_code);
  return FAILED(hr) ? 102 : static_cast<int>(exit_code);
}
