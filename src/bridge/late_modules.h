// Attaches modules that are loaded after their bridge was attached: those of a CLR, and those whose file names the host
// has given.
#ifndef CLRHM_BRIDGE_LATE_MODULES_H
#define CLRHM_BRIDGE_LATE_MODULES_H

#include <windows.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "bridge/module_registry.h"

namespace clr_host_memory {

// Attaches the loaded modules with that file name, and from now on those that are loaded later by any module. When a
// bridged module loads one, it is attached before LoadLibrary returns; within a DllMain it may be attached later. A
// module loaded in another manner is attached soon after. Returns the first failure; later failures are kept in the
// bridge's record. E_INVALIDARG: name is not a file name.
[[nodiscard]] HRESULT AttachModulesNamed(BridgeRecord* bridge, std::wstring_view name, std::string* reason);
// Handles a module that a bridged module has loaded; loader_index is the index of the bridged module's thunks. A
// module that exports GC_Initialize or is called clrgc*.dll joins the same bridge, and so does a JIT compiler. Modules
// loaded along with it join a bridge that has their names. Failure is kept in the bridge's record. The first assembly
// other than the core library that a runtime loads is the sign that the runtime has started.
void AttachLoaded(std::size_t loader_index, HMODULE loaded) noexcept;

// Starts the watch for modules that are loaded, for AttachModulesNamed and for runtime_start.h, and stops it unless one
// of them needs it. The results of StartLoadWatch.
[[nodiscard]] HRESULT WatchLoads(std::string* reason) noexcept;
void StopWatchingLoads() noexcept;

// Forgets the names that bridge, which has been closed, wants. Must not be called under the loader lock. Idempotent.
void StopWanting(BridgeRecord* bridge) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_LATE_MODULES_H
