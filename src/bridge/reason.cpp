#include "bridge/reason.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace clr_host_memory {

std::string Utf8(std::wstring_view text) {
  // A path has at most 32,767 characters; longer text is cut.
  const int length = static_cast<int>(std::min<std::size_t>(text.size(), 32767));
  if (length == 0) return {};
  const int size = WideCharToMultiByte(CP_UTF8, 0, text.data(), length, nullptr, 0, nullptr, nullptr);
  if (size <= 0) return "?";
  std::string result(static_cast<std::size_t>(size), '\0');
  WideCharToMultiByte(CP_UTF8, 0, text.data(), length, result.data(), size, nullptr, nullptr);
  return result;
}

std::string Hex(const void* address) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string result = "0x";
  const auto value = reinterpret_cast<std::uintptr_t>(address);
  for (int shift = static_cast<int>(sizeof(value)) * 8 - 4; shift >= 0; shift -= 4) {
    result += kDigits[(value >> shift) & 0xF];
  }
  return result;
}

void CopyReason(std::string_view text, char* buffer, std::size_t buffer_size) noexcept {
  if (buffer == nullptr || buffer_size == 0) return;
  std::size_t length = std::min(text.size(), buffer_size - 1);
  if (length < text.size()) {
    // Return to the start of the character that does not fit: UTF-8 continuation bytes are 10xxxxxx.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  }
  std::copy_n(text.data(), length, buffer);
  buffer[length] = '\0';
}

}  // namespace clr_host_memory
