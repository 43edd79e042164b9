// Decides, before a module is patched, whether it can be attached and which of its imports get which thunk.
#ifndef CLRHM_BRIDGE_ATTACH_PLAN_H
#define CLRHM_BRIDGE_ATTACH_PLAN_H

#include <windows.h>

#include <cstddef>
#include <gsl/span>
#include <string>
#include <vector>

#include "bridge/patch/import_patch.h"

namespace clr_host_memory {

struct AttachPlan {
  std::vector<ImportHook> hooks;
  gsl::span<const char* const> required;  // imports that the module must have
  bool with_blocks = false;               // whether the module gets blocks
};

// Plans the attachment of module to the thunks with that index. A JIT compiler needs no import at all; any other module
// must import the functions that take and give back memory.
//
// Hooks for blocks are only for the CLR's modules, provided that all functions that take back their blocks can be
// guarded. They are guarded here: a block can be freed as soon as it is given out, so guarding precedes patching.
//
// S_OK; E_OUTOFMEMORY. Throws std::bad_alloc.
[[nodiscard]] HRESULT PlanAttachment(std::size_t index, HMODULE module, AttachPlan* plan);

// Returns whether the manager itself is built on module's memory calls, with the reason why it cannot be attached. If
// such a module were bridged, the manager would call itself in an endless recursion.
[[nodiscard]] bool IsBelowManager(HMODULE module, std::string* reason);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_ATTACH_PLAN_H
