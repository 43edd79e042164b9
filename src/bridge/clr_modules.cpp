#include "bridge/clr_modules.h"

#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"
#include "bridge/start/started_runtime.h"

namespace clr_host_memory {

ClrModule KindOf(HMODULE module) {
  if (module == nullptr || ModuleOf(module) != module) return ClrModule::kNone;
  if (GetProcAddress(module, "coreclr_initialize") != nullptr || HasLinkedRuntime(module)) return ClrModule::kRuntime;
  if (GetProcAddress(module, "getJit") != nullptr) return ClrModule::kJit;
  if (GetProcAddress(module, "GC_Initialize") != nullptr || IsGcFileName(ModulePath(module))) return ClrModule::kGc;
  return ClrModule::kNone;
}

bool IsStartedRuntime(HMODULE module) { return KindOf(module) == ClrModule::kRuntime && HasBegunToStart(module); }

}  // namespace clr_host_memory
