// Text conversions and output. The tool uses UTF-8 inside, and UTF-16 at its border to Windows and .NET.
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

// Formats a code as "0x8007000E".
[[nodiscard]] std::string HexCode(std::uint32_t code);
// Formats a Win32 error as "error 5 (Access is denied)", without line ends.
[[nodiscard]] std::string DescribeWin32Error(DWORD error);

// Joins a text of several lines into one line: trims each line and drops blank ones.
[[nodiscard]] std::string AsOneLine(std::string_view text);

// Returns an environment variable; empty when it is unset or empty.
[[nodiscard]] std::wstring EnvironmentVariable(const wchar_t* name);

// An output for text. Write takes whole pieces of text, never throws, and may be called while the process ends.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void Write(std::string_view utf8) noexcept = 0;
};

// A sink for standard output or standard error, unbuffered. A console receives UTF-16; any other handle receives
// UTF-8 bytes.
class StandardSink : public TextSink {
 public:
  explicit StandardSink(DWORD which) noexcept : which_(which) {}
  void Write(std::string_view utf8) noexcept override;

 private:
  DWORD which_;
};

// A sink that collects the text, for tests.
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
