#include "com/host_memory_manager.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "com/backend.h"
#include "com/host_malloc.h"
#include "com/sized_struct.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {
namespace {

[[nodiscard]] Address ToAddress(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }
[[nodiscard]] void* ToPointer(Address address) noexcept {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
}

// Returns 0, the name of no section, if section is out of the range of names.
[[nodiscard]] SectionName NameOf(uint64_t section) noexcept {
  return section > UINT32_MAX ? SectionName{0} : static_cast<SectionName>(section);
}

}  // namespace

const char* HostMemoryManager::Configure(const ManagerSettings& settings) noexcept {
  if (engine_.OpenReserves(settings.emergency_reserve, settings.address_space_reserve) != win32::kSuccess) {
    return "emergency_reserve or address_space_reserve is more than the OS has now: lower it";
  }
  const bool watched = settings.monitor.count_whole_process || settings.emergency_reserve != Bytes{} ||
                       settings.address_space_reserve != Bytes{};
  if (settings.share_reserve) engine_.ledger().budget().ShareReserve();
  if (settings.let_start) engine_.ledger().budget().SuspendProcessCriticalLimit();
  bool started = !watched || notifier_.Watch();
  for (std::size_t level = 0; level < settings.wait_ms.size(); ++level) {
    started = started && SetWait(static_cast<EMemoryCriticalLevel>(level), settings.wait_ms[level]) == S_OK;
  }
  return started ? nullptr : "there is no memory for a thread of the manager's own: free some and try again";
}

void HostMemoryManager::End() noexcept {
  Shutdown();
  notifier_.StopAndThen([](void* manager) { delete static_cast<HostMemoryManager*>(manager); }, this);
}

HostMemoryManager::~HostMemoryManager() = default;

HRESULT HostMemoryManager::CreateMalloc(DWORD malloc_type, IHostMalloc** malloc) noexcept {
  constexpr auto kMethod = kClrHostMemoryCreateMalloc;
  if (malloc == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *malloc = nullptr;
  if ((malloc_type & ~DWORD{MALLOC_THREADSAFE | MALLOC_EXECUTABLE}) != 0) return barrier_.Reject(kMethod, E_INVALIDARG);
  return barrier_.Serve(kMethod, [&] { return HostMalloc::Create(*this, malloc_type, malloc); });
}

HRESULT HostMemoryManager::VirtualAlloc(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                        EMemoryCriticalLevel level, void** memory) noexcept {
  return VirtualAllocOnNode(address, size, allocation_type, protect, win32::kNoPreferredNode, level, memory);
}

HRESULT HostMemoryManager::VirtualAllocOnNode(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                              DWORD node, EMemoryCriticalLevel level, void** memory) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualAlloc;
  if (memory == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *memory = nullptr;
  return barrier_.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const AllocateRequest request{ToAddress(address), size, allocation_type, protect, node};
    const AddressOutcome result = engine_.Allocate(request, criticality);
    *memory = ToPointer(result.address);
    return result.outcome;
  });
}

HRESULT HostMemoryManager::VirtualFree(LPVOID address, SIZE_T size, DWORD free_type) noexcept {
  return barrier_.Serve(kClrHostMemoryVirtualFree, [&] {
    const Outcome outcome = engine_.Free(ToAddress(address), size, free_type);
    // The manager frees its own memory in every state. After Shutdown or a latch, it answers every other address with
    // HOST_E_CLRNOTAVAILABLE.
    if (outcome.verdict == Verdict::kNotOurs && !engine_.Serving()) return Outcome::Unavailable();
    return outcome;
  });
}

HRESULT HostMemoryManager::VirtualQuery(void* address, void* buffer, SIZE_T length, SIZE_T* result) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualQuery;
  if (result == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *result = 0;
  if (buffer == nullptr) {
    // Win32 chooses the error by the other arguments, so ask it. Without a buffer it writes nothing.
    (void)::VirtualQuery(address, nullptr, length);
    return barrier_.Reject(kMethod, E_POINTER, ::GetLastError());
  }
  return barrier_.Serve(kMethod, [&] {
    std::size_t written = 0;
    const Outcome outcome = engine_.Query(ToAddress(address), buffer, length, &written);
    *result = written;
    return outcome;
  });
}

HRESULT HostMemoryManager::VirtualProtect(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualProtect;
  if (old_protect == nullptr) return barrier_.Reject(kMethod, E_POINTER, ERROR_NOACCESS);  // for any other arguments
  return barrier_.Serve(kMethod, [&] {
    std::uint32_t old = *old_protect;
    const Outcome outcome = engine_.Protect(ToAddress(address), size, new_protect, &old);
    *old_protect = old;
    return outcome;
  });
}

HRESULT HostMemoryManager::GetMemoryLoad(DWORD* memory_load, SIZE_T* available_bytes) noexcept {
  constexpr auto kMethod = kClrHostMemoryGetMemoryLoad;
  if (memory_load == nullptr || available_bytes == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *memory_load = 0;
  *available_bytes = 0;
  return barrier_.Serve(kMethod, [&] {
    const StatusOutcome result = engine_.Status();
    *memory_load = result.status.percent_in_use;
    *available_bytes = static_cast<SIZE_T>(std::min<std::uint64_t>(result.status.available_physical.value, SIZE_MAX));
    return result.outcome;
  });
}

HRESULT HostMemoryManager::RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* callback) noexcept {
  const Reference keep(*this);
  return barrier_.Serve(kClrHostMemoryRegisterMemoryNotificationCallback, [&] {
    if (!engine_.Serving() || (callback != nullptr && ProcessIsEnding())) return Outcome::Unavailable();
    if (notifier_.SetCallback(callback)) return Outcome::Done();
    // A shutdown may have happened meanwhile.
    return engine_.Serving() ? Outcome::NoMetadata() : Outcome::Unavailable();
  });
}

HRESULT HostMemoryManager::NeedsVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept {
  return barrier_.Serve(kClrHostMemoryNeedsVirtualAddressSpace,
                        [&] { return engine_.MakeRoom(ToAddress(start_address), size); });
}

HRESULT HostMemoryManager::AcquiredVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept {
  return barrier_.Serve(kClrHostMemoryAcquiredVirtualAddressSpace,
                        [&] { return engine_.AcquireView(ToAddress(start_address), size); });
}

HRESULT HostMemoryManager::ReleasedVirtualAddressSpace(LPVOID start_address) noexcept {
  return barrier_.Serve(kClrHostMemoryReleasedVirtualAddressSpace, [&] {
    // As in VirtualFree: the manager releases its known views in every state. After Shutdown or a latch, it answers
    // every other address with HOST_E_CLRNOTAVAILABLE.
    const Address base = ToAddress(start_address);
    if (!engine_.Serving() && !engine_.ledger().RegionAt(base)) return Outcome::Unavailable();
    return engine_.ReleaseView(base);
  });
}

void HostMemoryManager::FillStatistics(ClrHostMemoryStatistics* statistics) const noexcept {
  ClrHostMemoryStatistics& ours = *statistics;
  const Ledger& ledger = engine_.ledger();
  const Budget& budget = ledger.budget();
  const Limits limits = budget.CurrentLimits();
  const LedgerFigures figures = ledger.Figures();
  ours.limit = limits.limit.value;
  ours.app_domain_headroom = limits.app_domain_headroom.value;
  ours.process_headroom = limits.process_headroom.value;
  ours.heap_bytes = ledger.HeapBytes().value;
  ours.charged = budget.Charged().value;
  ours.peak_charged = budget.Peak().value;
  ours.page_bytes = ours.charged - std::min(ours.charged, ours.heap_bytes);
  ours.reserved = figures.reserved.value;
  ours.peak_reserved = figures.peak_reserved.value;
  ours.mapped = figures.mapped.value;
  ours.metadata = figures.metadata.value;
  ours.regions = figures.regions;
  ours.stale_regions = figures.stale;
  counters_.CopyTo(&ours);

  ours.state = static_cast<uint32_t>(engine_.stage());
  const Latched latched = engine_.latched();
  ours.latch_cause = static_cast<uint32_t>(latched.cause);
  ours.latch_method = latched.method;
  ours.latch_error = latched.error;
  ours.over_limit = OverLimit(budget.Use()).value;
  ours.waiting = budget.Waiting();
  for (std::size_t level = 0; level < kCriticalityCount; ++level) {
    const WaitCounts counts = engine_.waits().Counts(static_cast<Criticality>(level));
    ours.waits[level] = counts.waits;
    ours.waits_granted[level] = counts.granted;
    ours.waits_timed_out[level] = counts.timed_out;
    ours.waits_abandoned[level] = counts.abandoned;
  }
  const EmergencyPool& emergency = engine_.emergency();
  ours.emergency_reserve = emergency.Size().value;
  ours.emergency_held = emergency.Held().value;
  ours.emergency_given = emergency.GivenSoFar().value;
  ours.emergency_uses = emergency.Uses();
  ours.emergency_taken_back = emergency.TakenBackSoFar().value;
  ours.address_space_reserve = engine_.address_space().Size().value;
  ours.address_space_held = engine_.address_space().Held().value;
  ours.address_space_uses = engine_.address_space().Uses();
  ours.sealed_regions = engine_.SealedCount();
  notifier_.CopyTo(&ours);
}

HRESULT HostMemoryManager::GetStatistics(ClrHostMemoryStatistics* statistics) noexcept {
  if (statistics == nullptr) return E_POINTER;
  // Every call is counted. So two successive readings that agree in every counter show one moment.
  constexpr int kAttempts = 20;
  ClrHostMemoryStatistics ours{};
  ClrHostMemoryStatistics again{};
  engine_.UnchargeFreedElsewhere();
  FillStatistics(&ours);
  for (int attempt = 0; attempt < kAttempts && ours.consistent == 0; ++attempt) {
    FillStatistics(&again);
    const bool agree = std::memcmp(&ours, &again, sizeof(ours)) == 0;
    ours = again;
    ours.consistent = agree ? 1 : 0;
  }
  ours.version = 4;
  return CopySized(ours, statistics);
}

HRESULT HostMemoryManager::Audit(ClrHostMemoryAudit* audit) noexcept {
  if (audit == nullptr) return E_POINTER;
  engine_.UnchargeFreedElsewhere();
  const LedgerAudit ledger_audit = engine_.ledger().Audit();
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
  const Limits limits = LimitsOf(limit, app_domain_headroom, process_headroom, &reason);
  if (reason != nullptr) return E_INVALIDARG;
  Budget& budget = engine_.ledger().budget();
  // If the reserve is shared, it pays for bytes that were charged above the limit during the start. From here on,
  // limit + reserve is the maximum. Set the ceilings before PayFromReserve: with them, the paid bytes need the
  // allowance, so that TakeBackReserves does not recommit the decommitted part of the reserve at once.
  const Bytes above = budget.SetLimits(limits, budget.ReserveIsShared() ? engine_.emergency().Size() : Bytes{});
  if (above != Bytes{}) static_cast<void>(engine_.PayFromReserve(above));
  // The watcher lowers the process ceiling as the excess goes down. If no thread can start, the excess still stays
  // bounded.
  if (OverLimit(budget.Use()) != Bytes{}) static_cast<void>(notifier_.Watch());
  notifier_.Wake();
  return S_OK;
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

HRESULT HostMemoryManager::SetThrashGuard(uint32_t window_ms, uint32_t refusals) noexcept {
  if (ProcessIsEnding()) return HOST_E_CLRNOTAVAILABLE;
  const char* reason = nullptr;
  const ThrashSettings settings = ThrashSettingsOf(window_ms, refusals, &reason);
  if (reason != nullptr) return E_INVALIDARG;
  notifier_.monitor().SetThrash(settings);
  return S_OK;
}

HRESULT HostMemoryManager::CancelWaits() noexcept {
  engine_.CancelWaits();
  return S_OK;
}

HRESULT HostMemoryManager::EnterExclusive(uint32_t milliseconds) noexcept {
  return ToHresult(engine_.EnterExclusive(Milliseconds{milliseconds}), kClrHostMemoryVirtualAlloc);
}

HRESULT HostMemoryManager::LeaveExclusive() noexcept {
  return ToHresult(engine_.LeaveExclusive(), kClrHostMemoryVirtualAlloc);
}

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

HRESULT HostMemoryManager::GetCharged(const void* address, uint64_t size, uint64_t* bytes) noexcept {
  if (bytes == nullptr) return E_POINTER;
  *bytes = 0;
  const auto range = PageRange::Covering(ToAddress(address), size);
  if (!range || !PageMap::Tracks(*range)) return E_INVALIDARG;
  *bytes = engine_.ledger().ChargedIn(*range).InBytes().value;
  return S_OK;
}

HRESULT HostMemoryManager::FindRegion(const void* address, BackendRegion* region) noexcept {
  if (region == nullptr) return E_POINTER;
  *region = {};
  const auto found = engine_.ledger().FindRegion(ToAddress(address));
  if (!found) return S_FALSE;
  const std::uint32_t of_heap = engine_.ledger().IsOwned(*found) ? kRegionOfHeap : 0;
  *region = {ToPointer(found->base), found->pages.InBytes().value, found->kind == Region::Kind::kView ? 1u : 0u,
             found->reserved_as | of_heap};
  return S_OK;
}

HRESULT HostMemoryManager::GetMemoryStatus(BackendMemoryStatus* status) noexcept {
  if (status == nullptr) return E_POINTER;
  const StatusOutcome result = engine_.Status();
  if (!result.outcome.ok()) return ToHresult(result.outcome, kClrHostMemoryGetMemoryLoad);
  BackendMemoryStatus ours{};
  ours.percent_in_use = result.status.percent_in_use;
  ours.total_physical = result.status.total_physical.value;
  ours.available_physical = result.status.available_physical.value;
  ours.total_commit = result.status.total_commit.value;
  ours.available_commit = result.status.available_commit.value;
  return CopySized(ours, status);
}

HRESULT HostMemoryManager::AddSection(uint64_t size, BOOL committed, EMemoryCriticalLevel level,
                                      uint64_t* section) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualAlloc;  // counted as VirtualAlloc: memory that the CLR requests
  if (section == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *section = 0;
  return barrier_.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const SectionOutcome result = engine_.AddSection(size, committed != FALSE, criticality);
    *section = result.section;
    return result.outcome;
  });
}

HRESULT HostMemoryManager::KeepSection(uint64_t section) noexcept {
  return ToHresult(engine_.KeepSection(NameOf(section)), kClrHostMemoryVirtualFree);
}

HRESULT HostMemoryManager::DropSection(uint64_t section) noexcept {
  return ToHresult(engine_.DropSection(NameOf(section)), kClrHostMemoryVirtualFree);
}

HRESULT HostMemoryManager::AcquireViewOfSection(void* base, SIZE_T size, uint64_t section, uint64_t offset) noexcept {
  return barrier_.Serve(kClrHostMemoryAcquiredVirtualAddressSpace, [&] {
    const SectionName name = NameOf(section);
    if (name == 0) return Outcome::OsRefused(win32::kInvalidParameter);
    return engine_.AcquireView(ToAddress(base), size, name, offset);
  });
}

HRESULT HostMemoryManager::UnmapView(const void* address, BOOL(STDMETHODCALLTYPE* unmap)(const void*),
                                     BOOL* unmapped) noexcept {
  constexpr auto kMethod = kClrHostMemoryReleasedVirtualAddressSpace;
  if (unmap == nullptr || unmapped == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *unmapped = FALSE;
  const DWORD error_before = ::GetLastError();
  DWORD error = error_before;
  const HRESULT hr = barrier_.Serve(kMethod, [&] {
    engine_.UnmapView(ToAddress(address), [&] {
      ::SetLastError(error_before);
      *unmapped = unmap(address);
      error = ::GetLastError();
      return *unmapped != FALSE;
    });
    return Outcome::Done();
  });
  if (hr == S_OK) ::SetLastError(error);
  return hr;
}

HRESULT HostMemoryManager::NoteDetached() noexcept {
  notifier_.NoteDetached();
  return S_OK;
}

HRESULT HostMemoryManager::GetState(uint32_t* state) noexcept {
  if (state == nullptr) return E_POINTER;
  *state = static_cast<uint32_t>(engine_.stage());
  return S_OK;
}

}  // namespace clr_host_memory
