#include "tool/agent/run_with_agent.h"

#include "bridge/patch/module_files.h"
#include "tool/agent/channel.h"
#include "tool/agent/remote_process.h"
#include "tool/program/runtime_locator.h"
#include "tool/text/argument_text.h"
#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <atomic>
#include <memory>
#include <system_error>
#include <utility>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

struct HandleCloser {
  void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using OwnedHandle = std::unique_ptr<void, HandleCloser>;

fs::path OwnFolder() { return fs::path(ModulePath(ModuleOf(reinterpret_cast<const void*>(&OwnFolder)))).parent_path(); }

// Loads the agent into the process and calls it. Throws ToolError, with the agent's error if the agent fails.
void Begin(const RemoteProcess& process, const Channel& channel, const std::vector<std::string>& command_line) {
  std::error_code error;
  std::vector<std::string> arguments{ToUtf8(fs::current_path(error))};
  arguments.insert(arguments.end(), command_line.begin(), command_line.end());
  channel.SetArguments(arguments);
  const fs::path agent = OwnFolder() / L"clrmem-agent.dll";
  const DWORD low = process.Load(agent);
  const DWORD result = process.Call(agent, low, "ClrMemAgentBegin", channel.name());
  if (result == 0 && channel.data().state == AgentState::kReady) return;
  const std::string message = channel.Message();
  if (!message.empty()) throw ToolError(message);
  throw ToolError("clrmem-agent.dll failed in the program, " + HexCode(result), "try again; if it recurs, report it");
}

// The program that this clrmem has started.
constinit std::atomic<HANDLE> g_program{nullptr};

// The console sends its events to all its processes. clrmem leaves them to the program, and ends with it. The OS ends a
// process whose handler returns from one of the last three events.
BOOL WINAPI LeaveToTheProgram(DWORD event) {
  const bool closes = event == CTRL_CLOSE_EVENT || event == CTRL_LOGOFF_EVENT || event == CTRL_SHUTDOWN_EVENT;
  HANDLE const program = g_program.load();
  if (closes && program != nullptr) WaitForSingleObject(program, INFINITE);
  return TRUE;
}

// Names the dotnet root that an apphost uses.
void SetDotnetRoot(const fs::path& root) {
  SetEnvironmentVariableW(L"DOTNET_ROOT", root.c_str());
  // It takes precedence.
#if defined(_M_ARM64) || defined(__aarch64__)
  SetEnvironmentVariableW(L"DOTNET_ROOT_ARM64", root.c_str());
#else
  SetEnvironmentVariableW(sizeof(void*) == 8 ? L"DOTNET_ROOT_X64" : L"DOTNET_ROOT_X86", root.c_str());
#endif
}

}  // namespace

void PrepareSuspended(const PROCESS_INFORMATION& process, const std::vector<std::string>& command_line,
                      ChildOrNot child) {
  const RemoteProcess target(process.hProcess);
  target.CheckProcessor("it");
  const Channel channel = Channel::Create();
  channel.data().is_child = child == ChildOrNot::kChild ? 1 : 0;
  channel.data().main_thread = process.dwThreadId;
  channel.data().clrmem = child == ChildOrNot::kOwn ? GetCurrentProcessId() : 0;
  Begin(target, channel, command_line);
}

std::uint32_t RunWithAgent(const StartedProgram& program, const RunOptions& options) {
  std::vector<std::string> arguments{ToUtf8(program.file)};
  arguments.insert(arguments.end(), program.arguments.begin(), program.arguments.end());
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::wstring line = JoinArguments(arguments);
  if (options.runtime != "auto") {
    const ModernRuntime runtime = ChooseModernRuntime(options.runtime);
    if (!runtime.root) {
      throw ToolError("--runtime names a runtime folder, and " + ToUtf8(program.file) + " finds its runtime by itself",
                      "name a dotnet root, or remove --runtime");
    }
    SetDotnetRoot(runtime.root->path);
  }

  STARTUPINFOW startup{};
  startup.cb = sizeof(startup);
  GetStartupInfoW(&startup);
  startup.lpReserved2 = nullptr;  // of clrmem's own C run-time
  startup.cbReserved2 = 0;
  PROCESS_INFORMATION started{};
  SetConsoleCtrlHandler(LeaveToTheProgram, TRUE);
  if (!CreateProcessW(program.file.c_str(), line.data(), nullptr, nullptr, TRUE, CREATE_SUSPENDED, nullptr, nullptr,
                      &startup, &started)) {
    throw ToolError(ToUtf8(program.file) + " cannot be started, " + DescribeWin32Error(GetLastError()),
                    "see whether it starts without clrmem");
  }
  const OwnedHandle process(started.hProcess);
  const OwnedHandle thread(started.hThread);
  g_program.store(process.get());
  try {
    PrepareSuspended(started, options.command_line, ChildOrNot::kOwn);
  } catch (...) {
    TerminateProcess(process.get(), kExitUsage);
    throw;
  }
  ResumeThread(thread.get());
  WaitForSingleObject(process.get(), INFINITE);
  DWORD exit_code = kExitUsage;
  GetExitCodeProcess(process.get(), &exit_code);
  return exit_code;
}

void AttachAgent(const AttachOptions& options, Streams streams) {
  const std::string shown = "process " + std::to_string(options.process);
  const OwnedHandle process(OpenProcess(PROCESS_CREATE_THREAD | PROCESS_QUERY_INFORMATION | PROCESS_VM_OPERATION |
                                            PROCESS_VM_READ | PROCESS_VM_WRITE | SYNCHRONIZE,
                                        FALSE, options.process));
  if (!process) {
    const DWORD error = GetLastError();
    if (error == ERROR_INVALID_PARAMETER) {
      throw ToolError("there is no " + shown, "give the id of a running .NET program");
    }
    throw ToolError(shown + " cannot be opened, " + DescribeWin32Error(error),
                    "run clrmem as the program's user, or as administrator");
  }
  const RemoteProcess target(process.get());
  target.CheckProcessor(shown);
  target.CheckUser(shown);
  const Channel channel = Channel::Create();
  channel.data().attaches = 1;
  try {
    Begin(target, channel, options.command_line);
  } catch (const ToolError&) {
    if (WaitForSingleObject(process.get(), 0) != WAIT_OBJECT_0) throw;
    throw ToolError(shown + " has ended meanwhile", "give the id of a running .NET program");
  }
  streams.error.Write("clrmem: " + shown + " is under the memory manager: " + channel.Message() + "; the " +
                      FormatSize(channel.data().outside) + " that it has committed by now are not charged\n");
}

}  // namespace clr_host_memory::tool
