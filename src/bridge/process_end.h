// Whether the process is at its end.
#ifndef CLRHM_BRIDGE_PROCESS_END_H
#define CLRHM_BRIDGE_PROCESS_END_H

#include <windows.h>

namespace clr_host_memory::bridge {

// Whether the loader is ending the process: destructors of DLLs run, and every other thread is gone, perhaps with a lock.
[[nodiscard]] inline bool IsProcessEnding() noexcept {
  using Function = BOOLEAN(NTAPI*)();
  const FARPROC found = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "RtlDllShutdownInProgress");
  return found != nullptr && reinterpret_cast<Function>(reinterpret_cast<void*>(found))() != FALSE;
}

}  // namespace clr_host_memory::bridge

#endif  // CLRHM_BRIDGE_PROCESS_END_H
