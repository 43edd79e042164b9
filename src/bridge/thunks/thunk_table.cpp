#include "bridge/thunks/thunk_table.h"

#include <array>
#include <atomic>
#include <utility>

namespace clr_host_memory {

namespace internal {
namespace {

template <std::size_t... kIndex>
constexpr std::array<ThunkModule, sizeof...(kIndex)> MakeModules(std::index_sequence<kIndex...>) {
  return {ThunkModule{kIndex}...};
}

}  // namespace

constinit std::array<ThunkModule, kMaxBridgedModules + kMaxGuardedModules> thunk_modules =
    MakeModules(std::make_index_sequence<kMaxBridgedModules + kMaxGuardedModules>());
}  // namespace internal

namespace {

template <typename Visitor>
void ForEachRow(Visitor visit) {
  for (const auto group :
       {thunks::VirtualRows(), thunks::MappedRows(), thunks::LoadRows(), thunks::MachineRows(), thunks::HeapRows()}) {
    for (const ThunkRow& row : group) visit(row);
  }
}

template <typename Visitor>
void ForEachRowOfBridged(Visitor visit) {
  ForEachRow([&visit](const ThunkRow& row) {
    if (row.kind != ThunkKind::kBorder) visit(row);
  });
}

ImportHook HookOf(const ThunkRow& row, std::size_t index) noexcept {
  return {row.name, row.entry(index), &row.thunk(index).original, row.library == ImportedFrom::kCRuntime};
}

}  // namespace

ThunkModule& BridgedModule(std::size_t index) noexcept { return internal::thunk_modules[index]; }

std::vector<ImportHook> HooksOf(std::size_t index, bool with_blocks) {
  std::vector<ImportHook> hooks;
  ForEachRowOfBridged([&](const ThunkRow& row) {
    if (with_blocks || row.kind == ThunkKind::kPlain) hooks.push_back(HookOf(row, index));
  });
  return hooks;
}

ThunkModule& GuardedModule(std::size_t index) noexcept { return internal::thunk_modules[kMaxBridgedModules + index]; }

std::vector<ImportHook> BorderHooksOf(std::size_t index) {
  std::vector<ImportHook> hooks;
  ForEachRow([&](const ThunkRow& row) {
    if (row.kind == ThunkKind::kBorder) hooks.push_back(HookOf(row, index));
  });
  return hooks;
}

void KeepThunksLoaded() noexcept {
  HMODULE module = nullptr;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCWSTR>(&internal::thunk_modules), &module);
}

void ResetCounts(std::size_t index) noexcept {
  ForEachRowOfBridged([index](const ThunkRow& row) { row.thunk(index).calls.store(0, std::memory_order_relaxed); });
  ThunkModule& module = BridgedModule(index);
  for (auto& requests : module.requests) requests.store(0, std::memory_order_relaxed);
  for (auto& refusals : module.refusals) refusals.store(0, std::memory_order_relaxed);
  module.largest_gc_reservation.store(0, std::memory_order_relaxed);
}

std::uint64_t CallsOf(std::size_t index) noexcept {
  std::uint64_t sum = 0;
  ForEachRowOfBridged([&](const ThunkRow& row) { sum += row.thunk(index).calls.load(std::memory_order_relaxed); });
  return sum;
}

void AddPurposesOf(std::size_t index, ClrHostMemoryPurposes* sums) noexcept {
  const ThunkModule& module = BridgedModule(index);
  for (std::size_t purpose = 0; purpose < kClrHostMemoryPurposeCount; ++purpose) {
    sums->requests[purpose] += module.requests[purpose].load(std::memory_order_relaxed);
    sums->refusals[purpose] += module.refusals[purpose].load(std::memory_order_relaxed);
  }
  // Block requests are counted as calls already, so that a block costs no second counter.
  ForEachRow([&](const ThunkRow& row) {
    if (row.kind != ThunkKind::kGivesBlocks) return;
    sums->requests[kClrHostMemoryNativeHeap] += row.thunk(index).calls.load(std::memory_order_relaxed);
  });
}

}  // namespace clr_host_memory
