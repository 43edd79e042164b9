// A client that makes the calls of a desktop CLR against IHostMemoryManager, one for each call shape, and checks each
// answer. It needs no CLR. It serves machines without a CLR, and tests.
#ifndef CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H
#define CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H

#include <clr_host_memory/hosting_abi.h>

#include <string>
#include <vector>

namespace clr_host_memory::tool {

struct ScriptedStep {
  std::string name;  // the CLR's action: "GC: commit inside a reservation"
  bool passed = false;
  std::string problem;  // set on failure: the answer, and the expected answer
};

struct ScriptedRun {
  std::vector<ScriptedStep> steps;
  [[nodiscard]] bool AllPassed() const;
};

// Plays every step, also after a failed step, and frees the memory it allocated. Under a limit, a refusal must be as
// documented: E_OUTOFMEMORY, or HOST_E_TIMEOUT after a wait, and a null address. The other steps need about 2 MiB of
// the limit.
[[nodiscard]] ScriptedRun PlayDesktopClr(IHostMemoryManager& manager);

// Formats one line for each step.
[[nodiscard]] std::string FormatSteps(const ScriptedRun& run);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_SCRIPTED_CLIENT_H
