#include "tool/text/duration_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tool/text/tool_error.h"

namespace clr_host_memory::tool {
namespace {

struct Duration {
  const char* text;
  std::uint64_t milliseconds;
};

TEST(ParseDuration, AcceptsUnitsInAnyCaseAndDefaultsToMilliseconds) {
  const Duration durations[] = {
      {"0", 0},       {"250", 250},     {"500ms", 500},     {"500MS", 500},          {"2s", 2000},
      {"1.5s", 1500}, {"0.001s", 1},    {"0.0001s", 0},     {"1m", 60'000},          {"1.5min", 90'000},
      {"0s", 0},      {"1h", 3600'000}, {"0.5H", 1800'000}, {"1000h", 3600'000'000}, {"3600000000", 3600'000'000},
  };
  for (const Duration& duration : durations) {
    EXPECT_EQ(ParseDuration(duration.text, "--wait"), duration.milliseconds) << duration.text;
  }
}

TEST(ParseDuration, RefusesTextThatIsNotADuration) {
  for (const char* text : {"", " ", "s", "-1s", "+1s", "1,5s", "1.s", ".5s", "5 s", "1d", "1us", "2ss", "none", "1.5",
                           "0.5ms", "1.1234567s"}) {
    EXPECT_THROW((void)ParseDuration(text, "--wait"), ToolError) << text;
  }
  for (const char* text : {"1001h", "3600000001", "18446744073709551616", "99999999999999999999999h"}) {
    EXPECT_THROW((void)ParseDuration(text, "--wait"), ToolError) << text;
  }
}

TEST(ParseDuration, ErrorNamesTheProblemAndShowsTheFormat) {
  const auto message = [](const char* text) -> std::string {
    try {
      (void)ParseDuration(text, "--wait");
    } catch (const ToolError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message("2x"), "--wait 2x is not a duration; write it like 500ms, 2s, 1.5s or 1m");
  EXPECT_EQ(message("0.5ms"),
            "--wait 0.5ms is not a whole number of milliseconds; write it like 500ms, 2s, 1.5s or 1m");
  EXPECT_EQ(message("2000h"), "--wait 2000h is longer than 1,000 hours; give a shorter time");
}

TEST(FormatSeconds, RoundsToOneDecimal) {
  EXPECT_EQ(FormatSeconds(0), "0.0 s");
  EXPECT_EQ(FormatSeconds(49), "0.0 s");
  EXPECT_EQ(FormatSeconds(50), "0.1 s");
  EXPECT_EQ(FormatSeconds(1500), "1.5 s");
  EXPECT_EQ(FormatSeconds(9999), "10.0 s");
  EXPECT_EQ(FormatSeconds(1'234'500), "1,234.5 s");
}

}  // namespace
}  // namespace clr_host_memory::tool
