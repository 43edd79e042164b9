#include "tool/session.h"

#include "tool/hosting/companion.h"
#include "tool/run/process_memory.h"
#include "tool/text/duration_text.h"
#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

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
  figures.purposes = bridge.Purposes();
  // On the heap, because the structure is too large for a stack of unknown depth.
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

Session::Session(const RunOptions& options, Streams streams)
    : streams_(streams), policy_(options.policy), quiet_(options.quiet), gc_container_(options.gc_container),
      bridged_modules_(options.bridged_modules), initial_limit_(options.limit), accounting_(options.accounting),
      started_at_(GetTickCount64()) {
  if (options.summary) file_.emplace(std::filesystem::path(ToWide(*options.summary)));
  if (options.no_bridge) return;
  MakeManager(options);
  if (!policy_.limit_changes.empty()) schedule_.emplace(*manager_, policy_);
  std::array<wchar_t, 32> address{};
  std::swprintf(address.data(), address.size(), L"0x%llx",
                static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(manager_->get())));
  SetEnvironmentVariableW(L"CLRMEM_MANAGER", address.data());
}

void Session::CheckRoomForRuntime(std::uint64_t limit) const {
  const std::uint64_t committed = ReadProcessCommit().bytes;
  const std::uint64_t counted = committed - std::min(committed, policy_.committed_headroom);
  if (limit >= kLeastLimit && limit - kLeastLimit >= counted) return;
  throw ToolError("--count-all counts " + FormatSize(counted) +
                      " that are committed before the runtime starts, so the limit of " + FormatSize(limit) +
                      " leaves less than the " + kLeastLimitText + " that a CLR needs",
                  "give a higher --limit, or remove --count-all");
}

void Session::MakeManager(const RunOptions& options) {
  MemoryManagerOptions manager_options;
  if (options.limit) {
    manager_options.limit = *options.limit;
    manager_options.app_domain_headroom = policy_.headroom.app_domain;
    manager_options.process_headroom = policy_.headroom.process;
  }
  manager_options.committed_headroom = policy_.committed_headroom;
  manager_options.wait_ms = policy_.wait_ms;
  manager_options.count_whole_process = policy_.count_whole_process;
  auto manager = CreateMemoryManager(manager_options);
  if (!manager) {
    const bool no_memory = manager.error().code() == E_OUTOFMEMORY && policy_.committed_headroom != 0;
    throw ToolError("the memory manager cannot be created: " + std::string(manager.error().reason()),
                    no_memory ? "give a smaller --commit-headroom" : "change that option");
  }
  manager_.emplace(*std::move(manager));
  manager_made_at_ = GetTickCount64();
  static_cast<void>(manager_->control()->BeginStart());
  if (policy_.count_whole_process && options.limit) CheckRoomForRuntime(*options.limit);
  if (!manager_->OnEvent([this](const ClrHostMemoryEvent& event) { OnEvent(event); })) {
    throw ToolError("the memory manager cannot start its thread for events", "close other programs and try again");
  }
}

void Session::OnEvent(const ClrHostMemoryEvent& event) noexcept {
  events_.Record(event);
  if (event.kind != kClrHostMemoryEventThrash || policy_.on_thrash != OnThrash::kStop) return;
  try {
    ReportThrashing(event);
  } catch (const std::bad_alloc&) {
    streams_.error.Write("clrmem: the app is stopped because its runtime spins at its limit; give a higher --limit\n");
  }
  EndProcess(EndedBy::kThrashGuard, kExitThrash);
}

void Session::ReportThrashing(const ClrHostMemoryEvent& event) const {
  streams_.error.Write("clrmem: the app is stopped because its runtime spins at the limit of " +
                       FormatSize(event.limit) + ": " + FormatCount(event.count) + " refused requests, " +
                       FormatCount(event.collections) + " collections and " + FormatSize(event.bytes) +
                       " obtained in " + FormatSeconds(event.window_ms) +
                       "; give a higher --limit, or let the app continue with --on-thrash=report\n");
}

bool Session::ApplyLimit() noexcept {
  if (!manager_) return true;
  in_use_at_start_ = manager_->Statistics().charged;
  return SUCCEEDED(manager_->control()->EndStart(&least_limit_));
}

HRESULT Session::NoteManagedCodeBegins() noexcept {
  if (!ApplyLimit()) {
    start_was_refused_ = true;
    return E_OUTOFMEMORY;
  }
  managed_code_began_at_.store(GetTickCount64());
  if (schedule_) schedule_->Begin();
  return S_OK;
}

std::optional<ToolError> Session::NoRoomError() const {
  if (!start_was_refused_) return std::nullopt;
  return ToolError("the limit of " + FormatSize(*initial_limit_) + " is less than " + summary_.runtime_name + " " +
                       summary_.runtime_version + " needs to start: " + FormatSize(in_use_at_start_) +
                       " are in use before Main",
                   least_limit_ == 0 ? "give a smaller --headroom"
                                     : "give --limit " + std::to_string(least_limit_ >> 20) + "M or more");
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
  if (!bridge) {
    throw ToolError("the runtime cannot be bridged: " + std::string(bridge.error().reason()),
                    "or run APP with --no-bridge");
  }
  bridge_.emplace(*std::move(bridge));
  if (accounting_) not_hosted_before_ = BreakDownProcess(*manager_).not_hosted;
  if (gc_container_ && !bridge_->PresentAsContainer()) {
    throw ToolError("the bridge is detached", "remove --gc-container");
  }
  for (const std::string& name : bridged_modules_) {
    if (const auto attached = bridge_->AttachModulesNamed(ToWide(name)); !attached) {
      throw ToolError(name + " cannot be bridged: " + attached.error().reason(), "or remove it from --bridge");
    }
  }
}

StartProperties Session::MakeStartProperties(int count, const char* const* keys, const char* const* values) {
  if (!bridge_) return {nullptr, count, keys, values};
  if (!initial_limit_ && policy_.limit_changes.empty()) {
    return bridge_->StartProperties(count, keys, values, policy_.gc_limit);
  }
  gc_limit_figures_.emplace();
  return PropertiesWithCompanion(*bridge_, policy_, CompanionFile(), count, keys, values, &*gc_limit_figures_);
}

void Session::Abandon() noexcept {
  DisarmProcessEnd();
  file_.reset();
}

PolicyFigures Session::PolicyFiguresNow() const {
  PolicyFigures figures;
  figures.options = policy_;
  figures.initial_limit = initial_limit_;
  if (schedule_) figures.limit_changes = schedule_->Figures();
  figures.events = events_.Figures();
  figures.gc_limit = gc_limit_figures_;
  // Event times count from the creation of the manager. They become times since managed code began.
  const ULONGLONG began = managed_code_began_at_.load();
  const auto earlier = static_cast<std::int64_t>(began == 0 ? 0 : began - manager_made_at_);
  for (PressureChange& change : figures.events.pressure_changes) change.at_ms -= earlier;
  for (OverLimitPeriod& period : figures.events.over_limit_periods) {
    period.from_ms -= earlier;
    if (period.until_ms) *period.until_ms -= earlier;
  }
  return figures;
}

void Session::WriteSummary(EndedBy how, std::optional<std::uint32_t> exit_code) {
  if (quiet_ && !file_) return;
  summary_.ended_by = EndedByText(how);
  summary_.exit_code = exit_code;
  summary_.elapsed_milliseconds = GetTickCount64() - started_at_;
  if (manager_) {
    summary_.policy = PolicyFiguresNow();
    summary_.manager = FiguresOf(*manager_);
    if (accounting_) {
      summary_.accounting = BreakDownProcess(*manager_);
      summary_.accounting->before = not_hosted_before_;
    }
  }
  if (bridge_) summary_.bridge = BridgeFiguresOf(*bridge_);
  if (!quiet_) streams_.error.Write(FormatTable(summary_));
  if (file_) file_->Commit(ToJson(summary_).dump(2) + "\n");
}

void Session::Report(void* session, EndedBy how, std::optional<std::uint32_t> exit_code) noexcept {
  auto& self = *static_cast<Session*>(session);
  try {
    self.WriteSummary(how, exit_code);
  } catch (const std::exception& error) {
    // The app's exit code stays. The app has finished; only writing the summary failed.
    self.streams_.error.Write("clrmem: ");
    self.streams_.error.Write(error.what());
    self.streams_.error.Write("\n");
  }
}

}  // namespace clr_host_memory::tool
