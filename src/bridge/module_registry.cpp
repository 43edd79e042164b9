#include "bridge/module_registry.h"

#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <utility>

#include "bridge/attach_plan.h"
#include "bridge/clr_modules.h"
#include "bridge/late_modules.h"
#include "bridge/module_entries.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/running_runtime.h"
#include "bridge/start/started_runtime.h"
#include "bridge/state/bridge_client.h"
#include "bridge/state/handle_identity.h"
#include "bridge/state/heap_owners.h"
#include "bridge/thunks/purpose.h"
#include "bridge/thunks/thunk_table.h"
#include "com/backend.h"
#include "os/windows/process_ending.h"

namespace clr_host_memory {
namespace {

constexpr DWORD kDetachMilliseconds = 1000;

constinit BridgeClient* client = nullptr;
constinit IUnknown* client_identity = nullptr;
constinit BridgeRecord* first_open = nullptr;  // the list of attached bridges, and of those being closed

// Returns the identity of a COM object. The pointer serves only for comparison.
IUnknown* IdentityOf(IUnknown* object) noexcept {
  IUnknown* identity = nullptr;
  if (FAILED(object->QueryInterface(IID_IUnknown, reinterpret_cast<void**>(&identity)))) return nullptr;
  identity->Release();
  return identity;
}

std::string NoSetLeft() {
  return "A process can have at most " + std::to_string(kMaxBridgedModules) +
         " bridged modules; detach bridges that are not needed.";
}

std::string StartedAlready(HMODULE module) {
  return "The runtime of " + Utf8(ModulePath(module)) +
         " has started already; attach before coreclr_initialize, or call AttachToRunningCoreClr, which does not "
         "charge "
         "what the runtime has by then.";
}

// Returns the place in the list of open bridges that points at bridge; if it is not in the list, the place at the end.
// bridge is only compared, since it may have been deleted. Called under the lock.
BridgeRecord** OpenPlaceOf(const BridgeRecord* bridge) noexcept {
  BridgeRecord** place = &first_open;
  while (*place != nullptr && *place != bridge) place = &(*place)->next_open;
  return place;
}

// Called under the lock; bridge may have been deleted.
bool IsOpenLocked(const BridgeRecord* bridge) noexcept {
  const BridgeRecord* const found = bridge == nullptr ? nullptr : *OpenPlaceOf(bridge);
  return found != nullptr && found->attached;
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
ComReference<IManagerBackend> NoteStartLocked(BridgeRecord* bridge) noexcept {
  if (!bridge->attached || std::exchange(bridge->runtime_started, true)) return {};
  client->runtime_started.store(true, std::memory_order_relaxed);
  if (!std::exchange(bridge->start_begun, false)) return {};
  client->backend->AddRef();
  return ComReference<IManagerBackend>(client->backend.get());
}

}  // namespace

HRESULT OpenBridge(IHostMemoryManager* manager, BridgeRecord* bridge, std::string* reason) {
  std::unique_ptr<BridgeClient> made;
  if (const HRESULT hr = MakeClient(manager, &made, reason); FAILED(hr)) return hr;
  IUnknown* const identity = IdentityOf(manager);
  KeepThunksLoaded();
  PrepareHandleComparison();

  // Serves malloc and the process heap. If the manager provides no such heap, they stay unbridged.
  ComReference<IHostMalloc> malloc;
  ComReference<IHeapBackend> heap;
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
  bridge->next_open = std::exchange(first_open, bridge);
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
  ComReference<IManagerBackend> told;
  std::unique_ptr<BridgeClient> withdrawn;
  {
    const Locked lock;
    if (std::exchange(bridge->start_begun, false)) static_cast<void>(client->backend->EndStart(nullptr));
    if (started) {
      client->backend->AddRef();
      told = ComReference<IManagerBackend>(client->backend.get());
    }
    *OpenPlaceOf(bridge) = bridge->next_open;
    if (first_open == nullptr) {
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

namespace {

// Attaches module, although its runtime may have started if running.
HRESULT AttachNow(BridgeRecord* bridge, HMODULE module, bool running, std::string* reason) {
  if (IsBelowManager(module, reason)) return E_INVALIDARG;
  std::size_t index = 0;
  HRESULT hr = HOST_E_INVALIDOPERATION;
  bool open = false;
  bool too_late = !running && IsStartedRuntime(module);
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

// Tells the manager what GCs have reserved before: the largest, if there are too many.
void NoteEarlierGcRegions(const std::vector<EarlierReservation>& earlier) noexcept {
  const Locked lock;
  if (client == nullptr) return;
  for (const EarlierReservation& reservation : earlier) {
    BackendRegion ignored{};
    if (client->backend->FindRegion(reservation.base, &ignored) == S_OK) continue;  // the manager's own memory
    static_cast<void>(
        client->backend->AddEarlierReservation(reservation.base, reservation.size, reservation.committed));
  }
}

// Tells the thunks of module the largest of these, which distinguishes its heap from its tables (purpose.h).
void NoteLargest(HMODULE module, const std::vector<EarlierReservation>& earlier) noexcept {
  std::uint64_t largest = 0;
  for (const EarlierReservation& reservation : earlier) largest = std::max(largest, reservation.size);
  const Locked lock;
  for (std::size_t index = 0; index < entries.size(); ++index) {
    if (entries[index].module == module) BridgedModule(index).largest_gc_reservation.store(largest);
  }
}

}  // namespace

HRESULT AttachModule(BridgeRecord* bridge, HMODULE module, std::string* reason) {
  return AttachNow(bridge, module, /*running=*/false, reason);
}

HRESULT AttachRunning(BridgeRecord* bridge, HMODULE coreclr, std::string* reason) {
  HRESULT hr = E_OUTOFMEMORY;
  try {
    const std::vector<EarlierReservation> earlier = GcReservations(kLeastGcHeapReservation);
    std::vector<HMODULE> modules = LoadedJitsAndGcs();
    modules.insert(modules.begin(), coreclr);
    NoteEarlierGcRegions(earlier);
    SetRuntime(bridge, coreclr);
    hr = S_OK;
    for (auto module = modules.begin(); SUCCEEDED(hr) && module != modules.end(); ++module) {
      hr = AttachNow(bridge, *module, /*running=*/true, reason);
      if (SUCCEEDED(hr)) NoteLargest(*module, earlier);
    }
  } catch (const std::bad_alloc&) {
    hr = E_OUTOFMEMORY;
    reason->clear();
  }
  if (FAILED(hr)) {
    CloseBridge(bridge);
    return hr;
  }
  static_cast<void>(NoteRuntimeStarted(bridge));
  return S_OK;
}

void SetRuntime(BridgeRecord* bridge, HMODULE runtime) noexcept {
  const Locked lock;
  bridge->runtime = runtime;
}

HMODULE RuntimeOf(const BridgeRecord* bridge) noexcept {
  const Locked lock;
  return bridge->runtime;
}

void NoteRuntimeStarts(BridgeRecord* bridge) noexcept {
  const Locked lock;
  if (!bridge->attached || std::exchange(bridge->start_begun, true)) return;
  static_cast<void>(client->backend->BeginStart());
}

void AbandonStart(BridgeRecord* bridge) noexcept {
  const Locked lock;
  if (!bridge->attached || !std::exchange(bridge->start_begun, false)) return;
  static_cast<void>(client->backend->EndStart(nullptr));
}

HRESULT NoteRuntimeStarted(BridgeRecord* bridge) noexcept {
  ComReference<IManagerBackend> backend;
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

void SetStartLimit(BridgeRecord* bridge, std::uint64_t bytes) noexcept {
  const Locked lock;
  bridge->start_limit = bytes;
}

std::uint64_t StartLimitOf(const BridgeRecord* bridge) noexcept {
  const Locked lock;
  return bridge->start_limit;
}

void SetStartFailure(BridgeRecord* bridge, std::string failure) noexcept {
  const Locked lock;
  if (IsOpenLocked(bridge)) bridge->start_failure.swap(failure);
}

std::string StartFailure(const BridgeRecord* bridge) {
  const Locked lock;
  return bridge->start_failure;
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
  ComReference<IManagerBackend> backend;
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
