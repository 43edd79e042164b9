/* The same as program.cpp, in C. */
#include <clr_host_memory/bridge_abi.h>
#include <stdio.h>

static const GUID kManager = CLR_HOST_MEMORY_IID_HOST_MEMORY_MANAGER;
static const GUID kControl = CLR_HOST_MEMORY_IID_CONTROL;

static int Fail(const char* what) {
  printf("FAILED: %s\n", what);
  return 1;
}

int main(void) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  ClrHostMemoryStatistics statistics = {sizeof(statistics)};
  IHostMemoryManager* manager = NULL;
  IClrHostMemoryControl* control = NULL;
  IClrHostMemoryBridge* bridge = NULL;
  IUnknown* unknown = NULL;
  const char* reason = NULL;
  char text[256] = "";
  void* memory = NULL;
  void* more = NULL;

  if (ClrHostMemoryVersion() != CLR_HOST_MEMORY_VERSION) return Fail("the library has the version of its headers");
  options.limit = 1024 * 1024;
  options.app_domain_headroom = 0;
  options.process_headroom = 0;
  if (FAILED(ClrHostMemoryCreate(&options, &kManager, (void**)&manager, &reason))) return Fail(reason);
  if (FAILED(manager->lpVtbl->QueryInterface(manager, &kControl, (void**)&control))) return Fail("QueryInterface");
  if (FAILED(manager->lpVtbl->QueryInterface(manager, &IID_IUnknown, (void**)&unknown))) return Fail("IUnknown");
  unknown->lpVtbl->Release(unknown);

  if (manager->lpVtbl->VirtualAlloc(manager, NULL, 768 * 1024, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                                    &memory) != S_OK) {
    return Fail("768 KiB fit a limit of 1 MiB");
  }
  if (manager->lpVtbl->VirtualAlloc(manager, NULL, 512 * 1024, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
                                    &more) != E_OUTOFMEMORY) {
    return Fail("512 KiB more are refused");
  }
  control->lpVtbl->GetStatistics(control, &statistics);
  if (statistics.charged != 768 * 1024) return Fail("768 KiB are charged");
  if (manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE) != S_OK) return Fail("VirtualFree");

  if (SUCCEEDED(
          ClrHostMemoryAttachToCoreClr(GetModuleHandleW(L"kernel32.dll"), manager, &bridge, text, sizeof(text)))) {
    return Fail("kernel32.dll is no runtime");
  }
  control->lpVtbl->Release(control);
  manager->lpVtbl->Release(manager);
  printf("ok: %s\n", text);
  return 0;
}
