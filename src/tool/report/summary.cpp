#include "tool/report/summary.h"

#include "tool/report/breakdown_summary.h"
#include "tool/report/policy_summary.h"
#include "tool/report/summary_table.h"
#include "tool/text/size_text.h"
#include "tool/text/text.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace clr_host_memory::tool {
namespace {

constexpr std::array<Names, kClrHostMemoryMethodCount> kMethods{{
    {"create_malloc", "CreateMalloc"},
    {"virtual_alloc", "VirtualAlloc"},
    {"virtual_free", "VirtualFree"},
    {"virtual_query", "VirtualQuery"},
    {"virtual_protect", "VirtualProtect"},
    {"get_memory_load", "GetMemoryLoad"},
    {"register_memory_notification_callback", "RegisterMemoryNotificationCallback"},
    {"needs_virtual_address_space", "NeedsVirtualAddressSpace"},
    {"acquired_virtual_address_space", "AcquiredVirtualAddressSpace"},
    {"released_virtual_address_space", "ReleasedVirtualAddressSpace"},
    {"malloc_alloc", "IHostMalloc::Alloc"},
    {"malloc_debug_alloc", "IHostMalloc::DebugAlloc"},
    {"malloc_free", "IHostMalloc::Free"},
}};
constexpr std::array<Names, kClrHostMemoryCodeCount> kCodes{{
    {"ok", "S_OK"},
    {"out_of_memory", "E_OUTOFMEMORY"},
    {"timeout", "HOST_E_TIMEOUT"},
    {"abandoned", "HOST_E_ABANDONED"},
    {"not_owner", "HOST_E_NOT_OWNER"},
    {"clr_not_available", "HOST_E_CLRNOTAVAILABLE"},
    {"invalid_operation", "HOST_E_INVALIDOPERATION"},
    {"fail", "E_FAIL"},
    {"pointer", "E_POINTER"},
    {"invalid_argument", "E_INVALIDARG"},
}};
constexpr std::array<Names, kClrHostMemoryPurposeCount> kPurposes{{
    {"unknown", "unknown"},
    {"gc_heap", "GC heap"},
    {"gc_bookkeeping", "GC bookkeeping"},
    {"code_heap", "code heap"},
    {"loader_heap", "loader heap"},
    {"native_heap", "native heap"},
    {"mapped_view", "mapped view"},
    {"stack", "stack"},
}};

template <std::size_t Count>
std::uint64_t Total(const std::uint64_t (&counters)[Count]) {
  std::uint64_t total = 0;
  for (const std::uint64_t counter : counters) total += counter;
  return total;
}

// Formats the answers other than S_OK, such as "3 E_OUTOFMEMORY, 1 E_INVALIDARG".
std::string Failures(const std::uint64_t (&counters)[kClrHostMemoryCodeCount]) {
  std::string text;
  for (std::size_t code = 1; code < kCodes.size(); ++code) {
    if (counters[code] == 0) continue;
    text += (text.empty() ? "" : ", ") + FormatCount(counters[code]) + " " + kCodes[code].shown;
  }
  return text;
}

std::string ExitCodeText(std::optional<std::uint32_t> exit_code) {
  if (!exit_code) return "unknown";
  // NTSTATUS and HRESULT values are known by their hexadecimal form.
  return *exit_code > 0x7FFFFFFF ? HexCode(*exit_code) : std::to_string(*exit_code);
}

void AddManager(Table& table, const ManagerFigures& figures, const PolicyFigures& policy) {
  const ClrHostMemoryStatistics& statistics = figures.statistics;
  AddLimit(table, statistics, policy);
  table.Row("committed",
            FormatSize(statistics.charged) + " now, " + FormatSize(statistics.peak_charged) + " at the peak");
  table.Row("  in IHostMalloc's heaps", FormatSize(statistics.heap_bytes));
  table.Row("reserved",
            FormatSize(statistics.reserved) + " now, " + FormatSize(statistics.peak_reserved) + " at the peak");
  table.Line("  calls by method");
  for (std::size_t method = 0; method < kMethods.size(); ++method) {
    const std::uint64_t total = Total(statistics.calls[method]);
    if (total != 0) table.Count(std::string("  ") + kMethods[method].shown, total, Failures(statistics.calls[method]));
  }
  bool refused = false;
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    const std::uint64_t total = Total(statistics.refusals[level]);
    if (total == 0) continue;
    if (!refused) table.Line("  refused allocations by level");
    refused = true;
    const bool by_limit_or_os = statistics.refusals[level][kClrHostMemoryOutOfMemory] != 0;
    table.Count(std::string("  ") + kLevels[level].shown, total,
                Failures(statistics.refusals[level]) +
                    (by_limit_or_os ? "; " + FormatCount(statistics.limit_refusals[level]) + " by the limit" : ""));
  }
  if (!refused) table.Row("refused allocations", "none");
  if (statistics.placement_refusals != 0) {
    table.Count("requests for an occupied address", statistics.placement_refusals, "not counted as refused");
  }
  AddPolicy(table, statistics, policy);
}

void AddBridge(Table& table, const BridgeFigures& bridge) {
  table.Row("bridge", FormatCount(bridge.calls) + " calls through " +
                          (bridge.modules.size() == 1 ? "1 module" : FormatCount(bridge.modules.size()) + " modules"));
  for (const BridgedModule& module : bridge.modules) {
    const std::size_t name = module.path.find_last_of("\\/");
    table.Count("  " + (name == std::string::npos ? module.path : module.path.substr(name + 1)), module.import_count,
                "imports");
  }
  for (const std::string& name : bridge.never_loaded) table.Row("  " + name, "never loaded, so not bridged");
  if (Total(bridge.purposes.requests) == 0) return;
  table.Line("  memory requests by purpose");
  for (std::size_t purpose = 0; purpose < kPurposes.size(); ++purpose) {
    const std::uint64_t refused = bridge.purposes.refusals[purpose];
    if (bridge.purposes.requests[purpose] == 0) continue;
    table.Count(std::string("  ") + kPurposes[purpose].shown, bridge.purposes.requests[purpose],
                refused == 0 ? std::string() : FormatCount(refused) + " refused");
  }
}

Json CodesJson(const std::uint64_t (&counters)[kClrHostMemoryCodeCount]) {
  Json json = {{"total", Total(counters)}};
  for (std::size_t code = 0; code < kCodes.size(); ++code) json[kCodes[code].key] = counters[code];
  return json;
}

void AddManager(Json& json, const ManagerFigures& figures, const PolicyFigures& policy) {
  const ClrHostMemoryStatistics& statistics = figures.statistics;
  json["limit_bytes"] = BytesOrNull(statistics.limit);
  json["app_domain_headroom_bytes"] = BytesOrNull(statistics.app_domain_headroom);
  json["process_headroom_bytes"] = BytesOrNull(statistics.process_headroom);
  json["memory"] = {
      {"charged_bytes", statistics.charged},   {"peak_charged_bytes", statistics.peak_charged},
      {"page_bytes", statistics.page_bytes},   {"heap_bytes", statistics.heap_bytes},
      {"reserved_bytes", statistics.reserved}, {"peak_reserved_bytes", statistics.peak_reserved},
      {"mapped_bytes", statistics.mapped},     {"metadata_bytes", statistics.metadata},
      {"regions", statistics.regions},         {"stale_regions", statistics.stale_regions},
  };
  Json calls = Json::object();
  for (std::size_t method = 0; method < kMethods.size(); ++method) {
    calls[kMethods[method].key] = CodesJson(statistics.calls[method]);
  }
  Json refusals = Json::object();
  Json limit_refusals = Json::object();
  for (std::size_t level = 0; level < kLevels.size(); ++level) {
    refusals[kLevels[level].key] = CodesJson(statistics.refusals[level]);
    limit_refusals[kLevels[level].key] = statistics.limit_refusals[level];
  }
  json["calls"] = std::move(calls);
  json["refusals"] = std::move(refusals);
  json["limit_refusals"] = std::move(limit_refusals);
  json["placement_refusals"] = statistics.placement_refusals;
  json["audit"] = {
      {"ledger_bytes", figures.audit.charged},    {"virtual_query_bytes", figures.audit.committed},
      {"mismatch_bytes", figures.audit.mismatch}, {"in_flight_bytes", figures.audit.in_flight},
      {"regions", figures.audit.regions},
  };
  AddPolicy(json, statistics, policy);
}

}  // namespace

const char* MethodKey(ClrHostMemoryMethod method) { return kMethods.at(static_cast<std::size_t>(method)).key; }
const char* MethodName(ClrHostMemoryMethod method) { return kMethods.at(static_cast<std::size_t>(method)).shown; }
const char* CodeKey(ClrHostMemoryCode code) { return kCodes.at(static_cast<std::size_t>(code)).key; }
const char* PurposeKey(ClrHostMemoryPurpose purpose) { return kPurposes.at(static_cast<std::size_t>(purpose)).key; }
const char* PurposeName(ClrHostMemoryPurpose purpose) { return kPurposes.at(static_cast<std::size_t>(purpose)).shown; }

std::string FormatTable(const Summary& summary) {
  Table table;
  table.Line("clrmem: " + summary.runtime_name +
             (summary.runtime_version.empty() ? "" : " " + summary.runtime_version) +
             (summary.manager ? "" : ", without the memory manager (--no-bridge)"));
  if (!summary.runtime_path.empty()) table.Row("runtime", summary.runtime_path);
  if (!summary.app.empty()) table.Row("app", summary.app);
  table.Row("end", summary.ended_by + ", exit code " + ExitCodeText(summary.exit_code));
  if (summary.manager) AddManager(table, *summary.manager, summary.policy);
  if (summary.bridge) AddBridge(table, *summary.bridge);
  if (summary.accounting) AddBreakdown(table, *summary.accounting);
  if (summary.manager) {
    const ClrHostMemoryAudit& audit = summary.manager->audit;
    table.Line("  audit: ledger " + FormatCount(audit.charged) + " bytes, VirtualQuery " +
               FormatCount(audit.committed) + " bytes, mismatch " + FormatCount(audit.mismatch) + " bytes" +
               (audit.in_flight == 0 ? "" : ", " + FormatCount(audit.in_flight) + " bytes in flight"));
  }
  return table.text();
}

nlohmann::ordered_json ToJson(const Summary& summary) {
  Json json = {{"schema", kSummarySchema}};
  json["runtime"] = {
      {"name", summary.runtime_name}, {"version", summary.runtime_version}, {"path", summary.runtime_path}};
  json["app"] = summary.app;
  json["exit_code"] = summary.exit_code ? Json(*summary.exit_code) : Json(nullptr);
  json["ended_by"] = summary.ended_by;
  json["elapsed_milliseconds"] = summary.elapsed_milliseconds;
  json["managed_by_host"] = summary.manager.has_value();
  if (summary.manager) AddManager(json, *summary.manager, summary.policy);
  if (summary.bridge) {
    Json modules = Json::array();
    for (const BridgedModule& module : summary.bridge->modules) {
      modules.push_back({{"path", module.path}, {"import_count", module.import_count}, {"imports", module.imports}});
    }
    Json purposes = Json::object();
    for (std::size_t purpose = 0; purpose < kPurposes.size(); ++purpose) {
      purposes[kPurposes[purpose].key] = {{"requests", summary.bridge->purposes.requests[purpose]},
                                          {"refusals", summary.bridge->purposes.refusals[purpose]}};
    }
    json["bridge"] = {{"calls", summary.bridge->calls},
                      {"modules", std::move(modules)},
                      {"never_loaded", summary.bridge->never_loaded},
                      {"purposes", std::move(purposes)}};
  } else {
    json["bridge"] = nullptr;
  }
  json["accounting"] = summary.accounting ? BreakdownJson(*summary.accounting) : Json(nullptr);
  return json;
}

}  // namespace clr_host_memory::tool
