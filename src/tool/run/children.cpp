#include "tool/run/children.h"

#include "bridge/patch/module_files.h"
#include "os/windows/kept_last_error.h"
#include "tool/agent/run_with_agent.h"
#include "tool/hosting/hostfxr_abi.h"
#include "tool/run/lasting_patch.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {
namespace {

constinit std::atomic<const std::vector<std::string>*> g_command_line{nullptr};  // of the children; never deleted
constinit std::atomic<void*> g_get_proc_address{nullptr};
// kernel32's function, found without any import table.
constinit std::atomic<decltype(&CreateProcessW)> g_create_process{nullptr};

// Returns whether the process is a clrmem, which serves its app by itself.
bool IsClrmem(HANDLE process) {
  std::vector<wchar_t> path(32768);
  DWORD length = static_cast<DWORD>(path.size());
  if (!QueryFullProcessImageNameW(process, 0, path.data(), &length)) return false;
  return SameName(BaseName({path.data(), length}), L"clrmem.exe");
}

void Prepare(const PROCESS_INFORMATION& child) noexcept {
  const KeptLastError kept;
  try {
    if (!IsClrmem(child.hProcess)) PrepareSuspended(child, *g_command_line.load(), ChildOrNot::kChild);
    return;
  } catch (const std::exception& error) {
    StandardSink(STD_ERROR_HANDLE).Write("clrmem: --children: a program runs without the memory manager: ");
    StandardSink(STD_ERROR_HANDLE).Write(error.what());
    StandardSink(STD_ERROR_HANDLE).Write("\n");
  }
}

BOOL WINAPI CreateProcessHook(LPCWSTR program, LPWSTR line, LPSECURITY_ATTRIBUTES process_security,
                              LPSECURITY_ATTRIBUTES thread_security, BOOL inherit, DWORD flags, LPVOID environment,
                              LPCWSTR folder, LPSTARTUPINFOW startup, LPPROCESS_INFORMATION child) {
  const auto create = g_create_process.load();
  if (!create(program, line, process_security, thread_security, inherit, flags | CREATE_SUSPENDED, environment, folder,
              startup, child)) {
    return FALSE;
  }
  // The thread that calls is the one that serves a debugged child's events.
  if ((flags & (DEBUG_PROCESS | DEBUG_ONLY_THIS_PROCESS)) == 0) Prepare(*child);
  if ((flags & CREATE_SUSPENDED) == 0) ResumeThread(child->hThread);
  return TRUE;
}

// Managed code calls CreateProcess by an address that its runtime asks for.
FARPROC WINAPI GetProcAddressHook(HMODULE module, LPCSTR name) {
  const auto get = reinterpret_cast<decltype(&::GetProcAddress)>(g_get_proc_address.load());
  const FARPROC found = get(module, name);
  const bool by_ordinal = reinterpret_cast<std::uintptr_t>(name) <= 0xFFFF;
  if (found == nullptr || by_ordinal || std::strcmp(name, "CreateProcessW") != 0) return found;
  return reinterpret_cast<FARPROC>(reinterpret_cast<void*>(&CreateProcessHook));
}

}  // namespace

void PrepareChildren(const RunOptions& options) {
  g_create_process.store(FunctionOf<decltype(&CreateProcessW)>(GetModuleHandleW(L"kernel32.dll"), "CreateProcessW"));
  delete g_command_line.exchange(new std::vector<std::string>(options.command_line));
}

void PrepareChildrenOf(HMODULE module) {
  if (g_command_line.load() == nullptr) return;
  const std::array<ImportHook, 2> hooks{{
      {"CreateProcessW", reinterpret_cast<void*>(&CreateProcessHook), nullptr},
      {"GetProcAddress", reinterpret_cast<void*>(&GetProcAddressHook), &g_get_proc_address},
  }};
  static auto* patches = new LastingPatches();
  std::string reason;
  if (SUCCEEDED(patches->Apply(module, hooks, &reason))) return;
  throw ToolError("--children cannot be applied: " + reason, "remove --children");
}

}  // namespace clr_host_memory::tool
