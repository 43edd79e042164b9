// clrmem-agent.dll: clrmem's part in a process that clrmem cannot host. clrmem loads it and calls ClrMemAgentBegin on a
// new thread. From then on the agent's session serves the process as it would serve clrmem's, until the process ends.
#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"
#include "tool/agent/channel.h"
#include "tool/agent/linked_runtime.h"
#include "tool/hosting/hosts.h"
#include "tool/run/children.h"
#include "tool/run/process_memory.h"
#include "tool/session.h"
#include "tool/text/argument_text.h"
#include "tool/text/tool_error.h"

#include <atomic>
#include <filesystem>
#include <new>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace clr_host_memory::tool {
namespace {

// The agent's state. One per process; never destroyed.
struct Agent {
  RunOptions options;
  Session* session = nullptr;
  StandardSink out{STD_OUTPUT_HANDLE};
  StandardSink error{STD_ERROR_HANDLE};
};

Agent& TheAgent() {
  static auto* agent = new Agent();
  return *agent;
}

// Ends the process before its managed code runs, as clrmem does after its own errors.
void EndBeforeManagedCode(const ToolError& error) noexcept {
  Agent& agent = TheAgent();
  agent.session->Abandon();
  agent.error.Write("clrmem: ");
  agent.error.Write(error.what());
  agent.error.Write("\n");
  TerminateProcess(GetCurrentProcess(), kExitUsage);
}

// Called when the runtime has not started, or does not fit the limit.
void OnFailedStart(HRESULT result) noexcept try {
  const Agent& agent = TheAgent();
  if (const std::optional<ToolError> no_room = agent.session->NoRoomError()) EndBeforeManagedCode(*no_room);
  const auto verified = agent.session->bridge()->VerifyCallsArrive();
  if (!verified) EndBeforeManagedCode(ToolError(verified.error().reason(), "or run APP without a limit"));
  EndBeforeManagedCode(RuntimeDidNotStart(
      *agent.session, agent.options, "coreclr_initialize failed with " + HexCode(static_cast<std::uint32_t>(result))));
} catch (const std::bad_alloc&) {
  TerminateProcess(GetCurrentProcess(), kExitUsage);
}

// Returns whether this process has a manager of clrmem, this agent's or another's.
bool HasManager() {
  return EnvironmentVariable(L"CLRMEM_MANAGER").starts_with(std::to_wstring(GetCurrentProcessId()) + L":");
}

// Ends this process when clrmem has ended, as a hosted program ends with it.
DWORD WINAPI EndWithClrmem(void* clrmem) {
  WaitForSingleObject(clrmem, INFINITE);
  EndProcess(EndedBy::kTerminate, kExitUsage);
  TerminateProcess(GetCurrentProcess(), kExitUsage);  // the session had been abandoned
  return 0;
}

void WatchClrmem(DWORD id) {
  HANDLE clrmem = id == 0 ? nullptr : OpenProcess(SYNCHRONIZE, FALSE, id);
  if (clrmem == nullptr) return;
  constexpr SIZE_T kStack = 64 * 1024;
  HANDLE thread = CreateThread(nullptr, kStack, EndWithClrmem, clrmem, 0, nullptr);
  if (thread != nullptr) CloseHandle(thread);
}

// What the agent is to do.
struct Orders {
  bool is_child = false;
  bool attaches = false;         // the program runs already
  DWORD main_thread = 0;         // of a program that has not begun
  std::filesystem::path folder;  // what relative paths of the options start from
  std::vector<std::string> command_line;
};

// Begins the session of this process. Throws ToolError.
void Begin(const Orders& orders) {
  static std::atomic<bool> begun = false;
  if (orders.attaches && !HasRuntime()) {
    throw ToolError("the process has not loaded a runtime of .NET",
                    "give the id of a .NET program, or start it with clrmem run");
  }
  const Options parsed = ParseOptions(orders.command_line);
  if (HasManager() || begun.exchange(true)) {
    throw ToolError("the process is under clrmem already", "end it, and start it with the options that you need");
  }
  Agent& agent = TheAgent();
  if (const auto* attached = std::get_if<AttachOptions>(&parsed)) agent.options = attached->run;
  if (const auto* run = std::get_if<RunOptions>(&parsed)) agent.options = *run;
  agent.options.is_child = orders.is_child;
  if (agent.options.summary) {
    agent.options.summary = ToUtf8(orders.folder / ToWide(*agent.options.summary));
  }
  try {
    agent.session = &Session::Begin(agent.options, {agent.out, agent.error});
    agent.session->SetProgram(ModulePath(nullptr));
    agent.session->SetRuntime(
        agent.options.no_bridge ? "a program in another process" : "no runtime of .NET has started", "", {});
    HMODULE const program = GetModuleHandleW(nullptr);
    if (orders.attaches) {
      agent.session->AttachToRunning();
    } else {
      agent.session->OnFailedStart(&OnFailedStart);
      HasLinkedRuntime(program) ? BeginLinkedRuntime(*agent.session, program, orders.main_thread)
                                : agent.session->BridgeHostFxr(nullptr);
    }
    WatchProcessEndOf(program);
    PrepareChildrenOf(program);
  } catch (...) {
    if (agent.session != nullptr) agent.session->Withdraw();
    begun.store(false);
    throw;
  }
}

// Keeps this DLL loaded: the process calls it until its end.
void KeepLoaded() noexcept {
  HMODULE ignored = nullptr;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                     reinterpret_cast<LPCWSTR>(&KeepLoaded), &ignored);
}

}  // namespace
}  // namespace clr_host_memory::tool

// Starts the session. channel_name: a null-terminated UTF-16 string, the caller's. Returns 0; the channel has the
// answer. 1: the channel cannot be opened.
extern "C" __declspec(dllexport) DWORD WINAPI ClrMemAgentBegin(void* channel_name) {
  using namespace clr_host_memory::tool;
  KeepLoaded();
  try {
    const Channel channel = Channel::Open(static_cast<const wchar_t*>(channel_name));
    channel.data().state = AgentState::kFailed;
    try {
      const ChannelData& data = channel.data();
      if (data.attaches != 0) channel.data().outside = ReadProcessCommit().bytes;
      std::vector<std::string> arguments = channel.Arguments();
      if (arguments.empty()) throw ToolError("clrmem gave the agent no options", "report this as a bug");
      const std::filesystem::path folder(ToWide(arguments.front()));
      arguments.erase(arguments.begin());
      Begin({data.is_child != 0, data.attaches != 0, data.main_thread, folder, std::move(arguments)});
      WatchClrmem(data.clrmem);
      channel.SetMessage(TheAgent().session->RuntimeText());
      channel.data().state = AgentState::kReady;
    } catch (const ToolError& error) {
      channel.SetMessage(error.what());
    } catch (const std::bad_alloc&) {
      channel.SetMessage("the program has no memory for the agent; give it more and try again");
    }
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

// Puts the calling process, whose runtime runs, under the manager. options: those of `clrmem attach`, as a command line
// without the process's id. *control receives a reference for the companion, and *limit what it begins with. If
// *control is null, there is nothing for a companion to do. Returns 0; 2: it has failed, and has written why to
// standard error.
extern "C" __declspec(dllexport) DWORD __cdecl ClrMemAgentAttach(const wchar_t* options, void** control,
                                                                 unsigned long long* limit) {
  using namespace clr_host_memory::tool;
  *control = nullptr;
  *limit = 0;
  KeepLoaded();
  try {
    Orders orders{.attaches = true};
    orders.command_line = {"attach"};
    for (const std::string& option : SplitArguments(options)) orders.command_line.push_back(option);
    orders.command_line.push_back(std::to_string(GetCurrentProcessId()));
    Begin(orders);
    const Session& session = *TheAgent().session;
    if (const auto companion = session.CompanionLimit()) {
      *control = ControlForCompanion(session);
      *limit = *companion;
    }
    return 0;
  } catch (const std::exception& error) {
    TheAgent().error.Write("clrmem: CLRMEM_OPTIONS: ");
    TheAgent().error.Write(error.what());
    TheAgent().error.Write("\n");
    return kExitUsage;
  }
}
