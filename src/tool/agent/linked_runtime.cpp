#include "tool/agent/linked_runtime.h"

#include "bridge/patch/import_patch.h"
#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <objbase.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {
namespace {

constexpr wchar_t kStartupHooks[] = L"DOTNET_STARTUP_HOOKS";
constexpr std::string_view kGcProperties = "System.GC.";

// What the hook below needs. One per process; never destroyed.
struct Start {
  Session* session = nullptr;
  DWORD main_thread = 0;
  std::vector<std::wstring> variables;  // to remove at the end of the start
  std::wstring hooks_before;            // the value to restore then
  ImportPatch patch;
  std::atomic<bool> ended{false};
};
Start& TheStart() {
  static auto* start = new Start();
  return *start;
}
constinit std::atomic<void*> original_co_initialize_ex{nullptr};

// Ends the start of the runtime: managed code follows.
void EndStart() noexcept {
  Start& start = TheStart();
  if (start.ended.exchange(true)) return;
  for (const std::wstring& name : start.variables) SetEnvironmentVariableW(name.c_str(), nullptr);
  const std::wstring& hooks = start.hooks_before;
  SetEnvironmentVariableW(kStartupHooks, hooks.empty() ? nullptr : hooks.c_str());
  try {
    if (start.session->bridge() != nullptr) start.session->EndStartHere();
  } catch (const std::exception& error) {
    start.session->WriteError("clrmem: " + std::string(error.what()) + "\n");
    TerminateProcess(GetCurrentProcess(), kExitUsage);  // the limit would not hold
  }
}

HRESULT WINAPI CoInitializeExHook(LPVOID reserved, DWORD apartment) {
  if (GetCurrentThreadId() == TheStart().main_thread) EndStart();
  const auto original = reinterpret_cast<decltype(&::CoInitializeEx)>(original_co_initialize_ex.load());
  return original(reserved, apartment);
}

// Passes a property of the GC by the variable of the same meaning, whose value is hexadecimal.
void PassByEnvironment(const ClrHostMemoryStartProperty& property, std::vector<std::wstring>* variables) {
  const std::string_view key = property.key;
  const std::string_view value = property.value;
  if (!key.starts_with(kGcProperties)) return;
  std::uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  const std::wstring name = ToWide("DOTNET_GC" + std::string(key.substr(kGcProperties.size())));
  if (!EnvironmentVariable(name.c_str()).empty()) return;  // the user's
  std::array<char, 17> digits{};
  std::to_chars(digits.data(), digits.data() + digits.size() - 1, number, 16);
  SetEnvironmentVariableW(name.c_str(), ToWide(digits.data()).c_str());
  variables->push_back(name);
}

// Makes the companion the last start-up hook. hostpolicy reads the variable before the runtime starts.
void HookCompanion(const Session& session, const std::string& companion, std::uint64_t limit) {
  std::array<wchar_t, 80> text{};
  std::swprintf(text.data(), text.size(), L"%lu:%llx:%llu", static_cast<unsigned long>(GetCurrentProcessId()),
                static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(ControlForCompanion(session))),
                static_cast<unsigned long long>(limit));
  SetEnvironmentVariableW(L"CLR_HOST_MEMORY_COMPANION", text.data());
  const std::wstring& before = TheStart().hooks_before;
  SetEnvironmentVariableW(kStartupHooks, (before.empty() ? L"" : before + L";").append(ToWide(companion)).c_str());
}

}  // namespace

void* ControlForCompanion(const Session& session) noexcept {
  void* control = nullptr;
  session.manager()->get()->QueryInterface(kIidClrHostMemoryControl, &control);
  return control;
}

bool HasRuntime() { return !LoadedModulesNamed(L"coreclr.dll").empty() || HasLinkedRuntime(GetModuleHandleW(nullptr)); }

void BeginLinkedRuntime(Session& session, HMODULE program, DWORD main_thread) {
  Start& start = TheStart();
  start.session = &session;
  start.main_thread = main_thread;
  start.hooks_before = EnvironmentVariable(kStartupHooks);
  const std::array<ImportHook, 1> hooks{
      {{"CoInitializeEx", reinterpret_cast<void*>(&CoInitializeExHook), &original_co_initialize_ex}}};
  const std::array<const char*, 1> required{"CoInitializeEx"};
  std::string reason;
  if (FAILED(ImportPatch::Apply(program, hooks, required, &start.patch, &reason))) {
    throw ToolError("the start of the runtime in " + ToUtf8(ModulePath(program)) + " cannot be watched: " + reason,
                    "publish the program as separate files");
  }
  session.AttachToCoreClr(program);
  if (session.manager() == nullptr) return;
  const StartProperties properties = session.MakeStartProperties(0, nullptr, nullptr);
  for (std::uint32_t i = 0; i < properties.added().count; ++i) {
    PassByEnvironment(properties.added().properties[i], &start.variables);
  }
  if (const auto limit = session.CompanionLimit()) HookCompanion(session, properties.added().companion, *limit);
}

}  // namespace clr_host_memory::tool
