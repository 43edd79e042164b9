// The memory manager for a C++ host: a thin, header-only owner over the COM object of clr_host_memory.h.
//
//   auto manager = clr_host_memory::CreateMemoryManager({.limit = 512_MiB});
//   if (!manager) return Fail(manager.reason());
//   runtime_host->SetHostControl(clr_host_memory::CreateHostControl(*manager).get());
#ifndef CLR_HOST_MEMORY_MEMORY_MANAGER_H
#define CLR_HOST_MEMORY_MEMORY_MANAGER_H

#include <clr_host_memory/clr_host_memory.h>

#include <cstdint>
#include <string>
#include <utility>

namespace clr_host_memory {

inline namespace literals {
constexpr std::uint64_t operator""_KiB(unsigned long long n) { return n * 1024; }
constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n * 1024 * 1024; }
constexpr std::uint64_t operator""_GiB(unsigned long long n) { return n * 1024 * 1024 * 1024; }
}  // namespace literals

// Owns one COM reference. Move-only, so that a reference is never copied by accident.
template <typename Interface>
class ComPtr {
 public:
  ComPtr() = default;
  // Takes over the caller's reference.
  explicit ComPtr(Interface* owned) noexcept : object_(owned) {}
  ComPtr(ComPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ComPtr& operator=(ComPtr&& other) noexcept {
    if (this != &other) {
      Reset();
      object_ = std::exchange(other.object_, nullptr);
    }
    return *this;
  }
  ComPtr(const ComPtr&) = delete;
  ComPtr& operator=(const ComPtr&) = delete;
  ~ComPtr() { Reset(); }

  [[nodiscard]] Interface* get() const noexcept { return object_; }
  Interface* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  // For out parameters: releases what is held.
  [[nodiscard]] Interface** Receive() noexcept {
    Reset();
    return &object_;
  }
  [[nodiscard]] Interface* Detach() noexcept { return std::exchange(object_, nullptr); }
  void Reset() noexcept {
    if (object_ != nullptr) std::exchange(object_, nullptr)->Release();
  }

 private:
  Interface* object_ = nullptr;
};

// A value, or the reason why there is none: an English sentence that says what to change.
template <typename Value>
class [[nodiscard]] ValueOrReason {
 public:
  ValueOrReason(Value value) : value_(std::move(value)), code_(S_OK) {}
  ValueOrReason(HRESULT code, std::string reason) : code_(code), reason_(std::move(reason)) {}

  explicit operator bool() const noexcept { return SUCCEEDED(code_); }
  [[nodiscard]] HRESULT code() const noexcept { return code_; }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  Value& operator*() & noexcept { return value_; }
  Value&& operator*() && noexcept { return std::move(value_); }
  Value* operator->() noexcept { return &value_; }

 private:
  Value value_{};
  HRESULT code_;
  std::string reason_;
};

// What a host chooses; the defaults are no limit, and headroom derived from the limit. Bytes.
struct MemoryManagerOptions {
  std::uint64_t limit = CLR_HOST_MEMORY_NO_LIMIT;
  std::uint64_t app_domain_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
  std::uint64_t process_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM;
};

// One memory manager, by its interfaces. Move-only; the COM object lives on while a CLR holds it.
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
  // E_INVALIDARG: the headrooms add up to more than the limit; nothing is changed then.
  HRESULT SetLimit(std::uint64_t limit, std::uint64_t app_domain_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM,
                   std::uint64_t process_headroom = CLR_HOST_MEMORY_DEFAULT_HEADROOM) const noexcept {
    return control_->SetLimit(limit, app_domain_headroom, process_headroom);
  }
  HRESULT Shutdown() const noexcept { return control_->Shutdown(); }

 private:
  friend ValueOrReason<MemoryManager> CreateMemoryManager(const MemoryManagerOptions&);
  ComPtr<IHostMemoryManager> manager_;
  ComPtr<IClrHostMemoryControl> control_;
};

// The reason names the field that is out of range.
inline ValueOrReason<MemoryManager> CreateMemoryManager(const MemoryManagerOptions& options = {}) {
  ClrHostMemoryOptions abi_options = CLR_HOST_MEMORY_OPTIONS_INIT;
  abi_options.limit = options.limit;
  abi_options.app_domain_headroom = options.app_domain_headroom;
  abi_options.process_headroom = options.process_headroom;
  MemoryManager manager;
  const char* reason = nullptr;
  HRESULT hr = ClrHostMemoryCreate(&abi_options, kIidHostMemoryManager,
                                   reinterpret_cast<void**>(manager.manager_.Receive()), &reason);
  if (SUCCEEDED(hr)) {
    hr = manager.manager_->QueryInterface(kIidClrHostMemoryControl,
                                          reinterpret_cast<void**>(manager.control_.Receive()));
  }
  if (FAILED(hr)) return {hr, reason != nullptr ? reason : "the memory manager could not be made"};
  return manager;
}

// An IHostControl for ICLRRuntimeHost::SetHostControl; null only when there is no memory for it. inner may be null.
[[nodiscard]] inline ComPtr<IHostControl> CreateHostControl(const MemoryManager& manager,
                                                            IHostControl* inner = nullptr) noexcept {
  ComPtr<IHostControl> control;
  if (FAILED(ClrHostMemoryCreateHostControl(manager.get(), inner, control.Receive()))) control.Reset();
  return control;
}

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_MEMORY_MANAGER_H
