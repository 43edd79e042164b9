// plain_host FOLDER APP [ARGUMENTS...]: runs APP on the runtime in FOLDER by coreclr_initialize, as hosts do that know
// nothing of a memory manager. For clrmem_agent_test.cpp.
#include <windows.h>

#include <filesystem>
#include <string>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::filesystem::path folder = argv[1];
  std::string assemblies;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".dll") assemblies += file.path().string() + ";";
  }
  HMODULE coreclr = LoadLibraryExW((folder / "coreclr.dll").c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (coreclr == nullptr) return 3;
  const auto function = [coreclr](const char* name) { return reinterpret_cast<void*>(GetProcAddress(coreclr, name)); };
  const auto initialize =
      reinterpret_cast<int(__stdcall*)(const char*, const char*, int, const char**, const char**, void**, unsigned*)>(
          function("coreclr_initialize"));
  const auto execute = reinterpret_cast<int(__stdcall*)(void*, unsigned, int, const char**, const char*, unsigned*)>(
      function("coreclr_execute_assembly"));
  const char* keys[] = {"TRUSTED_PLATFORM_ASSEMBLIES"};
  const char* values[] = {assemblies.c_str()};
  void* host = nullptr;
  unsigned domain = 0;
  if (initialize(argv[2], "plain", 1, keys, values, &host, &domain) < 0) return 4;
  unsigned exit_code = 0;
  if (execute(host, domain, argc - 3, const_cast<const char**>(argv) + 3, argv[2], &exit_code) < 0) return 5;
  return static_cast<int>(exit_code);
}
