#include "tool/text/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <gsl/narrow>

namespace clr_host_memory::tool {

std::wstring ToWide(std::string_view utf8) {
  if (utf8.empty()) return {};
  const int length = gsl::narrow<int>(utf8.size());
  const int size = MultiByteToWideChar(CP_UTF8, 0, utf8.data(), length, nullptr, 0);
  std::wstring wide(static_cast<std::size_t>(size), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, utf8.data(), length, wide.data(), size);
  return wide;
}

std::string ToUtf8(std::wstring_view wide) {
  if (wide.empty()) return {};
  const int length = gsl::narrow<int>(wide.size());
  const int size = WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr);
  std::string utf8(static_cast<std::size_t>(size), '\0');
  WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, utf8.data(), size, nullptr, nullptr);
  return utf8;
}

std::string ToUtf8(const std::filesystem::path& path) { return ToUtf8(std::wstring_view(path.native())); }

std::string HexCode(std::uint32_t code) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "0x%08X", code);
  return text.data();
}

std::string DescribeWin32Error(DWORD error) {
  std::array<wchar_t, 512> text{};
  const DWORD length =
      FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                     nullptr, error, 0, text.data(), static_cast<DWORD>(text.size()), nullptr);
  std::string message = ToUtf8(std::wstring_view(text.data(), length));
  while (!message.empty() && (message.back() == ' ' || message.back() == '.')) message.pop_back();
  std::string described = "error " + std::to_string(error);
  if (!message.empty()) described += " (" + message + ")";
  return described;
}

std::string AsOneLine(std::string_view text) {
  std::string line;
  const std::string_view blanks = " \t\r";
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view piece = text.substr(at, end - at);
    at = end + 1;
    const std::size_t first = piece.find_first_not_of(blanks);
    if (first == std::string_view::npos) continue;
    piece = piece.substr(first, piece.find_last_not_of(blanks) + 1 - first);
    if (!line.empty()) line += line.ends_with('.') || line.ends_with(':') || line.ends_with(',') ? " " : ", ";
    line += piece;
  }
  return line;
}

std::wstring EnvironmentVariable(const wchar_t* name) {
  std::wstring value;
  DWORD size = GetEnvironmentVariableW(name, nullptr, 0);
  while (size > value.size()) {
    value.resize(size);
    size = GetEnvironmentVariableW(name, value.data(), static_cast<DWORD>(value.size()));
  }
  value.resize(size);
  return value;
}

void StandardSink::Write(std::string_view utf8) noexcept {
  HANDLE handle = GetStdHandle(which_);
  if (handle == nullptr || handle == INVALID_HANDLE_VALUE) return;
  DWORD mode = 0;
  const bool is_console = GetConsoleMode(handle, &mode) != FALSE;
  while (!utf8.empty()) {
    // Writes pieces of 1,024 bytes, cut between UTF-8 sequences. This avoids any allocation.
    std::size_t length = std::min<std::size_t>(utf8.size(), 1024);
    while (length < utf8.size() && length > 1 && (static_cast<unsigned char>(utf8[length]) & 0xC0) == 0x80) --length;
    DWORD written = 0;
    if (is_console) {
      std::array<wchar_t, 1024> wide;
      const int size = MultiByteToWideChar(CP_UTF8, 0, utf8.data(), static_cast<int>(length), wide.data(),
                                           static_cast<int>(wide.size()));
      WriteConsoleW(handle, wide.data(), static_cast<DWORD>(size), &written, nullptr);
    } else {
      // A pipe may accept fewer bytes than offered. If it accepts none, it has no reader.
      if (!WriteFile(handle, utf8.data(), static_cast<DWORD>(length), &written, nullptr) || written == 0) return;
      length = written;
    }
    utf8.remove_prefix(length);
  }
}

}  // namespace clr_host_memory::tool
