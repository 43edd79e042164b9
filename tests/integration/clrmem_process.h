// Runs clrmem.exe as a user does, and captures what it says.
#ifndef CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H
#define CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

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
  // Added to this process's own, with DOTNET_ROOT at the build's dotnet root; an empty value stands for a variable that
  // is not set.
  Environment environment;
  std::optional<std::string> input;              // what standard input has, to its end; none: this process's own
  std::optional<std::string> working_directory;  // none: this process's own
  std::chrono::milliseconds timeout = std::chrono::minutes(2);  // then the process is terminated
  // Once standard output has this text, a Ctrl+Break is sent to the process, which has a console process group of its
  // own then; needs HasConsole(). Empty: nothing of the kind.
  std::string break_after;
};

// Starts a program with these arguments, quoted as the C run-time splits them, and waits for its end. Throws
// std::runtime_error when the process cannot be started.
[[nodiscard]] ProcessResult RunProcessWith(const ProcessSettings& settings, const std::string& program,
                                           const std::vector<std::string>& arguments);
[[nodiscard]] ProcessResult RunProcess(const std::string& program, const std::vector<std::string>& arguments,
                                       const Environment& environment = {});
// The same for clrmem.
[[nodiscard]] ProcessResult RunClrmem(const std::vector<std::string>& arguments, const Environment& environment = {});

// A file name in the temporary folder that no other test uses; the file is removed at the end.
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

[[nodiscard]] bool IsWine();
// Whether this process has a console, or could make one: Ctrl+Break goes to processes of one's own console.
[[nodiscard]] bool HasConsole();
[[nodiscard]] bool FileExists(const std::string& path);
[[nodiscard]] bool CopyTo(const std::string& from, const std::string& to);
void RemoveFile(const std::string& path);

// A modern runtime that the build has, and the programs built for it.
struct Runtime {
  const char* framework;  // "net8.0"
  const char* version;    // "8.0.33"
};
inline constexpr Runtime kNet8{"net8.0", "8.0.33"};
inline constexpr Runtime kNet10{"net10.0", "10.0.14"};

// "net8", for names of tests.
[[nodiscard]] inline std::string ShortName(const Runtime& runtime) {
  const std::string framework = runtime.framework;
  return framework.substr(0, framework.find('.'));
}
[[nodiscard]] std::string ProgramPath(const Runtime& runtime, const std::string& name);
[[nodiscard]] std::string RuntimeFolder(const Runtime& runtime);
// Why tests on this runtime cannot run here; none: they can.
[[nodiscard]] std::optional<std::string> WhyNotRunnable(const Runtime& runtime);
// The same for programs of the .NET Framework.
[[nodiscard]] std::optional<std::string> WhyNoNetFramework();

// `clrmem run` with --summary: the result and the JSON.
struct RunWithSummary {
  ProcessResult process;
  nlohmann::json summary;  // null when none was written
};
[[nodiscard]] RunWithSummary RunProgramWith(const ProcessSettings& settings, const std::vector<std::string>& options,
                                            const std::string& program, const std::vector<std::string>& arguments = {});
[[nodiscard]] RunWithSummary RunProgram(const std::vector<std::string>& options, const std::string& program,
                                        const std::vector<std::string>& arguments = {},
                                        const Environment& environment = {});

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_INTEGRATION_CLRMEM_PROCESS_H
