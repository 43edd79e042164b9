// Programs whose .exe contains the runtime: single-file programs with their own runtime, and native AOT ones. There is
// no coreclr.dll to wait for and no hostpolicy.dll to pass properties through, so the .exe itself is bridged.
#ifndef CLRHM_TOOL_AGENT_LINKED_RUNTIME_H
#define CLRHM_TOOL_AGENT_LINKED_RUNTIME_H

#include "tool/session.h"

#include <windows.h>

namespace clr_host_memory::tool {

// Returns whether this process has loaded a runtime of modern .NET. Throws std::bad_alloc.
[[nodiscard]] bool HasRuntime();

// Returns where the session's control is, for the companion, which becomes its owner: hexadecimal, without prefix.
[[nodiscard]] void* ControlForCompanion(const Session& session) noexcept;

// Bridges the program's .exe, before its first instruction runs. The GC receives its properties by environment
// variables, which are removed before Main. The companion is a start-up hook. main_thread: the id of the thread that
// will start the runtime. When that thread enters its COM apartment, which precedes Main, the start has ended. Throws
// ToolError.
void BeginLinkedRuntime(Session& session, HMODULE program, DWORD main_thread);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_AGENT_LINKED_RUNTIME_H
