// A client that plays the calls a desktop CLR makes against IHostMemoryManager, shape by shape, and checks each answer.
// No CLR: for machines without one, and for tests.
#ifndef CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H
#define CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H

#include <clr_host_memory/hosting_abi.h>

#include <string>
#include <vector>

namespace clr_host_memory::tool {

struct ScriptedStep {
  std::string name;  // what the CLR does: "GC: commit inside a reservation"
  bool passed = false;
  std::string problem;  // when not passed: what was answered, and what should have been
};

struct ScriptedRun {
  std::vector<ScriptedStep> steps;
  [[nodiscard]] bool AllPassed() const;
};

// Plays every step, also after one that failed, and frees what it took. Under a limit, what the limit refuses must be
// refused as documented: E_OUTOFMEMORY, or HOST_E_TIMEOUT after a wait, and a null address. Needs about 2 MiB of the
// limit for the rest.
[[nodiscard]] ScriptedRun PlayDesktopClr(IHostMemoryManager& manager);

// One line a step.
[[nodiscard]] std::string FormatSteps(const ScriptedRun& run);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H
