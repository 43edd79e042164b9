// Programs that clrmem does not host: each runs in another process, with the agent in it.
#ifndef CLRHM_TOOL_AGENT_RUN_WITH_AGENT_H
#define CLRHM_TOOL_AGENT_RUN_WITH_AGENT_H

#include "tool/command_line/options.h"
#include "tool/text/text.h"

#include <windows.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

// What to start: the file, and the arguments before those of the app.
struct StartedProgram {
  std::filesystem::path file;          // an .exe, full path
  std::vector<std::string> arguments;  // for dotnet.exe: the program's .dll
};

// Starts the program with the agent in it, waits for its end and returns its exit code. The program has clrmem's
// console, standard streams and folder. If the agent cannot be loaded, the program does not run. Events of the
// console are left to the program. If clrmem is ended, the program ends, too. Throws ToolError.
[[nodiscard]] std::uint32_t RunWithAgent(const StartedProgram& program, const RunOptions& options);

// Whether the program was started by clrmem, or by a program under clrmem. A child writes a summary only if it has
// started a runtime of .NET, and to a file whose name contains its process id.
enum class ChildOrNot : bool { kOwn, kChild };

// Loads the agent into a process that is suspended before its first instruction. command_line: clrmem's own, which the
// agent interprets. Throws ToolError.
void PrepareSuspended(const PROCESS_INFORMATION& process, const std::vector<std::string>& command_line,
                      ChildOrNot child);

// Puts a running program under the manager and returns. The program runs on, also after a failure. Throws ToolError.
void AttachAgent(const AttachOptions& options, Streams streams);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_AGENT_RUN_WITH_AGENT_H
