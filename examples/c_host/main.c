/* A host in C: runs a managed program through hostfxr under a memory limit, and prints what happens meanwhile.
     c_host HOSTFXR.DLL LIMIT_MIB APP.DLL [ARGUMENT...]
   The exit code is the program's; 101: the library refused. */
#include <clr_host_memory/bridge_abi.h>
#include <stdio.h>
#include <wchar.h>

typedef int32_t(__cdecl* InitializeFunction)(int argc, const wchar_t** argv, const void* parameters, void** context);
typedef int32_t(__cdecl* ContextFunction)(void* context);

/* Receives the events, on the manager's own thread. One static object serves the whole process. */
static HRESULT STDMETHODCALLTYPE SinkQueryInterface(IClrHostMemoryEventSink* sink, REFIID riid, void** object) {
  static const GUID kSink = CLR_HOST_MEMORY_IID_EVENT_SINK;
  *object = IsEqualGUID(riid, &kSink) || IsEqualGUID(riid, &IID_IUnknown) ? sink : NULL;
  return *object != NULL ? S_OK : E_NOINTERFACE;
}
static ULONG STDMETHODCALLTYPE SinkAddRef(IClrHostMemoryEventSink* sink) {
  (void)sink;
  return 1;
}
static ULONG STDMETHODCALLTYPE SinkRelease(IClrHostMemoryEventSink* sink) {
  (void)sink;
  return 1;
}
static HRESULT STDMETHODCALLTYPE SinkOnEvent(IClrHostMemoryEventSink* sink, const ClrHostMemoryEvent* event) {
  (void)sink;
  if (event->kind == kClrHostMemoryEventRefusal) {
    fprintf(stderr, "%llu requests were refused, code 0x%08lx\n", (unsigned long long)event->count,
            (unsigned long)event->code);
  }
  if (event->kind == kClrHostMemoryEventPressure && event->availability == (uint32_t)eMemoryAvailableLow) {
    fprintf(stderr, "memory is low: %lu %% are left\n", (unsigned long)event->available_percent);
  }
  return S_OK;
}

/* Receives the lines of the manager's report. */
static void STDMETHODCALLTYPE PrintLine(const char* line, void* file) { fprintf((FILE*)file, "%s\n", line); }

int wmain(int argc, wchar_t** argv) {
  static const GUID kManager = CLR_HOST_MEMORY_IID_HOST_MEMORY_MANAGER;
  static const GUID kControl = CLR_HOST_MEMORY_IID_CONTROL;
  static IClrHostMemoryEventSinkVtbl sink_functions = {SinkQueryInterface, SinkAddRef, SinkRelease, SinkOnEvent};
  static IClrHostMemoryEventSink sink = {&sink_functions};
  ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
  ClrHostMemoryStatistics figures = {sizeof(figures)};
  IHostMemoryManager* manager = NULL;
  IClrHostMemoryControl* control = NULL;
  IClrHostMemoryBridge* bridge = NULL;
  InitializeFunction initialize;
  ContextFunction run;
  HMODULE hostfxr;
  const char* reason = NULL;
  char text[512] = "";
  void* context = NULL;
  int exit_code;

  if (argc < 4) {
    fprintf(stderr, "usage: c_host HOSTFXR.DLL LIMIT_MIB APP.DLL [ARGUMENT...]\n");
    return 1;
  }
  hostfxr = LoadLibraryExW(argv[1], NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
  initialize = (InitializeFunction)GetProcAddress(hostfxr, "hostfxr_initialize_for_dotnet_command_line");
  run = (ContextFunction)GetProcAddress(hostfxr, "hostfxr_run_app");
  if (initialize == NULL || run == NULL) return 1;

  options.limit = wcstoull(argv[2], NULL, 10) * 1024 * 1024;
  if (FAILED(ClrHostMemoryCreate(&options, &kManager, (void**)&manager, &reason))) {
    fprintf(stderr, "%s\n", reason);
    return 101;
  }
  if (FAILED(manager->lpVtbl->QueryInterface(manager, &kControl, (void**)&control)) ||
      FAILED(control->lpVtbl->SetEventSink(control, &sink))) {
    return 101;
  }
  if (FAILED(ClrHostMemoryBridgeHostFxr(manager, NULL, &bridge, text, sizeof(text)))) {
    fprintf(stderr, "%s\n", text);
    return 101;
  }

  if (initialize(argc - 3, (const wchar_t**)argv + 3, NULL, &context) < 0) return 1;
  exit_code = run(context);
  if (FAILED(bridge->lpVtbl->VerifyCallsArrive(bridge, text, sizeof(text)))) {
    fprintf(stderr, "%s\n", text);
    return 101;
  }
  control->lpVtbl->GetStatistics(control, &figures);
  fprintf(stderr, "peak %llu\n", (unsigned long long)figures.peak_charged);
  if (exit_code != 0) control->lpVtbl->WriteReport(control, PrintLine, stderr);

  /* The runtime stays until the process ends, and with it the bridge and the manager. */
  control->lpVtbl->SetEventSink(control, NULL);
  bridge->lpVtbl->Release(bridge);
  control->lpVtbl->Release(control);
  manager->lpVtbl->Release(manager);
  return exit_code;
}
