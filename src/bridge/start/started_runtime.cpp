#include "bridge/start/started_runtime.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/patch/module_files.h"
#include "bridge/start/linked_runtime.h"

namespace clr_host_memory {
namespace {

constexpr wchar_t kCoreLibrary[] = L"System.Private.CoreLib.dll";
constexpr wchar_t kRuntime[] = L"coreclr.dll";

std::wstring FolderOf(HMODULE module) {
  std::wstring path = ModulePath(module);
  path.resize(path.size() - BaseName(path).size());
  return path;
}

// Returns whether the PE image has a header for the CLR. Assemblies for any processor have 32-bit headers on every
// platform.
bool HasClrHeader(HMODULE module) noexcept {
  const auto* const base = reinterpret_cast<const std::byte*>(module);
  IMAGE_DOS_HEADER dos;
  std::memcpy(&dos, base, sizeof(dos));
  if (dos.e_magic != IMAGE_DOS_SIGNATURE) return false;
  IMAGE_NT_HEADERS32 narrow;
  std::memcpy(&narrow, base + dos.e_lfanew, sizeof(narrow));
  if (narrow.Signature != IMAGE_NT_SIGNATURE) return false;
  constexpr DWORD kClr = IMAGE_DIRECTORY_ENTRY_COM_DESCRIPTOR;
  const auto has = [](const auto& header) {
    return header.NumberOfRvaAndSizes > kClr && header.DataDirectory[kClr].VirtualAddress != 0;
  };
  if (narrow.OptionalHeader.Magic == IMAGE_NT_OPTIONAL_HDR32_MAGIC) return has(narrow.OptionalHeader);
  IMAGE_NT_HEADERS64 wide;
  std::memcpy(&wide, base + dos.e_lfanew, sizeof(wide));
  return wide.OptionalHeader.Magic == IMAGE_NT_OPTIONAL_HDR64_MAGIC && has(wide.OptionalHeader);
}

}  // namespace

bool HasBegunToStart(HMODULE coreclr) {
  const std::vector<HMODULE> libraries = LoadedModulesNamed(kCoreLibrary);
  if (libraries.empty()) return false;
  const std::vector<HMODULE> runtimes = LoadedModulesNamed(kRuntime);
  return std::any_of(libraries.begin(), libraries.end(), [&](HMODULE library) {
    const std::wstring folder = FolderOf(library);
    if (SameName(folder, FolderOf(coreclr))) return true;
    return std::none_of(runtimes.begin(), runtimes.end(),
                        [&](HMODULE runtime) { return SameName(folder, FolderOf(runtime)); });
  });
}

bool IsAssemblyOfProgram(HMODULE module) {
  return HasClrHeader(module) && !SameName(BaseName(ModulePath(module)), kCoreLibrary);
}

unsigned MajorVersionOf(HMODULE module) noexcept {
  // The .exe's own version is the program's.
  if (HasLinkedRuntime(module)) return static_cast<unsigned>(LinkedRuntimeVersion(module)[0]);
  HRSRC found = FindResourceW(module, MAKEINTRESOURCEW(VS_VERSION_INFO), MAKEINTRESOURCEW(16));  // RT_VERSION
  HGLOBAL loaded = found == nullptr ? nullptr : LoadResource(module, found);
  const auto* const block = static_cast<const std::byte*>(loaded == nullptr ? nullptr : LockResource(loaded));
  // VS_VERSIONINFO: three words, its name with the terminator, and padding precede VS_FIXEDFILEINFO.
  constexpr std::size_t kHeader = 3 * sizeof(WORD) + sizeof(L"VS_VERSION_INFO") + sizeof(WORD);
  static_assert(kHeader % sizeof(DWORD) == 0);
  VS_FIXEDFILEINFO info;
  if (block == nullptr || SizeofResource(module, found) < kHeader + sizeof(info)) return 0;
  std::memcpy(&info, block + kHeader, sizeof(info));
  return info.dwSignature == VS_FFI_SIGNATURE ? HIWORD(info.dwFileVersionMS) : 0;
}

}  // namespace clr_host_memory
