// Time, events and threads over Win32.
#ifndef CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H
#define CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H

#include "os/thread_system.h"

namespace clr_host_memory {

// Returns the seam, which is stateless and lives for the whole process. A DLL that contains this code stays loaded
// while a thread it started runs. Threads killed by the end of the process count as ended. To join a thread from
// DllMain is a deadlock.
[[nodiscard]] ThreadSystem& WindowsThreadSystem();

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_WINDOWS_THREAD_SYSTEM_H
