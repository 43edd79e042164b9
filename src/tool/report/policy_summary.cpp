#include "tool/report/policy_summary.h"

#include "tool/text/duration_text.h"
#include "tool/text/size_text.h"
#include "tool/text/text.h"

#include <algorithm>
#include <numeric>

namespace clr_host_memory::tool {
namespace {

// Names by EMemoryAvailable. The first value is eMemoryAvailableLow, as in ClrHostMemoryStatistics::notifications.
constexpr std::array<Names, 3> kAvailability{{{"low", "Low"}, {"neutral", "Neutral"}, {"high", "High"}}};
const Names& NamesOf(std::uint32_t availability) {
  return kAvailability.at(availability - static_cast<std::uint32_t>(eMemoryAvailableLow));
}

constexpr std::array<Names, 3> kLatchCauses{{
    {"none", "nothing"},
    {"os", "an OS call"},
    {"exception", "an exception"},
}};

constexpr std::array<Names, 3> kOutcomes{{
    {"not_reached", "not applied: the program had ended"},
    {"applied", ""},
    {"refused", "not applied"},
}};
const Names& NamesOf(ChangeOutcome outcome) { return kOutcomes.at(static_cast<std::size_t>(outcome)); }

// By GcFollows. The last is for a companion that was passed to the runtime and did not run.
constexpr std::array<Names, 8> kGcFollows{{
    {"yes", "follows the limit"},
    {"gc_limit_option", "as --gc-limit gives it"},
    {"limit_of_the_app", "the app sets its own"},
    {"companion_off", "as at the start: --companion off"},
    {"old_runtime", "as at the start: only .NET 8 and later can change it, and no native AOT program"},
    {"no_companion", "as at the start: no ClrHostMemory.Companion.dll beside clrmem"},
    {"gc_takes_none", "a 32-bit GC takes no limit; the limit above holds for it, too"},
    {"not_begun", "as at the start: the companion did not run"},
}};
// statistics.gc_limit is 0 unless a companion has asked the manager.
const Names& NamesOf(const GcLimitFigures& figures, const ClrHostMemoryStatistics& statistics) {
  const bool silent = figures.follows == GcFollows::kYes && statistics.gc_limit == 0;
  return silent ? kGcFollows.back() : kGcFollows.at(static_cast<std::size_t>(figures.follows));
}
// Returns the GC's limit: bytes, or CLR_HOST_MEMORY_NO_LIMIT.
std::uint64_t GcLimitNow(const GcLimitFigures& figures, const ClrHostMemoryStatistics& statistics) {
  if (figures.follows == GcFollows::kGcTakesNone) return CLR_HOST_MEMORY_NO_LIMIT;
  if (statistics.gc_limit != 0) return statistics.gc_limit;
  return figures.at_start == 0 ? CLR_HOST_MEMORY_NO_LIMIT : figures.at_start;
}

std::string LimitText(std::uint64_t limit) { return limit == CLR_HOST_MEMORY_NO_LIMIT ? "none" : FormatSize(limit); }
std::string LimitText(const Limit& limit) { return LimitText(limit.value_or(CLR_HOST_MEMORY_NO_LIMIT)); }

// Formats a duration, which must not be negative.
std::string Seconds(std::int64_t milliseconds) { return FormatSeconds(static_cast<std::uint64_t>(milliseconds)); }

// Formats a time since managed code began to run, as a label.
std::string After(std::int64_t milliseconds) {
  if (milliseconds < 0) return "  " + Seconds(-milliseconds) + " before managed code";
  return "  after " + Seconds(milliseconds);
}

std::string Times(std::uint64_t count) { return count == 1 ? "once" : FormatCount(count) + " times"; }

std::uint64_t Sum(const std::uint64_t (&counters)[kClrHostMemoryLevelCount]) {
  return std::accumulate(std::begin(counters), std::end(counters), std::uint64_t{0});
}

// A count in a text such as "10 granted, 2 timed out". Join leaves out counts of 0.
struct Part {
  std::uint64_t count;
  const char* what;
};
std::string Join(std::initializer_list<Part> parts) {
  std::string text;
  for (const Part& part : parts) {
    if (part.count != 0) text += (text.empty() ? "" : ", ") + FormatCount(part.count) + " " + part.what;
  }
  return text;
}

bool AsksForWaits(const PolicyOptions& options) {
  return std::any_of(options.wait_ms.begin(), options.wait_ms.end(), [](std::uint32_t ms) { return ms != 0; });
}

bool IsGiven(const Headroom& headroom) {
  return headroom.process != CLR_HOST_MEMORY_DEFAULT_HEADROOM ||
         headroom.app_domain != CLR_HOST_MEMORY_DEFAULT_HEADROOM;
}

bool AsksForAnything(const PolicyOptions& options) {
  return IsGiven(options.headroom) || AsksForWaits(options) || options.committed_headroom != 0 ||
         options.count_whole_process || !options.limit_changes.empty();
}

void AddOverLimit(Table& table, const ClrHostMemoryStatistics& statistics, const EventFigures& events) {
  if (events.over_limit_periods.empty() && statistics.over_limit == 0) return;
  const std::uint64_t count = events.over_limit_periods.size() + events.unlisted_over_limit_periods;
  const std::string at_the_end = statistics.over_limit == 0 ? "not" : "by " + FormatSize(statistics.over_limit);
  const bool raised = statistics.bound != CLR_HOST_MEMORY_NO_LIMIT && statistics.bound > statistics.limit;
  table.Row("above the limit", (count == 0 ? std::string() : Times(count) + "; ") + at_the_end + " at the end" +
                                   (raised ? "; at most " + FormatSize(statistics.bound) + " until it fits" : ""));
  for (const OverLimitPeriod& period : events.over_limit_periods) {
    const std::string lasted = period.until_ms ? "for " + Seconds(*period.until_ms - period.from_ms) : "to the end";
    table.Row(After(period.from_ms), "by " + FormatSize(period.bytes) + ", " + lasted);
  }
  if (events.unlisted_over_limit_periods != 0) {
    table.Row("  later", FormatCount(events.unlisted_over_limit_periods) + " more times");
  }
}

void AddCommittedHeadroom(Table& table, const ClrHostMemoryStatistics& statistics) {
  if (statistics.committed_headroom == 0) return;
  std::string used = "never used";
  if (statistics.headroom_uses != 0) {
    used = "used " + Times(statistics.headroom_uses) + ", " + FormatSize(statistics.headroom_given) + " in total, " +
           FormatSize(statistics.headroom_taken_back) + " restored";
  }
  table.Row("committed headroom", FormatSize(statistics.committed_headroom) + ", " +
                                      FormatSize(statistics.headroom_held) + " held now; " + used);
}

void AddWaits(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyOptions& options) {
  if (Sum(statistics.waits) == 0) {
    if (AsksForWaits(options)) table.Row("waits", "none");
    return;
  }
  table.Line("  waits by level");
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    if (statistics.waits[level] == 0) continue;
    const std::uint64_t ended =
        statistics.waits_granted[level] + statistics.waits_timed_out[level] + statistics.waits_abandoned[level];
    table.Count(std::string("  ") + kLevels[level].shown, statistics.waits[level],
                Join({{statistics.waits_granted[level], "granted"},
                      {statistics.waits_timed_out[level], "timed out"},
                      {statistics.waits_abandoned[level], "abandoned"},
                      {statistics.waits[level] - std::min(ended, statistics.waits[level]), "at the end"}}));
  }
}

void AddPressure(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  const EventFigures& events = policy.events;
  const std::string told = Join({{statistics.notifications[0], "Low"},
                                 {statistics.notifications[1], "Neutral"},
                                 {statistics.notifications[2], "High"}});
  const bool lists = AsksForAnything(policy.options) && !events.pressure_changes.empty();
  if (told.empty() && !lists) return;
  table.Row("memory pressure notifications", told.empty() ? "none" : told);
  if (!lists) return;
  for (const PressureChange& change : events.pressure_changes) {
    table.Row(After(change.at_ms), std::string(NamesOf(change.availability).shown) + ", " +
                                       std::to_string(change.available_percent) + "% available");
  }
  if (events.unlisted_pressure_changes != 0) {
    table.Row("  later", FormatCount(events.unlisted_pressure_changes) + " more changes");
  }
  if (events.repeated_low != 0) table.Row("  Low repeated", Times(events.repeated_low));
}

void AddThrash(Table& table, const ClrHostMemoryStatistics& statistics, const EventFigures& events) {
  if (!events.first_thrash) return;
  const ThrashFigures& first = *events.first_thrash;
  table.Row("runtime spun at its limit", Times(statistics.thrashes));
  table.Row(After(first.at_ms), ThrashText(first));
}

void AddLatch(Table& table, const ClrHostMemoryStatistics& statistics) {
  if (statistics.latch_cause == kClrHostMemoryNotLatched) return;
  table.Row("latched", std::string("E_FAIL, caused by ") + kLatchCauses.at(statistics.latch_cause).shown + " in " +
                           MethodName(static_cast<ClrHostMemoryMethod>(statistics.latch_method)) +
                           (statistics.latch_error == 0 ? "" : ", " + DescribeWin32Error(statistics.latch_error)));
}

Json LimitJson(std::uint64_t limit) { return limit == CLR_HOST_MEMORY_NO_LIMIT ? Json(nullptr) : Json(limit); }
Json LimitJson(const Limit& limit) { return limit ? Json(*limit) : Json(nullptr); }

Json GcLimitJson(const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  if (!policy.gc_limit) return nullptr;
  const GcLimitFigures& figures = *policy.gc_limit;
  return {{"bytes", LimitJson(GcLimitNow(figures, statistics))},
          {"at_start_bytes", figures.at_start == 0 ? Json(nullptr) : Json(figures.at_start)},
          {"follows", NamesOf(figures, statistics).key}};
}

Json ChangesJson(const std::vector<LimitChangeFigures>& changes) {
  Json json = Json::array();
  for (const LimitChangeFigures& change : changes) {
    const bool reached = change.outcome != ChangeOutcome::kNotReached;
    json.push_back({{"after_milliseconds", change.change.after_ms},
                    {"limit_bytes", LimitJson(change.change.limit)},
                    {"outcome", NamesOf(change.outcome).key},
                    {"applied_milliseconds", reached ? Json(change.applied_ms) : Json(nullptr)},
                    {"answer", reached ? Json(HexCode(static_cast<std::uint32_t>(change.answer))) : Json(nullptr)}});
  }
  return json;
}

Json OverLimitJson(const ClrHostMemoryStatistics& statistics, const EventFigures& events) {
  Json periods = Json::array();
  for (const OverLimitPeriod& period : events.over_limit_periods) {
    periods.push_back({{"from_milliseconds", period.from_ms},
                       {"until_milliseconds", period.until_ms ? Json(*period.until_ms) : Json(nullptr)},
                       {"bytes", period.bytes}});
  }
  return {{"bytes", statistics.over_limit},
          {"periods", std::move(periods)},
          {"unlisted_periods", events.unlisted_over_limit_periods}};
}

Json WaitsJson(const ClrHostMemoryStatistics& statistics, const PolicyOptions& options) {
  Json json = Json::object();
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    json[kLevels[level].key] = {{"allowed_milliseconds", options.wait_ms[level]},
                                {"total", statistics.waits[level]},
                                {"granted", statistics.waits_granted[level]},
                                {"timed_out", statistics.waits_timed_out[level]},
                                {"abandoned", statistics.waits_abandoned[level]}};
  }
  return json;
}

Json ThrashJson(const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  Json json = {{"on_thrash", policy.options.on_thrash == OnThrash::kStop ? "stop" : "report"},
               {"windows", statistics.thrashes},
               {"first", nullptr}};
  if (const auto& first = policy.events.first_thrash) {
    json["first"] = {{"milliseconds", first->at_ms},
                     {"window_milliseconds", first->window_ms},
                     {"refusals", first->refusals},
                     {"collections", first->collections},
                     {"obtained_bytes", first->obtained_bytes}};
  }
  return json;
}

Json PressureJson(const ClrHostMemoryStatistics& statistics, const EventFigures& events) {
  Json told = Json::object();
  for (std::size_t i = 0; i < kAvailability.size(); ++i) told[kAvailability[i].key] = statistics.notifications[i];
  Json changes = Json::array();
  for (const PressureChange& change : events.pressure_changes) {
    changes.push_back({{"milliseconds", change.at_ms},
                       {"availability", NamesOf(change.availability).key},
                       {"available_percent", change.available_percent}});
  }
  return {{"availability", NamesOf(statistics.availability).key},
          {"told", std::move(told)},
          {"changes", std::move(changes)},
          {"unlisted_changes", events.unlisted_pressure_changes},
          {"repeated_low", events.repeated_low}};
}

}  // namespace

std::string ThrashText(const ThrashFigures& window) {
  const std::string collections = FormatCount(window.collections) + " collections";
  const std::string seconds = FormatSeconds(window.window_ms);
  if (window.refusals != 0) {
    return FormatCount(window.refusals) + " refused requests, " + collections + " and " +
           FormatSize(window.obtained_bytes) + " obtained in " + seconds;
  }
  const std::uint64_t gained = window.obtained_bytes / std::max<std::uint64_t>(window.collections, 1);
  return collections + " took at least 98 % of " + seconds + " and gained " + FormatSize(gained) + " each";
}

void AddLimit(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  const bool changes = !policy.limit_changes.empty();
  table.Row("limit", LimitText(statistics.limit) + (changes ? " at the end" : ""));
  if (changes) table.Row("  at the start", LimitText(policy.initial_limit));
  for (const LimitChangeFigures& change : policy.limit_changes) {
    std::string text = LimitText(change.change.limit);
    if (change.outcome != ChangeOutcome::kApplied) text += std::string(", ") + NamesOf(change.outcome).shown;
    if (change.outcome == ChangeOutcome::kRefused) text += ": " + HexCode(static_cast<std::uint32_t>(change.answer));
    table.Row(After(static_cast<std::int64_t>(change.change.after_ms)), text);
  }
  if (policy.gc_limit) {
    table.Row("GC's limit",
              LimitText(GcLimitNow(*policy.gc_limit, statistics)) + ", " + NamesOf(*policy.gc_limit, statistics).shown);
  }
  if (IsGiven(policy.options.headroom) && statistics.limit != CLR_HOST_MEMORY_NO_LIMIT) {
    table.Row("headroom", FormatSize(statistics.process_headroom) + " for the process, " +
                              FormatSize(statistics.app_domain_headroom) + " for the application domain");
  }
  if (policy.options.count_whole_process) {
    table.Row("outside of the manager", FormatSize(statistics.outside) + ", counts against the limit");
  }
}

void AddPolicy(Table& table, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  if (statistics.over_bound != 0) {
    table.Row("ERROR", "the limit was exceeded by " + FormatCount(statistics.over_bound) +
                           " bytes; report this as a bug of ClrHostMemory");
  }
  AddWaits(table, statistics, policy.options);
  AddCommittedHeadroom(table, statistics);
  AddOverLimit(table, statistics, policy.events);
  AddPressure(table, statistics, policy);
  AddThrash(table, statistics, policy.events);
  AddLatch(table, statistics);
}

void AddPolicy(Json& json, const ClrHostMemoryStatistics& statistics, const PolicyFigures& policy) {
  json["initial_limit_bytes"] = LimitJson(policy.initial_limit);
  json["gc_limit"] = GcLimitJson(statistics, policy);
  json["limit_changes"] = ChangesJson(policy.limit_changes);
  json["over_limit"] = OverLimitJson(statistics, policy.events);
  json["outside"] = {{"bytes", statistics.outside}, {"counted", policy.options.count_whole_process}};
  json["bound"] = {{"bytes", LimitJson(statistics.bound)}, {"exceeded_by_bytes", statistics.over_bound}};
  json["committed_headroom"] = {{"bytes", statistics.committed_headroom},
                                {"held_bytes", statistics.headroom_held},
                                {"uses", statistics.headroom_uses},
                                {"given_bytes", statistics.headroom_given},
                                {"taken_back_bytes", statistics.headroom_taken_back}};
  json["waits"] = WaitsJson(statistics, policy.options);
  json["pressure"] = PressureJson(statistics, policy.events);
  json["thrash"] = ThrashJson(statistics, policy);
  json["latch"] = nullptr;
  if (statistics.latch_cause != kClrHostMemoryNotLatched) {
    json["latch"] = {{"cause", kLatchCauses.at(statistics.latch_cause).key},
                     {"method", MethodKey(static_cast<ClrHostMemoryMethod>(statistics.latch_method))},
                     {"win32_error", statistics.latch_error}};
  }
}

}  // namespace clr_host_memory::tool
