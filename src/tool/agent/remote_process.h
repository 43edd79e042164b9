// Runs code in another process: loads DLLs into it and calls their functions, each on a new thread there.
#ifndef CLRHM_TOOL_AGENT_REMOTE_PROCESS_H
#define CLRHM_TOOL_AGENT_REMOTE_PROCESS_H

#include <windows.h>

#include <filesystem>
#include <string>

namespace clr_host_memory::tool {

// A process of this process's user. It may be suspended before its first instruction: the first call then also makes
// its loader ready. Does not own the handle.
class RemoteProcess {
 public:
  // process: a handle with PROCESS_CREATE_THREAD, PROCESS_QUERY_INFORMATION and the PROCESS_VM_ rights.
  explicit RemoteProcess(HANDLE process) noexcept : process_(process) {}

  // Checks that the process has this process's bitness and processor. Throws ToolError otherwise. shown: its name for
  // the error.
  void CheckProcessor(const std::string& shown) const;

  // Checks that it has this process's user and session: the channel can be opened only there. Throws ToolError
  // otherwise.
  void CheckUser(const std::string& shown) const;

  // Loads dll, a full path, and returns the low 32 bits of its address there. Throws ToolError if it cannot be loaded.
  DWORD Load(const std::filesystem::path& dll) const;

  // Calls function(argument) of a dll that Load has loaded, and returns its result. low: what Load returned. The
  // function is a thread's function, exported by name; argument is passed as a pointer to a copy. Throws ToolError if
  // it does not return within the time that clrmem waits.
  [[nodiscard]] DWORD Call(const std::filesystem::path& dll, DWORD low, const char* function,
                           const std::wstring& argument) const;

 private:
  // Runs function(argument) on a new thread there. what: for the error, such as "clrmem-agent.dll cannot be loaded".
  DWORD Run(LPTHREAD_START_ROUTINE function, const std::wstring& argument, const std::string& what) const;
  // Returns whether the process has loaded the same file at the same address as this process.
  [[nodiscard]] bool HasSame(HMODULE own) const;
  // Returns the module of dll whose address ends in these 32 bits; null: there is none.
  [[nodiscard]] HMODULE Find(const std::filesystem::path& dll, DWORD low) const;

  HANDLE process_;
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_AGENT_REMOTE_PROCESS_H
