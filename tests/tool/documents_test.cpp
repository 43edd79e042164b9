// Tests that clrmem accepts the command lines that the documents show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "clrhm_test_paths.h"
#include "tool/command_line/options.h"
#include "tool/text/argument_text.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

// Lines that begin with clrmem or a prompt. Not the synopses, which have brackets, nor the messages of clrmem.
std::vector<std::string> CommandLinesOf(const fs::path& document) {
  std::vector<std::string> lines;
  std::ifstream file(document);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const std::size_t at = line.find("    clrmem ");
    if (at == std::string::npos || line.find('[') != std::string::npos) continue;
    lines.push_back(line.substr(at + 11, line.find("  #", at + 4) - at - 11));
  }
  return lines;
}

TEST(Documents, ShowCommandLinesThatClrmemAccepts) {
  const fs::path tree(ToWide(clrhm_test::kSourceDirectory));
  std::vector<fs::path> documents{tree / "README.md"};
  for (const char* folder : {"docs", "examples", "packaging"}) {
    for (const auto& entry : fs::recursive_directory_iterator(tree / folder)) {
      if (entry.path().extension() == ".md") documents.push_back(entry.path());
    }
  }
  int seen = 0;
  for (const fs::path& document : documents) {
    for (const std::string& line : CommandLinesOf(document)) {
      ++seen;
      try {
        (void)ParseOptions(SplitArguments(ToWide(line)));
      } catch (const ToolError& error) {
        ADD_FAILURE() << document.string() << ": clrmem " << line << "\n" << error.what();
      }
    }
  }
  EXPECT_GE(seen, 6);
}

}  // namespace
}  // namespace clr_host_memory::tool
