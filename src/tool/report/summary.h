// The summary that clrmem writes at the end of a run: a table to read, and JSON for programs (docs/tool.md documents
// every key).
#ifndef CLRHM_TOOL_REPORT_SUMMARY_H
#define CLRHM_TOOL_REPORT_SUMMARY_H

#include "tool/command_line/policy_options.h"
#include "tool/run/event_log.h"
#include "tool/run/limit_schedule.h"
#include "tool/run/memory_breakdown.h"

#include <clr_host_memory/memory_manager_abi.h>

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

// The manager's figures of a run; absent when the app ran without it.
struct ManagerFigures {
  ClrHostMemoryStatistics statistics{};
  ClrHostMemoryAudit audit{};
};

// Whether the limit of the GC follows the manager's limit while the program runs, or why not.
enum class GcFollows {
  kYes,
  kGivenLimit,     // --gc-limit gave a size, or none
  kLimitOfTheApp,  // the app or its environment sets the GC's limit
  kCompanionOff,
  kOldRuntime,  // before .NET 8
  kNoCompanion,
  kGcTakesNone  // the GC ignores every limit
};
// The GCs of 32-bit runtimes ignore GCHeapHardLimit.
inline constexpr bool kGcTakesLimits = sizeof(void*) == 8;

struct GcLimitFigures {
  std::uint64_t at_start = 0;  // bytes; 0: none
  GcFollows follows = GcFollows::kYes;
};

// The requested policy, and its results that the statistics lack. Times are milliseconds since managed code began to
// run, and negative before.
struct PolicyFigures {
  PolicyOptions options;
  Limit initial_limit;
  std::vector<LimitChangeFigures> limit_changes;  // sorted by time
  EventFigures events;
  std::optional<GcLimitFigures> gc_limit;  // of a bridged runtime under a limit
};

// The bridge's figures of a run. Absent for .NET Framework, which calls the manager itself, and for runs without a
// bridge.
struct BridgeFigures {
  std::vector<BridgedModule> modules;
  std::vector<std::string> never_loaded;  // names given by --bridge
  std::uint64_t calls = 0;
  ClrHostMemoryPurposes purposes{};
};

struct Summary {
  std::string runtime_name;                // ".NET", ".NET Framework", "scripted client, no CLR"
  std::string runtime_version;             // "8.0.33"
  std::string runtime_path;                // file or folder; empty when there is none
  std::string app;                         // full path; empty when there is none
  std::optional<std::uint32_t> exit_code;  // none: the exit code could not be read while the process ended
  std::string ended_by;                    // as EndedByText
  std::uint64_t elapsed_milliseconds = 0;
  std::optional<ManagerFigures> manager;
  PolicyFigures policy;  // the manager's policy; meaningful when manager is set
  std::optional<BridgeFigures> bridge;
  std::optional<MemoryBreakdown> accounting;  // when requested
};

[[nodiscard]] std::string FormatTable(const Summary& summary);
[[nodiscard]] nlohmann::ordered_json ToJson(const Summary& summary);

// Return the JSON keys of methods, answers and purposes, such as "virtual_alloc", and their names in the table.
[[nodiscard]] const char* MethodKey(ClrHostMemoryMethod method);
[[nodiscard]] const char* MethodName(ClrHostMemoryMethod method);  // "VirtualAlloc", the name in the table
[[nodiscard]] const char* CodeKey(ClrHostMemoryCode code);
[[nodiscard]] const char* PurposeKey(ClrHostMemoryPurpose purpose);
[[nodiscard]] const char* PurposeName(ClrHostMemoryPurpose purpose);  // "GC heap"

// The file for the summary. It is created under a temporary name at the start of the run, so that an unwritable path
// is reported before the app runs. It gets its final name when it is complete.
class SummaryFile {
 public:
  SummaryFile() = default;
  // Creates the temporary file beside path. Throws ToolError if path cannot be written or names a folder.
  explicit SummaryFile(const std::filesystem::path& path);
  SummaryFile(SummaryFile&& other) noexcept;
  SummaryFile& operator=(SummaryFile&&) = delete;
  // A device, such as NUL or CON, is written to directly. Deletes the temporary file unless it was committed.
  ~SummaryFile();

  [[nodiscard]] bool is_open() const noexcept { return file_ != nullptr; }
  // Writes text and renames the file to its final name. Throws ToolError.
  void Commit(const std::string& text);

 private:
  // Opens path_ if it is a device.
  bool OpenDevice();

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty for a device
  void* file_ = nullptr;             // HANDLE
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_REPORT_SUMMARY_H
