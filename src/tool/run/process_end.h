// Detects that this process is about to end, for each end that a managed program can cause. These are
// Environment.Exit, a fail-fast, an unhandled exception, and ExitProcess from any code. Ends that the OS performs
// without a callback (TerminateProcess from outside, __fastfail) are not detected.
#ifndef CLRHM_TOOL_RUN_PROCESS_END_H
#define CLRHM_TOOL_RUN_PROCESS_END_H

#include <windows.h>

#include <cstdint>
#include <optional>

namespace clr_host_memory::tool {

enum class EndedBy {
  kReturn,              // Main returned, and the runtime returned control to clrmem
  kExit,                // ExitProcess: Environment.Exit, or Main on another path
  kTerminate,           // TerminateProcess on itself: a runtime's action after a fatal error
  kFailFast,            // RaiseFailFastException: Environment.FailFast, or an internal error of the runtime
  kUnhandledException,  // an exception without a handler
  kThrashGuard,         // clrmem stopped the process because its runtime thrashed at its limit
};
// Returns a text such as "returned from Main". It is a part of a sentence, and the value of the JSON key ended_by.
[[nodiscard]] const char* EndedByText(EndedBy how) noexcept;

// The callback that reports the end. It is called once, on a dedicated thread with 512 KiB of committed stack. The
// ending thread waits for it, at most kReportTimeoutMilliseconds. If the process is already being torn down, the
// callback runs on the ending thread itself. The exit code may then be unknown.
struct EndReporter {
  void (*report)(void* context, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept;
  void* context;
};
inline constexpr DWORD kReportTimeoutMilliseconds = 30'000;

// Arms the report, and watches ExitProcess of kernel32.dll, called by any code. Call once per process, before the
// runtime is loaded. context must live as long as the process. Throws ToolError if the thread cannot be created.
void WatchProcessEnd(const EndReporter& reporter);

// Also detects module's own calls to ExitProcess, TerminateProcess and RaiseFailFastException. These precede the
// teardown of the process. Also keeps module from replacing the process's filter for unhandled exceptions. Both last
// for the rest of the process; a second call for a module does nothing. One thread at a time. Throws ToolError if the
// imports of module cannot be patched.
void WatchProcessEndOf(HMODULE module);

// Puts this process's filter for unhandled exceptions in front of the one that a runtime has set by now. Call it when
// WatchProcessEndOf came after the runtime's start.
void KeepFilterInFront() noexcept;

// Reports that Main returned to clrmem. If another end was reported before, only waits for that report.
void ReportReturn(std::uint32_t exit_code) noexcept;

// Ends the process from any thread of clrmem: reports, then terminates it. Termination is needed because the app's
// threads would keep the process alive. Returns only if the process is already ending in another way; that end then
// continues.
void EndProcess(EndedBy how, std::uint32_t exit_code) noexcept;

// Disarms the report permanently: clrmem ends on its own error.
void DisarmProcessEnd() noexcept;

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_PROCESS_END_H
