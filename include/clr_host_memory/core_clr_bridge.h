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
//
// Attach before the runtime starts. A CoreCLR is never unloaded. So from the start of its runtime a bridge stays
// attached until the process ends, also after the bridge and the manager are released. Detach ends it earlier.
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

// The runtime property with the assemblies to run before Main, separated by semicolons.
inline constexpr char kStartupHooksProperty[] = "STARTUP_HOOKS";

// The properties to start a runtime with: the host's own and those the bridge adds (see
// IClrHostMemoryBridge::GetStartProperties). The host's strings must outlive it. Move-only.
class StartProperties {
 public:
  // If bridge is null or detached, adds nothing. gc_hard_limit: bytes for System.GC.HeapHardLimit; 0: none;
  // CLR_HOST_MEMORY_GC_LIMIT_AUTO: what the manager's limit leaves. companion: full path of
  // ClrHostMemory.Companion.dll, an existing file, in UTF-8; empty: no companion. Throws std::bad_alloc.
  StartProperties(IClrHostMemoryBridge* bridge, int count, const char* const* keys, const char* const* values,
                  std::uint64_t gc_hard_limit = 0, std::string_view companion = {})
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
    if (additions_->loads_companion != 0 && !companion.empty()) AddStartupHook(companion);
  }

  [[nodiscard]] int count() const noexcept { return static_cast<int>(keys_.size()); }
  // For coreclr_initialize, which does not write to them.
  [[nodiscard]] const char** keys() noexcept { return keys_.data(); }
  [[nodiscard]] const char** values() noexcept { return values_.data(); }
  // Returns whether the runtime is .NET 8 or later. An older one runs without the companion.
  [[nodiscard]] bool runtime_loads_companions() const noexcept { return additions_->loads_companion != 0; }

 private:
  // Adds an assembly to those whose StartupHook the runtime runs before Main. Hooks that the host gives run first.
  void AddStartupHook(std::string_view assembly) {
    hooks_ = std::make_unique<std::string>(assembly);
    const auto key =
        std::find_if(keys_.begin(), keys_.end(), [](std::string_view name) { return name == kStartupHooksProperty; });
    if (key == keys_.end()) {
      keys_.push_back(kStartupHooksProperty);
      values_.push_back(hooks_->c_str());
      return;
    }
    const char*& hooks = values_[static_cast<std::size_t>(key - keys_.begin())];
    if (hooks[0] != '\0') hooks_->insert(0, std::string(hooks) + ";");
    hooks = hooks_->c_str();
  }

  std::unique_ptr<ClrHostMemoryStartProperties> additions_;
  std::unique_ptr<std::string> hooks_;
  std::vector<const char*> keys_;
  std::vector<const char*> values_;
};

// Owns a reference to an attached bridge. Move-only. See IClrHostMemoryBridge for the methods and for what a release
// does.
class CoreClrBridge {
 public:
  CoreClrBridge() = default;
  explicit CoreClrBridge(ComPtr<IClrHostMemoryBridge> bridge) noexcept : bridge_(std::move(bridge)) {}

  [[nodiscard]] IClrHostMemoryBridge* get() const noexcept { return bridge_.get(); }

  // The following three throw std::bad_alloc if there is no memory for the reason of a failure.
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
  // Returns the host's properties and those the runtime needs under the manager's limit. See the class of that name.
  [[nodiscard]] clr_host_memory::StartProperties StartProperties(int count, const char* const* keys,
                                                                 const char* const* values,
                                                                 std::uint64_t gc_hard_limit = 0,
                                                                 std::string_view companion = {}) const {
    return {bridge_.get(), count, keys, values, gc_hard_limit, companion};
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

  // call(char* reason, SIZE_T size) → HRESULT writes the reason of a failure.
  template <typename Call>
  static Result<void> ResultOf(Call call) {
    std::array<char, 2048> reason{};
    const HRESULT hr = call(reason.data(), reason.size());
    if (FAILED(hr)) return Error(hr, std::string(reason.data()));
    return {};
  }

  ComPtr<IClrHostMemoryBridge> bridge_;
};

// Attaches a bridge. On failure nothing changes, and the reason names what is wrong with the module or the manager.
// Throws std::bad_alloc if there is no memory for the reason.
inline Result<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager) {
  ComPtr<IClrHostMemoryBridge> bridge;
  const auto attached = CoreClrBridge::ResultOf([&](char* reason, SIZE_T size) {
    return ClrHostMemoryAttachToCoreClr(coreclr, manager, bridge.Receive(), reason, size);
  });
  if (!attached) return attached.error();
  return CoreClrBridge(std::move(bridge));
}
inline Result<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, const MemoryManager& manager) {
  return AttachToCoreClr(coreclr, manager.get());
}

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
