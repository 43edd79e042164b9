// Learns that this process is about to end, however a managed program brings it about: Environment.Exit, a fail-fast,
// an unhandled exception, or ExitProcess from any code. Ends that the OS carries out without asking (TerminateProcess
// from outside, __fastfail) stay unseen.
#ifndef CLRHM_TOOL_RUN_PROCESS_END_H
#define CLRHM_TOOL_RUN_PROCESS_END_H

#include <windows.h>

#include <cstdint>
#include <optional>

namespace clr_host_memory::tool {

enum class EndedBy {
  kReturn,              // Main returned, and the runtime gave control back to us
  kExit,                // ExitProcess: Environment.Exit, or Main on another path
  kTerminate,           // TerminateProcess on itself: what a runtime does after a fatal error
  kFailFast,            // RaiseFailFastException: Environment.FailFast, an internal error of the runtime
  kUnhandledException,  // nobody handled an exception
  kThrashGuard,         // we stopped it, since its runtime was spinning at its limit
};
// "returned from Main": a part of a sentence, and the value of the JSON key ended_by.
[[nodiscard]] const char* EndedByText(EndedBy how) noexcept;

// Called once, on a thread of its own with 512 KiB of committed stack, while the ending thread waits, at most
// kReportTimeoutMilliseconds; or, when the process is already being torn down, on the ending thread itself, and then
// the exit code may be unknown.
struct EndReporter {
  void (*report)(void* context, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept;
  void* context;
};
inline constexpr DWORD kReportTimeoutMilliseconds = 30'000;

// Arms the report. Call once per process, before the runtime is loaded. context must live as long as the process.
// Throws ToolError when the thread cannot be made.
void WatchProcessEnd(const EndReporter& reporter);

// Also sees module's own calls to ExitProcess, TerminateProcess and RaiseFailFastException, which come before the
// process starts to be torn down, and keeps module from replacing the process's filter for unhandled exceptions. For
// the rest of the process. Throws ToolError when its imports cannot be patched.
void WatchProcessEndOf(HMODULE module);

// Main returned to us: reports now, unless another end was reported before.
void ReportReturn(std::uint32_t exit_code) noexcept;

// Ends the process from any of our own threads: reports, and terminates it, for the app's threads would not let go of
// it. Returns only when it is ending in another way already, which is left to do so.
void EndProcess(EndedBy how, std::uint32_t exit_code) noexcept;

// No report at all from now on: clrmem ends on an error of its own.
void DisarmProcessEnd() noexcept;

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_PROCESS_END_H
