#include "bridge/module_entries.h"

#include <clr_host_memory/memory_manager.h>

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "bridge/attach_plan.h"
#include "bridge/patch/module_files.h"

namespace clr_host_memory {

constinit SrwLock registry_lock;
constinit std::array<Entry, kMaxBridgedModules> entries{};

namespace {

constexpr DWORD kSettleMilliseconds = 1000;

constinit CONDITION_VARIABLE entry_settled = CONDITION_VARIABLE_INIT;  // an entry finished attaching or detaching
constinit std::uint64_t next_order = 0;

bool IsInUse(const Entry& entry) noexcept {
  return entry.state != EntryState::kFree && entry.state != EntryState::kRetired;
}

}  // namespace

bool IsBridged(HMODULE module) noexcept {
  return std::any_of(entries.begin(), entries.end(),
                     [module](const Entry& entry) { return IsInUse(entry) && entry.module == module; });
}

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

void FreeEntry(std::size_t index, bool thunks_may_be_called) noexcept {
  delete entries[index].patch;  // undone already
  delete entries[index].info;
  entries[index] = {};
  BridgedModule(index).gets_blocks.store(false);
  if (thunks_may_be_called) entries[index].state = EntryState::kRetired;
  WakeAllConditionVariable(&entry_settled);
}

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

}  // namespace clr_host_memory
