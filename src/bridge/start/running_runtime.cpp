#include "bridge/start/running_runtime.h"

#include <algorithm>

#include "base/gc_reservation.h"
#include "bridge/clr_modules.h"
#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"

namespace clr_host_memory {

HMODULE RunningCoreClr() {
  for (const HMODULE loaded : LoadedModulesNamed(L"coreclr.dll")) {
    if (IsStartedRuntime(loaded)) return loaded;
  }
  return nullptr;
}

HMODULE RunningRuntime() {
  if (HMODULE const coreclr = RunningCoreClr(); coreclr != nullptr) return coreclr;
  HMODULE const program = GetModuleHandleW(nullptr);
  return HasLinkedRuntime(program) ? program : nullptr;
}

std::vector<HMODULE> LoadedJitsAndGcs() {
  std::vector<HMODULE> modules = LoadedModules();
  std::erase_if(modules, [](HMODULE module) {
    const ClrModule kind = KindOf(module);
    return kind != ClrModule::kJit && kind != ClrModule::kGc;
  });
  return modules;
}

std::vector<EarlierReservation> GcReservations(std::uint64_t least) {
  std::vector<EarlierReservation> found;
  EarlierReservation current{};
  bool any_reserved = false;  // a GC never commits all that it has reserved
  const auto close = [&] {
    if (any_reserved && current.size >= least) found.push_back(current);
    current = {};
    any_reserved = false;
  };
  MEMORY_BASIC_INFORMATION run{};
  const char* at = nullptr;
  while (VirtualQuery(at, &run, sizeof(run)) == sizeof(run) && run.RegionSize != 0) {
    if (run.State == MEM_FREE || run.AllocationBase != current.base) close();
    if (run.State != MEM_FREE && run.Type == MEM_PRIVATE && IsReservedByGc(run.AllocationProtect & 0xFF)) {
      current.base = run.AllocationBase;
      current.size += run.RegionSize;
      if (run.State == MEM_COMMIT) current.committed += run.RegionSize;
      any_reserved = any_reserved || run.State == MEM_RESERVE;
    }
    const char* const next = static_cast<const char*>(run.BaseAddress) + run.RegionSize;
    if (next <= at) break;
    at = next;
  }
  close();
  std::sort(found.begin(), found.end(),
            [](const EarlierReservation& left, const EarlierReservation& right) { return left.size > right.size; });
  return found;
}

}  // namespace clr_host_memory
