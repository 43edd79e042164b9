// A host that starts a runtime folder by coreclr_initialize: coreclr_host FOLDER LIMIT_MIB APP.DLL [ARGUMENT...]. The
// exit code is the program's; 101: the library refused.
#include <clr_host_memory/core_clr_bridge.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

using namespace clr_host_memory;

using coreclr_initialize_ptr = int(__stdcall*)(const char* exe_path, const char* app_domain_name, int property_count,
                                               const char** property_keys, const char** property_values,
                                               void** host_handle, unsigned int* domain_id);
using coreclr_execute_assembly_ptr = int(__stdcall*)(void* host_handle, unsigned int domain_id, int argc,
                                                     const char** argv, const char* assembly_path,
                                                     unsigned int* exit_code);

static int Fail(const Error& error) {
  std::fprintf(stderr, "0x%08x: %s\n", static_cast<unsigned>(error.code()), error.reason());
  return 101;
}

template <typename Function>
static Function Find(HMODULE module, const char* name) {
  return reinterpret_cast<Function>(reinterpret_cast<void*>(GetProcAddress(module, name)));
}

int main(int argc, char** argv) {
  if (argc < 4) return 1;
  const std::filesystem::path folder = argv[1];
  const std::uint64_t limit = std::strtoull(argv[2], nullptr, 10) * 1_MiB;
  std::string assemblies;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".dll") assemblies += entry.path().string() + ";";
  }
  const char* keys[] = {"TRUSTED_PLATFORM_ASSEMBLIES"};
  const char* values[] = {assemblies.c_str()};

  HMODULE coreclr = LoadLibraryExW((folder / "coreclr.dll").c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  const auto initialize = Find<coreclr_initialize_ptr>(coreclr, "coreclr_initialize");
  const auto execute = Find<coreclr_execute_assembly_ptr>(coreclr, "coreclr_execute_assembly");
  void* host = nullptr;
  unsigned int domain = 0;
  unsigned int exit_code = 0;

  auto manager = CreateMemoryManager({.limit = limit});
  if (!manager) return Fail(manager.error());
  auto bridge = AttachToCoreClr(coreclr, *manager);
  if (!bridge) return Fail(bridge.error());
  auto properties = bridge->StartProperties(1, keys, values);

  if (initialize(argv[3], "host", properties.count(), properties.keys(), properties.values(), &host, &domain) < 0) {
    return 1;
  }
  if (auto started = bridge->FinishStart(host, domain); !started) return Fail(started.error());
  if (execute(host, domain, argc - 4, const_cast<const char**>(argv) + 4, argv[3], &exit_code) < 0) return 1;
  std::fprintf(stderr, "peak %llu\n", static_cast<unsigned long long>(manager->Statistics().peak_charged));
  return static_cast<int>(exit_code);
}
