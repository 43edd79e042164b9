// One run of one managed program in this process: the state that all hosting methods share, and the source of the
// summary.
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

// The session of this process. A process has at most one. It lives as long as the process: the runtime's threads and
// the report at the end of the process use it until the end. The hosting thread calls the setters before managed code
// runs.
class Session {
 public:
  // Creates the manager and the summary's file. Sets the app's environment variable CLRMEM_MANAGER=<process
  // id>:0x<address of the manager's IHostMemoryManager>, or removes it if there is no manager. Starts to watch for the
  // end of the process. Throws ToolError.
  [[nodiscard]] static Session& Begin(const RunOptions& options, Streams streams);

  // Returns null when the app runs without the manager.
  [[nodiscard]] const MemoryManager* manager() const noexcept { return manager_ ? &*manager_ : nullptr; }

  // Notes that the runtime has started and managed code begins. Starts the clock of everything timed, and applies the
  // limit to the runtime. Returns E_OUTOFMEMORY if the runtime does not fit within the limit; managed code must then
  // not begin.
  [[nodiscard]] HRESULT NoteManagedCodeBegins() noexcept;
  // Returns the error to report after E_OUTOFMEMORY from NoteManagedCodeBegins; empty if the runtime fits.
  [[nodiscard]] std::optional<ToolError> NoRoomError() const;

  // Returns the properties to start the bridged runtime with: the given ones and those under a limit, the companion
  // among them. Throws std::bad_alloc.
  [[nodiscard]] StartProperties MakeStartProperties(int count, const char* const* keys, const char* const* values);

  // Starts the companion in the bridged runtime, unless --companion off. Call it after NoteManagedCodeBegins, with the
  // results of coreclr_initialize. The summary tells whether the companion runs.
  void StartCompanion(void* host, unsigned domain) const noexcept;

  // Returns the limit that the runtime's companion begins with (Companion.StartForHost). nullopt: the session wants no
  // companion, or the runtime cannot load it. Call it after MakeStartProperties.
  [[nodiscard]] std::optional<std::uint64_t> CompanionLimit() const;

  // Returns the heap limit that the GC received: bytes, or 0 if none.
  [[nodiscard]] std::uint64_t gc_limit_at_start() const noexcept {
    return gc_limit_figures_ ? gc_limit_figures_->at_start : 0;
  }

  void SetProgram(const std::filesystem::path& app);
  void SetRuntime(const std::string& name, const std::string& version, const std::filesystem::path& path);

  // Writes text other than the summary to standard error.
  void WriteError(const std::string& text) const { streams_.error.Write(text); }

  // Ends the session after an error of clrmem: writes no summary and deletes its temporary file.
  void Abandon() noexcept;

  // Ends the session after an error of the agent, in a program that runs on: as Abandon, and detaches the bridge.
  void Withdraw() noexcept;

  // Watches the process ends that a loaded coreclr.dll causes. If there is a manager, attaches the bridge to the
  // module. Throws ToolError.
  void AttachToCoreClr(HMODULE coreclr);
  // Does the same for the coreclr.dll that hostfxr will start; null: it is not known yet. Then MakeStartProperties,
  // NoteManagedCodeBegins and StartCompanion follow by themselves.
  void BridgeHostFxr(HMODULE coreclr);
  // Does the same for the runtime that is running in this process, and applies the limit at once. Throws ToolError.
  void AttachToRunning();
  // Ends the start of a bridged runtime that nothing else notices: managed code follows. Throws ToolError.
  void EndStartHere();

  // Sets what is called, on the starting thread, when the runtime does not start or does not fit the limit. For a
  // process whose host is not clrmem.
  void OnFailedStart(void (*failed)(HRESULT result) noexcept) noexcept { on_failed_start_ = failed; }
  // Returns the name, version and file of the runtime; empty: it is not known yet.
  [[nodiscard]] std::string RuntimeText() const;
  // Returns the result of coreclr_initialize under BridgeHostFxr; nullopt: it was not called.
  [[nodiscard]] std::optional<HRESULT> start_result() const noexcept { return start_result_; }
  [[nodiscard]] const CoreClrBridge* bridge() const noexcept { return bridge_ ? &*bridge_ : nullptr; }

 private:
  Session(const RunOptions& options, Streams streams);
  void MakeManager(const RunOptions& options);
  // Checks that the limit leaves room for the runtime. Throws ToolError if the memory that --count-all already counts
  // leaves too little.
  void CheckRoomForRuntime(std::uint64_t limit) const;
  // Receives the manager's events, on the manager's own thread.
  void OnEvent(const ClrHostMemoryEvent& event) noexcept;
  void ReportThrashing(std::uint64_t limit) const;
  [[nodiscard]] bool ApplyLimit() noexcept;
  [[nodiscard]] bool HasLimit() const noexcept { return initial_limit_ || !policy_.limit_changes.empty(); }
  void UseBridge(Result<CoreClrBridge> bridge);
  // Notes the runtime that the bridge has found, and watches the ends that it causes. Throws ToolError.
  void NoteRuntimeOfBridge();
  HRESULT NoteStart(const ClrHostMemoryRuntimeStart& start);
  static HRESULT STDMETHODCALLTYPE OnStarted(void* session, const ClrHostMemoryRuntimeStart* start) noexcept;
  [[nodiscard]] PolicyFigures PolicyFiguresNow() const;
  static void Report(void* session, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept;
  void WriteSummary(EndedBy how, std::optional<std::uint32_t> exit_code);

  Streams streams_;
  PolicyOptions policy_;
  bool quiet_;
  bool is_child_;
  bool gc_container_;
  std::vector<std::string> bridged_modules_;
  Limit initial_limit_;
  std::optional<GcLimitFigures> gc_limit_figures_;
  EventLog events_;
  std::optional<HRESULT> start_result_;
  void (*on_failed_start_)(HRESULT result) noexcept = nullptr;
  // Set if the runtime did not fit the limit. Bytes.
  bool start_was_refused_ = false;
  std::uint64_t in_use_at_start_ = 0;
  std::uint64_t least_limit_ = 0;
  const bool accounting_;
  std::optional<MemoryBreakdown::NotHosted> not_hosted_before_;
  std::optional<MemoryManager> manager_;
  std::optional<LimitSchedule> schedule_;
  std::optional<CoreClrBridge> bridge_;
  std::optional<SummaryFile> file_;
  Summary summary_;
  ULONGLONG started_at_;
  ULONGLONG manager_made_at_ = 0;
  std::atomic<ULONGLONG> managed_code_began_at_ = 0;  // 0 until then
};

// Returns the manager's figures for a summary. Works without a session.
[[nodiscard]] ManagerFigures FiguresOf(const MemoryManager& manager);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_SESSION_H
