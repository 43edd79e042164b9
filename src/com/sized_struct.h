// Copies structs of the binary interface whose size may differ between versions: see memory_manager_abi.h.
#ifndef CLRHM_COM_SIZED_STRUCT_H
#define CLRHM_COM_SIZED_STRUCT_H

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace clr_host_memory {

// Terminates text, an array within ours, if a copy of the first `size` bytes of ours cuts it. The terminator is the
// last whole character before the cut.
template <typename Struct, typename Character, std::size_t kLength>
void EndTextWithin(Struct& ours, Character (&text)[kLength], std::size_t size) noexcept {
  const auto begin =
      static_cast<std::size_t>(reinterpret_cast<const char*>(text) - reinterpret_cast<const char*>(&ours));
  if (size <= begin || size >= begin + sizeof(text)) return;
  const std::size_t whole = (size - begin) / sizeof(Character);
  std::fill(text + (whole == 0 ? 0 : whole - 1), text + kLength, Character{});
}

// Copies ours to the caller's struct, which may be of another version, up to the shorter size. Sets its size to the
// number of bytes copied. Both structs begin with their size in bytes and another 32-bit field. texts: the
// null-terminated members of ours; a text that is cut is terminated at the cut.
// E_INVALIDARG: theirs is shorter than those two fields and is unchanged.
template <typename Struct, typename... Texts>
[[nodiscard]] HRESULT CopySized(Struct& ours, Struct* theirs, Texts Struct::*... texts) noexcept {
  constexpr uint32_t kHeader = 2 * sizeof(uint32_t);
  if (theirs->size < kHeader) return E_INVALIDARG;
  ours.size = std::min<uint32_t>(theirs->size, sizeof(Struct));
  (EndTextWithin(ours, ours.*texts, ours.size), ...);
  std::memcpy(theirs, &ours, ours.size);
  return S_OK;
}

}  // namespace clr_host_memory

#endif  // CLRHM_COM_SIZED_STRUCT_H
