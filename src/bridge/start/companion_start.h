// Starts the companion (src/companion) in a runtime by the hosting functions of coreclr.
#ifndef CLRHM_BRIDGE_START_COMPANION_START_H
#define CLRHM_BRIDGE_START_COMPANION_START_H

#include <windows.h>

#include <cstdint>
#include <string>

namespace clr_host_memory {

// Returns whether the runtime of coreclr can load the companion: .NET 8 and later. The assembly would end an older one.
[[nodiscard]] bool LoadsCompanions(HMODULE coreclr) noexcept;

// Returns the companion's file, in UTF-8: beside the file that holds this library. Empty: it is not there, or a runtime
// could not load it from there. Throws std::bad_alloc.
[[nodiscard]] std::string CompanionFile();

// A started runtime, as coreclr_initialize returned it.
struct RuntimeHost {
  void* handle;
  unsigned domain;
};

// Does what IClrHostMemoryBridge::StartCompanion specifies, for the runtime of coreclr, which is bridged. start_limit:
// that of the BridgeRecord. Throws std::bad_alloc.
[[nodiscard]] HRESULT StartCompanionIn(HMODULE coreclr, const RuntimeHost& runtime, std::uint64_t start_limit,
                                       std::string* reason);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_COMPANION_START_H
