#include "bridge/module_registry.h"

#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "bridge/patch/import_patch.h"
#include "bridge/patch/load_watch.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/started_runtime.h"
#include "bridge/state/bridge_client.h"
#include "bridge/state/handle_identity.h"
#include "bridge/state/heap_owners.h"
#include "bridge/thunks/thunks.h"
#include "com/backend.h"
#include "os/windows/process_ending.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

constexpr std::array<const char*, 2> kRequiredImports = {"VirtualAlloc", "VirtualFree"};
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
constinit BridgeRecord* first_named = nullptr;

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

// Keeps the module that contains the thunks loaded. A thread may be between a patched import and the first instruction
// of a thunk. A thread may also reach a thunk through another tool's hook at any later time.
void KeepThunksLoaded() noexcept {
  HMODULE module = nullptr;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCWSTR>(&registry_lock), &module);
}

// Returns whether the manager itself is built on module's memory calls. If such a module were bridged, the manager
// would call itself in an endless recursion.
bool IsBelowManager(HMODULE module) noexcept {
  return module == ModuleOf(&registry_lock) || module == GetModuleHandleW(L"kernel32.dll") ||
         module == GetModuleHandleW(L"kernelbase.dll") || module == GetModuleHandleW(L"ntdll.dll");
}

std::uint64_t CallsOf(std::size_t index) noexcept {
  std::uint64_t sum = 0;
  for (const auto& calls : ThunksOf(index).calls) sum += calls.load(std::memory_order_relaxed);
  return sum;
}

void AddPurposesOf(std::size_t index, ClrHostMemoryPurposes* sums) noexcept {
  const ThunkModule& thunks = ThunksOf(index);
  for (std::size_t purpose = 0; purpose < kClrHostMemoryPurposeCount; ++purpose) {
    sums->requests[purpose] += thunks.requests[purpose].load(std::memory_order_relaxed);
    sums->refusals[purpose] += thunks.refusals[purpose].load(std::memory_order_relaxed);
  }
  // Block requests are counted as calls already, so that a block costs no second counter.
  for (const BridgedFunction function :
       {BridgedFunction::kHeapAlloc, BridgedFunction::kMalloc, BridgedFunction::kCalloc, BridgedFunction::kRealloc}) {
    sums->requests[kClrHostMemoryNativeHeap] +=
        thunks.calls[static_cast<std::size_t>(function)].load(std::memory_order_relaxed);
  }
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
  ThunkModule& thunks = ThunksOf(*index);
  for (auto& calls : thunks.calls) calls.store(0, std::memory_order_relaxed);
  for (auto& requests : thunks.requests) requests.store(0, std::memory_order_relaxed);
  for (auto& refusals : thunks.refusals) refusals.store(0, std::memory_order_relaxed);
  thunks.largest_gc_reservation.store(0, std::memory_order_relaxed);
  return S_OK;
}

// Called under the lock.
void FreeEntry(std::size_t index, bool thunks_may_be_called) noexcept {
  delete entries[index].patch;  // undone already
  delete entries[index].info;
  entries[index] = {};
  ThunksOf(index).gets_blocks.store(false);
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

// The modules of a CLR: coreclr.dll, its JIT compiler and its standalone GCs.
enum class ClrModule { kNone, kRuntime, kJit, kGc };

// module may be any value.
ClrModule KindOf(HMODULE module) {
  if (module == nullptr || ModuleOf(module) != module) return ClrModule::kNone;
  if (GetProcAddress(module, "coreclr_initialize") != nullptr) return ClrModule::kRuntime;
  if (GetProcAddress(module, "getJit") != nullptr) return ClrModule::kJit;
  if (GetProcAddress(module, "GC_Initialize") != nullptr || IsGcFileName(ModulePath(module))) return ClrModule::kGc;
  return ClrModule::kNone;
}

// Returns whether the runtime of module has begun to start; module may be any value. Throws std::bad_alloc.
bool IsStartedRuntime(HMODULE module) { return KindOf(module) == ClrModule::kRuntime && HasBegunToStart(module); }

// The hooks for a module, and the imports that it must have. Hooks for blocks are only for the CLR's modules, provided
// that all functions that take back their blocks can be guarded. Guarding precedes patching, since a block can be
// freed as soon as it is given out.
struct Plan {
  std::vector<ImportHook> hooks;
  gsl::span<const char* const> required = kRequiredImports;
  bool blocks = false;
};

HRESULT MakePlan(std::size_t index, HMODULE module, Plan* plan) {
  const ClrModule kind = KindOf(module);
  if (kind != ClrModule::kNone && ServingHeap() != nullptr) {
    const HRESULT hr = GuardBlocksOf(module);
    if (FAILED(hr)) return hr;
    plan->blocks = hr == S_OK;
  }
  const auto all = HooksOf(index);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (plan->blocks || !IsOfBlocks(static_cast<BridgedFunction>(i))) plan->hooks.push_back(all[i]);
  }
  if (kind == ClrModule::kJit) plan->required = {};
  return S_OK;
}

// Patches the module of a reserved entry and settles the entry. bridge is only compared, since it may have been
// closed.
HRESULT FillEntry(std::size_t index, BridgeRecord* bridge, HMODULE module, std::unique_ptr<BridgedModuleInfo> info,
                  std::unique_ptr<ImportPatch> patch, std::string* reason) noexcept {
  Plan plan;
  HRESULT hr = E_OUTOFMEMORY;
  try {
    hr = MakePlan(index, module, &plan);
  } catch (const std::bad_alloc&) {
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
      ThunksOf(index).gets_blocks.store(plan.blocks);
      WakeAllConditionVariable(&entry_settled);
      return S_OK;
    }
    hr = HOST_E_INVALIDOPERATION;
  }
  const bool hooked_over = patch->Undo() != 0;
  const Locked lock;
  FreeEntry(index, hooked_over);
  return hr;
}

std::unique_ptr<BridgedModuleInfo> MakeInfo(HMODULE module) {
  auto info = std::make_unique<BridgedModuleInfo>();
  info->module = module;
  info->path = ModulePath(module);
  info->imports.reserve(kBridgedFunctionCount);
  return info;
}

std::string NoSetLeft() {
  return "No more than " + std::to_string(kMaxBridgedModules) +
         " modules can be bridged in a process; detach bridges that are not needed.";
}

std::string StartedAlready(HMODULE module) {
  return "The runtime of " + Utf8(ModulePath(module)) +
         " has started already, and what its GC has by then is on no account, so no limit would hold; attach before "
         "coreclr_initialize.";
}

std::string BelowManager(HMODULE module) {
  return Utf8(ModulePath(module)) +
         " is what the memory manager itself runs on and cannot be its client; pass the CLR's module.";
}

bool IsOpenLocked(const BridgeRecord* bridge) noexcept {
  // bridge is only compared: it may have been deleted.
  if (std::any_of(entries.begin(), entries.end(), [bridge](const Entry& entry) { return entry.bridge == bridge; })) {
    return true;
  }
  const BridgeRecord* listed = first_named;
  while (listed != nullptr && listed != bridge) listed = listed->next;
  return listed != nullptr;
}

// Attaches module to a bridge that may have been deleted by now. S_OK also if the bridge is gone or another bridge has
// the module already. If another thread is attaching or detaching the module, waits for that thread.
HRESULT AttachLate(BridgeRecord* bridge, HMODULE module, std::string* reason) {
  auto info = MakeInfo(module);
  auto patch = std::make_unique<ImportPatch>();
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
  hr = FillEntry(index, bridge, module, std::move(info), std::move(patch), reason);
  const Locked lock;
  return IsOpenLocked(bridge) ? hr : S_OK;
}

void NoteLateFailure(const BridgeRecord* bridge, std::wstring_view module, const std::string& reason) {
  std::string failure = Utf8(module) +
                        ", which was loaded later, could not be bridged, so its memory is not under "
                        "control: " +
                        reason;
  const Locked lock;
  for (Entry& entry : entries) {
    if (entry.bridge == bridge && entry.bridge != nullptr) {
      entry.bridge->late_failure.swap(failure);
      return;
    }
  }
}

// Attaches all loaded modules with that name; returns the first failure.
HRESULT AttachAllNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason) {
  HRESULT result = S_OK;
  for (const HMODULE found : LoadedModulesNamed(name)) {
    const HMODULE module = HoldWhenLoaded(ModulePath(found));
    if (module == nullptr) continue;  // unloaded meanwhile
    std::string why;
    HRESULT hr = E_INVALIDARG;
    if (IsBelowManager(module)) {
      why = BelowManager(module);
    } else {
      hr = AttachLate(bridge, module, &why);
    }
    FreeLibrary(module);  // the bridge has its own reference
    if (FAILED(hr) && SUCCEEDED(result)) {
      result = hr;
      *reason = why;
    }
  }
  return result;
}

// Called by the load watch, under the loader lock.
bool IsWanted(std::wstring_view name) noexcept {
  const Locked lock;
  for (const BridgeRecord* bridge = first_named; bridge != nullptr; bridge = bridge->next) {
    for (const std::wstring& wanted : bridge->names) {
      if (SameName(wanted, name)) return true;
    }
  }
  return false;
}

bool AnybodyWatches() noexcept {
  const Locked lock;
  return first_named != nullptr;
}

// Attaches every loaded module whose name a bridge has requested.
void AttachWanted() noexcept try {
  std::vector<std::pair<BridgeRecord*, std::wstring>> wanted;
  {
    const Locked lock;
    for (BridgeRecord* bridge = first_named; bridge != nullptr; bridge = bridge->next) {
      for (const std::wstring& name : bridge->names) wanted.emplace_back(bridge, name);
    }
  }
  for (const auto& [bridge, name] : wanted) {
    std::string reason;
    if (FAILED(AttachAllNamed(bridge, name, &reason))) NoteLateFailure(bridge, name, reason);
  }
} catch (const std::bad_alloc&) {
  const Locked lock;
  for (BridgeRecord* bridge = first_named; bridge != nullptr; bridge = bridge->next) {
    bridge->late_failure.assign("Out of memory.");  // short enough to need no allocation
  }
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

// Called under the lock.
void NoteStartLocked(BridgeRecord* bridge) noexcept {
  if (!bridge->attached) return;
  bridge->runtime_started = true;
  client->runtime_started.store(true, std::memory_order_relaxed);
}

// Notes the runtime's start if loaded is the first assembly of a program that the runtime loads. Throws
// std::bad_alloc.
void NoteStartBy(std::size_t loader_index, HMODULE loaded) {
  const Entry& entry = entries[loader_index];
  HMODULE loader = nullptr;
  {
    const Locked lock;
    if (entry.bridge == nullptr || entry.bridge->runtime_started) return;
    loader = entry.module;
  }
  if (KindOf(loader) != ClrModule::kRuntime || !IsAssemblyOfProgram(loaded)) return;
  const Locked lock;
  if (entry.bridge != nullptr && entry.module == loader) NoteStartLocked(entry.bridge);
}

}  // namespace

HRESULT OpenBridge(IHostMemoryManager* manager, BridgeRecord* bridge, std::string* reason) {
  ComPtr<IHostMemoryManager> own_manager;
  ComPtr<IManagerBackend> backend;
  if (FAILED(manager->QueryInterface(kIidHostMemoryManager, reinterpret_cast<void**>(own_manager.Receive()))) ||
      FAILED(manager->QueryInterface(kIidManagerBackend, reinterpret_cast<void**>(backend.Receive())))) {
    *reason =
        "The memory manager is not one of this library's (it has no IManagerBackend); make it with "
        "ClrHostMemoryCreate.";
    return E_NOINTERFACE;
  }
  IUnknown* const identity = IdentityOf(manager);
  auto made = std::make_unique<BridgeClient>();
  ComPtr<MemoryNotificationCallback> notifications(new MemoryNotificationCallback());
  KeepThunksLoaded();
  PrepareHandleComparison();

  // Serves malloc and the process heap. If the manager provides no such heap, they stay unbridged.
  ComPtr<IHostMalloc> malloc;
  ComPtr<IHeapBackend> heap;
  if (own_manager->CreateMalloc(MALLOC_THREADSAFE, malloc.Receive()) == S_OK) {
    malloc->QueryInterface(kIidHeapBackend, reinterpret_cast<void**>(heap.Receive()));
  }

  const Locked lock;
  if (client == nullptr) {
    if (heap.get() != nullptr && !ServeFrom(heap.get())) {
      *reason = "Blocks of too many earlier bridges are still in use; keep one bridge instead of attaching anew.";
      return E_OUTOFMEMORY;
    }
    made->manager = own_manager.Detach();
    made->backend = backend.Detach();
    made->notifications = notifications.Detach();
    client = made.release();
    client_identity = identity;
    PublishClient(client);
  } else if (client_identity != identity) {
    *reason =
        "Another memory manager is bridged in this process already; use that one, or detach its bridge first (one that "
        "was released after its runtime had started is attached until Detach).";
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
    BridgeRecord** place = &first_named;
    while (*place != nullptr && *place != bridge) place = &(*place)->next;
    if (*place == bridge) *place = std::exchange(bridge->next, nullptr);
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
  BridgeClient* withdrawn = nullptr;
  {
    const Locked lock;
    if (started) {
      client->backend->AddRef();
      told = ComPtr<IManagerBackend>(client->backend);
    }
    if (--open_bridges == 0) {
      PublishClient(nullptr);
      StopServing();
      withdrawn = std::exchange(client, nullptr);
      client_identity = nullptr;
    }
  }
  StopLoadWatchUnless(&AnybodyWatches);
  if (told) told->NoteDetached();
  if (withdrawn == nullptr) return;
  withdrawn->notifications->Withdraw(withdrawn->manager);
  if (!WaitUntilNoCallIsInside(kDetachMilliseconds)) return;
  RetireHeaps();
  withdrawn->notifications->Release();
  withdrawn->backend->Release();
  withdrawn->manager->Release();
  delete withdrawn;
}

HRESULT AttachModule(BridgeRecord* bridge, HMODULE module, std::string* reason) {
  if (module != nullptr && IsBelowManager(module)) {
    *reason = BelowManager(module);
    return E_INVALIDARG;
  }
  auto info = MakeInfo(module);
  auto patch = std::make_unique<ImportPatch>();
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
  if (SUCCEEDED(hr)) return FillEntry(index, bridge, module, std::move(info), std::move(patch), reason);
  if (!open) {
    *reason = "This bridge is detached; attach a new one.";
  } else if (too_late) {
    *reason = StartedAlready(module);
  } else if (hr == HOST_E_INVALIDOPERATION) {
    *reason = Utf8(info->path) + " is bridged already; keep the bridge it has, or detach that first.";
  } else {
    *reason = NoSetLeft();
  }
  return hr;
}

HRESULT AttachModulesNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason) {
  if (name.empty() || BaseName(name) != name) {
    *reason = "'" + Utf8(name) + "' is no file name such as plugin.dll; leave the path out.";
    return E_INVALIDARG;
  }
  std::wstring own(name);
  {
    const Locked lock;
    if (!bridge->attached) {
      *reason = "This bridge is detached; attach a new one.";
      return HOST_E_INVALIDOPERATION;
    }
    const bool known = std::any_of(bridge->names.begin(), bridge->names.end(),
                                   [name](const std::wstring& other) { return SameName(other, name); });
    if (!known) bridge->names.push_back(std::move(own));
    const BridgeRecord* listed = first_named;
    while (listed != nullptr && listed != bridge) listed = listed->next;
    if (listed == nullptr) bridge->next = std::exchange(first_named, bridge);
  }
  // Start the watch after the name is in the list, so that closing another bridge does not stop the watch again.
  const HRESULT hr = StartLoadWatch({&IsWanted, &AttachWanted}, reason);
  StopLoadWatchUnless(&AnybodyWatches);  // this bridge may have been closed meanwhile
  if (FAILED(hr)) return hr;
  // From here on the watch sees every new load. The call below attaches modules loaded before.
  return AttachAllNamed(bridge, name, reason);
}

void AttachLoaded(std::size_t loader_index, HMODULE loaded) noexcept try {
  NoteStartBy(loader_index, loaded);
  if (const ClrModule kind = KindOf(loaded); kind == ClrModule::kGc || kind == ClrModule::kJit) {
    BridgeRecord* bridge = nullptr;
    {
      const Locked lock;
      bridge = entries[loader_index].bridge;
    }
    std::string reason;
    if (bridge != nullptr && FAILED(AttachLate(bridge, loaded, &reason))) {
      NoteLateFailure(bridge, ModulePath(loaded), reason);
    }
  }
  AttachWanted();
} catch (const std::bad_alloc&) {
  const Locked lock;
  BridgeRecord* const bridge = entries[loader_index].bridge;
  if (bridge != nullptr) bridge->late_failure.assign("Out of memory.");  // short enough to need no allocation
}

void NoteRuntimeStarted(BridgeRecord* bridge) noexcept {
  const Locked lock;
  NoteStartLocked(bridge);
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

}  // namespace clr_host_memory
