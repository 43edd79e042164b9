// Makes a modern CoreCLR (.NET 6 and later), which no longer asks for host managers, a client of the same COM object: the
// memory imports of coreclr.dll are pointed at functions that call IHostMemoryManager.
//
//   HMODULE coreclr = LoadLibraryExW(path_of_the_very_file_the_host_will_start, nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
//   auto bridge = clr_host_memory::AttachToCoreClr(coreclr, manager);
//   if (!bridge) return Fail(bridge.reason());
//   ... coreclr_initialize(...); bridge->NoteRuntimeStarted(); ...
//
// Under a limit, give the runtime the property System.GC.RegionRange, in bytes: twice the machine's memory, at most 256 GiB.
// The workstation GC of .NET 10 otherwise takes twice what it is told of, and a limit cannot be raised above that.
// Attach before the runtime starts; let the bridge live until no thread of the runtime runs any more.
#ifndef CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H
#define CLR_HOST_MEMORY_CORE_CLR_BRIDGE_H

#include <clr_host_memory/memory_manager.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>

namespace clr_host_memory {

// Owns an attached bridge; the destructor restores the imports. Move-only. See IClrHostMemoryBridge for each method.
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
