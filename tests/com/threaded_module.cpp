// A DLL whose only export starts a thread that nobody joins, in code of the DLL's own.
#include <windows.h>

#include "os/windows/windows_thread_system.h"

namespace {

// Ends when the event is signalled.
void Run(void* event) { ::WaitForSingleObject(event, INFINITE); }

}  // namespace

extern "C" __declspec(dllexport) BOOL StartThread(HANDLE event) {
  using clr_host_memory::ThreadHandle;
  using clr_host_memory::WindowsThreadSystem;
  const ThreadHandle thread = WindowsThreadSystem().Start(&Run, event);
  if (thread == nullptr) return FALSE;
  WindowsThreadSystem().Detach(thread);
  return TRUE;
}
