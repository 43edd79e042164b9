// Checks structs that begin with their size. The library must fill any prefix, for callers of every version.
#ifndef CLRHM_TESTS_COM_EVERY_SIZE_H
#define CLRHM_TESTS_COM_EVERY_SIZE_H

#include <gtest/gtest.h>
#include <windows.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace clr_host_memory::test {

// A null-terminated text member.
struct TextMember {
  std::size_t offset;
  std::size_t size;
  std::size_t of_character;
};

// Checks get(Struct*) → HRESULT for every size. get must return the same data on every call.
// Each size from the first two fields on must give the same bytes as the whole struct, up to that size. A text that
// is cut ends with a null where it is cut. Bytes beyond the size stay untouched.
template <typename Struct, typename Get>
void ExpectFilledForEverySize(Get get, const std::vector<TextMember>& texts = {}) {
  constexpr uint32_t kHeader = 2 * sizeof(uint32_t);
  constexpr unsigned char kGuard = 0xA5;
  Struct whole{};
  whole.size = sizeof(whole);
  ASSERT_EQ(S_OK, get(&whole));
  ASSERT_EQ(sizeof(whole), whole.size);
  const auto* expected = reinterpret_cast<const unsigned char*>(&whole);
  alignas(Struct) std::array<unsigned char, sizeof(Struct) + 64> place;
  auto* const given = reinterpret_cast<Struct*>(place.data());
  for (uint32_t size = 0; size <= sizeof(Struct) + 16; ++size) {
    place.fill(kGuard);
    given->size = size;
    if (size < kHeader) {
      ASSERT_EQ(E_INVALIDARG, get(given)) << size;
      ASSERT_EQ(size, given->size);
      ASSERT_EQ(kGuard, place[sizeof(uint32_t)]) << size;
      continue;
    }
    ASSERT_EQ(S_OK, get(given)) << size;
    const uint32_t filled = std::min<uint32_t>(size, sizeof(Struct));
    ASSERT_EQ(filled, given->size);
    for (std::size_t i = filled; i < place.size(); ++i) ASSERT_EQ(kGuard, place[i]) << "byte " << i << " of " << size;
    // In a text that is cut, the last whole character and the bytes of a partial one are zero.
    std::vector<unsigned char> here(expected, expected + filled);
    for (const TextMember& text : texts) {
      if (filled <= text.offset || filled >= text.offset + text.size) continue;
      const std::size_t whole_characters = (filled - text.offset) / text.of_character;
      const std::size_t end = whole_characters == 0 ? 0 : (whole_characters - 1) * text.of_character;
      std::fill(here.begin() + static_cast<std::ptrdiff_t>(text.offset + end), here.end(),
                static_cast<unsigned char>(0));
    }
    const auto skip = static_cast<std::ptrdiff_t>(sizeof(uint32_t));  // skips the size, which differs
    ASSERT_TRUE(std::equal(here.begin() + skip, here.end(), place.begin() + skip)) << size;
  }
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_EVERY_SIZE_H
