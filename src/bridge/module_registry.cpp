#include "bridge/module_registry.h"

#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "bridge/attach_plan.h"
#include "bridge/clr_modules.h"
#include "bridge/late_modules.h"
#include "bridge/patch/import_patch.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/started_runtime.h"
#include "bridge/state/bridge_client.h"
#include "bridge/state/handle_identity.h"
#include "bridge/state/heap_owners.h"
#include "bridge/thunks/thunk_table.h"
#include "com/backend.h"
#include "os/windows/process_ending.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

constexpr DWORD kDetachMilliseconds = 1000;
constexpr DWORD kSettleMilliseconds = 1000;

enum class EntryState {
  kFree,
  kAttaching,
  kAttached,
  kDetaching,
  kRetired,  // other code hooked over an import: its thunks may be called for the rest of the process
};

// Has only plain members: at the end of the process no destructor may touch imports that threads still call through.
struct Entry {
  EntryState state = EntryState::kFree;
  BridgeRecord* bridge = nullptr;
  HMODULE module = nullptr;
  std::uint64_t order = 0;
  ImportPatch* patch = nullptr;
  BridgedModuleInfo* info = nullptr;
};

constinit SrwLock registry_lock;
constinit CONDITION_VARIABLE entry_settled = CONDITION_VARIABLE_INIT;  // an entry finished attaching or detaching
constinit std::array<Entry, kMaxBridgedModules> entries{};
constinit std::uint64_t next_order = 0;
constinit BridgeClient* client = nullptr;
constinit IUnknown* client_identity = nullptr;
constinit std::size_t open_bridges = 0;

// Holds registry_lock.
struct Locked {
  std::lock_guard<SrwLock> lock{registry_lock};
};

// Returns the identity of a COM object. The pointer serves only for comparison.
IUnknown* IdentityOf(IUnknown* object) noexcept {
  IUnknown* identity = nullptr;
  if (FAILED(object->QueryInterface(IID_IUnknown, reinterpret_cast<void**>(&identity)))) return nullptr;
  identity->Release();
  return identity;
}

bool IsInUse(const Entry& entry) noexcept {
  return entry.state != EntryState::kFree && entry.state != EntryState::kRetired;
}

// Called under the lock.
bool IsBridged(HMODULE module) noexcept {
  return std::any_of(entries.begin(), entries.end(),
                     [module](const Entry& entry) { return IsInUse(entry) && entry.module == module; });
}

// Reserves an entry. Called under the lock. HOST_E_INVALIDOPERATION: module is bridged already; E_OUTOFMEMORY: no set
// of thunks is left.
HRESULT ReserveEntry(BridgeRecord* bridge, HMODULE module, std::size_t* index) noexcept {
  if (IsBridged(module)) return HOST_E_INVALIDOPERATION;
  const auto free =
      std::find_if(entries.begin(), entries.end(), [](const Entry& entry) { return entry.state == EntryState::kFree; });
  if (free == entries.end()) return E_OUTOFMEMORY;
  *free = {EntryState::kAttaching, bridge, module, next_order++, nullptr, nullptr};
  *index = static_cast<std::size_t>(free - entries.begin());
  ResetCounts(*index);
  return S_OK;
}

// Called under the lock.
void FreeEntry(std::size_t index, bool thunks_may_be_called) noexcept {
  delete entries[index].patch;  // undone already
  delete entries[index].info;
  entries[index] = {};
  BridgedModule(index).gets_blocks.store(false);
  if (thunks_may_be_called) entries[index].state = EntryState::kRetired;
  WakeAllConditionVariable(&entry_settled);
}

// Waits until no other thread is changing module's imports. Called under the lock, which it releases while it waits.
// The wait has a limit: the other thread needs the loader lock, which the caller may hold.
void WaitUntilSettled(HMODULE module) noexcept {
  const ULONGLONG deadline = GetTickCount64() + kSettleMilliseconds;
  const auto is_settled = [module] {
    return std::none_of(entries.begin(), entries.end(), [module](const Entry& entry) {
      return IsInUse(entry) && entry.module == module && entry.state != EntryState::kAttached;
    });
  };
  while (!is_settled()) {
    const ULONGLONG now = GetTickCount64();
    if (now >= deadline) return;
    registry_lock.Wait(entry_settled, static_cast<DWORD>(deadline - now));
  }
}

// Patches the module of a reserved entry and settles the entry. bridge is only compared, since it may have been
// closed.
HRESULT FillEntry(std::size_t index, BridgeRecord* bridge, HMODULE module, std::string* reason) noexcept {
  AttachPlan plan;
  std::unique_ptr<BridgedModuleInfo> info;
  std::unique_ptr<ImportPatch> patch;
  HRESULT hr = S_OK;
  try {
    info.reset(new BridgedModuleInfo{module, ModulePath(module), {}});
    patch = std::make_unique<ImportPatch>();
    hr = PlanAttachment(index, module, &plan);
    info->imports.reserve(plan.hooks.size());
  } catch (const std::bad_alloc&) {
    hr = E_OUTOFMEMORY;
    reason->clear();  // an empty reason means that there is not enough memory
  }
  if (SUCCEEDED(hr)) hr = ImportPatch::Apply(module, plan.hooks, plan.required, patch.get(), reason);
  if (SUCCEEDED(hr)) {
    info->imports.assign(patch->names().begin(), patch->names().end());  // within the reserved capacity
    const Locked lock;
    Entry& entry = entries[index];
    if (entry.bridge == bridge) {
      entry.patch = patch.release();
      entry.info = info.release();
      entry.state = EntryState::kAttached;
      BridgedModule(index).gets_blocks.store(plan.with_blocks);
      WakeAllConditionVariable(&entry_settled);
      return S_OK;
    }
    hr = HOST_E_INVALIDOPERATION;
  }
  const bool hooked_over = patch != nullptr && patch->Undo() != 0;
  const Locked lock;
  FreeEntry(index, hooked_over);
  return hr;
}

std::string NoSetLeft() {
  return "A process can have at most " + std::to_string(kMaxBridgedModules) +
         " bridged modules; detach bridges that are not needed.";
}

std::string StartedAlready(HMODULE module) {
  return "The runtime of " + Utf8(ModulePath(module)) +
         " has started already, so the memory that its GC has reserved cannot be charged, and no limit would hold; "
         "attach before coreclr_initialize.";
}

// Returns whether bridge is open: an open bridge has at least the module that it was made for. bridge is only compared,
// since it may have been deleted. Called under the lock.
bool IsOpenLocked(const BridgeRecord* bridge) noexcept {
  return bridge != nullptr &&
         std::any_of(entries.begin(), entries.end(), [bridge](const Entry& entry) { return entry.bridge == bridge; });
}

// Returns whether the runtime of one of the bridge's modules has begun to start.
bool ServesStartedRuntime(const BridgeRecord* bridge) noexcept try {
  std::array<HMODULE, kMaxBridgedModules> modules{};
  {
    const Locked lock;
    if (!bridge->attached || bridge->runtime_started) return bridge->attached;
    for (std::size_t index = 0; index < entries.size(); ++index) {
      if (entries[index].bridge == bridge) modules[index] = entries[index].module;
    }
  }
  return std::any_of(modules.begin(), modules.end(), IsStartedRuntime);
} catch (const std::bad_alloc&) {
  return true;  // A bridge kept without need can be adopted and detached; a removed limit cannot be restored.
}

// Called under the lock. Returns the manager whose limit holds from now on; null: the start was known, or the bridge is
// detached.
ComPtr<IManagerBackend> NoteStartLocked(BridgeRecord* bridge) noexcept {
  if (!bridge->attached || std::exchange(bridge->runtime_started, true)) return {};
  client->runtime_started.store(true, std::memory_order_relaxed);
  client->backend->AddRef();
  return ComPtr<IManagerBackend>(client->backend.get());
}

}  // namespace

HRESULT OpenBridge(IHostMemoryManager* manager, BridgeRecord* bridge, std::string* reason) {
  std::unique_ptr<BridgeClient> made;
  if (const HRESULT hr = MakeClient(manager, &made, reason); FAILED(hr)) return hr;
  IUnknown* const identity = IdentityOf(manager);
  KeepThunksLoaded();
  PrepareHandleComparison();

  // Serves malloc and the process heap. If the manager provides no such heap, they stay unbridged.
  ComPtr<IHostMalloc> malloc;
  ComPtr<IHeapBackend> heap;
  if (made->manager->CreateMalloc(MALLOC_THREADSAFE, malloc.Receive()) == S_OK) {
    malloc->QueryInterface(kIidHeapBackend, reinterpret_cast<void**>(heap.Receive()));
  }

  const Locked lock;
  if (client == nullptr) {
    if (heap.get() != nullptr && !ServeFrom(heap.get())) {
      *reason = "Blocks of too many earlier bridges are still in use; keep one bridge instead of attaching new ones.";
      return E_OUTOFMEMORY;
    }
    client = made.release();
    client_identity = identity;
    PublishClient(client);
  } else if (client_identity != identity) {
    *reason =
        "Another memory manager is bridged in this process already; use that manager, or detach its bridge first (a "
        "bridge that was released after its runtime had started stays attached until Detach).";
    return HOST_E_INVALIDOPERATION;
  }
  ++open_bridges;
  bridge->attached = true;
  return S_OK;
}

BridgeRecord* AdoptBridge(HMODULE coreclr, IHostMemoryManager* manager) noexcept {
  IUnknown* const identity = IdentityOf(manager);
  const Locked lock;
  if (client == nullptr || client_identity != identity) return nullptr;
  for (const Entry& entry : entries) {
    if (entry.state != EntryState::kAttached || entry.module != coreclr) continue;
    if (entry.bridge != nullptr && entry.bridge->kept) {
      entry.bridge->kept = false;
      return entry.bridge;
    }
  }
  return nullptr;
}

void ReleaseBridge(BridgeRecord* bridge) noexcept {
  if (ProcessIsEnding()) return;
  const bool started = ServesStartedRuntime(bridge);
  {
    const Locked lock;
    bridge->kept = bridge->attached && started;
    if (bridge->kept) return;
  }
  CloseBridge(bridge);
  delete bridge;
}

void CloseBridge(BridgeRecord* bridge) noexcept {
  if (ProcessIsEnding()) return;
  const bool started = ServesStartedRuntime(bridge);
  std::array<bool, kMaxBridgedModules> closing{};
  {
    const Locked lock;
    if (!bridge->attached) return;
    bridge->attached = false;
    for (std::size_t index = 0; index < entries.size(); ++index) {
      Entry& entry = entries[index];
      if (entry.bridge != bridge) continue;
      entry.bridge = nullptr;  // the thread that is attaching it undoes the attachment
      closing[index] = entry.state == EntryState::kAttached;
      if (closing[index]) entry.state = EntryState::kDetaching;
    }
  }
  for (std::size_t index = 0; index < entries.size(); ++index) {
    if (!closing[index]) continue;
    const bool hooked_over = entries[index].patch->Undo() != 0;  // this thread owns the entry until it is freed
    const Locked lock;
    bridge->earlier_calls += CallsOf(index);
    AddPurposesOf(index, &bridge->earlier_purposes);
    FreeEntry(index, hooked_over);
  }

  // Takes its own reference: another bridge may be the last one and close on another thread.
  ComPtr<IManagerBackend> told;
  std::unique_ptr<BridgeClient> withdrawn;
  {
    const Locked lock;
    if (!bridge->runtime_started) static_cast<void>(client->backend->EndStart(nullptr));
    if (started) {
      client->backend->AddRef();
      told = ComPtr<IManagerBackend>(client->backend.get());
    }
    if (--open_bridges == 0) {
      PublishClient(nullptr);
      StopServing();
      withdrawn.reset(std::exchange(client, nullptr));
      client_identity = nullptr;
    }
  }
  StopWanting(bridge);
  if (told) told->NoteDetached();
  if (withdrawn == nullptr) return;
  withdrawn->notifications->Withdraw(withdrawn->manager.get());
  if (!WaitUntilNoCallIsInside(kDetachMilliseconds)) {
    static_cast<void>(withdrawn.release());  // a call may still use it
    return;
  }
  RetireHeaps();
}

HRESULT AttachModule(BridgeRecord* bridge, HMODULE module, std::string* reason) {
  if (IsBelowManager(module, reason)) return E_INVALIDARG;
  std::size_t index = 0;
  HRESULT hr = HOST_E_INVALIDOPERATION;
  bool open = false;
  bool too_late = IsStartedRuntime(module);
  {
    const Locked lock;
    open = bridge->attached;
    too_late = too_late && !IsBridged(module);
    if (open && !too_late) hr = ReserveEntry(bridge, module, &index);
  }
  if (SUCCEEDED(hr)) return FillEntry(index, bridge, module, reason);
  if (!open) {
    *reason = "This bridge is detached; attach a new one.";
  } else if (too_late) {
    *reason = StartedAlready(module);
  } else if (hr == HOST_E_INVALIDOPERATION) {
    *reason = Utf8(ModulePath(module)) + " is bridged already; use its bridge, or detach that bridge first.";
  } else {
    *reason = NoSetLeft();
  }
  return hr;
}

void NoteRuntimeStarts(BridgeRecord* bridge) noexcept {
  const Locked lock;
  if (bridge->attached) static_cast<void>(client->backend->BeginStart());
}

HRESULT NoteRuntimeStarted(BridgeRecord* bridge) noexcept {
  ComPtr<IManagerBackend> backend;
  {
    const Locked lock;
    backend = NoteStartLocked(bridge);
  }
  const HRESULT hr = backend ? backend->EndStart(nullptr) : S_FALSE;
  return FAILED(hr) ? hr : S_OK;
}

bool PresentAsContainer(const BridgeRecord* bridge, bool as_container) noexcept {
  const Locked lock;
  if (bridge->attached) client->as_container.store(as_container, std::memory_order_relaxed);
  return bridge->attached;
}

std::uint64_t CallCount(const BridgeRecord* bridge) noexcept {
  const Locked lock;
  std::uint64_t sum = bridge->earlier_calls;
  for (std::size_t index = 0; index < entries.size(); ++index) {
    if (entries[index].bridge == bridge) sum += CallsOf(index);
  }
  return sum;
}

ClrHostMemoryPurposes PurposesOf(const BridgeRecord* bridge) noexcept {
  const Locked lock;
  ClrHostMemoryPurposes sums = bridge->earlier_purposes;
  for (std::size_t index = 0; index < entries.size(); ++index) {
    if (entries[index].bridge == bridge) AddPurposesOf(index, &sums);
  }
  return sums;
}

std::vector<BridgedModuleInfo> ModulesOf(const BridgeRecord* bridge) {
  std::array<const Entry*, kMaxBridgedModules> own{};
  const Locked lock;
  std::size_t count = 0;
  for (const Entry& entry : entries) {
    if (entry.bridge == bridge && entry.state == EntryState::kAttached) own[count++] = &entry;
  }
  std::sort(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(count),
            [](const Entry* left, const Entry* right) { return left->order < right->order; });
  std::vector<BridgedModuleInfo> result;
  result.reserve(count);
  for (std::size_t index = 0; index < count; ++index) result.push_back(*own[index]->info);
  return result;
}

std::string LateFailure(const BridgeRecord* bridge) {
  const Locked lock;
  return bridge->late_failure;
}

bool IsOpen(const BridgeRecord* bridge) noexcept {
  const Locked lock;
  return bridge->attached;
}

HRESULT AttachLate(BridgeRecord* bridge, HMODULE module, std::string* reason) {
  std::size_t index = 0;
  HRESULT hr = S_OK;
  const bool started = IsStartedRuntime(module);
  {
    const Locked lock;
    WaitUntilSettled(module);
    if (!IsOpenLocked(bridge)) return S_OK;
    hr = started && !IsBridged(module) ? HOST_E_CLRNOTAVAILABLE : ReserveEntry(bridge, module, &index);
    if (hr == HOST_E_INVALIDOPERATION) return S_OK;
  }
  if (hr == HOST_E_CLRNOTAVAILABLE) {
    *reason = StartedAlready(module);
    return HOST_E_INVALIDOPERATION;
  }
  if (FAILED(hr)) {
    *reason = NoSetLeft();
    return hr;
  }
  hr = FillEntry(index, bridge, module, reason);
  const Locked lock;
  return IsOpenLocked(bridge) ? hr : S_OK;
}

void NoteLateFailure(BridgeRecord* bridge, std::string failure) noexcept {
  const Locked lock;
  if (IsOpenLocked(bridge)) bridge->late_failure.swap(failure);
}

void NoteStartBy(std::size_t loader_index, HMODULE loaded) {
  const Entry& entry = entries[loader_index];
  HMODULE loader = nullptr;
  {
    const Locked lock;
    if (entry.bridge == nullptr || entry.bridge->runtime_started) return;
    loader = entry.module;
  }
  if (KindOf(loader) != ClrModule::kRuntime || !IsAssemblyOfProgram(loaded)) return;
  ComPtr<IManagerBackend> backend;
  {
    const Locked lock;
    if (entry.bridge != nullptr && entry.module == loader) backend = NoteStartLocked(entry.bridge);
  }
  // Managed code is about to run, so a start that does not fit the limit can no longer be refused. The bound holds.
  if (backend) static_cast<void>(backend->EndStart(nullptr));
}

BridgeRecord* BridgeOf(std::size_t index) noexcept {
  const Locked lock;
  return entries[index].bridge;
}

}  // namespace clr_host_memory
