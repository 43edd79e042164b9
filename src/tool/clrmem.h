// clrmem as a function: what main calls, and what tests call.
#ifndef CLRHM_TOOL_CLRMEM_H
#define CLRHM_TOOL_CLRMEM_H

#include "tool/text/text.h"

#include <string>
#include <vector>

namespace clr_host_memory::tool {

// arguments are UTF-8, without the program's own name. Returns the app's exit code, or kExitUsage after one line on
// streams.error. `run` may be called once in a process, and does not return when the app ends the process.
[[nodiscard]] int RunClrMem(const std::vector<std::string>& arguments, Streams streams);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_CLRMEM_H
