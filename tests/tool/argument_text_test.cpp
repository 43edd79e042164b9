#include "tool/text/argument_text.h"

#include <gtest/gtest.h>
#include <windows.h>

#include <shellapi.h>

#include <random>
#include <string>
#include <vector>

#include "tool/text/text.h"

namespace clr_host_memory::tool {
namespace {

using Arguments = std::vector<std::string>;

// Returns how the OS splits a command line that begins with a program's name.
Arguments SplitByOs(const std::wstring& line) {
  Arguments arguments;
  int count = 0;
  wchar_t** const split = CommandLineToArgvW((L"program " + line).c_str(), &count);
  for (int i = 1; i < count; ++i) arguments.push_back(ToUtf8(std::wstring_view(split[i])));
  LocalFree(split);
  return arguments;
}

TEST(ArgumentText, IsSplitAsTheOsSplitsIt) {
  const wchar_t* const lines[] = {
      L"",
      L"  ",
      L"a b\tc",
      L"\"a b\" c",
      L"a\\b \\\\server\\share",
      L"\"a\\\\\" b",
      L"a\\\"b",
      L"--limit 256M --summary \"C:\\log files\\s.json\"",
      L"a\"b c\"d",
      L"\"\" x",
  };
  for (const wchar_t* line : lines) EXPECT_EQ(SplitArguments(line), SplitByOs(line)) << ToUtf8(std::wstring(line));
}

TEST(ArgumentText, ReturnsEveryArgumentUnchanged) {
  std::mt19937 random(20261129);
  const std::string letters = "ab \\\"\t";
  for (int round = 0; round < 20'000; ++round) {
    Arguments arguments(random() % 4);
    for (std::string& argument : arguments) {
      for (std::size_t length = random() % 7; length != 0; --length) argument += letters[random() % letters.size()];
    }
    const std::wstring line = JoinArguments(arguments);
    ASSERT_EQ(SplitArguments(line), arguments) << ToUtf8(line);
    ASSERT_EQ(SplitByOs(line), arguments) << ToUtf8(line);
  }
}

}  // namespace
}  // namespace clr_host_memory::tool
