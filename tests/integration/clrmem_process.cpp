#include "integration/clrmem_process.h"

#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cwchar>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "clrhm_test_paths.h"
#include "tool/hosting/net_framework.h"
#include "tool/text/text.h"

namespace clrhm_test {
namespace {

using clr_host_memory::tool::ToUtf8;
using clr_host_memory::tool::ToWide;

// Quotes an argument as CommandLineToArgvW and the C run-time unquote it: a backslash is an escape only before a
// quotation mark.
std::string Quoted(const std::string& argument) {
  std::string quoted = "\"";
  std::size_t backslashes = 0;
  for (const char c : argument) {
    if (c == '"') quoted.append(backslashes + 1, '\\');
    backslashes = c == '\\' ? backslashes + 1 : 0;
    quoted += c;
  }
  return quoted.append(backslashes, '\\') + "\"";
}

// Returns this process's environment with the changes applied, sorted, in the format of CreateProcessW.
std::wstring EnvironmentBlock(const Environment& changes) {
  std::map<std::wstring, std::wstring> variables;
  wchar_t* own = GetEnvironmentStringsW();
  for (const wchar_t* at = own; *at != L'\0'; at += std::wcslen(at) + 1) {
    const std::wstring entry = at;
    const std::size_t equals = entry.find(L'=', 1);
    if (equals != std::wstring::npos) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  FreeEnvironmentStringsW(own);
  for (const auto& [name, value] : changes) {
    if (value.empty()) {
      variables.erase(ToWide(name));
    } else {
      variables[ToWide(name)] = ToWide(value);
    }
  }
  std::wstring block;
  for (const auto& [name, value] : variables) block += name + L"=" + value + L'\0';
  return block + L'\0';
}

class Pipe {
 public:
  Pipe() {
    SECURITY_ATTRIBUTES inheritable{sizeof(inheritable), nullptr, TRUE};
    if (!CreatePipe(&read_, &write_, &inheritable, 0)) throw std::runtime_error("CreatePipe failed");
    SetHandleInformation(read_, HANDLE_FLAG_INHERIT, 0);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    CloseWriteEnd();
    CloseReadEnd();
  }
  // Makes the read end inheritable instead of the write end, for a child's standard input.
  void InheritReadEnd() {
    SetHandleInformation(read_, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    SetHandleInformation(write_, HANDLE_FLAG_INHERIT, 0);
  }
  [[nodiscard]] HANDLE read_end() const { return read_; }
  [[nodiscard]] HANDLE write_end() const { return write_; }
  void CloseReadEnd() {
    if (read_ != nullptr) CloseHandle(std::exchange(read_, nullptr));
  }
  void CloseWriteEnd() {
    if (write_ != nullptr) CloseHandle(std::exchange(write_, nullptr));
  }
  // Reads to the end of the pipe. Calls so_far with the whole text after each piece.
  template <typename SoFar>
  [[nodiscard]] std::string ReadAll(const SoFar& so_far) const {
    std::string text;
    std::array<char, 4096> buffer;
    DWORD length = 0;
    while (ReadFile(read_, buffer.data(), static_cast<DWORD>(buffer.size()), &length, nullptr) && length != 0) {
      text.append(buffer.data(), length);
      so_far(text);
    }
    return text;
  }
  // Writes until all is written or the other end is closed.
  void WriteAll(const std::string& text) const {
    DWORD written = 0;
    for (std::size_t at = 0; at < text.size(); at += written) {
      const auto rest = static_cast<DWORD>(std::min<std::size_t>(text.size() - at, 1 << 20));
      if (!WriteFile(write_, text.data() + at, rest, &written, nullptr) || written == 0) return;
    }
  }

 private:
  HANDLE read_ = nullptr;
  HANDLE write_ = nullptr;
};

}  // namespace

ProcessResult RunClrmem(const std::vector<std::string>& arguments, const Environment& environment) {
  return RunProcess(kClrmemPath, arguments, environment);
}

ProcessResult RunProcess(const std::string& program, const std::vector<std::string>& arguments,
                         const Environment& environment) {
  ProcessSettings settings;
  settings.environment = environment;
  return RunProcessWith(settings, program, arguments);
}

ProcessResult RunProcessWith(const ProcessSettings& settings, const std::string& program,
                             const std::vector<std::string>& arguments) {
  std::string command_line = Quoted(program);
  for (const std::string& argument : arguments) command_line += " " + Quoted(argument);
  std::wstring wide_command_line = ToWide(command_line);

  // Under Wine, a debugger would take over crashing programs and end them with its own exit code.
  Environment variables{{"DOTNET_ROOT", kDotnetRoot}, {"WINEDLLOVERRIDES", "mshtml=;winedbg.exe=d"}};
  for (const auto& [name, value] : settings.environment) variables[name] = value;
  std::wstring block = EnvironmentBlock(variables);

  Pipe in;
  in.InheritReadEnd();
  Pipe out;
  Pipe error;
  STARTUPINFOW startup{};
  startup.cb = sizeof(startup);
  startup.dwFlags = STARTF_USESTDHANDLES;
  startup.hStdInput = settings.input ? in.read_end() : GetStdHandle(STD_INPUT_HANDLE);
  startup.hStdOutput = out.write_end();
  startup.hStdError = error.write_end();
  PROCESS_INFORMATION process{};
  const std::wstring directory = ToWide(settings.working_directory.value_or(""));
  const DWORD group = settings.break_after.empty() ? 0 : CREATE_NEW_PROCESS_GROUP;
  const auto started_at = std::chrono::steady_clock::now();
  {
    // A child inherits all inheritable handles. A child that another thread starts now would keep these pipes open.
    static std::mutex starting;
    const std::lock_guard lock(starting);
    const auto start = [&] {
      return CreateProcessW(ToWide(program).c_str(), wide_command_line.data(), nullptr, nullptr, TRUE,
                            CREATE_UNICODE_ENVIRONMENT | group, block.data(),
                            settings.working_directory ? directory.c_str() : nullptr, &startup, &process) != FALSE;
    };
    // Wine's loader needs fixed addresses, and the kernel ends a new process that cannot have them: about one in a
    // thousand.
    const auto is_bad_luck = [] { return IsWine() && GetLastError() == ERROR_INTERNAL_ERROR; };
    if (!start() && !(is_bad_luck() && start())) {
      throw std::runtime_error("cannot start " + program + ", error " + std::to_string(GetLastError()));
    }
    out.CloseWriteEnd();
    error.CloseWriteEnd();
  }
  CloseHandle(process.hThread);
  in.CloseReadEnd();

  ProcessResult result;
  {
    bool broken = settings.break_after.empty();
    std::jthread out_reader([&] {
      result.out = out.ReadAll([&](const std::string& text) {
        if (broken || text.find(settings.break_after) == std::string::npos) return;
        broken = true;
        GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, process.dwProcessId);
      });
    });
    std::jthread error_reader([&] { result.error = error.ReadAll([](const std::string&) {}); });
    std::jthread in_writer([&] {
      if (settings.input) in.WriteAll(*settings.input);
      in.CloseWriteEnd();
    });
    if (settings.meanwhile) settings.meanwhile(process.dwProcessId);
    const auto timeout = static_cast<DWORD>(settings.timeout.count());
    if (WaitForSingleObject(process.hProcess, timeout) != WAIT_OBJECT_0) {
      result.timed_out = true;
      TerminateProcess(process.hProcess, 99);
      WaitForSingleObject(process.hProcess, INFINITE);
    }
    result.elapsed =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_at);
  }
  DWORD exit_code = 0;
  GetExitCodeProcess(process.hProcess, &exit_code);
  CloseHandle(process.hProcess);
  result.exit_code = exit_code;
  return result;
}

TemporaryFile::TemporaryFile(const std::string& extension) {
  static std::atomic<int> count{0};
  const std::string name = "clrhm-" + std::to_string(GetCurrentProcessId()) + "-" + std::to_string(++count) + extension;
  path_ = ToUtf8(std::filesystem::temp_directory_path() / ToWide(name));
}

TemporaryFile::~TemporaryFile() { RemoveFile(path_); }

bool TemporaryFile::exists() const { return FileExists(path_); }

bool HasConsole() { return GetConsoleCP() != 0 || AllocConsole(); }

int WineVersion() {
  using GetVersion = const char*(__cdecl*)();
  const auto get = reinterpret_cast<GetVersion>(
      reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version")));
  return get == nullptr ? 0 : std::stoi(get());
}

bool FileExists(const std::string& path) { return GetFileAttributesW(ToWide(path).c_str()) != INVALID_FILE_ATTRIBUTES; }

bool CopyTo(const std::string& from, const std::string& to) {
  return CopyFileW(ToWide(from).c_str(), ToWide(to).c_str(), FALSE) != FALSE;
}

void RemoveFile(const std::string& path) { DeleteFileW(ToWide(path).c_str()); }

void TemporaryFile::Write(const std::string& text) const {
  std::ofstream file(std::filesystem::path(ToWide(path_)), std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path_);
}

std::string TemporaryFile::Read() const {
  std::ifstream file(std::filesystem::path(ToWide(path_)), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string HostPath(const std::string& name) {
  const char* const flavour = std::getenv("CLRHM_FLAVOUR");
  return std::string(kBinDirectory) + "\\clrhm_" + name + (flavour != nullptr ? flavour : "") + ".exe";
}

std::string ProgramPath(const Runtime& runtime, const std::string& name) {
  return std::string(kProgramsDirectory) + "\\" + runtime.framework + "\\" + name + "\\" + name + ".dll";
}

bool IsEmulated() { return GetEnvironmentVariableW(L"CLRHM_EMULATED", nullptr, 0) != 0; }

bool FreesMappedCode(const Runtime& runtime) {
  const bool wine_8 = IsWine() && WineVersion() < 10;
  return !wine_8 || std::string(runtime.framework) != kNet10.framework;
}

Environment ForFreeingCode(const Runtime& runtime) {
  return FreesMappedCode(runtime) ? Environment{} : Environment{{"DOTNET_EnableWriteXorExecute", "0"}};
}

std::string ShapePath(const Runtime& runtime, const std::string& shape) {
  const std::string name = shape == "RenamedAppHost" ? "Renamed" : "AllocateUntilOom";
  return std::string(kProgramsDirectory) + "\\" + runtime.framework + "\\shapes\\" + shape + "\\" + name + ".exe";
}

std::string RuntimeFolder(const Runtime& runtime) {
  return std::string(kDotnetRoot) + "\\shared\\Microsoft.NETCore.App\\" + runtime.version;
}

std::optional<std::string> WhyNotRunnable(const Runtime& runtime) {
  for (const std::string& file : {RuntimeFolder(runtime) + "\\coreclr.dll", ProgramPath(runtime, "Hello")}) {
    if (!FileExists(file)) {
      return "no " + file + "; cmake -P cmake/test.cmake installs it if there is a .NET SDK";
    }
  }
  return std::nullopt;
}

std::optional<std::string> WhyNoNetFramework() {
  if (clr_host_memory::tool::InstalledNetFrameworks().empty()) {
    return "needs Windows with the .NET Framework 4.x; the Windows jobs of .github/workflows/ci.yml run it";
  }
  return std::nullopt;
}

RunWithSummary RunProgram(const std::vector<std::string>& options, const std::string& program,
                          const std::vector<std::string>& arguments, const Environment& environment) {
  ProcessSettings settings;
  settings.environment = environment;
  return RunProgramWith(settings, options, program, arguments);
}

RunWithSummary RunProgramWith(const ProcessSettings& settings, const std::vector<std::string>& options,
                              const std::string& program, const std::vector<std::string>& arguments) {
  const TemporaryFile file(".json");
  std::vector<std::string> all{"run", "--summary", file.path()};
  all.insert(all.end(), options.begin(), options.end());
  all.push_back(program);
  all.insert(all.end(), arguments.begin(), arguments.end());
  RunWithSummary run;
  run.process = RunProcessWith(settings, kClrmemPath, all);
  if (file.exists()) run.summary = nlohmann::json::parse(file.Read());
  return run;
}

}  // namespace clrhm_test
