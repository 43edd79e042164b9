// Ends as its argument says, and prints the watch's report: "<how> <exit code>".
#include <cstdio>
#include <string>

#include "tool/run/process_end.h"
#include "tool/text/text.h"

namespace {

using namespace clr_host_memory::tool;

void Print(void* /*context*/, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept {
  StandardSink(STD_OUTPUT_HANDLE).Write(EndedByText(how));
  StandardSink(STD_OUTPUT_HANDLE).Write(exit_code ? " " + std::to_string(*exit_code) + "\n" : " unknown\n");
}

DWORD WINAPI ExitFromAThread(void* /*unused*/) { ExitProcess(5); }

}  // namespace

static LONG WINAPI PrintFilterFirst(EXCEPTION_POINTERS* /*exception*/) {
  clr_host_memory::tool::StandardSink(STD_OUTPUT_HANDLE).Write("filter first, ");
  return EXCEPTION_EXECUTE_HANDLER;
}

int main(int argc, char** argv) {
  if (argc < 2) return 1;
  const std::string way = argv[1];
  WatchProcessEnd({&Print, nullptr});
  if (way == "return") {
    ReportReturn(3);
    return 3;
  }
  // This call stands for one by a DLL or a P/Invoke, which bypasses the watched imports. Only the loader reports such
  // an end.
  if (way == "exit") ExitProcess(4);
  if (way == "exit-thread") {
    HANDLE thread = CreateThread(nullptr, 0, ExitFromAThread, nullptr, 0, nullptr);
    WaitForSingleObject(thread, INFINITE);
  }
  if (way == "disarmed") {
    DisarmProcessEnd();
    return 2;
  }
  // Watches this program's own imports, as the tool watches a runtime's.
  WatchProcessEndOf(GetModuleHandleW(nullptr));
  if (way == "watched-exit") ExitProcess(6);
  if (way == "watched-terminate") TerminateProcess(GetCurrentProcess(), 7);
  if (way == "exception") RaiseException(0xE0434352, EXCEPTION_NONCONTINUABLE, 0, nullptr);
  if (way == "replaced-filter") {
    SetUnhandledExceptionFilter(PrintFilterFirst);
    RaiseException(0xE0434352, EXCEPTION_NONCONTINUABLE, 0, nullptr);
  }
  return 1;
}
