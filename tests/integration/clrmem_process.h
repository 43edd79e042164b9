// Runs clrmem.exe and other programs as child processes and captures their output.
#ifndef CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H
#define CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "clrhm_test_paths.h"

namespace clrhm_test {

using Environment = std::map<std::string, std::string>;

struct ProcessResult {
  std::uint32_t exit_code = 0;
  bool timed_out = false;
  std::chrono::milliseconds elapsed{};
  std::string out;
  std::string error;
};

struct ProcessSettings {
  // Changes to this process's own environment, in which DOTNET_ROOT names the build's dotnet root. An empty value
  // removes the variable.
  Environment environment;
  std::optional<std::string> input;                             // all of standard input; unset: this process's own
  std::optional<std::string> working_directory;                 // unset: this process's own
  std::chrono::milliseconds timeout = std::chrono::minutes(2);  // terminates the process when it has passed
  // If set, a Ctrl+Break is sent to the process when standard output contains this text. The process then has its own
  // console process group. Requires HasConsole().
  std::string break_after;
  // If set, called with the process's id while it runs. The timeout begins afterwards.
  std::function<void(std::uint32_t id)> meanwhile;
};

// Starts a program with these arguments, quoted as the C run-time splits them, and waits until it ends. Throws
// std::runtime_error if the process cannot be started.
[[nodiscard]] ProcessResult RunProcessWith(const ProcessSettings& settings, const std::string& program,
                                           const std::vector<std::string>& arguments);
[[nodiscard]] ProcessResult RunProcess(const std::string& program, const std::vector<std::string>& arguments,
                                       const Environment& environment = {});
// Runs clrmem in the same way.
[[nodiscard]] ProcessResult RunClrmem(const std::vector<std::string>& arguments, const Environment& environment = {});

// A file name in the temporary folder, unique among the tests. The destructor removes the file.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& extension);
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool exists() const;
  void Write(const std::string& text) const;
  [[nodiscard]] std::string Read() const;

 private:
  std::string path_;
};

// Returns the major version of the Wine that runs this process; 0: Windows.
[[nodiscard]] int WineVersion();
[[nodiscard]] inline bool IsWine() { return WineVersion() != 0; }
// Returns whether this process has a console, allocating one if it lacks one. Ctrl+Break reaches only processes of the
// sender's console.
[[nodiscard]] bool HasConsole();
[[nodiscard]] bool FileExists(const std::string& path);
[[nodiscard]] bool CopyTo(const std::string& from, const std::string& to);
void RemoveFile(const std::string& path);

// A modern runtime in the build's dotnet root, and the programs built for it.
struct Runtime {
  const char* framework;  // "net8.0"
  const char* version;    // "8.0.33"
};
inline constexpr Runtime kNet8{"net8.0", kNet8Version};
inline constexpr Runtime kNet10{"net10.0", kNet10Version};

// Returns a short name for test names, such as "net8".
[[nodiscard]] inline std::string ShortName(const Runtime& runtime) {
  const std::string framework = runtime.framework;
  return framework.substr(0, framework.find('.'));
}
// Returns whether the processor is emulated (get-wine.sh). Then W^X must stay off: the emulation does not notice that
// code is written through a second mapping.
[[nodiscard]] bool IsEmulated();
// Returns whether a program that frees code mapped by W^X survives. Under Wine 8 it is fatal to .NET 10 under every
// host (see LoadAssemblies.cs).
[[nodiscard]] bool FreesMappedCode(const Runtime& runtime);
// Returns the environment for programs that free code: without W^X where the runtime would not survive it.
[[nodiscard]] Environment ForFreeingCode(const Runtime& runtime);
[[nodiscard]] std::string ShapePath(const Runtime& runtime, const std::string& shape);
// Returns the path of the test program clrhm_<name>, linked with the static library, or, in a test's second run
// (RUNS_BOTH), with the DLL.
[[nodiscard]] std::string HostPath(const std::string& name);
[[nodiscard]] std::string ProgramPath(const Runtime& runtime, const std::string& name);
[[nodiscard]] std::string RuntimeFolder(const Runtime& runtime);
// Returns why tests on this runtime cannot run here, or nothing if they can.
[[nodiscard]] std::optional<std::string> WhyNotRunnable(const Runtime& runtime);
// Returns the same for programs of the .NET Framework.
[[nodiscard]] std::optional<std::string> WhyNoNetFramework();

// The result of `clrmem run` with --summary, and the summary's JSON.
struct RunWithSummary {
  ProcessResult process;
  nlohmann::json summary;  // null if no summary was written
};
[[nodiscard]] RunWithSummary RunProgramWith(const ProcessSettings& settings, const std::vector<std::string>& options,
                                            const std::string& program, const std::vector<std::string>& arguments = {});
[[nodiscard]] RunWithSummary RunProgram(const std::vector<std::string>& options, const std::string& program,
                                        const std::vector<std::string>& arguments = {},
                                        const Environment& environment = {});

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H
