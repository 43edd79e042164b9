// Imports that are redirected until the process is gone.
#ifndef CLRHM_TOOL_RUN_LASTING_PATCH_H
#define CLRHM_TOOL_RUN_LASTING_PATCH_H

#include "bridge/patch/import_patch.h"

#include <windows.h>

#include <algorithm>
#include <deque>
#include <gsl/span>
#include <string>
#include <utility>

namespace clr_host_memory::tool {

// Each of its users has one, which is never destroyed: the hooks are called while the process ends. One thread at a
// time.
class LastingPatches {
 public:
  // Redirects imports of module as ImportPatch::Apply does, without required ones. A second call for a module does
  // nothing. Throws std::bad_alloc.
  [[nodiscard]] HRESULT Apply(HMODULE module, gsl::span<const ImportHook> hooks, std::string* reason) {
    const bool has_it = std::any_of(patches_.begin(), patches_.end(),
                                    [module](const ImportPatch& patch) { return patch.module() == module; });
    if (has_it) return S_OK;
    ImportPatch patch;
    const HRESULT hr = ImportPatch::Apply(module, hooks, {}, &patch, reason);
    if (SUCCEEDED(hr)) patches_.push_back(std::move(patch));
    return hr;
  }

 private:
  std::deque<ImportPatch> patches_;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_RUN_LASTING_PATCH_H
