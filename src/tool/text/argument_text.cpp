#include "tool/text/argument_text.h"

#include "tool/text/text.h"

#include <algorithm>
#include <cstddef>

namespace clr_host_memory::tool {
namespace {

constexpr std::wstring_view kBlanks = L" \t\n\v";

void AppendQuoted(std::wstring& line, std::wstring_view argument) {
  if (!argument.empty() && argument.find_first_of(L" \t\n\v\"") == std::wstring_view::npos) {
    line.append(argument);
    return;
  }
  line.push_back(L'"');
  std::size_t backslashes = 0;
  for (const wchar_t c : argument) {
    if (c == L'"') line.append(backslashes + 1, L'\\');  // doubles those before it, and escapes it
    backslashes = c == L'\\' ? backslashes + 1 : 0;
    line.push_back(c);
  }
  line.append(backslashes, L'\\').push_back(L'"');
}

}  // namespace

std::wstring JoinArguments(const std::vector<std::string>& arguments) {
  std::wstring line;
  for (const std::string& argument : arguments) {
    if (!line.empty()) line.push_back(L' ');
    AppendQuoted(line, ToWide(argument));
  }
  return line;
}

std::vector<std::string> SplitArguments(std::wstring_view text) {
  std::vector<std::string> arguments;
  for (std::size_t at = text.find_first_not_of(kBlanks); at != std::wstring_view::npos;
       at = text.find_first_not_of(kBlanks, at)) {
    std::wstring argument;
    bool quoted = false;
    for (; at < text.size() && (quoted || kBlanks.find(text[at]) == std::wstring_view::npos); ++at) {
      const std::size_t after = std::min(text.find_first_not_of(L'\\', at), text.size());
      const std::size_t backslashes = after - at;
      const bool before_quote = after < text.size() && text[after] == L'"';
      argument.append(before_quote ? backslashes / 2 : backslashes, L'\\');
      at = after;
      if (before_quote && backslashes % 2 == 0) {
        const bool doubled = quoted && after + 1 < text.size() && text[after + 1] == L'"';
        if (doubled) {
          argument.push_back(L'"');
          ++at;
        } else {
          quoted = !quoted;
        }
      } else if (before_quote) {
        argument.push_back(L'"');
      } else if (backslashes != 0) {
        --at;  // the character after them is the next one
      } else {
        argument.push_back(text[at]);
      }
    }
    arguments.push_back(ToUtf8(argument));
  }
  return arguments;
}

}  // namespace clr_host_memory::tool
