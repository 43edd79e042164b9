#include "tool/clrmem.h"

#include "tool/command_line/options.h"
#include "tool/hosting/hosts.h"
#include "tool/hosting/net_framework.h"
#include "tool/hosting/scripted_client.h"
#include "tool/run/system_info.h"

#include <nlohmann/json.hpp>

#include <system_error>
#include <variant>

namespace clr_host_memory::tool {
namespace {

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

int Execute(RunOptions options, Streams streams) {
  const Program program = FindProgram(options.app);
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

}  // namespace

int RunClrMem(const std::vector<std::string>& arguments, Streams streams) {
  try {
    return std::visit([&](const auto& options) { return Execute(options, streams); }, ParseOptions(arguments));
  } catch (const ToolError& error) {
    streams.error.Write("clrmem: " + AsOneLine(error.what()) + "\n");
  } catch (const std::bad_alloc&) {
    streams.error.Write("clrmem: clrmem itself ran out of memory; close other programs and try again\n");
  }
  return kExitUsage;
}

}  // namespace clr_host_memory::tool
