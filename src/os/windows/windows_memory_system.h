// The seam over Win32.
#ifndef CLRHM_OS_WINDOWS_WINDOWS_MEMORY_SYSTEM_H
#define CLRHM_OS_WINDOWS_WINDOWS_MEMORY_SYSTEM_H

#include "os/memory_system.h"

namespace clr_host_memory {

// Returns the seam, which lives for the whole process. After the first Load it keeps two handles of the memory
// resource notifications.
[[nodiscard]] MemorySystem& WindowsMemorySystem();

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_WINDOWS_MEMORY_SYSTEM_H
