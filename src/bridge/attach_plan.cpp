#include "bridge/attach_plan.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "bridge/clr_modules.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/state/heap_owners.h"
#include "bridge/thunks/thunk_table.h"

namespace clr_host_memory {
namespace {

constexpr std::array<const char*, 2> kRequiredImports = {"VirtualAlloc", "VirtualFree"};

// The imports that take memory back.
constexpr std::array<const char*, 8> kGiveBack = {"VirtualFree", "UnmapViewOfFile", "CloseHandle", "HeapFree",
                                                  "HeapReAlloc", "HeapSize",        "free",        "realloc"};

}  // namespace

HRESULT PlanAttachment(std::size_t index, HMODULE module, AttachPlan* plan) {
  const ClrModule kind = KindOf(module);
  if (kind != ClrModule::kNone && ServingHeap() != nullptr) {
    const HRESULT hr = GuardBlocksOf(module);
    if (FAILED(hr)) return hr;
    plan->with_blocks = hr == S_OK;
  }
  plan->hooks = HooksOf(index, plan->with_blocks);
  // In the order in which the imports are redirected: a running module frees what it gets through a thunk by a thunk.
  std::stable_partition(plan->hooks.begin(), plan->hooks.end(), [](const ImportHook& hook) {
    return std::any_of(kGiveBack.begin(), kGiveBack.end(),
                       [&hook](const char* name) { return std::strcmp(hook.name, name) == 0; });
  });
  if (kind != ClrModule::kJit) plan->required = kRequiredImports;
  return S_OK;
}

bool IsBelowManager(HMODULE module, std::string* reason) {
  if (module == nullptr) return false;
  const bool is_below = module == ModuleOf(&kRequiredImports) || module == GetModuleHandleW(L"kernel32.dll") ||
                        module == GetModuleHandleW(L"kernelbase.dll") || module == GetModuleHandleW(L"ntdll.dll");
  if (is_below) {
    *reason = "The memory manager itself uses " + Utf8(ModulePath(module)) +
              ", which therefore cannot be its client; pass the CLR's module.";
  }
  return is_below;
}

}  // namespace clr_host_memory
