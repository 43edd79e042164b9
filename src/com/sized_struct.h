// Structs of the binary interface that may grow: see clr_host_memory.h.
#ifndef CLRHM_COM_SIZED_STRUCT_H
#define CLRHM_COM_SIZED_STRUCT_H

#include <windows.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace clr_host_memory {

// Copies to a caller whose struct may be older, and so shorter, than ours.
template <typename Struct>
[[nodiscard]] HRESULT CopySized(Struct& ours, Struct* theirs, uint32_t version) noexcept {
  constexpr uint32_t kHeader = 2 * sizeof(uint32_t);
  if (theirs->size < kHeader) return E_INVALIDARG;
  ours.size = std::min<uint32_t>(theirs->size, sizeof(Struct));
  ours.version = version;
  std::memcpy(theirs, &ours, ours.size);
  return S_OK;
}

}  // namespace clr_host_memory

#endif  // CLRHM_COM_SIZED_STRUCT_H
