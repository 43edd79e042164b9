// The memory manager for a C++ host: header-only owners of the COM objects in memory_manager_abi.h.
//
//   auto manager = clr_host_memory::CreateMemoryManager({.limit = 512_MiB});
//   if (!manager) return Fail(manager.error());
//   auto host_control = clr_host_memory::CreateHostControl(*manager);
//   if (!host_control) return Fail(host_control.error());
//   runtime_host->SetHostControl(host_control->get());
//
// Each function that can fail returns a Result. If it fails, nothing changes. The reasons of this header are static
// texts, so that a failure allocates nothing.
#ifndef CLR_HOST_MEMORY_MEMORY_MANAGER_H
#define CLR_HOST_MEMORY_MEMORY_MANAGER_H

#include <clr_host_memory/com_reference.h>
#include <clr_host_memory/memory_manager_abi.h>
#include <clr_host_memory/result.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <new>
#include <utility>

namespace clr_host_memory {

inline namespace literals {
constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n * 1024; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n * 1024 * 1024; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n * 1024 * 1024 * 1024; }
}  // namespace literals

// Returns a headroom of that many percent of the limit, 0 to 100.
[[nodiscard]] constexpr std::uint64_t Percent(std::uint32_t percent) noexcept {
  return CLR_HOST_MEMORY_PERCENT(percent);
}

namespace internal {

// Returns what to do about a failure of the manager.
[[nodiscard]] inline const char* ReasonOf(HRESULT hr) noexcept {
  switch (hr) {
    case E_OUTOFMEMORY: return "the process has no memory or thread left for this: free some and try again";
    case E_POINTER: return "the manager is empty: use the one that CreateMemoryManager returned, before it is moved";
    case HOST_E_CLRNOTAVAILABLE:
      return "the manager is shut down, or the process is ending: call this before Shutdown, or create another manager";
    case HOST_E_TIMEOUT: return "another thread did not finish in time: give more milliseconds, or try again";
    case HOST_E_NOT_OWNER: return "another thread is in an exclusive section: give milliseconds above 0 to wait";
    default: return "the memory manager failed in an unknown way: report its code and statistics as a bug";
  }
}
[[nodiscard]] inline Result<void> ResultOf(HRESULT hr) noexcept {
  if (FAILED(hr)) return Error(hr, ReasonOf(hr));
  return {};
}

}  // namespace internal

// The host's choices, as in ClrHostMemoryOptions. The defaults: no limit, headrooms derived from the limit, no reserves
// and no waits. Bytes and milliseconds.
struct MemoryManagerOptions {
  std::uint64_t limit = CLR_HOST_MEMORY_NO_LIMIT;                        // at least 64_KiB
  std::uint64_t app_domain_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;  // bytes, or Percent(n)
  std::uint64_t process_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;     // bytes, or Percent(n)
  std::uint64_t committed_headroom = 0;                                  // part of process_headroom
  std::uint64_t address_space_reserve = 0;
  std::array<std::uint32_t, kClrHostMemoryLevelCount> wait_ms{};  // by EMemoryCriticalLevel
  bool count_whole_process = false;
  std::uint32_t sampling_ms = 100;
  ClrHostMemoryThresholds thresholds = CLR_HOST_MEMORY_THRESHOLDS_INIT;
  std::uint32_t thrash_window_ms = 5000;
  std::uint32_t thrash_refusals = 40;
};

// An event sink that calls the host's function. See IClrHostMemoryEventSink. The function must not throw.
class EventFunction final : public IClrHostMemoryEventSink {
 public:
  explicit EventFunction(std::function<void(const ClrHostMemoryEvent&)> function) : function_(std::move(function)) {}
  EventFunction(const EventFunction&) = delete;
  EventFunction& operator=(const EventFunction&) = delete;

  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** object) noexcept override {
    if (object == nullptr) return E_POINTER;
    *object = nullptr;
    constexpr GUID kUnknown = {0x00000000, 0x0000, 0x0000, {0xC0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46}};
    if (!IsEqualGUID(riid, kIidClrHostMemoryEventSink) && !IsEqualGUID(riid, kUnknown)) return E_NOINTERFACE;
    *object = static_cast<IClrHostMemoryEventSink*>(this);
    AddRef();
    return S_OK;
  }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return references_.fetch_add(1) + 1; }
  ULONG STDMETHODCALLTYPE Release() noexcept override {
    const ULONG left = references_.fetch_sub(1) - 1;
    if (left == 0) delete this;
    return left;
  }
  HRESULT STDMETHODCALLTYPE OnEvent(const ClrHostMemoryEvent* event) noexcept override {
    function_(*event);
    return S_OK;
  }

 private:
  ~EventFunction() = default;
  std::atomic<ULONG> references_ = 1;
  std::function<void(const ClrHostMemoryEvent&)> function_;
};

// An exclusive section of the calling thread. The destructor leaves it and must run on the same thread. Move-only.
class ExclusiveSection {
 public:
  explicit ExclusiveSection(IClrHostMemoryControl* control) noexcept : control_(control) {}
  ExclusiveSection(ExclusiveSection&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  ExclusiveSection& operator=(ExclusiveSection&&) = delete;
  ExclusiveSection(const ExclusiveSection&) = delete;
  ExclusiveSection& operator=(const ExclusiveSection&) = delete;
  ~ExclusiveSection() {
    if (control_ != nullptr) control_->LeaveExclusive();
  }

 private:
  IClrHostMemoryControl* control_;
};

// Owns the interfaces of one memory manager. Move-only. The COM object lives on while a CLR holds a reference.
class MemoryManager {
 public:
  MemoryManager() = default;

  [[nodiscard]] IHostMemoryManager* get() const noexcept { return manager_.get(); }
  [[nodiscard]] IClrHostMemoryControl* control() const noexcept { return control_.get(); }

  [[nodiscard]] ClrHostMemoryStatistics Statistics() const noexcept {
    ClrHostMemoryStatistics statistics{};
    statistics.size = sizeof(statistics);
    control_->GetStatistics(&statistics);
    return statistics;
  }
  [[nodiscard]] ClrHostMemoryAudit Audit() const noexcept {
    ClrHostMemoryAudit audit{};
    audit.size = sizeof(audit);
    control_->Audit(&audit);
    return audit;
  }
  // If a value is out of range, the error is E_INVALIDARG and names the value.
  Result<void> SetLimit(std::uint64_t limit, std::uint64_t app_domain_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM,
                        std::uint64_t process_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM) const noexcept {
    return ResultOf(control_->SetLimit(limit, app_domain_headroom, process_headroom),
                    [&](ClrHostMemoryOptions& options) {
                      options.limit = limit;
                      options.app_domain_headroom = app_domain_headroom;
                      options.process_headroom = process_headroom;
                    });
  }
  Result<void> SetThresholds(const ClrHostMemoryThresholds& thresholds) const noexcept {
    return ResultOf(control_->SetThresholds(&thresholds),
                    [&](ClrHostMemoryOptions& options) { options.thresholds = thresholds; });
  }
  Result<void> SetWait(EMemoryCriticalLevel level, std::uint32_t milliseconds) const noexcept {
    return ResultOf(control_->SetWait(level, milliseconds), [&](ClrHostMemoryOptions& options) {
      for (std::uint32_t& wait_ms : options.wait_ms) wait_ms = milliseconds;
    });
  }
  Result<void> SetThrashGuard(std::uint32_t window_ms, std::uint32_t refusals) const noexcept {
    return ResultOf(control_->SetThrashGuard(window_ms, refusals), [&](ClrHostMemoryOptions& options) {
      options.thrash_window_ms = window_ms;
      options.thrash_refusals = refusals;
    });
  }
  void CancelWaits() const noexcept { control_->CancelWaits(); }
  // Enters an exclusive section, which ends with the returned object; see IClrHostMemoryControl. HOST_E_TIMEOUT and
  // HOST_E_NOT_OWNER: another thread did not finish in time. The manager must outlive the section.
  Result<ExclusiveSection> EnterExclusive(std::uint32_t milliseconds) const noexcept {
    const HRESULT hr = control_->EnterExclusive(milliseconds);
    if (FAILED(hr)) return Error(hr, internal::ReasonOf(hr));
    return ExclusiveSection(control_.get());
  }
  // address is rounded down, and the range's end is rounded up, to whole pages.
  Result<void> SealRegion(void* address, std::uint64_t size) const noexcept {
    const HRESULT hr = control_->SealRegion(address, size);
    if (hr == E_INVALIDARG) return Error(hr, "no such range can be sealed: give one that overlaps no sealed region");
    if (hr == E_OUTOFMEMORY) return Error(hr, "64 regions are sealed: unseal one, or seal neighbours as one region");
    return internal::ResultOf(hr);
  }
  // E_INVALIDARG: no sealed region begins at address.
  Result<void> UnsealRegion(void* address) const noexcept {
    const HRESULT hr = control_->UnsealRegion(address);
    if (hr == S_FALSE)
      return Error(E_INVALIDARG, "no sealed region begins at address: give the one that SealRegion received");
    return internal::ResultOf(hr);
  }
  // Registers a function for events, called on the manager's own thread; an empty function unregisters. The function is
  // destroyed when it is replaced, or at Shutdown.
  Result<void> OnEvent(std::function<void(const ClrHostMemoryEvent&)> function) const noexcept {
    if (!function) return internal::ResultOf(control_->SetEventSink(nullptr));
    const ComReference<EventFunction> sink(new (std::nothrow) EventFunction(std::move(function)));
    return internal::ResultOf(sink ? control_->SetEventSink(sink.get()) : E_OUTOFMEMORY);
  }
  // Call it after the CLR has ended (see IClrHostMemoryControl). To receive no more events, OnEvent({}) is enough.
  void Shutdown() const noexcept { control_->Shutdown(); }

 private:
  friend Result<MemoryManager> CreateMemoryManager(const MemoryManagerOptions&) noexcept;

  // Returns the result of a setter. set(ClrHostMemoryOptions&) → void writes the setter's values into otherwise valid
  // options, whose check gives the reason for E_INVALIDARG.
  template <typename Set>
  static Result<void> ResultOf(HRESULT hr, Set set) noexcept {
    if (hr != E_INVALIDARG) return internal::ResultOf(hr);
    ClrHostMemoryOptions options = CLR_HOST_MEMORY_OPTIONS_INIT;
    set(options);
    const char* reason = nullptr;
    ClrHostMemoryCheckOptions(&options, &reason);
    return Error(hr, reason != nullptr ? reason : "level is none of EMemoryCriticalLevel: give one of the three");
  }

  ComReference<IHostMemoryManager> manager_;
  ComReference<IClrHostMemoryControl> control_;
};

// Creates a memory manager. E_INVALIDARG: the reason names the field that is out of range. E_OUTOFMEMORY: no memory for
// the manager or for its reserves.
inline Result<MemoryManager> CreateMemoryManager(const MemoryManagerOptions& options = {}) noexcept {
  ClrHostMemoryOptions abi_options = CLR_HOST_MEMORY_OPTIONS_INIT;
  abi_options.limit = options.limit;
  abi_options.app_domain_headroom = options.app_domain_headroom;
  abi_options.process_headroom = options.process_headroom;
  if (options.count_whole_process) abi_options.flags |= kClrHostMemoryCountWholeProcess;
  abi_options.committed_headroom = options.committed_headroom;
  abi_options.address_space_reserve = options.address_space_reserve;
  std::copy(options.wait_ms.begin(), options.wait_ms.end(), abi_options.wait_ms);
  abi_options.sampling_ms = options.sampling_ms;
  abi_options.thresholds = options.thresholds;
  abi_options.thrash_window_ms = options.thrash_window_ms;
  abi_options.thrash_refusals = options.thrash_refusals;
  MemoryManager manager;
  const char* reason = nullptr;
  HRESULT hr = ClrHostMemoryCreate(&abi_options, kIidHostMemoryManager,
                                   reinterpret_cast<void**>(manager.manager_.Receive()), &reason);
  if (SUCCEEDED(hr)) {
    hr = manager.manager_->QueryInterface(kIidClrHostMemoryControl,
                                          reinterpret_cast<void**>(manager.control_.Receive()));
  }
  if (FAILED(hr)) return Error(hr, reason != nullptr ? reason : internal::ReasonOf(hr));
  return manager;
}

// Creates an IHostControl for ICLRRuntimeHost::SetHostControl. inner may be null. E_OUTOFMEMORY; E_POINTER: manager is
// empty.
inline Result<ComReference<IHostControl>> CreateHostControl(const MemoryManager& manager,
                                                            IHostControl* inner = nullptr) noexcept {
  ComReference<IHostControl> control;
  const HRESULT hr = ClrHostMemoryCreateHostControl(manager.get(), inner, control.Receive());
  if (FAILED(hr)) return Error(hr, internal::ReasonOf(hr));
  return control;
}

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_MEMORY_MANAGER_H
