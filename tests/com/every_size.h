// A struct that begins with its size, filled for callers of every version: any of its prefixes.
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

// A null-terminated member.
struct TextMember {
  std::size_t offset;
  std::size_t size;
  std::size_t of_character;
};

// get(Struct*) → HRESULT fills what does not change meanwhile. Each size from the two first fields on gives the same
// bytes as the whole, up to that size; a text that is cut ends where it is cut; what lies behind is not touched.
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
    // Of a text that is cut, the last whole character and what is left of one are zero.
    std::vector<unsigned char> here(expected, expected + filled);
    for (const TextMember& text : texts) {
      if (filled <= text.offset || filled >= text.offset + text.size) continue;
      const std::size_t whole_characters = (filled - text.offset) / text.of_character;
      const std::size_t end = whole_characters == 0 ? 0 : (whole_characters - 1) * text.of_character;
      std::fill(here.begin() + static_cast<std::ptrdiff_t>(text.offset + end), here.end(),
                static_cast<unsigned char>(0));
    }
    const auto skip = static_cast<std::ptrdiff_t>(sizeof(uint32_t));  // the size, which differs
    ASSERT_TRUE(std::equal(here.begin() + skip, here.end(), place.begin() + skip)) << size;
  }
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_EVERY_SIZE_H
