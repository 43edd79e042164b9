#include "bridge/state/handle_identity.h"

#include <atomic>

namespace clr_host_memory {
namespace {

using CompareHandles = BOOL(WINAPI*)(HANDLE left, HANDLE right);
constinit std::atomic<CompareHandles> compare_handles{nullptr};

}  // namespace

void PrepareHandleComparison() noexcept {
  compare_handles.store(reinterpret_cast<CompareHandles>(reinterpret_cast<void*>(
                            GetProcAddress(GetModuleHandleW(L"kernelbase.dll"), "CompareObjectHandles"))),
                        std::memory_order_relaxed);
}

bool CanCompareHandles() noexcept { return compare_handles.load(std::memory_order_relaxed) != nullptr; }

bool IsSameObject(HANDLE left, HANDLE right) noexcept {
  const CompareHandles compare = compare_handles.load(std::memory_order_relaxed);
  return compare != nullptr && compare(left, right) != FALSE;
}

}  // namespace clr_host_memory
