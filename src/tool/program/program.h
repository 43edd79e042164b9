// The file that APP names, and how to host it.
#ifndef CLRHM_TOOL_PROGRAM_PROGRAM_H
#define CLRHM_TOOL_PROGRAM_PROGRAM_H

#include "tool/program/managed_image.h"

#include <filesystem>
#include <string>

namespace clr_host_memory::tool {

struct Program {
  std::filesystem::path file;  // full path
  ManagedImage image;
  bool has_runtime_config = false;  // App.runtimeconfig.json is beside it
  bool is_self_contained = false;   // the runtimeconfig names no framework: the runtime was published with the app
  bool is_net_framework = false;
  bool is_native = false;  // the file is an .exe of native code, which starts its runtime by itself
};

[[nodiscard]] std::filesystem::path RuntimeConfigOf(const std::filesystem::path& file);

// Finds the program that APP names: a managed program, or an .exe of native code. Throws ToolError if the file is
// missing, unreadable, damaged, a folder, no program, or a library.
[[nodiscard]] Program FindProgram(const std::string& app);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_PROGRAM_H
