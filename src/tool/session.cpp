#include "tool/session.h"

#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"
#include "tool/hosting/companion.h"
#include "tool/program/runtime_locator.h"
#include "tool/report/policy_summary.h"
#include "tool/run/children.h"
#include "tool/run/process_memory.h"
#include "tool/text/duration_text.h"
#include "tool/text/size_text.h"
#include "tool/text/tool_error.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cwchar>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

namespace clr_host_memory::tool {
namespace {

// named: the file names of modules to bridge, from the command line.
BridgeFigures BridgeFiguresOf(const CoreClrBridge& bridge, const std::vector<std::string>& named) {
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
  for (const std::string& name : named) {
    const bool loaded = std::any_of(
        figures.modules.begin(), figures.modules.end(),
        [&name](const BridgedModule& bridged) { return SameName(BaseName(ToWide(bridged.path)), ToWide(name)); });
    if (!loaded) figures.never_loaded.push_back(name);
  }
  return figures;
}

// Returns the file for the summary: a child's contains its process id, since its parent writes one, too.
std::filesystem::path SummaryPathOf(const RunOptions& options) {
  std::filesystem::path path(ToWide(*options.summary));
  if (!options.is_child) return path;
  const std::filesystem::path extension = path.extension();
  path.replace_extension(L"." + std::to_wstring(GetCurrentProcessId()) + extension.native());
  return path;
}

// Returns the version as users know it: 8, 0, 3326, 52219 is 8.0.33. Empty: it is not known.
std::string TextOf(const std::array<int, 4>& version) {
  if (version[0] == 0) return {};
  return std::to_string(version[0]) + "." + std::to_string(version[1]) + "." + std::to_string(version[2] / 100);
}

}  // namespace

ManagerFigures FiguresOf(const MemoryManager& manager) { return {manager.Statistics(), manager.Audit()}; }

Session& Session::Begin(const RunOptions& options, Streams streams) {
  auto* session = new Session(options, streams);
  WatchProcessEnd({&Session::Report, session});
  return *session;
}

Session::Session(const RunOptions& options, Streams streams)
    : streams_(streams), policy_(options.policy), quiet_(options.quiet), is_child_(options.is_child),
      gc_container_(options.gc_container), bridged_modules_(options.bridged_modules), initial_limit_(options.limit),
      accounting_(options.accounting), started_at_(GetTickCount64()) {
  if (options.summary) file_.emplace(SummaryPathOf(options));
  if (options.children) PrepareChildren(options);
  SetEnvironmentVariableW(L"CLRMEM_MANAGER", nullptr);  // another clrmem's, if it has started this one
  if (options.no_bridge) return;
  MakeManager(options);
  if (!policy_.limit_changes.empty()) schedule_.emplace(*manager_, policy_);
  std::array<wchar_t, 48> address{};
  std::swprintf(address.data(), address.size(), L"%lu:0x%llx", static_cast<unsigned long>(GetCurrentProcessId()),
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
    ReportThrashing(event.limit);
  } catch (const std::bad_alloc&) {
    streams_.error.Write("clrmem: the app is stopped because its runtime spins at its limit; give a higher --limit\n");
  }
  EndProcess(EndedBy::kThrashGuard, kExitThrash);
}

void Session::ReportThrashing(std::uint64_t limit) const {
  streams_.error.Write("clrmem: the app is stopped because its runtime spins at the limit of " + FormatSize(limit) +
                       ": " + ThrashText(events_.Figures().first_thrash.value()) +
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

void Session::Withdraw() noexcept {
  Abandon();
  if (bridge_) static_cast<void>(bridge_->get()->Detach());
  SetEnvironmentVariableW(L"CLRMEM_MANAGER", nullptr);
}

void Session::AttachToCoreClr(HMODULE coreclr) {
  WatchProcessEndOf(coreclr);
  PrepareChildrenOf(coreclr);
  if (manager_) UseBridge(clr_host_memory::AttachToCoreClr(coreclr, *manager_));
}

void Session::BridgeHostFxr(HMODULE coreclr) {
  if (coreclr != nullptr) {
    WatchProcessEndOf(coreclr);
    PrepareChildrenOf(coreclr);
  }
  if (!manager_) return;
  UseBridge(clr_host_memory::BridgeHostFxr(*manager_, {.gc_hard_limit = policy_.gc_limit,
                                                       .with_companion = HasLimit() && policy_.companion,
                                                       .started = &Session::OnStarted,
                                                       .context = this}));
}

void Session::UseBridge(Result<CoreClrBridge> bridge) {
  if (!bridge) {
    throw ToolError("the runtime cannot be bridged: " + std::string(bridge.error().reason()),
                    "or run APP with --no-bridge");
  }
  bridge_.emplace(*std::move(bridge));
  if (accounting_) not_hosted_before_ = BreakDownProcess(*manager_, manager_->Statistics()).not_hosted;
  if (gc_container_ && !bridge_->PresentAsContainer()) {
    throw ToolError("the bridge is detached", "remove --gc-container");
  }
  for (const std::string& name : bridged_modules_) {
    if (const auto attached = bridge_->AttachModulesNamed(ToWide(name)); !attached) {
      throw ToolError(name + " cannot be bridged: " + attached.error().reason(), "or remove it from --bridge");
    }
  }
}

void Session::AttachToRunning() {
  // Checks the limit before the bridge is there: it would refuse the program memory until it goes again.
  if (!ApplyLimit()) {
    throw ToolError("the limit of " + FormatSize(*initial_limit_) + " leaves no room below its headrooms",
                    "give a smaller --headroom or a higher --limit");
  }
  UseBridge(AttachToRunningCoreClr(*manager_));
  NoteRuntimeOfBridge();
  const GcFollows follows = kGcTakesLimits ? GcFollows::kYes : GcFollows::kGcTakesNone;
  if (HasLimit()) gc_limit_figures_ = GcLimitFigures{.at_start = 0, .follows = follows};
  static_cast<void>(NoteManagedCodeBegins());
}

void Session::EndStartHere() {
  NoteRuntimeOfBridge();
  const HRESULT hr = NoteManagedCodeBegins();
  if (FAILED(hr)) {
    if (on_failed_start_ != nullptr) on_failed_start_(hr);
    return;
  }
  static_cast<void>(bridge_->get()->NoteRuntimeStarted());
}

std::string Session::RuntimeText() const {
  if (summary_.runtime_path.empty()) return {};
  return summary_.runtime_name + " " + summary_.runtime_version + " of " + summary_.runtime_path;
}

void Session::NoteRuntimeOfBridge() {
  const auto module = std::make_unique<ClrHostMemoryBridgedModule>();
  module->size = sizeof(*module);
  if (bridge_->get()->GetModule(0, module.get()) != S_OK) return;
  const std::filesystem::path file(ModulePath(module->module));
  SetRuntime(
      ".NET",
      HasLinkedRuntime(module->module) ? TextOf(LinkedRuntimeVersion(module->module)) : VersionOfRuntimeFile(file),
      file);
  WatchProcessEndOf(module->module);
  PrepareChildrenOf(module->module);
  KeepFilterInFront();
}

HRESULT STDMETHODCALLTYPE Session::OnStarted(void* session, const ClrHostMemoryRuntimeStart* start) noexcept {
  auto& self = *static_cast<Session*>(session);
  HRESULT hr = E_OUTOFMEMORY;
  try {
    hr = self.NoteStart(*start);
  } catch (const std::exception& error) {
    self.streams_.error.Write("clrmem: ");
    self.streams_.error.Write(error.what());
    self.streams_.error.Write("\n");
  }
  if (FAILED(hr) && self.on_failed_start_ != nullptr) self.on_failed_start_(hr);
  return hr;
}

HRESULT Session::NoteStart(const ClrHostMemoryRuntimeStart& start) {
  start_result_ = start.result;
  if (bridge_ && summary_.runtime_path.empty()) NoteRuntimeOfBridge();
  if (HasLimit() && start.added != nullptr) {
    gc_limit_figures_ = GcLimitFiguresOf(policy_, start.property_count, start.keys, start.values, *start.added);
  }
  return FAILED(start.result) ? start.result : NoteManagedCodeBegins();
}

StartProperties Session::MakeStartProperties(int count, const char* const* keys, const char* const* values) {
  if (!bridge_) return {nullptr, count, keys, values};
  StartProperties start = bridge_->StartProperties(count, keys, values, policy_.gc_limit);
  if (HasLimit()) {
    gc_limit_figures_ =
        GcLimitFiguresOf(policy_, static_cast<std::size_t>(start.count()), start.keys(), start.values(), start.added());
  }
  return start;
}

void Session::StartCompanion(void* host, unsigned domain) const noexcept {
  if (gc_limit_figures_ && policy_.companion) (void)bridge_->get()->StartCompanion(host, domain, nullptr, 0);
}

std::optional<std::uint64_t> Session::CompanionLimit() const {
  if (!gc_limit_figures_ || !policy_.companion) return std::nullopt;
  switch (gc_limit_figures_->follows) {
    case GcFollows::kYes:
      return gc_limit_figures_->at_start == 0 ? CLR_HOST_MEMORY_NO_LIMIT : gc_limit_figures_->at_start;
    case GcFollows::kGivenLimit:
    case GcFollows::kGcTakesNone:
    case GcFollows::kLimitOfTheApp: return 0;  // the companion only passes readings of the GC
    case GcFollows::kCompanionOff:
    case GcFollows::kOldRuntime:
    case GcFollows::kNoCompanion: break;
  }
  return std::nullopt;
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
  if (bridge_ && summary_.runtime_path.empty() && GetModuleHandleW(L"coreclr.dll") != nullptr) {
    summary_.runtime_name = "a runtime of .NET that was not started by hostfxr, so no limit held for it";
  }
  if (is_child_ && summary_.runtime_path.empty()) {
    file_.reset();
    return;
  }
  if (quiet_ && !file_) return;
  summary_.ended_by = EndedByText(how);
  summary_.exit_code = exit_code;
  summary_.elapsed_milliseconds = GetTickCount64() - started_at_;
  if (manager_) {
    summary_.policy = PolicyFiguresNow();
    summary_.manager = FiguresOf(*manager_);
    if (accounting_) {
      summary_.accounting = BreakDownProcess(*manager_, summary_.manager->statistics);
      summary_.accounting->before = not_hosted_before_;
    }
  }
  if (bridge_) summary_.bridge = BridgeFiguresOf(*bridge_, bridged_modules_);
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
