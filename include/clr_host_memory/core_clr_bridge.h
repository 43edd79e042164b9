// Makes a modern CoreCLR (.NET 6 and later), which no longer asks for host managers, a client of the same COM object:
// the memory imports of coreclr.dll are pointed at functions that call IHostMemoryManager.
//
//   HMODULE coreclr = LoadLibraryExW(path_of_the_very_file_the_host_will_start, nullptr,
//   LOAD_WITH_ALTERED_SEARCH_PATH); auto bridge = clr_host_memory::AttachToCoreClr(coreclr, manager); if (!bridge)
//   return Fail(bridge.reason()); auto properties = bridge->StartProperties(count, keys, values);  // those of the
//   host, and what a limit needs besides coreclr_initialize(path, name, properties.count(), properties.keys(),
//   properties.values(), &host, &domain);
//
// Attach before the runtime starts. From the start on it stays attached for the rest of the process, also when the
// bridge and the manager are released, since a CoreCLR is never unloaded; Detach ends that.
#ifndef CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
#define CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H

#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace clr_host_memory {

// The properties that a runtime is to be started with: those given, and what the bridge adds to them
// (IClrHostMemoryBridge::GetStartProperties has when). What was given must outlive it. Move-only.
class StartProperties {
 public:
  // bridge: null or detached: those given alone. gc_hard_limit: bytes for System.GC.HeapHardLimit; 0: none. Throws
  // std::bad_alloc.
  StartProperties(IClrHostMemoryBridge* bridge, int count, const char* const* keys, const char* const* values,
                  std::uint64_t gc_hard_limit = 0)
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
  }

  [[nodiscard]] int count() const noexcept { return static_cast<int>(keys_.size()); }
  // As coreclr_initialize takes them, which does not write to them.
  [[nodiscard]] const char** keys() noexcept { return keys_.data(); }
  [[nodiscard]] const char** values() noexcept { return values_.data(); }

 private:
  std::unique_ptr<ClrHostMemoryStartProperties> additions_;
  std::vector<const char*> keys_;
  std::vector<const char*> values_;
};

// Owns a reference to an attached bridge; the destructor releases it. Move-only. See IClrHostMemoryBridge for what that
// means, and for each method.
class CoreClrBridge {
 public:
  CoreClrBridge() = default;
  explicit CoreClrBridge(ComPtr<IClrHostMemoryBridge> bridge) noexcept : bridge_(std::move(bridge)) {}

  [[nodiscard]] IClrHostMemoryBridge* get() const noexcept { return bridge_.get(); }

  HRESULT AttachModule(HMODULE module, std::string* reason) const {
    std::array<char, kReasonSize> text{};
    const HRESULT hr = bridge_->AttachModule(module, text.data(), text.size());
    if (reason != nullptr) *reason = text.data();
    return hr;
  }
  HRESULT AttachModulesNamed(const std::wstring& file_name, std::string* reason) const {
    std::array<char, kReasonSize> text{};
    const HRESULT hr = bridge_->AttachModulesNamed(file_name.c_str(), text.data(), text.size());
    if (reason != nullptr) *reason = text.data();
    return hr;
  }
  HRESULT PresentAsContainer(bool as_container = true) const noexcept {
    return bridge_->PresentAsContainer(as_container ? TRUE : FALSE);
  }
  void NoteRuntimeStarted() const noexcept { bridge_->NoteRuntimeStarted(); }
  // Those given, and what the runtime needs besides under the manager's limit. See the class of that name.
  [[nodiscard]] clr_host_memory::StartProperties StartProperties(int count, const char* const* keys,
                                                                 const char* const* values,
                                                                 std::uint64_t gc_hard_limit = 0) const {
    return {bridge_.get(), count, keys, values, gc_hard_limit};
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
  HRESULT VerifyCallsArrive(std::string* reason) const {
    std::array<char, kReasonSize> text{};
    const HRESULT hr = bridge_->VerifyCallsArrive(text.data(), text.size());
    if (reason != nullptr) *reason = text.data();
    return hr;
  }
  void Detach() const noexcept {
    if (bridge_) bridge_->Detach();
  }

 private:
  friend ValueOrReason<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager);
  static constexpr std::size_t kReasonSize = 2048;
  ComPtr<IClrHostMemoryBridge> bridge_;
};

// The reason says what is wrong with the module or the manager; nothing is changed then.
inline ValueOrReason<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager) {
  std::array<char, CoreClrBridge::kReasonSize> text{};
  ComPtr<IClrHostMemoryBridge> bridge;
  const HRESULT hr = ClrHostMemoryAttachToCoreClr(coreclr, manager, bridge.Receive(), text.data(), text.size());
  if (FAILED(hr)) return {hr, text.data()};
  return CoreClrBridge(std::move(bridge));
}
inline ValueOrReason<CoreClrBridge> AttachToCoreClr(HMODULE coreclr, const MemoryManager& manager) {
  return AttachToCoreClr(coreclr, manager.get());
}

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
