// What the host calls: IClrHostMemoryControl.
#include "com/host_malloc.h"
#include "com/host_memory_manager.h"
#include "com/report.h"
#include "com/sized_struct.h"
#include "com/start_room.h"
#include "com/statistics.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {

HRESULT HostMemoryManager::GetStatistics(ClrHostMemoryStatistics* statistics) noexcept {
  if (statistics == nullptr) return E_POINTER;
  ClrHostMemoryStatistics ours = ReadStatistics(engine_, counters_, notifier_);
  return CopySized(ours, statistics);
}

HRESULT HostMemoryManager::Audit(ClrHostMemoryAudit* audit) noexcept {
  if (audit == nullptr) return E_POINTER;
  const LedgerAudit ledger_audit = engine_.Audit();
  ClrHostMemoryAudit ours{};
  ours.charged = ledger_audit.charged.InBytes().value;
  ours.committed = ledger_audit.committed.InBytes().value;
  ours.mismatch = ledger_audit.mismatch.InBytes().value;
  ours.regions = ledger_audit.regions;
  ours.in_flight = ledger_audit.in_flight.InBytes().value;
  ours.version = 1;
  return CopySized(ours, audit);
}

HRESULT HostMemoryManager::SetLimit(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  const char* reason = nullptr;
  const Limits limits =
      LimitsOf(limit, app_domain_headroom, process_headroom, &reason, engine_.headroom_pool().Size().value);
  if (reason != nullptr) return E_INVALIDARG;
  NoteHeadrooms(app_domain_headroom, process_headroom);
  engine_.SetLimits(limits, notifier_.gc_follower().LastReading().has_value());
  LimitChanged();
  return S_OK;
}

// Starts what a new limit needs. The watcher lowers a bound above the limit as the memory in use goes down. If no
// thread can start, the bound stays.
void HostMemoryManager::LimitChanged() noexcept {
  if (engine_.budget().IsBoundRaised()) static_cast<void>(notifier_.Watch());
  notifier_.Wake();
}

HRESULT HostMemoryManager::BeginStart() noexcept {
  engine_.BeginStart();
  return S_OK;
}

HRESULT HostMemoryManager::EndStart(uint64_t* least_limit) noexcept {
  if (least_limit != nullptr) *least_limit = 0;
  if (!engine_.EndStart()) return S_FALSE;
  LimitChanged();
  const LimitUse use = engine_.Use();
  const std::uint64_t in_use = (InUse(use) + use.held).value;
  const std::uint64_t app_domain = app_domain_headroom_.load(std::memory_order_relaxed);
  const std::uint64_t process = process_headroom_.load(std::memory_order_relaxed);
  if (FitsAfterStart(use.limit.value, in_use, app_domain, process)) return S_OK;
  if (least_limit != nullptr) *least_limit = LeastLimitAfterStart(in_use, app_domain, process);
  return E_OUTOFMEMORY;
}

HRESULT HostMemoryManager::FollowGc(const ClrHostMemoryGcReading* reading, uint32_t milliseconds,
                                    ClrHostMemoryGcOrder* order) noexcept {
  if (reading == nullptr || order == nullptr) return E_POINTER;
  if (reading->size != sizeof(*reading)) return E_INVALIDARG;
  const Reference keep(*this);
  ClrHostMemoryGcOrder ours{};
  const std::optional<bool> ordered = notifier_.gc_follower().Follow(*reading, Milliseconds{milliseconds}, &ours);
  if (!ordered) return HOST_E_CLRNOTAVAILABLE;
  const HRESULT copied = CopySized(ours, order);
  return FAILED(copied) ? copied : *ordered ? S_OK : S_FALSE;
}

HRESULT HostMemoryManager::SetThresholds(const ClrHostMemoryThresholds* thresholds) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  if (thresholds == nullptr) return E_POINTER;
  const char* reason = nullptr;
  const PressureThresholds ours = ThresholdsOf(*thresholds, &reason);
  if (reason != nullptr) return E_INVALIDARG;
  notifier_.monitor().SetThresholds(ours);
  return S_OK;
}

HRESULT HostMemoryManager::SetWait(EMemoryCriticalLevel level, uint32_t milliseconds) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  if (level < eTaskCritical || level > eProcessCritical || milliseconds > kLongestWait) return E_INVALIDARG;
  if (engine_.stage() != Stage::kRunning) return HOST_E_CLRNOTAVAILABLE;
  if (milliseconds != 0 && !notifier_.StartDispatcher()) return E_OUTOFMEMORY;
  engine_.SetWait(static_cast<Criticality>(level), Milliseconds{milliseconds});
  return S_OK;
}

HRESULT HostMemoryManager::CancelWaits() noexcept {
  engine_.CancelWaits();
  return S_OK;
}

HRESULT HostMemoryManager::EnterExclusive(uint32_t milliseconds) noexcept {
  return ToHresult(engine_.EnterExclusive(Milliseconds{milliseconds}), Operation::kUse);
}

HRESULT HostMemoryManager::LeaveExclusive() noexcept { return ToHresult(engine_.LeaveExclusive(), Operation::kUse); }

HRESULT HostMemoryManager::SealRegion(void* address, uint64_t size) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  const auto range = PageRange::Covering(ToAddress(address), size);
  if (!range) return E_INVALIDARG;
  switch (engine_.Seal(*range)) {
    case SealedRegions::Result::kDone: return S_OK;
    case SealedRegions::Result::kFull: return E_OUTOFMEMORY;
    case SealedRegions::Result::kTooLong:
    case SealedRegions::Result::kOverlaps: break;
  }
  return E_INVALIDARG;
}

HRESULT HostMemoryManager::UnsealRegion(void* address) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  if (!engine_.Unseal(ToAddress(address))) return S_FALSE;
  PrivateHeap::FreeOrphans(engine_);
  return S_OK;
}

HRESULT HostMemoryManager::SetEventSink(IClrHostMemoryEventSink* sink) noexcept {
  const Reference keep(*this);
  if (sink != nullptr && (engine_.stage() != Stage::kRunning || ProcessIsEnding())) return HOST_E_CLRNOTAVAILABLE;
  if (notifier_.SetSink(sink)) return S_OK;
  return engine_.stage() == Stage::kRunning ? E_OUTOFMEMORY : HOST_E_CLRNOTAVAILABLE;
}

HRESULT HostMemoryManager::NotifyMemoryAvailable(EMemoryAvailable available) noexcept {
  if (available < eMemoryAvailableLow || available > eMemoryAvailableHigh) return E_INVALIDARG;
  const Reference keep(*this);
  return notifier_.Notify(available);
}

HRESULT HostMemoryManager::Shutdown() noexcept {
  if (ProcessIsEnding()) return S_OK;
  const Reference keep(*this);
  engine_.Shutdown();
  notifier_.Stop();
  return S_OK;
}

HRESULT HostMemoryManager::SetThrashGuard(uint32_t window_ms, uint32_t refusals) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  const char* reason = nullptr;
  const ThrashSettings settings = ThrashSettingsOf(window_ms, refusals, &reason);
  if (reason != nullptr) return E_INVALIDARG;
  notifier_.monitor().SetThrash(settings);
  return S_OK;
}

HRESULT HostMemoryManager::GetCharged(const void* address, uint64_t size, uint64_t* bytes) noexcept {
  if (bytes == nullptr) return E_POINTER;
  *bytes = 0;
  const auto range = PageRange::Covering(ToAddress(address), size);
  if (!range || !PageMap::Tracks(*range)) return E_INVALIDARG;
  *bytes = engine_.ChargedIn(*range).InBytes().value;
  return S_OK;
}

HRESULT HostMemoryManager::WriteReport(ClrHostMemoryReportLine write_line, void* context) noexcept {
  if (write_line == nullptr) return E_POINTER;
  const Reference keep(*this);
  WriteReportLines(ReadStatistics(engine_, counters_, notifier_), engine_, write_line, context);
  return S_OK;
}

}  // namespace clr_host_memory
