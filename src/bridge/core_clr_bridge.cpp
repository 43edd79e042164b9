// The COM object of an attached bridge, and the entry point that creates it.
#include <clr_host_memory/bridge_abi.h>
#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bridge/late_modules.h"
#include "bridge/module_registry.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/companion_start.h"
#include "bridge/start/running_runtime.h"
#include "bridge/start/runtime_start.h"
#include "bridge/start/start_properties.h"
#include "com/com_object.h"
#include "com/sized_struct.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {
namespace {

constexpr wchar_t kCoreClrFileName[] = L"coreclr.dll";
constexpr std::uint32_t kSmallestSize = 2 * sizeof(std::uint32_t);  // of a struct that begins with its size
constexpr char kNoBridge[] = "bridge is null; pass a place for the bridge.";
constexpr char kNoManager[] = "manager is null; make one with ClrHostMemoryCreate.";
constexpr char kNoMemory[] = "There is not enough memory; free some and try again.";

// Runs body(std::string* reason), which returns an HRESULT, and copies the reason of a failure to the caller's buffer.
// No exception crosses the COM border.
template <typename Body>
HRESULT WithReason(char* reason, SIZE_T reason_size, Body body) noexcept {
  CopyReason({}, reason, reason_size);
  try {
    std::string text;
    const HRESULT hr = body(&text);
    if (FAILED(hr)) {
      CopyReason(hr == E_OUTOFMEMORY && text.empty() ? std::string_view(kNoMemory) : text, reason, reason_size);
    }
    return hr;
  } catch (const std::bad_alloc&) {
    CopyReason(kNoMemory, reason, reason_size);
    return E_OUTOFMEMORY;
  } catch (...) {
    CopyReason("The bridge failed in an unknown way; report it as a bug.", reason, reason_size);
    return E_FAIL;
  }
}

// Returns a coreclr.dll of this process that is not among modules; null: there is none.
HMODULE UnbridgedCoreClr(const std::vector<BridgedModuleInfo>& modules) {
  for (HMODULE loaded : LoadedModulesNamed(kCoreClrFileName)) {
    const bool bridged = std::any_of(modules.begin(), modules.end(),
                                     [loaded](const BridgedModuleInfo& info) { return info.module == loaded; });
    if (!bridged) return loaded;
  }
  return nullptr;
}

class Bridge final : public ComObject<Bridge, Implements<IClrHostMemoryBridge, kIidClrHostMemoryBridge>> {
 public:
  // Takes ownership of record, which was allocated with new. The destructor returns it to the registry.
  explicit Bridge(BridgeRecord* record) noexcept : record_(record) {}

  // Registers the bridge to manager; it has no module yet.
  HRESULT Open(IHostMemoryManager* manager, std::string* reason) { return OpenBridge(manager, record_, reason); }
  // Attaches the module of the runtime; see ClrHostMemoryAttachToCoreClr.
  HRESULT AttachRuntime(HMODULE coreclr, std::string* reason) {
    const HRESULT hr = clr_host_memory::AttachModule(record_, coreclr, reason);
    if (FAILED(hr)) return hr;
    SetRuntime(record_, coreclr);
    NoteRuntimeStarts(record_);
    return hr;
  }
  // Attaches the modules of a runtime that is running; see ClrHostMemoryAttachToRunningCoreClr.
  HRESULT AttachRunning(HMODULE coreclr, std::string* reason) {
    return clr_host_memory::AttachRunning(record_, coreclr, reason);
  }
  // RuntimeStartOrders::attach.
  static HRESULT AttachStarting(IClrHostMemoryBridge* bridge, HMODULE coreclr) noexcept {
    BridgeRecord* const record = static_cast<Bridge*>(bridge)->record_;
    return WithReason(nullptr, 0, [&](std::string*) {
      const std::vector<BridgedModuleInfo> modules = ModulesOf(record);
      const bool attached = std::any_of(modules.begin(), modules.end(),
                                        [coreclr](const BridgedModuleInfo& info) { return info.module == coreclr; });
      std::string reason;
      HRESULT hr = S_OK;
      if (attached) {
        SetRuntime(record, coreclr);
        NoteRuntimeStarts(record);
      } else {
        hr = static_cast<Bridge*>(bridge)->AttachRuntime(coreclr, &reason);
      }
      if (FAILED(hr) && reason.empty()) reason = kNoMemory;
      SetStartFailure(record, std::move(reason));
      return hr;
    });
  }
  // RuntimeStartOrders::abandon and ::fail.
  static void AbandonStarting(IClrHostMemoryBridge* bridge) noexcept {
    AbandonStart(static_cast<Bridge*>(bridge)->record_);
  }
  static void FailStarting(IClrHostMemoryBridge* bridge, std::string reason) noexcept {
    SetStartFailure(static_cast<Bridge*>(bridge)->record_, std::move(reason));
  }

  STDMETHODIMP AttachModule(HMODULE module, char* reason, SIZE_T reason_size) noexcept override {
    return WithReason(reason, reason_size,
                      [&](std::string* text) { return clr_host_memory::AttachModule(record_, module, text); });
  }

  STDMETHODIMP NoteRuntimeStarted() noexcept override { return clr_host_memory::NoteRuntimeStarted(record_); }

  STDMETHODIMP GetCallCount(uint64_t* calls) noexcept override {
    if (calls == nullptr) return E_POINTER;
    *calls = CallCount(record_);
    return S_OK;
  }

  STDMETHODIMP GetModule(uint32_t index, ClrHostMemoryBridgedModule* module) noexcept override {
    if (module == nullptr) return E_POINTER;
    return WithReason(nullptr, 0, [&](std::string*) {
      const std::vector<BridgedModuleInfo> modules = ModulesOf(record_);
      if (index >= modules.size()) return S_FALSE;
      const BridgedModuleInfo& info = modules[index];
      ClrHostMemoryBridgedModule ours{};
      ours.import_count = static_cast<uint32_t>(info.imports.size());
      ours.module = info.module;
      std::copy_n(info.path.data(), std::min(info.path.size(), std::size(ours.path) - 1), ours.path);
      std::string names;
      for (const char* name : info.imports) names += names.empty() ? name : std::string(" ") + name;
      CopyReason(names, ours.imports, sizeof(ours.imports));
      return CopySized(ours, module, &ClrHostMemoryBridgedModule::path, &ClrHostMemoryBridgedModule::imports);
    });
  }

  STDMETHODIMP VerifyCallsArrive(char* reason, SIZE_T reason_size) noexcept override {
    return WithReason(reason, reason_size, [&](std::string* text) { return Verify(text); });
  }

  STDMETHODIMP Detach() noexcept override {
    if (!ProcessIsEnding()) StopWatchingRuntimeStart(this);
    CloseBridge(record_);
    return S_OK;
  }

  STDMETHODIMP AttachModulesNamed(const wchar_t* file_name, char* reason, SIZE_T reason_size) noexcept override {
    return WithReason(reason, reason_size, [&](std::string* text) {
      return clr_host_memory::AttachModulesNamed(record_, file_name == nullptr ? std::wstring_view() : file_name, text);
    });
  }

  STDMETHODIMP PresentAsContainer(BOOL as_container) noexcept override {
    return clr_host_memory::PresentAsContainer(record_, as_container != FALSE) ? S_OK : HOST_E_CLRNOTAVAILABLE;
  }

  STDMETHODIMP GetPurposes(ClrHostMemoryPurposes* purposes) noexcept override {
    if (purposes == nullptr) return E_POINTER;
    ClrHostMemoryPurposes ours = PurposesOf(record_);
    ours.version = 1;
    return CopySized(ours, purposes);
  }

  STDMETHODIMP GetStartProperties(uint32_t count, const char* const* keys, const char* const* values,
                                  uint64_t gc_hard_limit, ClrHostMemoryStartProperties* additions) noexcept override {
    if (additions == nullptr || (count != 0 && (keys == nullptr || values == nullptr))) return E_POINTER;
    if (!IsOpen(record_)) return HOST_E_CLRNOTAVAILABLE;
    return WithReason(nullptr, 0, [&](std::string*) {
      std::uint64_t start_limit = 0;
      ClrHostMemoryStartProperties ours = AddedStartProperties(count, keys, values, gc_hard_limit, &start_limit);
      SetStartLimit(record_, start_limit);
      ours.version = 1;
      if (HMODULE const runtime = RuntimeOf(record_); runtime != nullptr && LoadsCompanions(runtime)) {
        ours.loads_companion = 1;
        CopyReason(CompanionFile(), ours.companion, sizeof(ours.companion));
      }
      return CopySized(ours, additions, &ClrHostMemoryStartProperties::companion);
    });
  }

  STDMETHODIMP StartCompanion(void* host, unsigned int domain, char* reason, SIZE_T reason_size) noexcept override {
    return WithReason(reason, reason_size, [&](std::string* text) {
      const RuntimeHost started{host, domain};
      HMODULE const runtime = RuntimeOf(record_);
      if (IsOpen(record_) && runtime != nullptr) return StartCompanionIn(runtime, started, StartLimitOf(record_), text);
      *text = "The bridge is detached; start the companion while it is attached.";
      return HOST_E_CLRNOTAVAILABLE;
    });
  }

 private:
  friend ComObject;
  ~Bridge() { ReleaseBridge(record_); }

  HRESULT Verify(std::string* reason) const {
    const std::vector<BridgedModuleInfo> modules = ModulesOf(record_);
    if (!IsOpen(record_)) {
      *reason = "The bridge is detached, so it receives no calls; keep it attached until the runtime has ended.";
      return HOST_E_CLRNOTAVAILABLE;
    }
    *reason = StartFailure(record_);
    if (reason->empty()) *reason = LateFailure(record_);
    if (!reason->empty()) return HOST_E_CLRNOTAVAILABLE;
    HMODULE const runtime = RuntimeOf(record_);
    if (runtime == nullptr) {
      *reason = "hostfxr has not started a runtime since BridgeHostFxr; verify after hostfxr_get_runtime_delegate.";
      return HOST_E_CLRNOTAVAILABLE;
    }

    const std::string bridged = Utf8(ModulePath(runtime));
    if (const HMODULE other = UnbridgedCoreClr(modules); other != nullptr) {
      *reason = "The process has loaded a CLR that is not bridged: " + Utf8(ModulePath(other)) +
                ". The bridged one is " + bridged + ". Load and bridge the file that the host starts.";
      return HOST_E_CLRNOTAVAILABLE;
    }
    if (CallCount(record_) == 0) {
      *reason = "No call has arrived through the imports of " + bridged +
                ": its runtime has not started, or another runtime has. Bridge the file that the host starts before it "
                "starts, and verify after the start.";
      return HOST_E_CLRNOTAVAILABLE;
    }
    return S_OK;
  }

  BridgeRecord* const record_;
};

// Returns a bridge without modules, with one reference. Throws std::bad_alloc.
Bridge* NewBridge() {
  auto record = std::make_unique<BridgeRecord>();
  auto* const bridge = new Bridge(record.get());
  record.release();
  return bridge;
}

// Returns the bridge of coreclr and manager that was kept when the host released it, with one reference. Null: there
// is none. Throws std::bad_alloc.
Bridge* AdoptedBridge(HMODULE coreclr, IHostMemoryManager* manager) {
  BridgeRecord* const record = AdoptBridge(coreclr, manager);
  if (record == nullptr) return nullptr;
  auto* const bridge = new (std::nothrow) Bridge(record);
  if (bridge == nullptr) {
    ReleaseBridge(record);  // keeps it again
    throw std::bad_alloc();
  }
  return bridge;
}

// Returns in *result the bridge of coreclr and manager that was kept, or else a new one that attach has attached.
// Throws std::bad_alloc.
HRESULT AdoptOrAttach(HMODULE coreclr, IHostMemoryManager* manager, HRESULT (Bridge::*attach)(HMODULE, std::string*),
                      IClrHostMemoryBridge** result, std::string* reason) {
  ComReference<IClrHostMemoryBridge> owned(AdoptedBridge(coreclr, manager));
  HRESULT hr = S_OK;
  if (!owned) {
    auto* const made = NewBridge();
    owned = ComReference<IClrHostMemoryBridge>(made);
    hr = made->Open(manager, reason);
    if (SUCCEEDED(hr)) hr = (made->*attach)(coreclr, reason);
  }
  if (SUCCEEDED(hr)) *result = owned.Detach();
  return hr;
}

}  // namespace
}  // namespace clr_host_memory

extern "C" HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToCoreClr(HMODULE coreclr, IHostMemoryManager* manager,
                                                                  IClrHostMemoryBridge** bridge, char* reason,
                                                                  SIZE_T reason_size) {
  using namespace clr_host_memory;
  if (bridge != nullptr) *bridge = nullptr;
  return WithReason(reason, reason_size, [&](std::string* text) {
    if (bridge == nullptr || manager == nullptr) {
      *text = bridge == nullptr ? kNoBridge : kNoManager;
      return E_POINTER;
    }
    return AdoptOrAttach(coreclr, manager, &Bridge::AttachRuntime, bridge, text);
  });
}

extern "C" HRESULT STDMETHODCALLTYPE ClrHostMemoryAttachToRunningCoreClr(IHostMemoryManager* manager,
                                                                         IClrHostMemoryBridge** bridge, char* reason,
                                                                         SIZE_T reason_size) {
  using namespace clr_host_memory;
  if (bridge != nullptr) *bridge = nullptr;
  return WithReason(reason, reason_size, [&](std::string* text) {
    if (bridge == nullptr || manager == nullptr) {
      *text = bridge == nullptr ? kNoBridge : kNoManager;
      return E_POINTER;
    }
    HMODULE const coreclr = RunningRuntime();
    if (coreclr == nullptr) {
      *text = "No runtime of .NET has started in this process; call BridgeHostFxr or AttachToCoreClr before it starts.";
      return HOST_E_CLRNOTAVAILABLE;
    }
    return AdoptOrAttach(coreclr, manager, &Bridge::AttachRunning, bridge, text);
  });
}

extern "C" HRESULT STDMETHODCALLTYPE ClrHostMemoryBridgeHostFxr(IHostMemoryManager* manager,
                                                                const ClrHostMemoryHostFxrOptions* options,
                                                                IClrHostMemoryBridge** bridge, char* reason,
                                                                SIZE_T reason_size) {
  using namespace clr_host_memory;
  if (bridge != nullptr) *bridge = nullptr;
  return WithReason(reason, reason_size, [&](std::string* text) {
    if (bridge == nullptr || manager == nullptr) {
      *text = bridge == nullptr ? kNoBridge : kNoManager;
      return E_POINTER;
    }
    ClrHostMemoryHostFxrOptions given{};
    if (options != nullptr) {
      if (options->size < kSmallestSize) {
        *text = "The options' size is too small; set it to sizeof(ClrHostMemoryHostFxrOptions).";
        return E_INVALIDARG;
      }
      std::memcpy(&given, options, std::min<std::size_t>(options->size, sizeof(given)));
    }
    if (HMODULE running = RunningCoreClr(); running != nullptr) {
      *text = "The runtime of " + Utf8(ModulePath(running)) +
              " has started in this process already; call BridgeHostFxr before the first hostfxr_get_runtime_delegate "
              "or hostfxr_run_app, or call AttachToRunningCoreClr.";
      return HOST_E_INVALIDOPERATION;
    }
    auto* const made = NewBridge();
    ComReference<IClrHostMemoryBridge> owned(made);
    HRESULT hr = made->Open(manager, text);
    if (FAILED(hr)) return hr;
    owned->AddRef();
    hr = WatchRuntimeStart({ComReference<IClrHostMemoryBridge>(owned.get()),
                            &Bridge::AttachStarting,
                            &Bridge::AbandonStarting,
                            &Bridge::FailStarting,
                            {given.gc_hard_limit, given.without_companion == 0, given.started, given.context}},
                           text);
    if (SUCCEEDED(hr)) *bridge = owned.Detach();
    return hr;
  });
}
