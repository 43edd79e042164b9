// Detects that the process is ending.
//
// ExitProcess kills every other thread before it lets modules clean up. A lock that a killed thread held stays held,
// and a call that it was in never returns. So from then on the manager must not wait, lock or free. The OS reclaims
// everything. Threads: any. Takes no lock.
#ifndef CLRHM_OS_WINDOWS_PROCESS_ENDING_H
#define CLRHM_OS_WINDOWS_PROCESS_ENDING_H

namespace clr_host_memory {

// Looks up the function that ProcessIsEnding calls. Idempotent. Called when a manager is made, because the loader
// must not be called while the process ends.
void PrepareProcessIsEnding() noexcept;

// Returns true if ExitProcess has ended all other threads and this is the last one. Returns false before that, and if
// PrepareProcessIsEnding was never called.
[[nodiscard]] bool ProcessIsEnding() noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_PROCESS_ENDING_H
