#include "tool/session.h"

#include "tool/tool_error.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

namespace clr_host_memory::tool {
namespace {

BridgeFigures BridgeFiguresOf(const CoreClrBridge& bridge) {
  BridgeFigures figures;
  figures.calls = bridge.CallCount();
  // Too large for a stack of unknown depth.
  const auto module = std::make_unique<ClrHostMemoryBridgedModule>();
  for (std::uint32_t index = 0;; ++index) {
    *module = {};
    module->size = sizeof(*module);
    if (bridge.get()->GetModule(index, module.get()) != S_OK) break;
    BridgedModule bridged;
    bridged.path = ToUtf8(std::wstring_view(module->path));
    bridged.import_count = module->import_count;
    const std::string names = module->imports;
    for (std::size_t at = 0; at < names.size();) {
      const std::size_t end = std::min(names.find(' ', at), names.size());
      bridged.imports.push_back(names.substr(at, end - at));
      at = end + 1;
    }
    figures.modules.push_back(std::move(bridged));
  }
  return figures;
}

}  // namespace

ManagerFigures FiguresOf(const MemoryManager& manager) { return {manager.Statistics(), manager.Audit()}; }

Session& Session::Begin(const RunOptions& options, Streams streams) {
  auto* session = new Session(options, streams);
  WatchProcessEnd({&Session::Report, session});
  return *session;
}

Session::Session(const RunOptions& options, Streams streams) : streams_(streams), started_at_(GetTickCount64()) {
  if (options.summary) file_.emplace(std::filesystem::path(ToWide(*options.summary)));
  if (options.no_bridge) return;
  MemoryManagerOptions manager_options;
  if (options.limit) manager_options.limit = *options.limit;
  auto manager = CreateMemoryManager(manager_options);
  if (!manager) throw ToolError("the memory manager cannot be made, " + manager.reason(), "change --limit");
  manager_.emplace(*std::move(manager));
  std::array<wchar_t, 32> address{};
  std::swprintf(address.data(), address.size(), L"0x%llx",
                static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(manager_->get())));
  SetEnvironmentVariableW(L"CLRMEM_MANAGER", address.data());
}

void Session::SetProgram(const std::filesystem::path& app) { summary_.app = ToUtf8(app); }

void Session::SetRuntime(const std::string& name, const std::string& version, const std::filesystem::path& path) {
  summary_.runtime_name = name;
  summary_.runtime_version = version;
  summary_.runtime_path = ToUtf8(path);
}

void Session::AttachToCoreClr(HMODULE coreclr) {
  WatchProcessEndOf(coreclr);
  if (!manager_) return;
  auto bridge = clr_host_memory::AttachToCoreClr(coreclr, *manager_);
  if (!bridge) throw ToolError("the runtime cannot be bridged: " + bridge.reason(), "or run it with --no-bridge");
  bridge_.emplace(*std::move(bridge));
}

void Session::Abandon() noexcept {
  DisarmProcessEnd();
  file_.reset();
}

void Session::WriteSummary(EndedBy how, std::optional<std::uint32_t> exit_code) {
  summary_.ended_by = EndedByText(how);
  summary_.exit_code = exit_code;
  summary_.elapsed_milliseconds = GetTickCount64() - started_at_;
  if (manager_) summary_.manager = FiguresOf(*manager_);
  if (bridge_) summary_.bridge = BridgeFiguresOf(*bridge_);
  streams_.error.Write(FormatTable(summary_));
  if (file_) file_->Commit(ToJson(summary_).dump(2) + "\n");
}

void Session::Report(void* session, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept {
  auto& self = *static_cast<Session*>(session);
  try {
    self.WriteSummary(how, exit_code);
  } catch (const std::exception& error) {
    // The app's own exit code stays: the app has done its work, and only we have failed.
    self.streams_.error.Write("clrmem: ");
    self.streams_.error.Write(error.what());
    self.streams_.error.Write("\n");
  }
}

}  // namespace clr_host_memory::tool
