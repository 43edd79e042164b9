// The methods of hosting a managed program. Each returns only when the program's Main has returned, and returns its
// exit code. Each throws ToolError when no managed code has run. If the program ends the process, the function does
// not return.
#ifndef CLRHM_TOOL_HOSTING_HOSTS_H
#define CLRHM_TOOL_HOSTING_HOSTS_H

#include "tool/command_line/options.h"
#include "tool/program/program.h"
#include "tool/program/runtime_locator.h"
#include "tool/session.h"
#include "tool/text/tool_error.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace clr_host_memory::tool {

// Runs a modern .NET program that has a runtimeconfig.json, through hostfxr and hostpolicy.
[[nodiscard]] std::uint32_t RunWithHostFxr(Session& session, const DotnetRoot& root, const Program& program,
                                           const RunOptions& options);

// Runs a modern .NET program on a runtime folder, through coreclr_initialize.
[[nodiscard]] std::uint32_t RunInRuntimeFolder(Session& session, const std::filesystem::path& folder,
                                               const Program& program, const RunOptions& options);

// Runs a .NET Framework program, through CLRCreateInstance and ICLRRuntimeHost::SetHostControl. Its CLR calls the
// manager itself.
[[nodiscard]] std::uint32_t RunNetFramework(Session& session, const Program& program, const RunOptions& options);

// Returns every .dll of the runtime's folder, in the format of TRUSTED_PLATFORM_ASSEMBLIES. Where the app brings a
// newer one, by its file version, that takes its place, as with hostpolicy. The runtime finds the app's other
// assemblies by APP_PATHS.
[[nodiscard]] std::string TrustedAssemblies(const std::filesystem::path& folder,
                                            const std::filesystem::path& app_folder);

// Loads the runtime file that hostpolicy or clrmem will start, so that it can be bridged first. Throws ToolError.
[[nodiscard]] HMODULE LoadRuntimeFile(const std::filesystem::path& file);

// Returns the error to report when the runtime failed to start. If the manager refused requests, the error names the
// limit as the likely reason.
[[nodiscard]] ToolError RuntimeDidNotStart(const Session& session, const RunOptions& options, const std::string& what);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_HOSTS_H
