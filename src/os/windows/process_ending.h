// Whether the process is ending.
//
// ExitProcess kills every other thread before it lets modules clean up. A lock that such a thread held stays held, and
// a call that it was in never returns. So nothing may be waited for, locked or freed from then on; the OS takes all of
// it back. Threads: any. Takes no lock.
#ifndef CLRHM_OS_WINDOWS_PROCESS_ENDING_H
#define CLRHM_OS_WINDOWS_PROCESS_ENDING_H

namespace clr_host_memory {

// Looks up what ProcessIsEnding asks; idempotent. Called when a manager is made: at the end the loader must not be
// asked.
void PrepareProcessIsEnding() noexcept;

// True: this is the last thread, and ExitProcess has ended the others. False before, and without
// PrepareProcessIsEnding.
[[nodiscard]] bool ProcessIsEnding() noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_PROCESS_ENDING_H
