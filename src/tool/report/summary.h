// What clrmem says at the end of a run: a table for people and JSON for programs (docs/tool.md documents every key).
#ifndef CLRHM_TOOL_REPORT_SUMMARY_H
#define CLRHM_TOOL_REPORT_SUMMARY_H

#include "tool/command_line/policy_options.h"
#include "tool/run/event_log.h"
#include "tool/run/limit_schedule.h"
#include "tool/run/memory_breakdown.h"

#include <clr_host_memory/clr_host_memory.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

inline constexpr int kSummarySchema = 1;

struct BridgedModule {
  std::string path;
  std::uint32_t import_count = 0;
  std::vector<std::string> imports;
};

// The manager's side of a run; absent when the app ran without it.
struct ManagerFigures {
  ClrHostMemoryStatistics statistics{};
  ClrHostMemoryAudit audit{};
};

// What was asked of the policy, and what came of it that the statistics do not have. Times are milliseconds since
// managed code began to run, negative before.
struct PolicyFigures {
  PolicyOptions options;
  Limit initial_limit;
  std::vector<LimitChangeFigures> limit_changes;  // by time
  EventFigures events;
};

// The bridge's side of a run; absent for .NET Framework, which calls the manager itself, and without a bridge.
struct BridgeFigures {
  std::vector<BridgedModule> modules;
  std::uint64_t calls = 0;
  ClrHostMemoryPurposes purposes{};
};

struct Summary {
  std::string runtime_name;                // ".NET", ".NET Framework", "scripted client, no CLR"
  std::string runtime_version;             // "8.0.33"
  std::string runtime_path;                // the file or folder, empty when there is none
  std::string app;                         // full path, empty when there is none
  std::optional<std::uint32_t> exit_code;  // none: the process ended too far along for anyone to say
  std::string ended_by;                    // as EndedByText
  std::uint64_t elapsed_milliseconds = 0;
  std::optional<ManagerFigures> manager;
  PolicyFigures policy;  // of the manager
  std::optional<BridgeFigures> bridge;
  std::optional<MemoryBreakdown> accounting;  // when it was asked for
};

[[nodiscard]] std::string FormatTable(const Summary& summary);
[[nodiscard]] nlohmann::ordered_json ToJson(const Summary& summary);

// "virtual_alloc" and so on: how JSON names methods, answers and levels.
[[nodiscard]] const char* MethodKey(ClrHostMemoryMethod method);
[[nodiscard]] const char* MethodName(ClrHostMemoryMethod method);  // "VirtualAlloc", as the table has it
[[nodiscard]] const char* CodeKey(ClrHostMemoryCode code);
[[nodiscard]] const char* PurposeKey(ClrHostMemoryPurpose purpose);
[[nodiscard]] const char* PurposeName(ClrHostMemoryPurpose purpose);  // "GC heap"

// A file that the summary will go to: made when the run starts, so that a path that cannot be written is known before
// the app runs; it gets its name only when it is complete.
class SummaryFile {
 public:
  SummaryFile() = default;
  // Makes the temporary file beside path. Throws ToolError: path cannot be written, or names a folder.
  explicit SummaryFile(const std::filesystem::path& path);
  SummaryFile(SummaryFile&& other) noexcept;
  SummaryFile& operator=(SummaryFile&&) = delete;
  // Removes what was not committed.
  ~SummaryFile();

  [[nodiscard]] bool is_open() const noexcept { return file_ != nullptr; }
  // Writes text and gives the file its name. Throws ToolError.
  void Commit(const std::string& text);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  void* file_ = nullptr;  // HANDLE
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_SUMMARY_H
