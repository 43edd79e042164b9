// Time, events and threads over Win32.
#ifndef CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H
#define CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H

#include "os/thread_system.h"

namespace clr_host_memory {

// Stateless and alive for the whole process. A DLL this code lies in stays loaded while a thread it started runs.
// Threads that the end of the process has killed count as ended; to join one from DllMain is a deadlock.
[[nodiscard]] ThreadSystem& WindowsThreadSystem();

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H
