#include "tool/clrmem.h"

namespace tool = clr_host_memory::tool;

int wmain(int argc, wchar_t** argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) arguments.push_back(tool::ToUtf8(std::wstring_view(argv[i])));
  tool::StandardSink out(STD_OUTPUT_HANDLE);
  tool::StandardSink error(STD_ERROR_HANDLE);
  return tool::RunClrMem(arguments, {out, error});
}
