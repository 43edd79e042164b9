// A host of a modern .NET, for bridge_host_test.cpp:
//   clrhm_bridge_host_child WAY FOLDER PROGRAM [ARGUMENT...]
// FOLDER contains coreclr.dll. The exit code is the program's. It is 101 if the library refused, and 102 if the runtime
// did not start. The manager's figures go to standard error, one per line.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace clr_host_memory;

namespace {

namespace fs = std::filesystem;

using Initialize = int(__stdcall*)(const char* exe_path, const char* app_domain_name, int property_count,
                                   const char** property_keys, const char** property_values, void** host_handle,
                                   unsigned int* domain_id);
using Execute = int(__stdcall*)(void* host_handle, unsigned int domain_id, int argc, const char** argv,
                                const char* assembly_path, unsigned int* exit_code);

constexpr int kRefused = 101;
constexpr int kNotStarted = 102;

int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return kRefused;
}

std::string Utf8(const fs::path& path) {
  const auto text = path.u8string();
  return {text.begin(), text.end()};
}

struct Program {
  fs::path folder;
  fs::path file;
  std::vector<std::string> arguments;
};

// A loaded coreclr.dll and the properties for its start.
class Runtime {
 public:
  explicit Runtime(const Program& program)
      : module(LoadLibraryExW((program.folder / "coreclr.dll").c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH)),
        exe_path(Utf8(program.file)) {
    std::string assemblies;
    for (const auto& entry : fs::directory_iterator(program.folder)) {
      if (entry.path().extension() == ".dll") assemblies += Utf8(entry.path()) + ";";
    }
    const std::string app = Utf8(program.file.parent_path()) + "\\";
    texts_ = {"TRUSTED_PLATFORM_ASSEMBLIES", assemblies, "APP_PATHS", app, "APP_CONTEXT_BASE_DIRECTORY", app};
    for (std::size_t index = 0; index < texts_.size(); index += 2) {
      keys.push_back(texts_[index].c_str());
      values.push_back(texts_[index + 1].c_str());
    }
  }
  template <typename Function>
  [[nodiscard]] Function Export(const char* name) const {
    return reinterpret_cast<Function>(reinterpret_cast<void*>(GetProcAddress(module, name)));
  }
  int Run(const Program& program) {
    std::vector<const char*> arguments;
    for (const std::string& argument : program.arguments) arguments.push_back(argument.c_str());
    unsigned int exit_code = 0;
    const int executed = Export<Execute>("coreclr_execute_assembly")(
        host_handle, domain_id, static_cast<int>(arguments.size()), arguments.data(), exe_path.c_str(), &exit_code);
    if (executed < 0) return kNotStarted;
    return static_cast<int>(exit_code);
  }

  HMODULE module;
  std::string exe_path;
  std::vector<const char*> keys;
  std::vector<const char*> values;
  void* host_handle = nullptr;
  unsigned int domain_id = 0;

 private:
  std::vector<std::string> texts_;
};

// A runtime under a manager.
struct Hosted {
  MemoryManager manager;
  CoreClrBridge bridge;
  int result = 0;
};

// Starts the runtime under a manager. Returns 0 on success; *hosted then owns the objects. Otherwise returns an exit
// code.
int HostAsDocumented(std::uint64_t limit, Runtime* runtime, Hosted* hosted) {
  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = AttachToCoreClr(runtime->module, *manager);
  if (!bridge) return Fail(bridge.error());
  auto properties =
      bridge->StartProperties(static_cast<int>(runtime->keys.size()), runtime->keys.data(), runtime->values.data());
  const int result = runtime->Export<Initialize>("coreclr_initialize")(
      runtime->exe_path.c_str(), "host", properties.count(), properties.keys(), properties.values(),
      &runtime->host_handle, &runtime->domain_id);
  if (result >= 0) {
    if (auto started = bridge->FinishStart(runtime->host_handle, runtime->domain_id); !started) {
      return Fail(started.error());
    }
  }
  *hosted = {*std::move(manager), *std::move(bridge), result};
  if (result < 0) {
    std::fprintf(stderr, "coreclr_initialize 0x%08x\n", static_cast<unsigned>(result));
    return kNotStarted;
  }
  return 0;
}

// Starts the runtime without a GC limit, and does not report the start: the bridge has to notice it.
int HostSilently(std::uint64_t limit, Runtime* runtime, Hosted* hosted) {
  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = AttachToCoreClr(runtime->module, *manager);
  if (!bridge) return Fail(bridge.error());
  auto properties = bridge->StartProperties(static_cast<int>(runtime->keys.size()), runtime->keys.data(),
                                            runtime->values.data(), /*gc_hard_limit=*/0);
  const int result = runtime->Export<Initialize>("coreclr_initialize")(
      runtime->exe_path.c_str(), "host", properties.count(), properties.keys(), properties.values(),
      &runtime->host_handle, &runtime->domain_id);
  *hosted = {*std::move(manager), *std::move(bridge), result};
  return result < 0 ? kNotStarted : 0;
}

void PrintRefusals(IClrHostMemoryControl* control) {
  ClrHostMemoryStatistics statistics{};
  statistics.size = sizeof(statistics);
  control->GetStatistics(&statistics);
  std::fprintf(stderr, "refused task %llu process %llu\ncharged %llu peak %llu\n",
               static_cast<unsigned long long>(statistics.limit_refusals[eTaskCritical]),
               static_cast<unsigned long long>(statistics.limit_refusals[eProcessCritical]),
               static_cast<unsigned long long>(statistics.charged),
               static_cast<unsigned long long>(statistics.peak_charged));
}

using HostFunction = int(std::uint64_t limit, Runtime* runtime, Hosted* hosted);

// Starts the runtime under `limit` and runs the program under `later_limit`.
int RunUnder(HostFunction* host, std::uint64_t limit, std::uint64_t later_limit, const Program& program) {
  Runtime runtime(program);
  Hosted hosted;
  if (const int failed = host(limit, &runtime, &hosted); failed != 0) {
    if (hosted.manager.control() != nullptr) PrintRefusals(hosted.manager.control());
    return failed;
  }
  if (later_limit != limit) hosted.manager.SetLimit(later_limit).value();
  const int exit_code = runtime.Run(program);
  PrintRefusals(hosted.manager.control());
  return exit_code;
}

void PrintBound(const char* moment, const MemoryManager& manager) {
  const ClrHostMemoryStatistics statistics = manager.Statistics();
  std::fprintf(stderr, "%s: charged %llu bound %llu over %llu\n", moment,
               static_cast<unsigned long long>(statistics.charged), static_cast<unsigned long long>(statistics.bound),
               static_cast<unsigned long long>(statistics.over_bound));
}

// Holds memory for the host in addition to the runtime's. Lowers the limit below what is in use while the program runs.
// Frees the host's memory a second later.
int RunLowered(const Program& program) {
  Runtime runtime(program);
  Hosted hosted;
  if (const int failed = HostAsDocumented(128_MiB, &runtime, &hosted); failed != 0) return failed;
  IHostMemoryManager* const manager = hosted.manager.get();
  void* held = nullptr;
  if (manager->VirtualAlloc(nullptr, 48_MiB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, eTaskCritical, &held) != S_OK) {
    return kRefused;
  }
  int exit_code = kNotStarted;
  std::thread running([&] { exit_code = runtime.Run(program); });
  Sleep(700);
  PrintBound("before", hosted.manager);
  hosted.manager.SetLimit(32_MiB).value();
  PrintBound("lowered", hosted.manager);
  Sleep(1000);
  PrintBound("later", hosted.manager);
  manager->VirtualFree(held, 0, MEM_RELEASE);
  Sleep(500);  // the bound goes down in a round of the watching thread
  PrintBound("freed", hosted.manager);
  running.join();
  PrintBound("ended", hosted.manager);
  return exit_code;
}

// Releases the bridge and the manager after the runtime has started; the bridge on another thread.
int RunReleased(const Program& program) {
  Runtime runtime(program);
  ComReference<IClrHostMemoryControl> control;
  {
    Hosted hosted;
    if (const int failed = HostSilently(64_MiB, &runtime, &hosted); failed != 0) return failed;
    hosted.manager.control()->AddRef();
    control = ComReference<IClrHostMemoryControl>(hosted.manager.control());
    std::thread([bridge = std::move(hosted.bridge)]() mutable { bridge = CoreClrBridge(); }).join();
  }
  const int exit_code = runtime.Run(program);
  PrintRefusals(control.get());
  return exit_code;
}

// Starts the runtime without the library. Runs the program, and attaches on another thread after so many milliseconds.
// The program runs in any case.
int RunLate(const Program& program, DWORD after) {
  Runtime runtime(program);
  const int result = runtime.Export<Initialize>("coreclr_initialize")(
      runtime.exe_path.c_str(), "host", static_cast<int>(runtime.keys.size()), runtime.keys.data(),
      runtime.values.data(), &runtime.host_handle, &runtime.domain_id);
  if (result < 0) return kNotStarted;
  auto manager = CreateMemoryManager({.limit = 64_MiB});
  if (!manager) return Fail(manager.error());
  auto refused = AttachToCoreClr(runtime.module, *manager);
  std::fprintf(stderr, "attached 0x%08x %s\n", static_cast<unsigned>(refused.error().code()), refused.error().reason());
  std::optional<CoreClrBridge> bridge;
  std::thread attaching([&] {
    Sleep(after);
    if (auto late = AttachToRunningCoreClr(*manager); late) {
      bridge.emplace(*std::move(late));
      if (auto verified = bridge->VerifyCallsArrive(); !verified) Fail(verified.error());
    } else {
      Fail(late.error());
    }
  });
  if (after == 0) attaching.join();
  const int exit_code = runtime.Run(program);
  if (attaching.joinable()) attaching.join();
  PrintRefusals(manager->control());
  const ClrHostMemoryAudit audit = manager->Audit();
  std::fprintf(stderr, "mismatch %llu\n", static_cast<unsigned long long>(audit.mismatch));
  return exit_code;
}

// Detaches from the started runtime and tries to attach again.
int RunDetached(const Program& program) {
  Runtime runtime(program);
  Hosted hosted;
  if (const int failed = HostAsDocumented(64_MiB, &runtime, &hosted); failed != 0) return failed;
  const HANDLE told = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  const auto listening = hosted.manager.OnEvent([told](const ClrHostMemoryEvent& event) {
    if (event.kind == kClrHostMemoryEventDetached) SetEvent(told);
  });
  if (!listening) return Fail(listening.error());
  hosted.bridge.Detach();
  const bool heard = WaitForSingleObject(told, 10000) == WAIT_OBJECT_0;
  auto again = AttachToCoreClr(runtime.module, hosted.manager);
  std::fprintf(stderr, "told %d\nattached 0x%08x %s\n", heard ? 1 : 0, static_cast<unsigned>(again.error().code()),
               again.error().reason());
  return runtime.Run(program);
}

// Detaches from the started runtime and releases bridge and manager. Managed code still has the manager's address.
int RunAbandoned(const Program& program) {
  Runtime runtime(program);
  {
    Hosted hosted;
    if (const int failed = HostSilently(64_MiB, &runtime, &hosted); failed != 0) return failed;
    hosted.bridge.Detach();
  }
  return runtime.Run(program);
}

// Static owners: they are destroyed when the process ends, in either order.
std::optional<CoreClrBridge> static_bridge;
std::optional<MemoryManager> static_manager;

int RunStatic(const Program& program) {
  static Runtime runtime(program);
  Hosted hosted;
  if (const int failed = HostAsDocumented(64_MiB, &runtime, &hosted); failed != 0) return failed;
  static_bridge.emplace(std::move(hosted.bridge));
  static_manager.emplace(std::move(hosted.manager));
  return runtime.Run(program);
}

// Makes static owners in a DLL, whose destructors run after the OS has ended the other threads. The runtime is not
// started.
int OwnInDll(const Program& program) {
  const Runtime runtime(program);
  HMODULE owner = LoadLibraryW(L"static_owner.dll");
  if (owner == nullptr) return Fail({HRESULT_FROM_WIN32(GetLastError()), "build clrhm_static_owner"});
  const auto own = reinterpret_cast<HRESULT (*)(HMODULE)>(reinterpret_cast<void*>(GetProcAddress(owner, "OwnBridge")));
  return own(runtime.module) == S_OK ? 7 : kRefused;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 1;
  const std::string way = argv[1];
  const Program program{argv[2], argv[3], {argv + 4, argv + argc}};
  if (way == "limit-8") return RunUnder(&HostAsDocumented, 8_MiB, 8_MiB, program);
  if (way == "silent-64") return RunUnder(&HostSilently, 64_MiB, 64_MiB, program);
  if (way == "raised") return RunUnder(&HostAsDocumented, 64_MiB, 256_MiB, program);
  if (way == "lowered") return RunLowered(program);
  if (way == "released") return RunReleased(program);
  if (way == "late") return RunLate(program, 0);
  if (way == "late-20") return RunLate(program, 20);
  if (way == "detached") return RunDetached(program);
  if (way == "abandoned") return RunAbandoned(program);
  if (way == "limit-128") return RunUnder(&HostAsDocumented, 128_MiB, 128_MiB, program);
  if (way == "static") return RunStatic(program);
  if (way == "static-in-dll") return OwnInDll(program);
  return 1;
}
