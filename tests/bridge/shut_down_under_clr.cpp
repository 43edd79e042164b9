// A host of a real CLR that shuts its memory manager down while managed code runs. Usage: shut_down_under_clr
// RUNTIME_FOLDER APP.dll. Its exit code is the app's exit code, or above 100 if the host itself failed.
#include <clr_host_memory/core_clr_bridge.h>
#include <windows.h>

#include <atomic>
#include <cstdio>
#include <string>

namespace {

using namespace clr_host_memory;

using Initialize = int(__stdcall*)(const char* exe_path, const char* domain_name, int count, const char** keys,
                                   const char** values, void** host, unsigned int* domain);
using Execute = int(__stdcall*)(void* host, unsigned int domain, int argc, const char** argv, const char* app,
                                unsigned int* exit_code);

struct Watch {
  const MemoryManager* manager;
  const CoreClrBridge* bridge;
  std::uint64_t calls_at_start;
  std::atomic<std::uint64_t> calls_at_shutdown;
};

// Shuts the manager down after managed code has made some hundred memory calls.
DWORD WINAPI ShutDownInTheMiddle(void* parameter) {
  auto& watch = *static_cast<Watch*>(parameter);
  while (watch.bridge->CallCount() < watch.calls_at_start + 300) ::Sleep(1);
  watch.calls_at_shutdown = watch.bridge->CallCount();
  watch.manager->Shutdown();
  return 0;
}

// Lists every .dll of the folder, including those that are not assemblies: the runtime takes those that it can use.
std::string TrustedAssemblies(const std::string& folder) {
  std::string list;
  WIN32_FIND_DATAA found{};
  const HANDLE search = ::FindFirstFileA((folder + "\\*.dll").c_str(), &found);
  if (search == INVALID_HANDLE_VALUE) return list;
  do {
    list += folder + "\\" + found.cFileName + ";";
  } while (::FindNextFileA(search, &found));
  ::FindClose(search);
  return list;
}

template <typename Function>
Function FunctionOf(HMODULE module, const char* name) {
  return reinterpret_cast<Function>(reinterpret_cast<void*>(::GetProcAddress(module, name)));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 101;
  const std::string folder = argv[1];
  const std::string app = argv[2];
  const HMODULE coreclr = ::LoadLibraryExA((folder + "\\coreclr.dll").c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (coreclr == nullptr) return 102;
  auto manager = CreateMemoryManager({.limit = 512_MiB});
  if (!manager) return 103;
  auto bridge = AttachToCoreClr(coreclr, *manager);
  if (!bridge) return 104;

  const std::string assemblies = TrustedAssemblies(folder);
  const std::string app_folder = app.substr(0, app.find_last_of("\\/"));
  const char* keys[] = {"TRUSTED_PLATFORM_ASSEMBLIES", "APP_PATHS", "System.GC.RegionRange"};
  const char* values[] = {assemblies.c_str(), app_folder.c_str(), "68719476736"};
  void* host = nullptr;
  unsigned int domain = 0;
  const auto initialize = FunctionOf<Initialize>(coreclr, "coreclr_initialize");
  const auto execute = FunctionOf<Execute>(coreclr, "coreclr_execute_assembly");
  if (initialize(app.c_str(), "test", 3, keys, values, &host, &domain) < 0) return 105;
  if (!bridge->NoteRuntimeStarted()) return 106;

  Watch watch{&*manager, &*bridge, bridge->CallCount(), 0};
  ::CloseHandle(::CreateThread(nullptr, 0, &ShutDownInTheMiddle, &watch, 0, nullptr));
  unsigned int exit_code = 0;
  if (execute(host, domain, 0, nullptr, app.c_str(), &exit_code) < 0) return 106;
  const std::uint64_t calls = bridge->CallCount();
  std::printf("%llu calls before the start, %llu before Shutdown, %llu after it\n",
              static_cast<unsigned long long>(watch.calls_at_start),
              static_cast<unsigned long long>(watch.calls_at_shutdown.load()),
              static_cast<unsigned long long>(calls - watch.calls_at_shutdown));
  if (watch.calls_at_shutdown == 0) return 107;          // the app ended before the shutdown
  if (calls < watch.calls_at_shutdown + 50) return 108;  // the app made no memory calls after it
  return static_cast<int>(exit_code);
}
