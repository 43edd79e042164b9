// Makes a modern CoreCLR (.NET 6 and later) a client of the memory manager. Such a CLR no longer asks for host
// managers. So the memory imports of coreclr.dll are pointed at functions that call IHostMemoryManager.
//
//   // the coreclr.dll that the host starts
//   HMODULE coreclr = LoadLibraryExW(path, nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
//   auto bridge = clr_host_memory::AttachToCoreClr(coreclr, manager);
//   if (!bridge) return Fail(bridge.error());
//   // the host's properties, and those that a runtime under a limit needs
//   auto properties = bridge->StartProperties(count, keys, values);
//   coreclr_initialize(path, name, properties.count(), properties.keys(), properties.values(), &host, &domain);
//   if (auto started = bridge->FinishStart(host, domain); !started) return Fail(started.error());
//
// A host of hostfxr or nethost makes one call instead, before its first hostfxr_get_runtime_delegate or
// hostfxr_run_app:
//
//   auto bridge = clr_host_memory::BridgeHostFxr(manager);
//   if (!bridge) return Fail(bridge.error());
//
// Attach before the runtime starts; AttachToRunningCoreClr attaches late. A CoreCLR is never unloaded. So from the
// start of its runtime a bridge stays attached until the process ends, also after the bridge and the manager are
// released. Detach ends it earlier.
#ifndef CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
#define CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H

#include <clr_host_memory/bridge_abi.h>
#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace clr_host_memory {

// The runtime property with the full paths of the assemblies that the runtime can load, separated by semicolons.
inline constexpr char kTrustedAssembliesProperty[] = "TRUSTED_PLATFORM_ASSEMBLIES";

// The properties to start a runtime with: the host's own and those the bridge adds (see
// IClrHostMemoryBridge::GetStartProperties). The host's strings must outlive it. Move-only.
class StartProperties {
 public:
  // If bridge is null or detached, adds nothing. gc_hard_limit: bytes for System.GC.HeapHardLimit; 0: none;
  // CLR_HOST_MEMORY_GC_LIMIT_AUTO: what the manager's limit leaves, if there is a limit. Throws std::bad_alloc.
  StartProperties(IClrHostMemoryBridge* bridge, int count, const char* const* keys, const char* const* values,
                  std::uint64_t gc_hard_limit = CLR_HOST_MEMORY_GC_LIMIT_AUTO)
      : additions_(std::make_unique<ClrHostMemoryStartProperties>()) {
    const auto given = static_cast<std::size_t>(std::max(count, 0));
    additions_->size = sizeof(*additions_);
    if (bridge != nullptr) {
      bridge->GetStartProperties(static_cast<std::uint32_t>(given), keys, values, gc_hard_limit, additions_.get());
    }
    keys_.assign(keys, keys + given);
    values_.assign(values, values + given);
    for (std::uint32_t index = 0; index < additions_->count; ++index) {
      keys_.push_back(additions_->properties[index].key);
      values_.push_back(additions_->properties[index].value);
    }
    if (additions_->companion[0] != '\0') AddTrustedAssembly(additions_->companion);
  }

  [[nodiscard]] int count() const noexcept { return static_cast<int>(keys_.size()); }
  // For coreclr_initialize, which does not write to them.
  [[nodiscard]] const char** keys() noexcept { return keys_.data(); }
  [[nodiscard]] const char** values() noexcept { return values_.data(); }
  // Returns what the bridge has added.
  [[nodiscard]] const ClrHostMemoryStartProperties& added() const noexcept { return *additions_; }

 private:
  void AddTrustedAssembly(std::string_view assembly) {
    const auto key = std::find_if(keys_.begin(), keys_.end(),
                                  [](std::string_view name) { return name == kTrustedAssembliesProperty; });
    if (key == keys_.end()) return;  // such a runtime loads no assemblies
    const char*& value = values_[static_cast<std::size_t>(key - keys_.begin())];
    assemblies_ = std::make_unique<std::string>(value);
    if (!assemblies_->empty() && assemblies_->back() != ';') assemblies_->push_back(';');
    value = assemblies_->append(assembly).c_str();
  }

  std::unique_ptr<ClrHostMemoryStartProperties> additions_;
  std::unique_ptr<std::string> assemblies_;
  std::vector<const char*> keys_;
  std::vector<const char*> values_;
};

// See ClrHostMemoryHostFxrOptions.
struct HostFxrOptions {
  std::uint64_t gc_hard_limit = CLR_HOST_MEMORY_GC_LIMIT_AUTO;
  bool with_companion = true;
  HRESULT(STDMETHODCALLTYPE* started)(void* context, const ClrHostMemoryRuntimeStart* start) = nullptr;
  void* context = nullptr;
};

// Owns a reference to an attached bridge. Move-only. See IClrHostMemoryBridge for the methods and for what a release
// does.
class CoreClrBridge {
 public:
  CoreClrBridge() = default;
  explicit CoreClrBridge(ComReference<IClrHostMemoryBridge> bridge) noexcept : bridge_(std::move(bridge)) {}

  [[nodiscard]] IClrHostMemoryBridge* get() const noexcept { return bridge_.get(); }

  // These and StartCompanion throw std::bad_alloc if there is no memory for the reason of a failure.
  Result<void> AttachModule(HMODULE module) const {
    return ResultOf([&](char* reason, SIZE_T size) { return bridge_->AttachModule(module, reason, size); });
  }
  Result<void> AttachModulesNamed(const std::wstring& file_name) const {
    return ResultOf(
        [&](char* reason, SIZE_T size) { return bridge_->AttachModulesNamed(file_name.c_str(), reason, size); });
  }
  // Checks that the runtime's calls arrive. Call it after the start. HOST_E_CLRNOTAVAILABLE: none arrives.
  Result<void> VerifyCallsArrive() const {
    return ResultOf([&](char* reason, SIZE_T size) { return bridge_->VerifyCallsArrive(reason, size); });
  }
  // HOST_E_CLRNOTAVAILABLE: the bridge is detached.
  Result<void> PresentAsContainer(bool as_container = true) const noexcept {
    const HRESULT hr = bridge_->PresentAsContainer(as_container ? TRUE : FALSE);
    if (FAILED(hr)) return Error(hr, "the bridge is detached: call PresentAsContainer before Detach");
    return {};
  }
  // E_OUTOFMEMORY: the runtime does not fit the limit. See IClrHostMemoryBridge.
  Result<void> NoteRuntimeStarted() const noexcept {
    const HRESULT hr = bridge_->NoteRuntimeStarted();
    if (FAILED(hr)) return Error(hr, "the runtime needs more than the limit to start: raise the limit");
    return {};
  }
  // Starts the companion in the started runtime. host, domain: results of coreclr_initialize. If it fails, the GC keeps
  // its limit of the start. See IClrHostMemoryBridge.
  Result<void> StartCompanion(void* host, unsigned domain) const {
    return ResultOf([&](char* reason, SIZE_T size) { return bridge_->StartCompanion(host, domain, reason, size); });
  }
  // Returns the host's properties and those the runtime needs under the manager's limit. See the class of that name.
  [[nodiscard]] clr_host_memory::StartProperties StartProperties(
      int count, const char* const* keys, const char* const* values,
      std::uint64_t gc_hard_limit = CLR_HOST_MEMORY_GC_LIMIT_AUTO) const {
    return {bridge_.get(), count, keys, values, gc_hard_limit};
  }
  // Finishes a start: VerifyCallsArrive, NoteRuntimeStarted, StartCompanion. Call it after coreclr_initialize, with its
  // results, before managed code runs. On failure managed code must not run. Without a companion the GC keeps its limit
  // of the start, which is no failure.
  Result<void> FinishStart(void* host, unsigned domain) const {
    if (auto verified = VerifyCallsArrive(); !verified) return verified;
    if (auto fits = NoteRuntimeStarted(); !fits) return fits;
    static_cast<void>(bridge_->StartCompanion(host, domain, nullptr, 0));
    return {};
  }
  [[nodiscard]] std::uint64_t CallCount() const noexcept {
    std::uint64_t calls = 0;
    bridge_->GetCallCount(&calls);
    return calls;
  }
  [[nodiscard]] ClrHostMemoryPurposes Purposes() const noexcept {
    ClrHostMemoryPurposes purposes{};
    purposes.size = sizeof(purposes);
    bridge_->GetPurposes(&purposes);
    return purposes;
  }
  void Detach() const noexcept {
    if (bridge_) bridge_->Detach();
  }

 private:
  friend Result<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager);
  friend Result<CoreClrBridge> AttachToRunningCoreClr(const MemoryManager& manager);
  friend Result<CoreClrBridge> BridgeHostFxr(const MemoryManager& manager, const HostFxrOptions& options);

  // call(char* reason, SIZE_T size) → HRESULT writes the reason of a failure.
  template <typename Call>
  static Result<void> ResultOf(Call call) {
    std::array<char, 2048> reason{};
    const HRESULT hr = call(reason.data(), reason.size());
    if (FAILED(hr)) return Error(hr, std::string(reason.data()));
    return {};
  }

  ComReference<IClrHostMemoryBridge> bridge_;
};

// Attaches a bridge. On failure nothing changes, and the reason names what is wrong with the module or the manager.
// Throws std::bad_alloc if there is no memory for the reason.
inline Result<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager) {
  ComReference<IClrHostMemoryBridge> bridge;
  const auto attached = CoreClrBridge::ResultOf([&](char* reason, SIZE_T size) {
    return ClrHostMemoryAttachToCoreClr(coreclr, manager, bridge.Receive(), reason, size);
  });
  if (!attached) return attached.error();
  return CoreClrBridge(std::move(bridge));
}
inline Result<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, const MemoryManager& manager) {
  return AttachToCoreClr(coreclr, manager.get());
}

// Bridges the runtime that is running in this process, late; see ClrHostMemoryAttachToRunningCoreClr. Throws
// std::bad_alloc if there is no memory for the reason.
inline Result<CoreClrBridge> AttachToRunningCoreClr(const MemoryManager& manager) {
  ComReference<IClrHostMemoryBridge> bridge;
  const auto attached = CoreClrBridge::ResultOf([&](char* reason, SIZE_T size) {
    return ClrHostMemoryAttachToRunningCoreClr(manager.get(), bridge.Receive(), reason, size);
  });
  if (!attached) return attached.error();
  return CoreClrBridge(std::move(bridge));
}

// Bridges the runtime that hostfxr will start; see ClrHostMemoryBridgeHostFxr. Throws std::bad_alloc if there is no
// memory for the reason.
inline Result<CoreClrBridge> BridgeHostFxr(const MemoryManager& manager, const HostFxrOptions& options = {}) {
  const ClrHostMemoryHostFxrOptions given{sizeof(given), options.with_companion ? 0U : 1U, options.gc_hard_limit,
                                          options.started, options.context};
  ComReference<IClrHostMemoryBridge> bridge;
  const auto bridged = CoreClrBridge::ResultOf([&](char* reason, SIZE_T size) {
    return ClrHostMemoryBridgeHostFxr(manager.get(), &given, bridge.Receive(), reason, size);
  });
  if (!bridged) return bridged.error();
  return CoreClrBridge(std::move(bridge));
}

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
