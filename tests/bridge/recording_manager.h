// A memory manager for tests of the bridge. It does what Win32 does, records its requests, and refuses as the test
// configures.
#ifndef CLRHM_TESTS_BRIDGE_RECORDING_MANAGER_H
#define CLRHM_TESTS_BRIDGE_RECORDING_MANAGER_H

#include <clr_host_memory/memory_manager.h>
#include <clr_host_memory/memory_manager_abi.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "com/backend.h"

namespace clrhm_test {

enum class Asked {
  kAlloc,
  kAllocOnNode,
  kFree,
  kQuery,
  kProtect,
  kNeeds,
  kAcquired,
  kReleased,
  kAddSection,
  kKeepSection,
  kDropSection,
  kAcquiredOfSection
};

struct Request {
  Asked asked;
  const void* address = nullptr;
  SIZE_T size = 0;
  DWORD type = 0;
  DWORD protect = 0;
  DWORD node = 0;
  EMemoryCriticalLevel level = eProcessCritical;
  bool operator==(const Request&) const = default;
};

// Lives on the test's stack: Release never deletes it. references() returns the number of references still held.
class RecordingManager final : public IHostMemoryManager, public clr_host_memory::IManagerBackend {
 public:
  // Set by the tests. Any answer other than S_OK sets the last error to ERROR_COMMITMENT_LIMIT.
  HRESULT alloc_answer = S_OK;
  HRESULT free_answer = S_OK;
  HRESULT query_answer = S_OK;
  HRESULT protect_answer = S_OK;
  HRESULT needs_answer = E_OUTOFMEMORY;
  HRESULT unmap_answer = S_OK;
  HRESULT section_answer = S_OK;
  uint32_t state = kClrHostMemoryRunning;
  bool is_ours = true;  // false: has no IManagerBackend
  std::vector<clr_host_memory::BackendRegion> regions;
  clr_host_memory::BackendMemoryStatus memory_status{};
  uint64_t last_section = 0;
  HRESULT status_answer = S_OK;
  HRESULT register_answer = S_OK;
  std::atomic<int> opened_last_part{0};
  std::atomic<int> detached{0};  // how often a bridge was detached from a started runtime
  HRESULT end_start_answer = S_OK;
  std::atomic<int> begun_starts{0};
  std::atomic<int> ended_starts{0};
  std::function<void()> inside_alloc = [] {};
  std::function<void()> inside_register = [] {};

  [[nodiscard]] ULONG references() const { return references_.load(); }
  [[nodiscard]] std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  [[nodiscard]] std::vector<Request> RequestsOf(Asked asked) const {
    std::vector<Request> result = requests();
    std::erase_if(result, [asked](const Request& request) { return request.asked != asked; });
    return result;
  }
  [[nodiscard]] Request Last() const {
    const std::lock_guard lock(mutex_);
    return requests_.empty() ? Request{} : requests_.back();
  }
  // Returns the callback with a reference for the caller; null: none is registered.
  [[nodiscard]] clr_host_memory::ComReference<ICLRMemoryNotificationCallback> callback() const {
    const std::lock_guard lock(mutex_);
    if (callback_ != nullptr) callback_->AddRef();
    return clr_host_memory::ComReference<ICLRMemoryNotificationCallback>(callback_);
  }
  // Returns the number of calls that registered or unregistered.
  [[nodiscard]] int registrations() const {
    const std::lock_guard lock(mutex_);
    return registrations_;
  }
  void Forget() {
    const std::lock_guard lock(mutex_);
    requests_.clear();
  }

  STDMETHODIMP QueryInterface(REFIID riid, void** object) noexcept override {
    *object = nullptr;
    constexpr GUID kUnknown = {0, 0, 0, {0xC0, 0, 0, 0, 0, 0, 0, 0x46}};
    if (IsEqualIID(riid, kUnknown) || IsEqualIID(riid, clr_host_memory::kIidHostMemoryManager)) {
      *object = static_cast<IHostMemoryManager*>(this);
    } else if (is_ours && IsEqualIID(riid, clr_host_memory::kIidManagerBackend)) {
      *object = static_cast<clr_host_memory::IManagerBackend*>(this);
    } else {
      return E_NOINTERFACE;
    }
    AddRef();
    return S_OK;
  }
  STDMETHODIMP_(ULONG) AddRef() noexcept override { return ++references_; }
  STDMETHODIMP_(ULONG) Release() noexcept override { return --references_; }

  STDMETHODIMP CreateMalloc(DWORD, IHostMalloc**) noexcept override { return E_NOTIMPL; }
  STDMETHODIMP VirtualAlloc(void* address, SIZE_T size, DWORD type, DWORD protect, EMemoryCriticalLevel level,
                            void** memory) noexcept override {
    Record({Asked::kAlloc, address, size, type, protect, 0, level});
    inside_alloc();
    if (alloc_answer != S_OK) return Refuse(alloc_answer);
    *memory = ::VirtualAlloc(address, size, type, protect);
    return *memory != nullptr ? S_OK : E_OUTOFMEMORY;
  }
  STDMETHODIMP VirtualAllocOnNode(void* address, SIZE_T size, DWORD type, DWORD protect, DWORD node,
                                  EMemoryCriticalLevel level, void** memory) noexcept override {
    Record({Asked::kAllocOnNode, address, size, type, protect, node, level});
    if (alloc_answer != S_OK) return Refuse(alloc_answer);
    *memory = ::VirtualAllocExNuma(GetCurrentProcess(), address, size, type, protect, node);
    return *memory != nullptr ? S_OK : E_OUTOFMEMORY;
  }
  STDMETHODIMP VirtualFree(LPVOID address, SIZE_T size, DWORD type) noexcept override {
    Record({Asked::kFree, address, size, type});
    if (free_answer != S_OK) return Refuse(free_answer);
    return ::VirtualFree(address, size, type) ? S_OK : E_INVALIDARG;
  }
  STDMETHODIMP VirtualQuery(void* address, void* buffer, SIZE_T length, SIZE_T* result) noexcept override {
    Record({Asked::kQuery, address, length});
    if (query_answer != S_OK) return Refuse(query_answer);
    *result = ::VirtualQuery(address, static_cast<MEMORY_BASIC_INFORMATION*>(buffer), length);
    return *result != 0 ? S_OK : E_INVALIDARG;
  }
  STDMETHODIMP VirtualProtect(void* address, SIZE_T size, DWORD protect, DWORD* old_protect) noexcept override {
    Record({Asked::kProtect, address, size, 0, protect});
    if (protect_answer != S_OK) return Refuse(protect_answer);
    return ::VirtualProtect(address, size, protect, old_protect) ? S_OK : E_INVALIDARG;
  }
  STDMETHODIMP GetMemoryLoad(DWORD*, SIZE_T*) noexcept override { return E_NOTIMPL; }
  STDMETHODIMP RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback* callback) noexcept override {
    inside_register();
    if (register_answer != S_OK) return Refuse(register_answer);
    if (callback != nullptr) callback->AddRef();
    ICLRMemoryNotificationCallback* before = nullptr;
    {
      const std::lock_guard lock(mutex_);
      before = std::exchange(callback_, callback);
      ++registrations_;
    }
    if (before != nullptr) before->Release();
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  STDMETHODIMP NeedsVirtualAddressSpace(LPVOID start, SIZE_T size) noexcept override {
    Record({Asked::kNeeds, start, size});
    return needs_answer == S_OK ? S_OK : Refuse(needs_answer);
  }
  // Changes the last error on purpose: the bridged functions must hide that.
  STDMETHODIMP AcquiredVirtualAddressSpace(LPVOID start, SIZE_T size) noexcept override {
    Record({Asked::kAcquired, start, size});
    regions.push_back({start, size, 1, 0});
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  STDMETHODIMP ReleasedVirtualAddressSpace(LPVOID start) noexcept override {
    Record({Asked::kReleased, start});
    std::erase_if(regions, [start](const clr_host_memory::BackendRegion& region) { return region.base == start; });
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  // In requests about sections, address is the view's address and node is the section's identifier. size is that of
  // the section or the view. type is the offset, or whether the section is committed.
  STDMETHODIMP AddSection(uint64_t size, BOOL committed, EMemoryCriticalLevel level,
                          uint64_t* section) noexcept override {
    Record({Asked::kAddSection, nullptr, static_cast<SIZE_T>(size), committed ? DWORD{1} : DWORD{0}, 0, 0, level});
    *section = 0;
    if (section_answer != S_OK) return Refuse(section_answer);
    *section = ++last_section;
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  STDMETHODIMP KeepSection(uint64_t section) noexcept override {
    Record({Asked::kKeepSection, nullptr, 0, 0, 0, static_cast<DWORD>(section)});
    return S_OK;
  }
  STDMETHODIMP DropSection(uint64_t section) noexcept override {
    Record({Asked::kDropSection, nullptr, 0, 0, 0, static_cast<DWORD>(section)});
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  STDMETHODIMP AcquireViewOfSection(void* base, SIZE_T size, uint64_t section, uint64_t offset) noexcept override {
    Record({Asked::kAcquiredOfSection, base, size, static_cast<DWORD>(offset), 0, static_cast<DWORD>(section)});
    regions.push_back({base, size, 1, 0});
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }
  STDMETHODIMP GetState(uint32_t* its_state) noexcept override {
    *its_state = state;
    return S_OK;
  }
  STDMETHODIMP UnmapView(const void* address, BOOL(STDMETHODCALLTYPE* unmap)(const void*),
                         BOOL* unmapped) noexcept override {
    if (unmap_answer != S_OK) return Refuse(unmap_answer);
    Record({Asked::kReleased, address});
    *unmapped = unmap(address);
    return S_OK;
  }
  STDMETHODIMP OpenLastPart() noexcept override {
    ++opened_last_part;
    return S_OK;
  }
  STDMETHODIMP NoteDetached() noexcept override {
    ++detached;
    return S_OK;
  }
  STDMETHODIMP BeginStart() noexcept override {
    ++begun_starts;
    return S_OK;
  }
  STDMETHODIMP EndStart(uint64_t*) noexcept override {
    ++ended_starts;
    return end_start_answer;
  }
  STDMETHODIMP AddEarlierReservation(const void*, std::uint64_t, std::uint64_t) noexcept override { return S_OK; }
  STDMETHODIMP FindRegion(const void* address, clr_host_memory::BackendRegion* region) noexcept override {
    const auto* at = static_cast<const char*>(address);
    for (const clr_host_memory::BackendRegion& known : regions) {
      const auto* base = static_cast<const char*>(known.base);
      if (at < base || at >= base + known.reserved) continue;
      *region = known;
      return S_OK;
    }
    return S_FALSE;
  }
  STDMETHODIMP GetMemoryStatus(clr_host_memory::BackendMemoryStatus* status) noexcept override {
    if (status_answer != S_OK) return Refuse(status_answer);
    if (status->size != sizeof(*status)) return E_INVALIDARG;
    *status = memory_status;
    SetLastError(ERROR_BAD_LENGTH);
    return S_OK;
  }

 private:
  static HRESULT Refuse(HRESULT answer) {
    SetLastError(ERROR_COMMITMENT_LIMIT);
    return answer;
  }
  void Record(const Request& request) {
    const DWORD error = GetLastError();
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    SetLastError(error);
  }

  std::atomic<ULONG> references_{1};
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  ICLRMemoryNotificationCallback* callback_ = nullptr;
  int registrations_ = 0;
};

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_BRIDGE_RECORDING_MANAGER_H
