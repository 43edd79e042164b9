#include "tool/text/size_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

struct Size {
  const char* text;
  std::uint64_t bytes;
};

TEST(ParseSize, AcceptsBinaryUnitsInAnyCase) {
  const Size sizes[] = {
      {"1", 1},
      {"4096", 4096},
      {"512K", 512 * 1024},
      {"512k", 512 * 1024},
      {"256M", std::uint64_t{256} << 20},
      {"64MiB", std::uint64_t{64} << 20},
      {"64Mi", std::uint64_t{64} << 20},
      {"64mb", std::uint64_t{64} << 20},
      {"1G", std::uint64_t{1} << 30},
      {"1.5G", std::uint64_t{3} << 29},
      {"0.5K", 512},
      {"1.25M", 1310720},
      {"2T", std::uint64_t{2} << 40},
      {"0.000001T", 1099511},
      {"7B", 7},
      {"9223372036854775808", std::uint64_t{1} << 63},
      {"8388608T", std::uint64_t{1} << 63},
  };
  for (const Size& size : sizes) EXPECT_EQ(ParseSize(size.text, "--limit"), size.bytes) << size.text;
}

TEST(ParseSize, RefusesInvalidSizesAndShowsTheFormat) {
  for (const char* text : {"", " ", "M", "-1", "+1", "1,5G", "1.G", ".5G", "1..5G", "1.5", "5 M", "5MM", "0x10", "1e6",
                           "256Mi B", "1.1234567G", "infinity"}) {
    EXPECT_THROW((void)ParseSize(text, "--limit"), ToolError) << text;
  }
  for (const char* text : {"0", "0M", "0.0G", "0.0001B"}) {
    EXPECT_THROW((void)ParseSize(text, "--limit"), ToolError) << text;
  }
  for (const char* text : {"9223372036854775809", "8388609T", "18446744073709551616", "99999999999999999999999G"}) {
    EXPECT_THROW((void)ParseSize(text, "--limit"), ToolError) << text;
  }
  try {
    (void)ParseSize("3Q", "--limit");
    FAIL() << "3Q was accepted";
  } catch (const ToolError& error) {
    EXPECT_STREQ(error.what(), "--limit 3Q is not a size; write it like 256M, 1.5G, 512K or 268435456");
  }
}

TEST(FormatSize, RoundsToOneDecimal) {
  EXPECT_EQ(FormatSize(0), "0.0 MiB");
  EXPECT_EQ(FormatSize(52428), "0.0 MiB");
  EXPECT_EQ(FormatSize(52429), "0.1 MiB");
  EXPECT_EQ(FormatSize(std::uint64_t{128} << 20), "128.0 MiB");
  EXPECT_EQ(FormatSize((std::uint64_t{2} << 20) - 1), "2.0 MiB");
  EXPECT_EQ(FormatSize(std::uint64_t{9} << 30), "9,216.0 MiB");
  EXPECT_EQ(FormatSize(std::uint64_t{256} << 30), "256.0 GiB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "17,179,869,184.0 GiB");
}

TEST(FormatCount, GroupsDigitsByThree) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

}  // namespace
}  // namespace clr_host_memory::tool
