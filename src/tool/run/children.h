// Programs that the app starts (--children): each runs under a manager in its process, with the app's options.
#ifndef CLRHM_TOOL_RUN_CHILDREN_H
#define CLRHM_TOOL_RUN_CHILDREN_H

#include "tool/command_line/options.h"

#include <windows.h>

namespace clr_host_memory::tool {

// Begins to prepare the programs that this process starts, as the options of this process say. Once per process.
void PrepareChildren(const RunOptions& options);

// Redirects module's calls of CreateProcess, and those of the managed code that it runs. Does nothing before
// PrepareChildren. A program that the agent cannot be loaded into runs without it, and standard error reports it. Other
// ways to start a program (ShellExecute, another user's account) are not covered. Throws ToolError.
void PrepareChildrenOf(HMODULE module);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_CHILDREN_H
