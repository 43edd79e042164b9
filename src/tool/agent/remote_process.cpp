#include "tool/agent/remote_process.h"

#include "tool/hosting/hostfxr_abi.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <psapi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <vector>

namespace clr_host_memory::tool {
namespace {

constexpr DWORD kWaitMilliseconds = 30'000;
constexpr std::size_t kPageSize = 4096;

// What IsWow64Process2 reports: the process's machine, or IMAGE_FILE_MACHINE_UNKNOWN if it is the native one.
struct Machines {
  USHORT process = IMAGE_FILE_MACHINE_UNKNOWN;
  USHORT native = IMAGE_FILE_MACHINE_UNKNOWN;
  bool operator==(const Machines&) const = default;
};

Machines MachinesOf(HANDLE process) {
  Machines machines;
  HMODULE kernel32 = GetModuleHandleW(L"kernel32.dll");
  using IsWow64Process2Function = BOOL(WINAPI*)(HANDLE, USHORT*, USHORT*);
  const auto is_wow64_process2 = FunctionOf<IsWow64Process2Function>(kernel32, "IsWow64Process2");
  if (is_wow64_process2 != nullptr && is_wow64_process2(process, &machines.process, &machines.native)) return machines;
  BOOL is_wow64 = FALSE;
  if (IsWow64Process(process, &is_wow64) && is_wow64) machines.process = IMAGE_FILE_MACHINE_I386;
  return machines;
}

// Returns the user's security identifier as bytes; empty: it cannot be read.
std::vector<std::byte> UserOf(HANDLE process) {
  std::vector<std::byte> user(sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE);
  HANDLE token = nullptr;
  if (!OpenProcessToken(process, TOKEN_QUERY, &token)) return {};
  DWORD size = 0;
  const bool read = GetTokenInformation(token, TokenUser, user.data(), static_cast<DWORD>(user.size()), &size) != 0;
  CloseHandle(token);
  if (!read) return {};
  PSID const sid = reinterpret_cast<const TOKEN_USER*>(user.data())->User.Sid;
  const auto* const bytes = static_cast<const std::byte*>(sid);
  return {bytes, bytes + GetLengthSid(sid)};
}

DWORD LowOf(HMODULE module) { return static_cast<DWORD>(reinterpret_cast<std::uintptr_t>(module)); }

std::string NameOf(const std::filesystem::path& dll) { return ToUtf8(dll.filename()); }

}  // namespace

void RemoteProcess::CheckProcessor(const std::string& shown) const {
  const Machines its = MachinesOf(process_);
  if (its == MachinesOf(GetCurrentProcess())) return;
  const bool is_32_bit = its.process == IMAGE_FILE_MACHINE_I386;
  throw ToolError(shown + (is_32_bit ? " is a 32-bit program" : " is a program for another processor"),
                  is_32_bit ? "use the 32-bit clrmem" : "use the clrmem for it");
}

void RemoteProcess::CheckUser(const std::string& shown) const {
  DWORD its_session = 0;
  DWORD own_session = 0;
  const bool known = ProcessIdToSessionId(GetProcessId(process_), &its_session) != 0 &&
                     ProcessIdToSessionId(GetCurrentProcessId(), &own_session) != 0;
  if (!known || its_session != own_session || UserOf(process_) != UserOf(GetCurrentProcess())) {
    throw ToolError(shown + " runs as another user or in another session",
                    "run clrmem there, or set CLRMEM_OPTIONS before it starts (docs/tool.md)");
  }
}

DWORD RemoteProcess::Load(const std::filesystem::path& dll) const {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(dll, ignored)) {
    throw ToolError(NameOf(dll) + " is not beside clrmem.exe", "install clrmem again");
  }
  // kernel32.dll is at the same place in all processes of one processor.
  HMODULE kernel32 = GetModuleHandleW(L"kernel32.dll");
  const std::string what = NameOf(dll) + " cannot be loaded into the program";
  // The thread's exit code is what LoadLibraryW returned, its low 32 bits.
  const DWORD low = Run(FunctionOf<LPTHREAD_START_ROUTINE>(kernel32, "LoadLibraryW"), dll.native(), what);
  if (low != 0) return low;
  throw ToolError(what, "check that the program's user can read " + ToUtf8(dll) +
                            ", and that no policy of the program forbids DLLs from other makers");
}

DWORD RemoteProcess::Call(const std::filesystem::path& dll, DWORD low, const char* function,
                          const std::wstring& argument) const {
  HMODULE here = LoadLibraryExW(dll.c_str(), nullptr, DONT_RESOLVE_DLL_REFERENCES);
  const auto own = reinterpret_cast<const std::byte*>(FunctionOf<void*>(here, function));
  const std::ptrdiff_t offset = own - reinterpret_cast<const std::byte*>(here);
  // The OS usually loads a DLL at one address in all processes. To look for it takes some 10 ms under Wine.
  HMODULE there = LowOf(here) == low && HasSame(here) ? here : Find(dll, low);
  if (here != nullptr) FreeLibrary(here);
  if (own == nullptr || there == nullptr) throw ToolError(NameOf(dll) + " lacks " + function, "install clrmem again");
  auto* const address = reinterpret_cast<std::byte*>(there) + offset;
  return Run(reinterpret_cast<LPTHREAD_START_ROUTINE>(address), argument, NameOf(dll) + " does not answer");
}

bool RemoteProcess::HasSame(HMODULE own) const {
  std::array<std::byte, kPageSize> headers{};
  SIZE_T read = 0;
  return ReadProcessMemory(process_, own, headers.data(), headers.size(), &read) && read == headers.size() &&
         std::memcmp(headers.data(), own, headers.size()) == 0;
}

DWORD RemoteProcess::Run(LPTHREAD_START_ROUTINE function, const std::wstring& argument, const std::string& what) const {
  const auto fail = [&what](DWORD error) {
    return ToolError(what + ", " + DescribeWin32Error(error), "run clrmem as the program's user, or as administrator");
  };
  const SIZE_T size = (argument.size() + 1) * sizeof(wchar_t);
  void* const copy = VirtualAllocEx(process_, nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (copy == nullptr) throw fail(GetLastError());
  HANDLE thread = nullptr;
  if (WriteProcessMemory(process_, copy, argument.c_str(), size, nullptr)) {
    thread = CreateRemoteThread(process_, nullptr, 0, function, copy, 0, nullptr);
  }
  if (thread == nullptr) {
    const DWORD error = GetLastError();
    VirtualFreeEx(process_, copy, 0, MEM_RELEASE);
    throw fail(error);
  }
  const std::array<HANDLE, 2> ends{thread, process_};
  const DWORD waited = WaitForMultipleObjects(2, ends.data(), FALSE, kWaitMilliseconds);
  DWORD result = 0;
  GetExitCodeThread(thread, &result);
  CloseHandle(thread);
  // A thread that has not returned still needs the copy.
  if (waited != WAIT_OBJECT_0) {
    throw ToolError(what + (waited == WAIT_OBJECT_0 + 1 ? ": the program has ended" : " within 30 s"),
                    "see whether the program runs without clrmem");
  }
  VirtualFreeEx(process_, copy, 0, MEM_RELEASE);
  return result;
}

HMODULE RemoteProcess::Find(const std::filesystem::path& dll, DWORD low) const {
  std::vector<HMODULE> modules(256);
  DWORD needed = 0;
  for (;;) {
    const auto size = static_cast<DWORD>(modules.size() * sizeof(HMODULE));
    if (!EnumProcessModules(process_, modules.data(), size, &needed)) return nullptr;
    const bool fits = needed <= size;
    modules.resize(needed / sizeof(HMODULE));
    if (fits) break;
  }
  std::vector<wchar_t> path(32768);
  for (HMODULE module : modules) {
    if (LowOf(module) != low) continue;
    const DWORD length = GetModuleFileNameExW(process_, module, path.data(), static_cast<DWORD>(path.size()));
    std::error_code ignored;
    if (std::filesystem::equivalent(std::wstring_view(path.data(), length), dll, ignored)) return module;
  }
  return nullptr;
}

}  // namespace clr_host_memory::tool
