#include "com/host_memory_manager.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "com/host_malloc.h"

namespace clr_host_memory {
namespace {

[[nodiscard]] Address ToAddress(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }
[[nodiscard]] void* ToPointer(Address address) noexcept {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
}

// Copies to a caller whose struct may be older, and so shorter, than ours.
template <typename Struct>
[[nodiscard]] HRESULT CopySized(Struct& ours, Struct* theirs) noexcept {
  constexpr uint32_t kHeader = 2 * sizeof(uint32_t);
  if (theirs->size < kHeader) return E_INVALIDARG;
  ours.size = std::min<uint32_t>(theirs->size, sizeof(Struct));
  ours.version = 1;
  std::memcpy(theirs, &ours, ours.size);
  return S_OK;
}

}  // namespace

HRESULT HostMemoryManager::QueryInterface(REFIID riid, void** object) noexcept {
  if (object == nullptr) return E_POINTER;
  *object = nullptr;
  if (IsEqualGUID(riid, kIidHostMemoryManager) || IsEqualGUID(riid, IID_IUnknown)) {
    *object = static_cast<IHostMemoryManager*>(this);
  } else if (IsEqualGUID(riid, kIidClrHostMemoryControl)) {
    *object = static_cast<IClrHostMemoryControl*>(this);
  } else if (IsEqualGUID(riid, kIidClrHostMemoryClient)) {
    *object = static_cast<IClrHostMemoryClient*>(this);
  } else {
    return E_NOINTERFACE;
  }
  AddRef();
  return S_OK;
}

ULONG HostMemoryManager::AddRef() noexcept { return references_.fetch_add(1, std::memory_order_relaxed) + 1; }

ULONG HostMemoryManager::Release() noexcept {
  const ULONG left = references_.fetch_sub(1, std::memory_order_acq_rel) - 1;
  if (left == 0) delete this;
  return left;
}

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
    const os::AllocateRequest request{ToAddress(address), size, allocation_type, protect, node};
    const AddressOutcome result = engine_.Allocate(request, criticality);
    *memory = ToPointer(result.address);
    return result.outcome;
  });
}

HRESULT HostMemoryManager::VirtualFree(LPVOID address, SIZE_T size, DWORD free_type) noexcept {
  return barrier_.Serve(kClrHostMemoryVirtualFree, [&] {
    const Outcome outcome = engine_.Free(ToAddress(address), size, free_type);
    // What is held is freed in every state; about anything else a manager that is down has nothing to say.
    if (outcome.verdict == Verdict::kNotOurs && !engine_.Serving()) return Outcome::Unavailable();
    return outcome;
  });
}

HRESULT HostMemoryManager::VirtualQuery(void* address, void* buffer, SIZE_T length, SIZE_T* result) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualQuery;
  if (result == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *result = 0;
  if (buffer == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  return barrier_.Serve(kMethod, [&] {
    std::size_t written = 0;
    const Outcome outcome = engine_.Query(ToAddress(address), buffer, length, &written);
    *result = written;
    return outcome;
  });
}

HRESULT HostMemoryManager::VirtualProtect(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualProtect;
  if (old_protect == nullptr) return barrier_.Reject(kMethod, E_POINTER);
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
    const MemoryLoadOutcome load = engine_.Load();
    *memory_load = load.percent_in_use;
    *available_bytes = static_cast<SIZE_T>(std::min<std::uint64_t>(load.available.value, SIZE_MAX));
    return load.outcome;
  });
}

HRESULT HostMemoryManager::RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* callback) noexcept {
  return barrier_.Serve(kClrHostMemoryRegisterMemoryNotificationCallback, [&] {
    if (!engine_.Serving()) return Outcome::Unavailable();
    return callback_.Set(callback) ? Outcome::Done() : Outcome::NoTracking();
  });
}

HRESULT HostMemoryManager::NeedsVirtualAddressSpace(LPVOID /*start_address*/, SIZE_T /*size*/) noexcept {
  return barrier_.Serve(kClrHostMemoryNeedsVirtualAddressSpace, [&] {
    if (!engine_.Serving()) return Outcome::Unavailable();
    // The manager keeps no address space back, so it has none to make room with: a retry would fail in the same way.
    return Outcome::OsRefused(win32::kNotEnoughMemory);
  });
}

HRESULT HostMemoryManager::AcquiredVirtualAddressSpace(LPVOID start_address, SIZE_T size) noexcept {
  return barrier_.Serve(kClrHostMemoryAcquiredVirtualAddressSpace,
                        [&] { return engine_.AcquireView(ToAddress(start_address), size); });
}

HRESULT HostMemoryManager::ReleasedVirtualAddressSpace(LPVOID start_address) noexcept {
  return barrier_.Serve(kClrHostMemoryReleasedVirtualAddressSpace, [&] {
    // As in VirtualFree: a view that is held is let go in every state, about others a manager that is down is silent.
    const Address base = ToAddress(start_address);
    if (!engine_.Serving() && !engine_.ledger().RegionAt(base)) return Outcome::Unavailable();
    return engine_.ReleaseView(base);
  });
}

HRESULT HostMemoryManager::GetStatistics(ClrHostMemoryStatistics* statistics) noexcept {
  if (statistics == nullptr) return E_POINTER;
  const Ledger& ledger = engine_.ledger();
  const policy::Limits limits = ledger.budget().CurrentLimits();
  const LedgerFigures figures = ledger.Figures();
  ClrHostMemoryStatistics ours{};
  ours.limit = limits.limit.value;
  ours.app_domain_headroom = limits.app_domain_headroom.value;
  ours.process_headroom = limits.process_headroom.value;
  ours.heap_bytes = ledger.HeapBytes().value;
  ours.charged = ledger.budget().Charged().value;
  ours.peak_charged = ledger.budget().Peak().value;
  ours.page_bytes = ours.charged - std::min(ours.charged, ours.heap_bytes);
  ours.reserved = figures.reserved.value;
  ours.peak_reserved = figures.peak_reserved.value;
  ours.mapped = figures.mapped.value;
  ours.metadata = figures.metadata.value;
  ours.regions = figures.regions;
  ours.healed_regions = figures.healed;
  counters_.CopyTo(&ours);
  return CopySized(ours, statistics);
}

HRESULT HostMemoryManager::Audit(ClrHostMemoryAudit* audit) noexcept {
  if (audit == nullptr) return E_POINTER;
  const LedgerAudit ledger_audit = engine_.ledger().Audit();
  ClrHostMemoryAudit ours{};
  ours.charged_pages = ledger_audit.charged.InBytes().value;
  ours.committed_pages = ledger_audit.committed.InBytes().value;
  ours.mismatch = ledger_audit.mismatch.InBytes().value;
  ours.regions = ledger_audit.regions;
  ours.in_flight = ledger_audit.in_flight.InBytes().value;
  return CopySized(ours, audit);
}

HRESULT HostMemoryManager::SetLimit(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom) noexcept {
  const char* reason = nullptr;
  const policy::Limits limits = LimitsFromOptions(limit, app_domain_headroom, process_headroom, &reason);
  if (reason != nullptr) return E_INVALIDARG;
  engine_.ledger().budget().SetLimits(limits);
  return S_OK;
}

// PENDING: until the engine has them.
HRESULT HostMemoryManager::SetThresholds(const ClrHostMemoryThresholds*) noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::SetWait(EMemoryCriticalLevel, uint32_t) noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::CancelWaits() noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::EnterExclusive(uint32_t) noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::LeaveExclusive() noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::PinRegion(void*, uint64_t) noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::UnpinRegion(void*) noexcept { return E_NOTIMPL; }
HRESULT HostMemoryManager::SetEventSink(IClrHostMemoryEventSink*) noexcept { return E_NOTIMPL; }

HRESULT HostMemoryManager::GetMemoryStatus(ClrHostMemoryStatus* status) noexcept {
  if (status == nullptr) return E_POINTER;
  if (status->size < sizeof(ClrHostMemoryStatus)) return E_INVALIDARG;
  if (!engine_.Serving()) return HOST_E_CLRNOTAVAILABLE;
  os::MemoryLoad load;
  if (engine_.os().Load(&load) != win32::kSuccess) return E_FAIL;
  const MemoryLoadOutcome ours = engine_.Load();
  status->percent_in_use = ours.percent_in_use;
  status->total_physical = std::min(load.total_physical, engine_.ledger().budget().Limit()).value;
  status->available_physical = ours.available.value;
  status->total_commit = std::min(load.total_commit, engine_.ledger().budget().Limit()).value;
  status->available_commit = std::min(load.available_commit, ours.available).value;
  return S_OK;
}

HRESULT HostMemoryManager::NotifyMemoryAvailable(EMemoryAvailable available) noexcept {
  if (available < eMemoryAvailableLow || available > eMemoryAvailableHigh) return E_INVALIDARG;
  return callback_.Notify(available);
}

HRESULT HostMemoryManager::Shutdown() noexcept {
  engine_.Shutdown();
  return S_OK;
}

HRESULT HostMemoryManager::FindRegion(const void* address, ClrHostMemoryRegion* region) noexcept {
  if (region == nullptr) return E_POINTER;
  *region = {};
  const auto found = engine_.ledger().FindRegion(ToAddress(address));
  if (!found) return S_FALSE;
  *region = {ToPointer(found->base), found->pages.InBytes().value, found->kind == Region::Kind::kView ? 1u : 0u, 0};
  return S_OK;
}

policy::Limits LimitsFromOptions(uint64_t limit, uint64_t app_domain_headroom, uint64_t process_headroom,
                                 const char** reason) noexcept {
  const policy::Headroom defaults = policy::DefaultHeadroom({limit});
  policy::Limits limits{.limit = {limit},
                        .app_domain_headroom = {app_domain_headroom},
                        .process_headroom = {process_headroom}};
  if (app_domain_headroom == CLR_HOST_MEMORY_DEFAULT_HEADROOM) limits.app_domain_headroom = defaults.app_domain;
  if (process_headroom == CLR_HOST_MEMORY_DEFAULT_HEADROOM) limits.process_headroom = defaults.process;
  *reason = nullptr;
  switch (policy::Validate(limits)) {
    case policy::LimitsError::kNone:
      break;
    case policy::LimitsError::kLimitIsZero:
      *reason = "limit is 0: give the bytes the CLR may commit, or CLR_HOST_MEMORY_NO_LIMIT";
      break;
    case policy::LimitsError::kHeadroomExceedsLimit:
      *reason = "app_domain_headroom and process_headroom add up to more than limit: lower them or raise limit";
      break;
  }
  return limits;
}

}  // namespace clr_host_memory
