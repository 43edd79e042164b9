#include "tool/run/process_end.h"

#include "os/windows/kept_last_error.h"
#include "tool/hosting/hostfxr_abi.h"
#include "tool/run/lasting_patch.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <array>
#include <atomic>

namespace clr_host_memory::tool {
namespace {

// STATUS_FAIL_FAST_EXCEPTION, the code of a fail-fast without an exception record.
constexpr std::uint32_t kFailFastCode = 0xC0000602;
constexpr SIZE_T kReporterStack = 512 * 1024;

// The state of the watch. It is one per process because Win32 passes no context to hooks, filters and TLS callbacks.
// It is never destroyed.
struct Watch {
  EndReporter reporter{};
  std::atomic<bool> armed{false};
  HANDLE requested = nullptr;
  HANDLE reported = nullptr;
  EndedBy how = EndedBy::kReturn;
  std::uint32_t exit_code = 0;
  std::atomic<LPTOP_LEVEL_EXCEPTION_FILTER> runtime_filter{nullptr};
  std::atomic<DWORD> filtering_thread{0};  // the first thread inside the filter; 0: none
  // kernel32's functions and one of ntdll's, found without any import table: this program's imports may be patched,
  // too.
  decltype(&ExitProcess) exit_process = nullptr;
  void(NTAPI* exit_user_process)(LONG exit_code) = nullptr;  // ntdll's RtlExitUserProcess
  decltype(&TerminateProcess) terminate_process = nullptr;
  decltype(&RaiseFailFastException) raise_fail_fast = nullptr;
};
Watch g_watch;

// Claims the report. Returns true to the first caller only; that caller reports.
bool Claim() noexcept {
  bool armed = true;
  return g_watch.armed.compare_exchange_strong(armed, false);
}

DWORD WINAPI ReporterThread(void* /*unused*/) {
  WaitForSingleObject(g_watch.requested, INFINITE);
  g_watch.reporter.report(g_watch.reporter.context, g_watch.how, g_watch.exit_code);
  SetEvent(g_watch.reported);
  return 0;
}

// Reports the end unless another end was claimed, and waits for the report in progress. Returns whether this call's
// end is the reported one. Preserves GetLastError.
bool Report(EndedBy how, std::uint32_t exit_code) noexcept {
  const KeptLastError kept;
  const bool claimed = Claim();
  if (claimed) {
    g_watch.how = how;
    g_watch.exit_code = exit_code;
    SetEvent(g_watch.requested);
  }
  // The wait also applies to a second thread that ends the process: it must not cut off the first thread's report.
  if (g_watch.reported != nullptr && WaitForSingleObject(g_watch.requested, 0) == WAIT_OBJECT_0) {
    WaitForSingleObject(g_watch.reported, kReportTimeoutMilliseconds);
  }
  return claimed;
}

void WINAPI ExitProcessHook(UINT exit_code) {
  Report(EndedBy::kExit, exit_code);
  g_watch.exit_process(exit_code);
}

void NTAPI ExitUserProcessHook(LONG exit_code) {
  Report(EndedBy::kExit, static_cast<std::uint32_t>(exit_code));
  g_watch.exit_user_process(exit_code);
}

BOOL WINAPI TerminateProcessHook(HANDLE process, UINT exit_code) {
  if (GetProcessId(process) == GetCurrentProcessId()) Report(EndedBy::kTerminate, exit_code);
  return g_watch.terminate_process(process, exit_code);
}

void WINAPI RaiseFailFastExceptionHook(PEXCEPTION_RECORD record, PCONTEXT context, DWORD flags) {
  Report(EndedBy::kFailFast, record != nullptr ? static_cast<std::uint32_t>(record->ExceptionCode) : kFailFastCode);
  g_watch.raise_fail_fast(record, context, flags);
}

// The process's filter for unhandled exceptions. Calls the runtime's own filter first, which prints the exception.
LONG WINAPI UnhandledExceptionHook(EXCEPTION_POINTERS* exception) {
  // A runtime that has started before calls the filter that it replaced, which is this one.
  DWORD nobody = 0;
  if (!g_watch.filtering_thread.compare_exchange_strong(nobody, GetCurrentThreadId())) {
    if (nobody == GetCurrentThreadId()) return EXCEPTION_CONTINUE_SEARCH;
  }
  const LPTOP_LEVEL_EXCEPTION_FILTER runtime_filter = g_watch.runtime_filter.load();
  const LONG verdict = runtime_filter != nullptr ? runtime_filter(exception) : EXCEPTION_CONTINUE_SEARCH;
  if (verdict != EXCEPTION_CONTINUE_EXECUTION) {
    Report(EndedBy::kUnhandledException, static_cast<std::uint32_t>(exception->ExceptionRecord->ExceptionCode));
  }
  DWORD self = GetCurrentThreadId();
  g_watch.filtering_thread.compare_exchange_strong(self, 0);
  return verdict;
}

// Keeps this filter in front of the runtime's. coreclr replaces the process's filter and does not call the filter
// that it replaced. So this hook stores coreclr's filter for UnhandledExceptionHook to call.
LPTOP_LEVEL_EXCEPTION_FILTER WINAPI SetUnhandledExceptionFilterHook(LPTOP_LEVEL_EXCEPTION_FILTER filter) {
  return g_watch.runtime_filter.exchange(filter);
}

// Reports an ExitProcess that no hook detected; this is the last opportunity. No other thread runs any more, so the
// report is written on this thread. If the loader does not know the exit code, GetExitCodeProcess returns
// STILL_ACTIVE.
void NTAPI ProcessDetach(void* /*module*/, DWORD reason, void* /*reserved*/) {
  if (reason != DLL_PROCESS_DETACH || !Claim()) return;
  DWORD exit_code = 0;
  GetExitCodeProcess(GetCurrentProcess(), &exit_code);
  std::optional<std::uint32_t> known;
  if (exit_code != STILL_ACTIVE) known = exit_code;
  g_watch.reporter.report(g_watch.reporter.context, EndedBy::kExit, known);
}

}  // namespace

const char* EndedByText(EndedBy how) noexcept {
  switch (how) {
    case EndedBy::kReturn: return "returned from Main";
    case EndedBy::kExit: return "exited";
    case EndedBy::kTerminate: return "terminated itself";
    case EndedBy::kFailFast: return "failed fast";
    case EndedBy::kUnhandledException: return "unhandled exception";
    case EndedBy::kThrashGuard: return "stopped by the thrash guard";
  }
  return "unknown";
}

namespace {

void Hook(HMODULE module, gsl::span<const ImportHook> hooks) {
  static auto* patches = new LastingPatches();
  std::string reason;
  if (SUCCEEDED(patches->Apply(module, hooks, &reason))) return;
  throw ToolError("the end of the program cannot be watched: " + reason, "report this as a bug");
}

}  // namespace

void WatchProcessEnd(const EndReporter& reporter) {
  g_watch.reporter = reporter;
  HMODULE kernel32 = GetModuleHandleW(L"kernel32.dll");
  g_watch.exit_process = FunctionOf<decltype(&ExitProcess)>(kernel32, "ExitProcess");
  g_watch.terminate_process = FunctionOf<decltype(&TerminateProcess)>(kernel32, "TerminateProcess");
  g_watch.raise_fail_fast = FunctionOf<decltype(&RaiseFailFastException)>(kernel32, "RaiseFailFastException");
  g_watch.requested = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  g_watch.reported = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  HANDLE thread = CreateThread(nullptr, kReporterStack, ReporterThread, nullptr, 0, nullptr);
  if (g_watch.requested == nullptr || g_watch.reported == nullptr || thread == nullptr) {
    throw ToolError("the thread that writes the summary cannot be started, " + DescribeWin32Error(GetLastError()),
                    "close other programs and try again");
  }
  CloseHandle(thread);
  KeepFilterInFront();
  // ExitProcess consists of a call of this function.
  g_watch.exit_user_process =
      FunctionOf<decltype(g_watch.exit_user_process)>(GetModuleHandleW(L"ntdll.dll"), "RtlExitUserProcess");
  const std::array<ImportHook, 1> hooks{
      {{"RtlExitUserProcess", reinterpret_cast<void*>(&ExitUserProcessHook), nullptr}}};
  Hook(kernel32, hooks);
  g_watch.armed.store(true);
}

void WatchProcessEndOf(HMODULE module) {
  const std::array<ImportHook, 4> hooks{{
      {"ExitProcess", reinterpret_cast<void*>(&ExitProcessHook), nullptr},
      {"TerminateProcess", reinterpret_cast<void*>(&TerminateProcessHook), nullptr},
      {"RaiseFailFastException", reinterpret_cast<void*>(&RaiseFailFastExceptionHook), nullptr},
      {"SetUnhandledExceptionFilter", reinterpret_cast<void*>(&SetUnhandledExceptionFilterHook), nullptr},
  }};
  Hook(module, hooks);
}

void KeepFilterInFront() noexcept {
  const LPTOP_LEVEL_EXCEPTION_FILTER before = SetUnhandledExceptionFilter(UnhandledExceptionHook);
  if (before != nullptr && before != &UnhandledExceptionHook) g_watch.runtime_filter.store(before);
}

void ReportReturn(std::uint32_t exit_code) noexcept { Report(EndedBy::kReturn, exit_code); }

void EndProcess(EndedBy how, std::uint32_t exit_code) noexcept {
  if (Report(how, exit_code)) g_watch.terminate_process(GetCurrentProcess(), exit_code);
}

void DisarmProcessEnd() noexcept { g_watch.armed.store(false); }

}  // namespace clr_host_memory::tool

// A TLS callback of the program. The loader calls it when the process detaches.
#if defined(_MSC_VER)
#if defined(_M_IX86)
#pragma comment(linker, "/INCLUDE:__tls_used")
#pragma comment(linker, "/INCLUDE:_g_clrmem_process_detach")
#else
#pragma comment(linker, "/INCLUDE:_tls_used")
#pragma comment(linker, "/INCLUDE:g_clrmem_process_detach")
#endif
#pragma const_seg(".CRT$XLY")
extern "C" {
extern const PIMAGE_TLS_CALLBACK g_clrmem_process_detach;
const PIMAGE_TLS_CALLBACK g_clrmem_process_detach = clr_host_memory::tool::ProcessDetach;
}
#pragma const_seg()
#else
extern "C" {
extern const PIMAGE_TLS_CALLBACK g_clrmem_process_detach;
[[gnu::used, gnu::section(".CRT$XLY")]] const PIMAGE_TLS_CALLBACK g_clrmem_process_detach =
    clr_host_memory::tool::ProcessDetach;
}
#endif
