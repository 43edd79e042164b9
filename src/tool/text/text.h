// UTF-8 inside the tool, UTF-16 at Windows' and .NET's edge; and where the tool's own words go.
#ifndef CLRHM_TOOL_TEXT_TEXT_H
#define CLRHM_TOOL_TEXT_TEXT_H

#include <windows.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace clr_host_memory::tool {

[[nodiscard]] std::wstring ToWide(std::string_view utf8);
[[nodiscard]] std::string ToUtf8(std::wstring_view wide);
[[nodiscard]] std::string ToUtf8(const std::filesystem::path& path);
[[nodiscard]] inline std::string ToUtf8(const std::wstring& wide) { return ToUtf8(std::wstring_view(wide)); }

// "0x8007000E".
[[nodiscard]] std::string HexCode(std::uint32_t code);
// "error 5 (Access is denied)", without line ends.
[[nodiscard]] std::string DescribeWin32Error(DWORD error);

// A text of several lines as one sentence: lines are trimmed and joined, blank ones dropped.
[[nodiscard]] std::string AsOneLine(std::string_view text);

// An environment variable; empty when unset or empty.
[[nodiscard]] std::wstring EnvironmentVariable(const wchar_t* name);

// Takes whole pieces of text. Write never throws and may be called while the process ends.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void Write(std::string_view utf8) noexcept = 0;
};

// Standard output or standard error, unbuffered; a console gets UTF-16, anything else UTF-8 bytes.
class StandardSink : public TextSink {
 public:
  explicit StandardSink(DWORD which) noexcept : which_(which) {}
  void Write(std::string_view utf8) noexcept override;

 private:
  DWORD which_;
};

// Collects the text, for tests.
class StringSink : public TextSink {
 public:
  void Write(std::string_view utf8) noexcept override { text_ += utf8; }
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

struct Streams {
  TextSink& out;
  TextSink& error;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_TEXT_TEXT_H
