// Structs of the binary interface that may grow: see clr_host_memory.h.
#ifndef CLRHM_COM_SIZED_STRUCT_H
#define CLRHM_COM_SIZED_STRUCT_H

#include <windows.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace clr_host_memory {

// Ends text, an array within ours, where a copy of the first `size` bytes of ours can hold its end.
template <typename Struct, typename Character, std::size_t kLength>
void EndTextWithin(Struct& ours, Character (&text)[kLength], std::size_t size) noexcept {
  const auto begin =
      static_cast<std::size_t>(reinterpret_cast<const char*>(text) - reinterpret_cast<const char*>(&ours));
  if (size <= begin || size >= begin + sizeof(text)) return;
  const std::size_t whole = (size - begin) / sizeof(Character);
  std::fill(text + (whole == 0 ? 0 : whole - 1), text + kLength, Character{});
}

// Fills a caller's struct, which may be of another version than ours, as far as it goes; its size then says how far
// that was. Both begin with their size and one more field of 32 bits. texts: the members of ours that are
// null-terminated; one that is cut is terminated where the cut is. E_INVALIDARG: theirs is shorter than those two
// fields, and is left as it is.
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
