// Keeps the thread's last error across calls that may change it on success.
#ifndef CLRHM_OS_WINDOWS_LAST_ERROR_SCOPE_H
#define CLRHM_OS_WINDOWS_LAST_ERROR_SCOPE_H

#include <windows.h>

namespace clr_host_memory {

class LastErrorKeeper {
 public:
  LastErrorKeeper() : error_(::GetLastError()) {}
  ~LastErrorKeeper() { ::SetLastError(error_); }
  LastErrorKeeper(const LastErrorKeeper&) = delete;
  LastErrorKeeper& operator=(const LastErrorKeeper&) = delete;

 private:
  DWORD error_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_OS_WINDOWS_LAST_ERROR_SCOPE_H
