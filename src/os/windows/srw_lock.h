// A lock for code that runs only on Windows.
#ifndef CLRHM_OS_WINDOWS_SRW_LOCK_H
#define CLRHM_OS_WINDOWS_SRW_LOCK_H

#include <windows.h>

namespace clr_host_memory {

// An exclusive slim reader/writer lock of Win32. Use it with std::lock_guard or std::unique_lock. A static lock is
// constant-initialised and never destroyed. The lock is not recursive. Its functions never throw.
class SrwLock {
 public:
  constexpr SrwLock() noexcept = default;
  SrwLock(const SrwLock&) = delete;
  SrwLock& operator=(const SrwLock&) = delete;

  void lock() noexcept { ::AcquireSRWLockExclusive(&lock_); }
  [[nodiscard]] bool try_lock() noexcept { return ::TryAcquireSRWLockExclusive(&lock_) != FALSE; }
  void unlock() noexcept { ::ReleaseSRWLockExclusive(&lock_); }

  // Waits until condition is woken, but at most milliseconds, INFINITE for no limit; may return early. Called under
  // the lock, which it releases while it waits.
  void Wait(CONDITION_VARIABLE& condition, DWORD milliseconds) noexcept {
    ::SleepConditionVariableSRW(&condition, &lock_, milliseconds, 0);
  }

 private:
  SRWLOCK lock_ = SRWLOCK_INIT;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_SRW_LOCK_H
