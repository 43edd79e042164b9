#include "tool/command_line/policy_options.h"

#include "com/options.h"
#include "tool/text/duration_text.h"
#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <gsl/narrow>

#include <algorithm>

namespace clr_host_memory::tool {
namespace {

constexpr std::array<std::string_view, kClrHostMemoryLevelCount> kLevels{"task", "domain", "process"};

// Splits a text at commas: "a,b" into a and b. An empty text gives one empty part.
std::vector<std::string_view> SplitAtCommas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

std::uint64_t ParseOneHeadroom(std::string_view text) {
  if (!text.ends_with('%')) return ParseSizeOrZero(text, "--headroom");
  const std::string_view digits = text.substr(0, text.size() - 1);
  const bool whole = !digits.empty() && digits.size() <= 3 &&
                     std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  const int percent = whole ? std::stoi(std::string(digits)) : 101;
  if (percent > 100) {
    throw ToolError("--headroom " + std::string(text) + " is not a percentage from 0% to 100%",
                    "give a whole percentage, or a size such as 16M");
  }
  return CLR_HOST_MEMORY_PERCENT(percent);
}

Headroom ParseHeadroom(std::string_view text) {
  const std::vector<std::string_view> parts = SplitAtCommas(text);
  if (parts.size() > 2) {
    throw ToolError("--headroom " + std::string(text) + " has more than two parts",
                    "give the headroom of the process, then that of the application domain, such as 16M,4M or 10%,5%");
  }
  Headroom headroom{.process = ParseOneHeadroom(parts[0])};
  if (parts.size() == 2) headroom.app_domain = ParseOneHeadroom(parts[1]);
  return headroom;
}

std::uint32_t ParseOneWait(std::string_view text) {
  const std::uint64_t milliseconds = ParseDuration(text, "--wait");
  if (milliseconds > kLongestWait) {
    throw ToolError("--wait " + std::string(text) + " is longer than an hour", "give a shorter time");
  }
  return gsl::narrow<std::uint32_t>(milliseconds);
}

WaitsByLevel ParseWait(std::string_view text) {
  WaitsByLevel waits{};
  if (text.find('=') == std::string_view::npos) {
    waits.fill(ParseOneWait(text));
    return waits;
  }
  std::array<bool, kLevels.size()> named{};
  for (const std::string_view part : SplitAtCommas(text)) {
    const std::string_view name = part.substr(0, part.find('='));
    const auto level = static_cast<std::size_t>(std::find(kLevels.begin(), kLevels.end(), name) - kLevels.begin());
    if (level == kLevels.size() || name == part) {
      throw ToolError(
          "--wait " + std::string(text) + " has the part '" + std::string(part) + "', which is not a level and a time",
          "write task=2s,domain=500ms,process=500ms, or one time for all three levels");
    }
    if (named[level]) {
      throw ToolError("--wait " + std::string(text) + " names " + std::string(name) + " twice", "name each level once");
    }
    named[level] = true;
    waits[level] = ParseOneWait(part.substr(name.size() + 1));
  }
  return waits;
}

LimitChange ParseLimitChange(const std::string& text) {
  const std::string_view view = text;
  const std::size_t equals = view.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == view.size()) {
    throw ToolError("--limit-at " + text + " is not a time and a limit", "write it like 2s=64M or 1m=none");
  }
  const std::string within = "in --limit-at " + text + ", the ";
  LimitChange change{.after_ms = ParseDuration(view.substr(0, equals), within + "time"), .limit = std::nullopt};
  const std::string_view limit = view.substr(equals + 1);
  if (limit != "none") change.limit = ParseLimit(limit, within + "limit");
  return change;
}

std::vector<LimitChange> ParseLimitChanges(const std::vector<std::string>& texts) {
  std::vector<LimitChange> changes;
  for (const std::string& text : texts) {
    const LimitChange change = ParseLimitChange(text);
    const auto later = std::lower_bound(changes.begin(), changes.end(), change.after_ms,
                                        [](const LimitChange& at, std::uint64_t ms) { return at.after_ms < ms; });
    if (later != changes.end() && later->after_ms == change.after_ms) {
      throw ToolError("--limit-at " + text + " is the second limit for the same time", "remove one of the two");
    }
    changes.insert(later, change);
  }
  return changes;
}

std::uint64_t ParseGcLimit(const std::string& text) {
  if (text == "auto") return CLR_HOST_MEMORY_GC_LIMIT_AUTO;
  return text == "off" ? 0 : ParseLimit(text, "--gc-limit");
}

// Checks that the headroom fits within a limit. Throws ToolError if the headrooms together exceed it, or if the part to
// commit exceeds the headroom for the process.
void CheckHeadroom(const PolicyOptions& policy, std::uint64_t limit, const std::string& text) {
  const char* reason = nullptr;
  const Limits limits =
      LimitsOf(limit, policy.headroom.app_domain, policy.headroom.process, &reason, policy.committed_headroom);
  if (reason != nullptr) {
    throw ToolError("--headroom " + text + " exceeds the limit of " + FormatSize(limit) + " with " +
                        FormatSize(limits.process_headroom.value) + " for the process and " +
                        FormatSize(limits.app_domain_headroom.value) + " for the application domain",
                    "lower the headroom or raise the limit");
  }
  if (limits.committed_headroom > limits.process_headroom) {
    throw ToolError("--commit-headroom " + FormatSize(policy.committed_headroom) + " is more than the headroom of " +
                        FormatSize(limits.process_headroom.value) + " within the limit of " + FormatSize(limit),
                    "lower it, or give a larger --headroom");
  }
}

bool ParseCompanion(std::string_view text) {
  if (text == "on" || text == "off") return text == "on";
  throw ToolError("--companion " + std::string(text) + " is neither on nor off", "give one of the two");
}

OnThrash ParseOnThrash(std::string_view text) {
  if (text == "report") return OnThrash::kReport;
  if (text == "stop") return OnThrash::kStop;
  throw ToolError("--on-thrash " + std::string(text) + " is neither report nor stop", "give one of the two");
}

}  // namespace

const char* PolicyTexts::FirstGiven() const noexcept {
  if (headroom) return "--headroom";
  if (wait) return "--wait";
  if (commit_headroom) return "--commit-headroom";
  if (gc_limit) return "--gc-limit";
  if (companion) return "--companion";
  if (count_whole_process) return "--count-all";
  if (!limit_at.empty()) return "--limit-at";
  if (on_thrash) return "--on-thrash";
  return nullptr;
}

std::uint64_t ParseLimit(std::string_view text, std::string_view option) {
  const std::uint64_t limit = ParseSize(text, option);
  if (limit >= kLeastLimit) return limit;
  throw ToolError(
      std::string(option) + " " + std::string(text) + " is below the " + kLeastLimitText + " that a CLR needs to start",
      std::string("give at least ") + kLeastLimitText);
}

PolicyOptions ParsePolicy(const PolicyTexts& texts, const Limit& limit) {
  PolicyOptions policy;
  policy.limit_changes = ParseLimitChanges(texts.limit_at);
  std::vector<std::uint64_t> limits;
  if (limit) limits.push_back(*limit);
  for (const LimitChange& change : policy.limit_changes) {
    if (change.limit) limits.push_back(*change.limit);
  }

  if (texts.headroom) {
    policy.headroom = ParseHeadroom(*texts.headroom);
    if (limits.empty()) throw ToolError("--headroom needs a limit", "add --limit");
  }
  if (texts.wait) policy.wait_ms = ParseWait(*texts.wait);
  if (texts.commit_headroom) {
    policy.committed_headroom = ParseSizeOrZero(*texts.commit_headroom, "--commit-headroom");
  }
  const std::string given = texts.headroom.value_or("");
  if (limit) CheckHeadroom(policy, *limit, given);
  for (const LimitChange& change : policy.limit_changes) {
    if (change.limit && texts.headroom) CheckHeadroom({.headroom = policy.headroom}, *change.limit, given);
  }
  policy.count_whole_process = texts.count_whole_process;
  if (policy.count_whole_process && limits.empty()) {
    throw ToolError("--count-all needs a limit", "add --limit");
  }
  if (texts.on_thrash) {
    policy.on_thrash = ParseOnThrash(*texts.on_thrash);
    if (limits.empty()) {
      throw ToolError("--on-thrash needs a limit", "add --limit");
    }
  }
  if (texts.companion) policy.companion = ParseCompanion(*texts.companion);
  policy.gc_limit = texts.gc_limit ? ParseGcLimit(*texts.gc_limit) : CLR_HOST_MEMORY_GC_LIMIT_AUTO;
  return policy;
}

}  // namespace clr_host_memory::tool
