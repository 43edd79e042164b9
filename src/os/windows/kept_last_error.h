// Keeps the thread's last error across calls that may change it.
#ifndef CLRHM_OS_WINDOWS_KEPT_LAST_ERROR_H
#define CLRHM_OS_WINDOWS_KEPT_LAST_ERROR_H

#include <windows.h>

namespace clr_host_memory {

// Restores, at the end of its scope, the last error that the thread had at its begin.
class KeptLastError {
 public:
  KeptLastError() noexcept : error_(::GetLastError()) {}
  ~KeptLastError() { ::SetLastError(error_); }
  KeptLastError(const KeptLastError&) = delete;
  KeptLastError& operator=(const KeptLastError&) = delete;
  [[nodiscard]] DWORD error() const noexcept { return error_; }
  void ReportInstead(DWORD error) noexcept { error_ = error; }

 private:
  DWORD error_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_KEPT_LAST_ERROR_H
