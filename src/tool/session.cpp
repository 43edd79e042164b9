#include "tool/session.h"

#include "os/windows/windows_memory_system.h"
#include "tool/run/least_limit.h"
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

void Session::CheckRoomBesides(std::uint64_t limit) const {
  MemoryLoad load;
  if (WindowsMemorySystem().Load(&load) != win32::kSuccess) return;
  const std::uint64_t besides =
      load.process_private.value - std::min(load.process_private.value, policy_.emergency_reserve);
  if (limit >= kLeastLimit && limit - kLeastLimit >= besides) return;
  throw ToolError("--count-all counts " + FormatSize(besides) +
                      " before the runtime has started, which leaves less of the limit of " + FormatSize(limit) +
                      " than the " + kLeastLimitText + " a CLR needs",
                  "give a higher --limit, or leave --count-all out");
}

void Session::MakeManager(const RunOptions& options) {
  MemoryManagerOptions manager_options;
  if (options.limit) {
    const Headroom headroom = policy_.HeadroomToKeep();
    manager_options.limit = *options.limit;
    manager_options.app_domain_headroom = headroom.app_domain;
    manager_options.process_headroom = headroom.process;
    manager_options.let_start = true;
    manager_options.share_reserve = policy_.gc_limit != 0;
  }
  manager_options.emergency_reserve = policy_.emergency_reserve;
  manager_options.wait_ms = policy_.wait_ms;
  manager_options.count_whole_process = policy_.count_whole_process;
  auto manager = CreateMemoryManager(manager_options);
  if (!manager) {
    const bool no_reserve = manager.error().code() == E_OUTOFMEMORY && policy_.emergency_reserve != 0;
    throw ToolError("the memory manager cannot be made, " + std::string(manager.error().reason()),
                    no_reserve ? "give a smaller --emergency-reserve" : "change the options that say so");
  }
  manager_.emplace(*std::move(manager));
  manager_made_at_ = GetTickCount64();
  if (policy_.count_whole_process && options.limit) CheckRoomBesides(*options.limit);
  if (!manager_->OnEvent([this](const ClrHostMemoryEvent& event) { OnEvent(event); })) {
    throw ToolError("the memory manager has no thread to tell of events", "close other programs and try again");
  }
}

void Session::OnEvent(const ClrHostMemoryEvent& event) noexcept {
  events_.Record(event);
  if (event.kind != kClrHostMemoryEventThrash || policy_.on_thrash != OnThrash::kStop) return;
  try {
    SayThatItThrashes(event);
  } catch (const std::bad_alloc&) {
    streams_.error.Write("clrmem: the app is stopped, its runtime spins at its limit; give a higher --limit\n");
  }
  EndProcess(EndedBy::kThrashGuard, kExitThrash);
}

void Session::SayThatItThrashes(const ClrHostMemoryEvent& event) const {
  streams_.error.Write("clrmem: the app is stopped, its runtime spins at the limit of " + FormatSize(event.limit) +
                       ": " + FormatCount(event.count) + " requests refused and " + FormatCount(event.collections) +
                       " collections in " + FormatSeconds(event.window_ms) + ", " + FormatSize(event.bytes) +
                       " obtained; give a higher --limit, or let it go on with --on-thrash=report\n");
}

bool Session::HoldToLimit() noexcept {
  if (!manager_ || !initial_limit_) return true;
  const Headroom headroom = policy_.HeadroomToKeep();
  const ClrHostMemoryStatistics statistics = manager_->Statistics();
  const std::uint64_t in_use = statistics.charged + (policy_.count_whole_process ? statistics.outside : 0);
  // A shared reserve pays for memory in use at the start. Half of it stays available for requests after the start.
  const std::uint64_t paid = policy_.gc_limit != 0 ? std::min(in_use, policy_.emergency_reserve / 2) : 0;
  if (!FitsAfterStart(*initial_limit_, in_use - paid, headroom)) {
    too_much_at_start_ = {.in_use = in_use, .within_limit = in_use - paid};
    return false;
  }
  // This call succeeds: the manager was created with the same limit and headroom.
  static_cast<void>(manager_->SetLimit(*initial_limit_, headroom.app_domain, headroom.process));
  return true;
}

HRESULT Session::NoteManagedCodeBegins() noexcept {
  if (!HoldToLimit()) return E_OUTOFMEMORY;
  managed_code_began_at_.store(GetTickCount64());
  if (schedule_) schedule_->Begin();
  return S_OK;
}

std::optional<ToolError> Session::WhyNoRoom() const {
  if (too_much_at_start_.in_use == 0) return std::nullopt;
  const std::uint64_t least = LeastLimitAfterStart(too_much_at_start_.within_limit, policy_.HeadroomToKeep());
  return ToolError(
      "the limit of " + FormatSize(*initial_limit_) + " is less than " + summary_.runtime_name + " " +
          summary_.runtime_version + " needs to start here, which has " + FormatSize(too_much_at_start_.in_use) +
          " in use before Main",
      least == 0 ? "give a smaller --headroom" : "give --limit " + std::to_string(least >> 20) + "M or more");
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
                    "or run it with --no-bridge");
  }
  bridge_.emplace(*std::move(bridge));
  if (accounting_) not_hosted_before_ = BreakDownProcess(*manager_).not_hosted;
  if (gc_container_ && !bridge_->PresentAsContainer()) {
    throw ToolError("the bridge is detached", "leave --gc-container out");
  }
  for (const std::string& name : bridged_modules_) {
    if (const auto attached = bridge_->AttachModulesNamed(ToWide(name)); !attached) {
      throw ToolError(name + " cannot be bridged: " + attached.error().reason(), "leave it out of --bridge");
    }
  }
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
