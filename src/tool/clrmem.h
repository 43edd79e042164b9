// The entry point of clrmem as a function, for main and for tests.
#ifndef CLRHM_TOOL_CLRMEM_H
#define CLRHM_TOOL_CLRMEM_H

#include "tool/text/text.h"

#include <string>
#include <vector>

namespace clr_host_memory::tool {

// Runs clrmem. arguments are UTF-8, without the program's own name. Returns the app's exit code. On an error of
// clrmem, writes one line to streams.error and returns kExitUsage. The command `run` may be called once in a process.
// It does not return when the app ends the process.
[[nodiscard]] int RunClrMem(const std::vector<std::string>& arguments, Streams streams);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_CLRMEM_H
