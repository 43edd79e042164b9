// One run of one managed program in this process: what every way of hosting shares, and what the summary is made of.
#ifndef CLRHM_TOOL_SESSION_H
#define CLRHM_TOOL_SESSION_H

#include "tool/command_line/options.h"
#include "tool/report/summary.h"
#include "tool/run/event_log.h"
#include "tool/run/limit_schedule.h"
#include "tool/run/process_end.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <clr_host_memory/core_clr_bridge.h>
#include <clr_host_memory/memory_manager.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

// A process has at most one session, and it lives as long as the process: a runtime's threads, and the end of the
// process itself, use it to the last. Setters are called by the hosting thread before managed code runs.
class Session {
 public:
  // Makes the manager and the summary's file, exports the manager to the app as CLRMEM_MANAGER=0x<address of its
  // IHostMemoryManager>, and watches for the end of the process. Throws ToolError.
  [[nodiscard]] static Session& Begin(const RunOptions& options, Streams streams);

  // Null when the app runs without the manager.
  [[nodiscard]] const MemoryManager* manager() const noexcept { return manager_ ? &*manager_ : nullptr; }

  // The runtime has started, and managed code is to begin: what is timed counts from here, and from here the runtime is
  // held to the limit. E_OUTOFMEMORY: it has no room to live in there; managed code is not to begin.
  [[nodiscard]] HRESULT NoteManagedCodeBegins() noexcept;
  // What to say then; none: it has.
  [[nodiscard]] std::optional<ToolError> WhyNoRoom() const;

  // What the GC is told to keep to, bytes; 0: nothing.
  [[nodiscard]] std::uint64_t gc_limit() const noexcept { return policy_.gc_limit; }

  void SetProgram(const std::filesystem::path& app);
  void SetRuntime(const std::string& name, const std::string& version, const std::filesystem::path& path);

  // Text for standard error, beside the summary.
  void WriteError(const std::string& text) const { streams_.error.Write(text); }

  // The run has failed on an error of clrmem's own: no summary is written, and its file is taken away.
  void Abandon() noexcept;

  // Attaches the bridge, if there is a manager, to a loaded coreclr.dll and watches the ends it brings about.
  // Throws ToolError.
  void AttachToCoreClr(HMODULE coreclr);
  [[nodiscard]] const CoreClrBridge* bridge() const noexcept { return bridge_ ? &*bridge_ : nullptr; }

 private:
  Session(const RunOptions& options, Streams streams);
  void MakeManager(const RunOptions& options);
  // Throws ToolError: what --count-all counts before the runtime starts leaves no room for it.
  void CheckRoomBesides(std::uint64_t limit) const;
  // On the manager's own thread.
  void OnEvent(const ClrHostMemoryEvent& event) noexcept;
  void SayThatItThrashes(const ClrHostMemoryEvent& event) const;
  [[nodiscard]] bool HoldToLimit() noexcept;
  [[nodiscard]] PolicyFigures PolicyFiguresNow() const;
  static void Report(void* session, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept;
  void WriteSummary(EndedBy how, std::optional<std::uint32_t> exit_code);

  Streams streams_;
  PolicyOptions policy_;
  bool quiet_;
  bool gc_container_;
  std::vector<std::string> bridged_modules_;
  Limit initial_limit_;
  EventLog events_;
  // Bytes in use that the limit has no room for, and what of them no reserve pays; 0: it has room.
  struct {
    std::uint64_t in_use = 0;
    std::uint64_t within_limit = 0;
  } too_much_at_start_;
  const bool accounting_;
  std::optional<MemoryBreakdown::NotHosted> not_hosted_before_;
  std::optional<MemoryManager> manager_;
  std::optional<LimitSchedule> schedule_;
  std::optional<CoreClrBridge> bridge_;
  std::optional<SummaryFile> file_;
  Summary summary_;
  ULONGLONG started_at_;
  ULONGLONG manager_made_at_ = 0;
  std::atomic<ULONGLONG> managed_code_began_at_ = 0;  // 0: not yet
};

// What the manager has done, for a summary; also used without a session.
[[nodiscard]] ManagerFigures FiguresOf(const MemoryManager& manager);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_SESSION_H
