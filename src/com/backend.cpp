// What the bridge calls: IManagerBackend.
#include "com/backend.h"

#include "com/host_memory_manager.h"
#include "com/sized_struct.h"
#include "policy/gc_limit.h"

namespace clr_host_memory {
namespace {

// Returns 0, the name of no section, if section is out of the range of names.
[[nodiscard]] SectionName NameOf(uint64_t section) noexcept {
  return section > UINT32_MAX ? SectionName{0} : static_cast<SectionName>(section);
}

// Returns the result of unmap(address), which begins with *error as the thread's last error. *error receives the last
// error it leaves.
[[nodiscard]] BOOL CallUnmap(BOOL(STDMETHODCALLTYPE* unmap)(const void*), const void* address, DWORD* error) {
  ::SetLastError(*error);
  const BOOL unmapped = unmap(address);
  *error = ::GetLastError();
  return unmapped;
}

}  // namespace

HRESULT HostMemoryManager::VirtualAllocOnNode(void* address, SIZE_T size, DWORD allocation_type, DWORD protect,
                                              DWORD node, EMemoryCriticalLevel level, void** memory) noexcept {
  constexpr auto kMethod = kClrHostMemoryVirtualAlloc;
  if (memory == nullptr) return barrier_.Reject(kMethod, E_POINTER);
  *memory = nullptr;
  const HRESULT hr = barrier_.ServeAllocation(kMethod, level, [&](Criticality criticality) {
    const AllocateRequest request{ToAddress(address), size, allocation_type, protect, node};
    const AddressOutcome result = engine_.Allocate(request, criticality);
    *memory = ToPointer(result.address);
    return result.outcome;
  });
  if ((allocation_type & MEM_COMMIT) == 0 && hr == S_OK) counters_.CountWithoutGain();
  return hr;
}

HRESULT HostMemoryManager::FindRegion(const void* address, BackendRegion* region) noexcept {
  if (region == nullptr) return E_POINTER;
  *region = {};
  const auto found = engine_.FindRegion(ToAddress(address));
  if (!found) {
    const auto earlier = engine_.earlier_reservations().Find(ToAddress(address));
    if (!earlier) return S_FALSE;
    *region = {ToPointer(earlier->Start()), earlier->count.InBytes().value, 0, win32::kPageReadWrite};
    return S_OK;
  }
  const std::uint32_t of_heap = engine_.IsOwned(*found) ? kRegionOfHeap : 0;
  *region = {ToPointer(found->base), found->pages.InBytes().value, found->kind == Region::Kind::kView ? 1u : 0u,
             found->reserved_as | of_heap};
  return S_OK;
}

HRESULT HostMemoryManager::AddEarlierReservation(const void* base, uint64_t size, uint64_t committed) noexcept {
  const auto range = PageRange::Covering(ToAddress(base), size);
  if (!range || !PageMap::Tracks(*range)) return E_INVALIDARG;
  return engine_.earlier_reservations().Add(*range, {committed}) ? S_OK : S_FALSE;
}

HRESULT HostMemoryManager::GetMemoryStatus(BackendMemoryStatus* status) noexcept {
  if (status == nullptr) return E_POINTER;
  const StatusOutcome result = engine_.Status();
  if (!result.outcome.ok()) return ToHresult(result.outcome, Operation::kUse);
  BackendMemoryStatus ours{};
  ours.percent_in_use = result.status.percent_in_use;
  ours.total_physical = result.status.total_physical.value;
  ours.available_physical = result.status.available_physical.value;
  ours.total_commit = result.status.total_commit.value;
  ours.available_commit = result.status.available_commit.value;
  ours.gc_limit_at_start = GcLimitAtStart(engine_.Use()).value;
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
  return ToHresult(engine_.KeepSection(NameOf(section)), Operation::kUse);
}

HRESULT HostMemoryManager::DropSection(uint64_t section) noexcept {
  return ToHresult(engine_.DropSection(NameOf(section)), Operation::kFree);
}

HRESULT HostMemoryManager::AcquireViewOfSection(void* base, SIZE_T size, uint64_t section, uint64_t offset) noexcept {
  return barrier_.Serve(kClrHostMemoryAcquiredVirtualAddressSpace, Operation::kAllocate, [&] {
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
  DWORD error = ::GetLastError();
  const HRESULT hr = barrier_.Serve(kMethod, Operation::kUse, [&] {
    engine_.UnmapView(ToAddress(address), [&] {
      *unmapped = CallUnmap(unmap, address, &error);
      return *unmapped != FALSE;
    });
    return Outcome::Done();
  });
  if (hr == S_OK) ::SetLastError(error);
  return hr;
}

HRESULT HostMemoryManager::OpenLastPart() noexcept {
  engine_.budget().OpenLastPart();
  return S_OK;
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
