#include "tool/clrmem.h"

#include "tool/agent/run_with_agent.h"
#include "tool/command_line/options.h"
#include "tool/hosting/hosts.h"
#include "tool/hosting/net_framework.h"
#include "tool/hosting/scripted_client.h"
#include "tool/run/system_info.h"
#include "tool/text/argument_text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>
#include <variant>

namespace clr_host_memory::tool {
namespace {

// The command line of the clrmem that runs the app, for CommandLineOfRestart.
constexpr wchar_t kRestartVariable[] = L"CLRMEM_RESTART";

std::uint32_t HostProgram(Session& session, const Program& program, const RunOptions& options) {
  if (program.is_net_framework) return RunNetFramework(session, program, options);
  const std::filesystem::path app_folder = program.file.parent_path();
  if (options.runtime == "auto" && (program.is_self_contained || !program.has_runtime_config)) {
    if (program.is_self_contained) {
      if (const auto own = AsSelfContainedApp(app_folder)) return RunWithHostFxr(session, *own, program, options);
    }
    if (IsRuntimeFolder(app_folder)) return RunInRuntimeFolder(session, app_folder, program, options);
  }
  const ModernRuntime runtime = ChooseModernRuntime(options.runtime);
  if (runtime.folder) return RunInRuntimeFolder(session, *runtime.folder, program, options);
  if (!program.has_runtime_config) {
    throw ToolError(ToUtf8(program.file) + " needs " + ToUtf8(RuntimeConfigOf(program.file).filename()) + " beside it",
                    "copy it there from the build, or name a runtime folder with --runtime");
  }
  return RunWithHostFxr(session, *runtime.root, program, options);
}

// Returns what to start for a program that clrmem does not host: its own .exe, or else dotnet.exe.
StartedProgram StarterOf(const Program& program, const RunOptions& options) {
  if (program.is_native) return {program.file, {}};
  std::filesystem::path own = program.file;
  own.replace_extension(".exe");
  std::error_code ignored;
  if (own != program.file && std::filesystem::is_regular_file(own, ignored)) return {own, {}};
  if (program.is_net_framework) {
    throw ToolError("--agent is for modern .NET, and " + ToUtf8(program.file) + " is for the .NET Framework",
                    "remove --agent");
  }
  if (const ModernRuntime runtime = ChooseModernRuntime(options.runtime); runtime.root) {
    const std::filesystem::path dotnet = runtime.root->path / L"dotnet.exe";
    if (std::filesystem::is_regular_file(dotnet, ignored)) return {dotnet, {ToUtf8(program.file)}};
  }
  throw ToolError("--agent starts " + ToUtf8(own.filename()) + " or dotnet.exe, and neither is there",
                  "publish the program with its .exe, or remove --agent");
}

int Execute(const RunOptions& options, Streams streams) {
  const Program program = FindProgram(options.app);
  if (program.is_native || options.agent) {
    return static_cast<int>(RunWithAgent(StarterOf(program, options), options));
  }
  RunOptions again = options;
  again.command_line.back() = ToUtf8(program.file);
  SetEnvironmentVariableW(kRestartVariable, JoinArguments(again.command_line).c_str());
  Session& session = Session::Begin(options, streams);
  session.SetProgram(program.file);
  try {
    const std::uint32_t exit_code = HostProgram(session, program, options);
    ReportReturn(exit_code);
    return static_cast<int>(exit_code);
  } catch (...) {
    session.Abandon();
    throw;
  }
}

int Execute(const AttachOptions& options, Streams streams) {
  AttachAgent(options, streams);
  return 0;
}

int Execute(const InfoOptions& options, Streams streams) {
  std::string text = "Modern .NET\n";
  std::vector<PlaceLookedAt> places;
  if (options.runtime != "auto") places.push_back({std::filesystem::path(ToWide(options.runtime)), "--runtime"});
  const std::vector<PlaceLookedAt> usual = DotnetRootCandidates();
  places.insert(places.end(), usual.begin(), usual.end());
  for (const PlaceLookedAt& place : places) {
    const std::optional<DotnetRoot> root = AsDotnetRoot(place);
    text += "  " + ToUtf8(place.path) + " (" + place.source + ")";
    if (!root) {
      text += IsRuntimeFolder(place.path) ? ": a runtime folder, " + VersionOfRuntimeFile(place.path / "coreclr.dll")
                                          : ": not a dotnet root";
      text += "\n";
      continue;
    }
    text += ": hostfxr " + ToUtf8(root->hostfxr.parent_path().filename()) + "\n";
    for (const InstalledRuntime& runtime : InstalledRuntimes(*root)) {
      text += "    " + runtime.name + " " + runtime.version + "\n";
    }
  }
  if (places.empty()) text += "  not present: DOTNET_ROOT is not set, and no location is registered\n";

  text += ".NET Framework\n";
  const std::vector<NetFrameworkVersion> frameworks = InstalledNetFrameworks();
  for (const NetFrameworkVersion& framework : frameworks) {
    text += "  " + framework.version + " in " + framework.folder + "\n";
  }
  const std::string release = NetFramework4Release();
  if (!frameworks.empty() && !release.empty()) text += "  v4.0 is release " + release + "\n";
  if (frameworks.empty()) text += "  not present\n";

  text += "This machine\n" + FormatSystemInfo(ReadSystemInfo());
  streams.out.Write(text);
  return 0;
}

int Execute(const ScriptedOptions& options, Streams streams) {
  std::optional<SummaryFile> file;
  if (options.summary) file.emplace(std::filesystem::path(ToWide(*options.summary)));
  MemoryManagerOptions manager_options;
  if (options.limit) manager_options.limit = *options.limit;
  auto manager = CreateMemoryManager(manager_options);
  if (!manager) {
    throw ToolError("the memory manager cannot be created: " + std::string(manager.error().reason()), "change --limit");
  }

  const ULONGLONG started_at = GetTickCount64();
  streams.out.Write("A scripted client, not a CLR, makes the calls of a desktop CLR to the memory manager:\n");
  const ScriptedRun run = PlayDesktopClr(*manager->get());
  streams.out.Write(FormatSteps(run));

  Summary summary;
  summary.runtime_name = "scripted client, no CLR";
  summary.ended_by = run.AllPassed() ? "every step as documented" : "a step went wrong";
  summary.exit_code = run.AllPassed() ? 0 : 1;
  summary.elapsed_milliseconds = GetTickCount64() - started_at;
  summary.manager = FiguresOf(*manager);
  streams.error.Write(FormatTable(summary));
  if (file) file->Commit(ToJson(summary).dump(2) + "\n");
  return static_cast<int>(*summary.exit_code);
}

int Execute(const PrintText& print, Streams streams) {
  streams.out.Write(print.text);
  return 0;
}

// Runs the app again that is running under this clrmem's parent: an app that starts Environment.ProcessPath, to start
// itself, starts clrmem. arguments: what it gave, with or without a program's file first, as `dotnet` takes it. Returns
// the command line to execute; nothing if this is no restart.
std::optional<std::vector<std::string>> CommandLineOfRestart(const std::vector<std::string>& arguments) {
  constexpr std::array<std::string_view, 7> kCommands{"run", "attach", "info", "scripted", "--help", "-h", "--version"};
  std::vector<std::string> command_line = SplitArguments(EnvironmentVariable(kRestartVariable));
  const std::string first = arguments.empty() ? std::string() : arguments.front();
  if (command_line.empty() || std::find(kCommands.begin(), kCommands.end(), first) != kCommands.end()) return {};
  std::error_code ignored;
  const std::filesystem::path file(ToWide(first));
  const bool names_program = _wcsicmp(file.extension().c_str(), L".dll") == 0 && std::filesystem::exists(file, ignored);
  if (names_program) command_line.pop_back();
  command_line.insert(command_line.end(), arguments.begin(), arguments.end());
  return command_line;
}

}  // namespace

int RunClrMem(const std::vector<std::string>& arguments, Streams streams) {
  try {
    const auto restart = CommandLineOfRestart(arguments);
    Options options = ParseOptions(restart.value_or(arguments));
    if (auto* run = std::get_if<RunOptions>(&options); run != nullptr) run->is_child = restart.has_value();
    return std::visit([&](const auto& chosen) { return Execute(chosen, streams); }, options);
  } catch (const ToolError& error) {
    streams.error.Write("clrmem: " + AsOneLine(error.what()) + "\n");
  } catch (const std::bad_alloc&) {
    streams.error.Write("clrmem: clrmem itself ran out of memory; close other programs and try again\n");
  }
  return kExitUsage;
}

}  // namespace clr_host_memory::tool
