#include "tool/hosting/hosts.h"

#include "tool/hosting/hostfxr_abi.h"
#include "tool/text/size_text.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

// Reads configProperties of runtimeconfig.json (System.GC.Server and so on). The values become text, the form that
// the runtime accepts.
std::map<std::string, std::string> ConfigProperties(const Program& program) {
  std::map<std::string, std::string> properties;
  if (!program.has_runtime_config) return properties;
  const fs::path file = RuntimeConfigOf(program.file);
  std::ifstream stream(file);
  const auto json = nlohmann::json::parse(stream, nullptr, false, true);
  if (json.is_discarded() || !json.is_object()) {
    throw ToolError(ToUtf8(file) + " is not valid JSON", "build the program again, or delete the file");
  }
  const auto options = json.find("runtimeOptions");
  if (options == json.end() || !options->is_object()) return properties;
  const auto configured = options->find("configProperties");
  if (configured == options->end() || !configured->is_object()) return properties;
  for (const auto& [name, value] : configured->items()) {
    properties[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return properties;
}

}  // namespace

std::string TrustedAssemblies(const fs::path& folder, const fs::path& app_folder) {
  std::string list;
  std::error_code error;
  const bool same = fs::equivalent(folder, app_folder, error);
  error.clear();
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (_wcsicmp(it->path().extension().c_str(), L".dll") != 0) continue;
    const fs::path own = app_folder / it->path().filename();
    std::error_code ignored;
    const bool newer = !same && fs::is_regular_file(own, ignored) && FileVersionOf(own) > FileVersionOf(it->path());
    list += ToUtf8(newer ? own : it->path()) + ";";
  }
  return list;
}

HMODULE LoadRuntimeFile(const fs::path& file) {
  HMODULE module = LoadLibraryExW(file.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (module != nullptr) return module;
  const DWORD error = GetLastError();
  throw ToolError("the runtime " + ToUtf8(file) + " cannot be loaded, " + DescribeWin32Error(error),
                  error == ERROR_BAD_EXE_FORMAT ? "name a runtime for this processor with --runtime"
                                                : "install it again, or name another one with --runtime");
}

ToolError RuntimeDidNotStart(const Session& session, const RunOptions& options, const std::string& what) {
  std::uint64_t refused = 0;
  std::uint64_t outside = 0;
  if (session.manager() != nullptr) {
    const ClrHostMemoryStatistics statistics = session.manager()->Statistics();
    for (std::size_t level = 0; level < kClrHostMemoryLevelCount; ++level) {
      refused += statistics.limit_refusals[level] + statistics.refusals[level][kClrHostMemoryTimeout];
    }
    if (options.policy.count_whole_process) outside = statistics.outside;
  }
  if (refused == 0) {
    const std::string gc_limit =
        session.gc_limit_at_start() == 0
            ? ""
            : ", whose GC has a limit of " + FormatSize(session.gc_limit_at_start()) + " and refused nothing";
    return ToolError("the runtime" + gc_limit + " did not start: " + what,
                     session.manager() == nullptr
                         ? "mend what it says, install the runtime again, or name another one with --runtime"
                         : "mend what it says; run APP with --no-bridge to see whether it starts without the manager");
  }
  return ToolError(
      "the runtime did not start within the limit of " + FormatSize(options.limit.value_or(0)) +
          (outside == 0 ? "" : ", of which " + FormatSize(outside) + " are in use outside of the manager") +
          ", because the limit refused " + FormatCount(refused) + (refused == 1 ? " request: " : " requests: ") + what,
      outside == 0 ? "give a higher --limit" : "give a higher --limit, or remove --count-all");
}

std::uint32_t RunInRuntimeFolder(Session& session, const fs::path& folder, const Program& program,
                                 const RunOptions& options) {
  const fs::path app_folder = program.file.parent_path();
  std::map<std::string, std::string> properties = ConfigProperties(program);
  properties["TRUSTED_PLATFORM_ASSEMBLIES"] = TrustedAssemblies(folder, app_folder);
  properties["APP_PATHS"] = ToUtf8(app_folder) + "\\";
  properties["APP_CONTEXT_BASE_DIRECTORY"] = ToUtf8(app_folder) + "\\";
  properties["NATIVE_DLL_SEARCH_DIRECTORIES"] = ToUtf8(app_folder) + "\\;" + ToUtf8(folder) + "\\;";
  // As hostpolicy does: the environment's hooks run first.
  if (const std::string hooks = ToUtf8(EnvironmentVariable(L"DOTNET_STARTUP_HOOKS")); !hooks.empty()) {
    std::string& property = properties["STARTUP_HOOKS"];
    property = hooks + (property.empty() ? "" : ";" + property);
  }
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : properties) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }

  const fs::path file = folder / "coreclr.dll";
  HMODULE coreclr = LoadRuntimeFile(file);
  const auto initialize = FunctionOf<CoreClrInitialize>(coreclr, "coreclr_initialize");
  const auto execute = FunctionOf<CoreClrExecuteAssembly>(coreclr, "coreclr_execute_assembly");
  const auto shut_down = FunctionOf<CoreClrShutdown2>(coreclr, "coreclr_shutdown_2");
  if (initialize == nullptr || execute == nullptr || shut_down == nullptr) {
    throw ToolError(ToUtf8(file) + " does not export the hosting functions of coreclr",
                    "name another runtime with --runtime");
  }
  session.SetRuntime(".NET", VersionOfRuntimeFile(file), file);
  session.AttachToCoreClr(coreclr);

  void* host = nullptr;
  unsigned int domain = 0;
  const std::string app = ToUtf8(program.file);
  const CoreClrBridge* const bridge = session.bridge();
  StartProperties start = session.MakeStartProperties(static_cast<int>(keys.size()), keys.data(), values.data());
  const int initialized =
      initialize(app.c_str(), "clrmem", start.count(), start.keys(), start.values(), &host, &domain);
  if (initialized < 0) {
    throw RuntimeDidNotStart(session, options,
                             "coreclr_initialize failed with " + HexCode(static_cast<std::uint32_t>(initialized)));
  }
  if (bridge != nullptr) {
    const auto verified = bridge->VerifyCallsArrive();
    if (!verified) throw ToolError(verified.error().reason(), "or run APP with --no-bridge");
  }

  if (FAILED(session.NoteManagedCodeBegins())) throw *session.NoRoomError();
  session.StartCompanion(host, domain);
  std::vector<const char*> arguments;
  for (const std::string& argument : options.arguments) arguments.push_back(argument.c_str());
  unsigned int exit_code = 0;
  const int executed =
      execute(host, domain, static_cast<int>(arguments.size()), arguments.data(), app.c_str(), &exit_code);
  if (executed < 0) {
    throw ToolError("the runtime cannot run " + app + ", " + HexCode(static_cast<std::uint32_t>(executed)),
                    "check that --runtime has the version the program was built for");
  }
  // When Main returns void, the exit code is the one set by Environment.ExitCode.
  int latched = 0;
  if (shut_down(host, domain, &latched) >= 0) exit_code = static_cast<unsigned int>(latched);
  return exit_code;
}

}  // namespace clr_host_memory::tool
