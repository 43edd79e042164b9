// Sentences for the user that state the error and the remedy, in UTF-8.
#ifndef CLRHM_BRIDGE_REASON_H
#define CLRHM_BRIDGE_REASON_H

#include <windows.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace clr_host_memory {

[[nodiscard]] std::string Utf8(std::wstring_view text);

// "0x00007FF812340000"
[[nodiscard]] std::string Hex(const void* address);

// Copies text and a terminating null to buffer. Cuts text between two characters if it exceeds buffer_size bytes.
// buffer may be null.
void CopyReason(std::string_view text, char* buffer, std::size_t buffer_size) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_REASON_H
