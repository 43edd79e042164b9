#include "tool/hosting/hosts.h"

#include "tool/hosting/hostfxr_abi.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

// Returns the collected error messages. They are global because hostfxr's error writer has no context. Errors are
// written on the hosting thread only.
std::wstring& HostMessages() {
  static auto* messages = new std::wstring();
  return *messages;
}

void __cdecl CollectHostMessage(const wchar_t* message) { HostMessages().append(message).append(L"\n"); }

// Returns hostfxr's message as a part of clrmem's error line, without the links at its end.
std::string HostMessage(std::int32_t result) {
  const std::wstring& messages = HostMessages();
  const std::size_t links = std::min(messages.find(L"Learn more"), messages.find(L"To install missing framework"));
  const std::string text = AsOneLine(ToUtf8(std::wstring_view(messages).substr(0, links)));
  return text.empty() ? "hostfxr returned " + HexCode(static_cast<std::uint32_t>(result)) : text;
}

struct HostFxr {
  HostFxrInitializeForDotnetCommandLine initialize;
  HostFxrGetRuntimePropertyValue property;
  HostFxrRunApp run;
  HostFxrClose close;
  HostFxrSetErrorWriter set_error_writer;
};

HostFxr LoadHostFxr(const DotnetRoot& root) {
  HMODULE module = LoadRuntimeFile(root.hostfxr);
  const HostFxr fxr{
      FunctionOf<HostFxrInitializeForDotnetCommandLine>(module, "hostfxr_initialize_for_dotnet_command_line"),
      FunctionOf<HostFxrGetRuntimePropertyValue>(module, "hostfxr_get_runtime_property_value"),
      FunctionOf<HostFxrRunApp>(module, "hostfxr_run_app"),
      FunctionOf<HostFxrClose>(module, "hostfxr_close"),
      FunctionOf<HostFxrSetErrorWriter>(module, "hostfxr_set_error_writer"),
  };
  if (fxr.initialize == nullptr || fxr.property == nullptr || fxr.run == nullptr || fxr.close == nullptr ||
      fxr.set_error_writer == nullptr) {
    throw ToolError(ToUtf8(root.hostfxr) + " is older than .NET 5", "name a newer dotnet root with --runtime");
  }
  return fxr;
}

std::vector<std::wstring> SplitPaths(std::wstring_view list) {
  std::vector<std::wstring> paths;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(L';', at), list.size());
    if (end > at) paths.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  return paths;
}

// Returns the coreclr.dll that hostpolicy will start. It is beside System.Private.CoreLib.dll, or else in the first
// native library folder that has one.
fs::path RuntimeFile(const HostFxr& fxr, HostFxrHandle context) {
  const auto paths_of = [&](const wchar_t* name) {
    const wchar_t* value = nullptr;
    return fxr.property(context, name, &value) == 0 ? SplitPaths(value) : std::vector<std::wstring>();
  };
  std::vector<fs::path> folders;
  for (const fs::path assembly : paths_of(L"TRUSTED_PLATFORM_ASSEMBLIES")) {
    const bool is_core_library = _wcsicmp(assembly.filename().c_str(), L"System.Private.CoreLib.dll") == 0;
    if (is_core_library) folders.push_back(assembly.parent_path());
  }
  const std::vector<std::wstring> native = paths_of(L"NATIVE_DLL_SEARCH_DIRECTORIES");
  folders.insert(folders.end(), native.begin(), native.end());
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / L"coreclr.dll", ignored)) return folder / L"coreclr.dll";
  }
  throw ToolError("hostfxr resolved a runtime without coreclr.dll",
                  "install .NET again, or name another dotnet root with --runtime");
}

}  // namespace

std::uint32_t RunWithHostFxr(Session& session, const DotnetRoot& root, const Program& program,
                             const RunOptions& options) {
  const HostFxr fxr = LoadHostFxr(root);
  fxr.set_error_writer(CollectHostMessage);

  std::vector<std::wstring> arguments{program.file.native()};
  std::transform(options.arguments.begin(), options.arguments.end(), std::back_inserter(arguments),
                 [](const std::string& argument) { return ToWide(argument); });
  std::vector<const wchar_t*> argv;
  for (const std::wstring& argument : arguments) argv.push_back(argument.c_str());
  const std::wstring root_path = root.path.native();
  const std::wstring host_path = program.file.native();
  const HostFxrInitializeParameters parameters{sizeof(parameters), host_path.c_str(), root_path.c_str()};
  HostFxrHandle context = nullptr;
  const std::int32_t initialized = fxr.initialize(static_cast<int>(argv.size()), argv.data(), &parameters, &context);
  if (initialized < 0 || context == nullptr) {
    throw ToolError("hostfxr cannot start " + ToUtf8(program.file) + ": " + HostMessage(initialized),
                    "install what hostfxr asks for, or name another dotnet root with --runtime");
  }

  const fs::path file = RuntimeFile(fxr, context);
  session.SetRuntime(".NET", VersionOfRuntimeFile(file), file);
  session.BridgeHostFxr(LoadRuntimeFile(file));

  const std::int32_t result = fxr.run(context);
  // hostpolicy's failures are HRESULT-like. An app may end with such a code, but only after its runtime has started.
  const CoreClrBridge* const bridge = session.bridge();
  const std::optional<HRESULT> start = session.start_result();
  const bool started = bridge != nullptr ? start && SUCCEEDED(*start) : HostMessages().empty();
  if (bridge != nullptr && start) {
    const auto verified = bridge->VerifyCallsArrive();
    if (!verified) throw ToolError(verified.error().reason(), "or run APP with --no-bridge, without a limit");
  }
  if (const std::optional<ToolError> no_room = session.NoRoomError()) throw *no_room;
  if (!started) throw RuntimeDidNotStart(session, options, HostMessage(result));
  if (!HostMessages().empty()) session.WriteError(ToUtf8(HostMessages()));
  fxr.close(context);
  return static_cast<std::uint32_t>(result);
}

}  // namespace clr_host_memory::tool
