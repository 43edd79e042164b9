/* A host written in C11. It uses the library's C entry and calls the interfaces through lpVtbl. */
#include "c_client.h"

#include <clr_host_memory/memory_manager_abi.h>
#include <string.h>

static const GUID kManagerIid = {0x7BC698D1, 0xF9E3, 0x4460, {0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA, 0x25}};
static const GUID kControlIid = CLR_HOST_MEMORY_IID_CONTROL;
static const GUID kHostControlIid = {0x02CA073C, 0x7079, 0x4860, {0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91}};

_Static_assert(sizeof(ClrHostMemoryOptions) == 64 + 24 + 8, "ten 32-bit and five 64-bit fields, and the thresholds");
_Static_assert(kClrHostMemoryMethodCount == 13 && kClrHostMemoryCodeCount == 10, "counters");

#define CHECK(condition)               \
  do {                                 \
    if (!(condition)) return __LINE__; \
  } while (0)

static int UseMemory(IHostMemoryManager* manager) {
  void* memory = NULL;
  MEMORY_BASIC_INFORMATION info;
  SIZE_T written = 0;
  DWORD old = 0;
  CHECK(manager->lpVtbl->VirtualAlloc(manager, NULL, 0x10000, MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &memory) ==
        S_OK);
  memset(memory, 0x5A, 0x10000);
  CHECK(manager->lpVtbl->VirtualProtect(manager, memory, 0x1000, PAGE_READONLY, &old) == S_OK);
  CHECK(old == PAGE_READWRITE);
  CHECK(manager->lpVtbl->VirtualQuery(manager, memory, &info, sizeof(info), &written) == S_OK);
  CHECK(written == sizeof(info) && info.RegionSize == 0x1000 && info.Protect == PAGE_READONLY);
  CHECK(manager->lpVtbl->VirtualFree(manager, memory, 0, MEM_RELEASE) == S_OK);
  return 0;
}

static int UseHeap(IHostMemoryManager* manager) {
  IHostMalloc* heap = NULL;
  void* block = NULL;
  CHECK(manager->lpVtbl->CreateMalloc(manager, MALLOC_THREADSAFE, &heap) == S_OK);
  CHECK(heap->lpVtbl->Alloc(heap, 100, eTaskCritical, &block) == S_OK);
  memset(block, 1, 100);
  CHECK(heap->lpVtbl->Free(heap, block) == S_OK);
  CHECK(heap->lpVtbl->Release(heap) == 0);
  return 0;
}

static void STDMETHODCALLTYPE CountTheLine(const char* line, void* context) {
  if (strcmp(line, "charged: 0, peak 65536, pages 0, heaps 0, over the limit 0, outside 0") == 0) ++*(int*)context;
}

static int UseControl(IHostMemoryManager* manager) {
  IClrHostMemoryControl* control = NULL;
  ClrHostMemoryStatistics statistics;
  ClrHostMemoryAudit audit;
  int lines = 0;
  CHECK(manager->lpVtbl->QueryInterface(manager, &kControlIid, (void**)&control) == S_OK);
  memset(&statistics, 0, sizeof(statistics));
  statistics.size = sizeof(statistics);
  CHECK(control->lpVtbl->GetStatistics(control, &statistics) == S_OK);
  CHECK(statistics.limit == 0x1000000 && statistics.charged == 0 && statistics.peak_charged == 0x10000);
  CHECK(statistics.calls[kClrHostMemoryVirtualAlloc][kClrHostMemoryOk] == 1);
  memset(&audit, 0, sizeof(audit));
  audit.size = sizeof(audit);
  CHECK(control->lpVtbl->Audit(control, &audit) == S_OK);
  CHECK(audit.mismatch == 0);
  CHECK(control->lpVtbl->WriteReport(control, CountTheLine, &lines) == S_OK);
  CHECK(lines == 1);
  control->lpVtbl->Release(control);
  return 0;
}

static int UseHostControl(IHostMemoryManager* manager) {
  IHostControl* host_control = NULL;
  IHostControl* same = NULL;
  IHostMemoryManager* handed_out = NULL;
  CHECK(ClrHostMemoryCreateHostControl(manager, NULL, &host_control) == S_OK);
  CHECK(host_control->lpVtbl->QueryInterface(host_control, &kHostControlIid, (void**)&same) == S_OK);
  CHECK(same == host_control);
  CHECK(host_control->lpVtbl->GetHostManager(host_control, &kManagerIid, (void**)&handed_out) == S_OK);
  CHECK(handed_out == manager);
  handed_out->lpVtbl->Release(handed_out);
  same->lpVtbl->Release(same);
  CHECK(host_control->lpVtbl->Release(host_control) == 0);
  return 0;
}

int RunCClient(void) {
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  IHostMemoryManager* manager = NULL;
  const char* reason = NULL;
  int line = 0;
  options.limit = 0x1000000;
  CHECK(ClrHostMemoryCreate(&options, &kManagerIid, (void**)&manager, &reason) == S_OK);
  CHECK(reason == NULL);
  if ((line = UseMemory(manager)) != 0) return line;
  if ((line = UseControl(manager)) != 0) return line;
  if ((line = UseHeap(manager)) != 0) return line;
  if ((line = UseHostControl(manager)) != 0) return line;
  CHECK(manager->lpVtbl->Release(manager) == 0);
  return 0;
}
