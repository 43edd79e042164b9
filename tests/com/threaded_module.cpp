// A DLL whose only export starts a thread in the DLL's own code. The thread is never joined.
#include <windows.h>

#include "os/windows/windows_thread_system.h"

namespace {

// Waits for the event and returns.
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
