// The ways of hosting a managed program. Each returns only when the program's Main has returned, with its exit code;
// throws ToolError when no managed code has run. A program that ends the process never comes back.
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

// Modern .NET with a runtimeconfig.json, through hostfxr and hostpolicy.
[[nodiscard]] std::uint32_t RunWithHostFxr(Session& session, const DotnetRoot& root, const Program& program,
                                           const RunOptions& options);

// Modern .NET in a runtime folder, through coreclr_initialize.
[[nodiscard]] std::uint32_t RunInRuntimeFolder(Session& session, const std::filesystem::path& folder,
                                               const Program& program, const RunOptions& options);

// .NET Framework, through CLRCreateInstance and ICLRRuntimeHost::SetHostControl: its CLR calls the manager by itself.
[[nodiscard]] std::uint32_t RunNetFramework(Session& session, const Program& program, const RunOptions& options);

// Loads the file hostpolicy or we will start, so that it can be bridged before. Throws ToolError.
[[nodiscard]] HMODULE LoadRuntimeFile(const std::filesystem::path& file);

// What to say when coreclr_initialize has failed: within a limit, the limit is the likely reason.
[[nodiscard]] ToolError RuntimeDidNotStart(const Session& session, const RunOptions& options, const std::string& what);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_HOSTS_H
