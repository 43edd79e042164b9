#include "tool/program/runtime_locator.h"

#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cwchar>
#include <system_error>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

#if defined(_M_ARM64) || defined(__aarch64__)
constexpr const wchar_t* kArchitecture = L"arm64";
constexpr const wchar_t* kRootVariable = L"DOTNET_ROOT_ARM64";
#elif defined(_M_IX86) || defined(__i386__)
constexpr const wchar_t* kArchitecture = L"x86";
constexpr const wchar_t* kRootVariable = L"DOTNET_ROOT_X86";
#else
constexpr const wchar_t* kArchitecture = L"x64";
constexpr const wchar_t* kRootVariable = L"DOTNET_ROOT_X64";
#endif

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool IsNumber(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    pieces.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return pieces;
}

std::strong_ordering ComparePrereleasePiece(const std::string& left, const std::string& right) {
  const bool left_number = IsNumber(left);
  const bool right_number = IsNumber(right);
  if (left_number && right_number) return std::stoull(left) <=> std::stoull(right);
  if (left_number != right_number) return left_number ? std::strong_ordering::less : std::strong_ordering::greater;
  return left.compare(right) <=> 0;
}

std::vector<fs::path> Subfolders(const fs::path& parent) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored)) folders.push_back(it->path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::wstring RegisteredRoot() {
  // The installer writes to the 32-bit registry view on every architecture.
  const std::wstring key = std::wstring(L"SOFTWARE\\dotnet\\Setup\\InstalledVersions\\") + kArchitecture;
  std::array<wchar_t, 1024> value{};
  auto size = static_cast<DWORD>(sizeof(value));
  const LSTATUS status = RegGetValueW(HKEY_LOCAL_MACHINE, key.c_str(), L"InstallLocation",
                                      RRF_RT_REG_SZ | RRF_SUBKEY_WOW6432KEY, nullptr, value.data(), &size);
  return status == ERROR_SUCCESS ? std::wstring(value.data()) : std::wstring();
}

// Returns a file's version resource; empty if the file has no such resource.
std::vector<char> ReadVersionResource(const fs::path& file) {
  DWORD handle = 0;
  const DWORD size = GetFileVersionInfoSizeW(file.c_str(), &handle);
  std::vector<char> block(size);
  if (size == 0 || !GetFileVersionInfoW(file.c_str(), 0, size, block.data())) return {};
  return block;
}

// Returns the product version of one of .NET's assemblies, from the first language of its version resource. Returns
// "8.0.33" for "8.0.33+<commit>" and for "8.0.33-servicing.<build>+<commit>", which is the release as well. Returns
// an empty text if the resource has no product version.
std::string ProductVersion(const std::vector<char>& block) {
  if (block.empty()) return {};
  struct Translation {
    WORD language;
    WORD code_page;
  };
  void* translation = nullptr;
  UINT length = 0;
  if (!VerQueryValueW(block.data(), L"\\VarFileInfo\\Translation", &translation, &length) ||
      length < sizeof(Translation)) {
    return {};
  }
  const auto* const first = static_cast<const Translation*>(translation);
  std::array<wchar_t, 64> name{};
  std::swprintf(name.data(), name.size(), L"\\StringFileInfo\\%04x%04x\\ProductVersion", first->language,
                first->code_page);
  void* value = nullptr;
  if (!VerQueryValueW(block.data(), name.data(), &value, &length) || length == 0) return {};
  const std::string text = ToUtf8(std::wstring_view(static_cast<const wchar_t*>(value)));
  return text.substr(0, std::min(text.find('+'), text.find("-servicing.")));
}

}  // namespace

std::optional<RuntimeVersion> ParseRuntimeVersion(std::string_view text) {
  text = text.substr(0, text.find('+'));
  const std::size_t dash = text.find('-');
  RuntimeVersion version;
  for (const std::string& piece : Split(text.substr(0, dash), '.')) {
    if (!IsNumber(piece)) return std::nullopt;
    version.numbers.push_back(std::stoull(piece));
  }
  if (version.numbers.size() < 2) return std::nullopt;
  if (dash != std::string_view::npos) version.prerelease = Split(text.substr(dash + 1), '.');
  return version;
}

std::strong_ordering CompareVersions(const RuntimeVersion& left, const RuntimeVersion& right) {
  if (const auto order = left.numbers <=> right.numbers; order != 0) return order;
  if (left.prerelease.empty() || right.prerelease.empty()) return right.prerelease.size() <=> left.prerelease.size();
  return std::lexicographical_compare_three_way(left.prerelease.begin(), left.prerelease.end(),
                                                right.prerelease.begin(), right.prerelease.end(),
                                                ComparePrereleasePiece);
}

std::optional<fs::path> NewestVersionFolder(const fs::path& parent) {
  std::optional<fs::path> newest;
  RuntimeVersion newest_version;
  for (const fs::path& folder : Subfolders(parent)) {
    auto version = ParseRuntimeVersion(ToUtf8(folder.filename()));
    if (!version) continue;
    if (newest && CompareVersions(*version, newest_version) <= 0) continue;
    newest = folder;
    newest_version = std::move(*version);
  }
  return newest;
}

std::vector<PlaceLookedAt> DotnetRootCandidates() {
  std::vector<PlaceLookedAt> places;
  const auto add = [&](const std::wstring& path, const std::string& source) {
    if (!path.empty()) places.push_back({fs::path(path).lexically_normal(), source});
  };
  add(EnvironmentVariable(kRootVariable), ToUtf8(std::wstring_view(kRootVariable)));
  add(EnvironmentVariable(L"DOTNET_ROOT"), "DOTNET_ROOT");
  add(RegisteredRoot(), "the registry");
  const std::wstring program_files = EnvironmentVariable(L"ProgramFiles");
  if (!program_files.empty()) add(program_files + L"\\dotnet", "Program Files");
  return places;
}

std::optional<DotnetRoot> AsDotnetRoot(const PlaceLookedAt& place) {
  const auto fxr = NewestVersionFolder(place.path / "host" / "fxr");
  if (!fxr || !IsFile(*fxr / "hostfxr.dll")) return std::nullopt;
  return DotnetRoot{place.path, place.source, *fxr / "hostfxr.dll"};
}

std::optional<DotnetRoot> AsSelfContainedApp(const fs::path& app_folder) {
  const fs::path hostfxr = app_folder / "hostfxr.dll";
  if (!IsFile(hostfxr) || !IsRuntimeFolder(app_folder)) return std::nullopt;
  return DotnetRoot{app_folder, "the app's own", hostfxr};
}

bool IsRuntimeFolder(const fs::path& folder) {
  return IsFile(folder / "coreclr.dll") && IsFile(folder / "System.Private.CoreLib.dll");
}

ModernRuntime ChooseModernRuntime(const std::string& option) {
  ModernRuntime runtime;
  if (option != "auto") {
    std::error_code error;
    // coreclr accepts no slashes in the paths of its properties.
    const fs::path path = fs::absolute(fs::path(ToWide(option)), error).lexically_normal();
    if (error || !fs::is_directory(path, error)) {
      throw ToolError("--runtime " + option + " is not a folder",
                      "give a dotnet root or a runtime folder, or remove --runtime");
    }
    if (IsRuntimeFolder(path)) {
      runtime.folder = path;
      return runtime;
    }
    runtime.root = AsDotnetRoot({path, "--runtime"});
    if (!runtime.root) {
      throw ToolError(
          "--runtime " + option +
              " is neither a dotnet root, which has host\\fxr\\<version>\\hostfxr.dll, nor a runtime folder, "
              "which has coreclr.dll and System.Private.CoreLib.dll",
          "give a folder of one of the two kinds");
    }
    return runtime;
  }
  std::string looked_at;
  for (const PlaceLookedAt& place : DotnetRootCandidates()) {
    runtime.root = AsDotnetRoot(place);
    if (runtime.root) return runtime;
    looked_at += (looked_at.empty() ? "" : ", ") + ToUtf8(place.path) + " (" + place.source + ")";
  }
  throw ToolError(
      "no .NET runtime was found" +
          (looked_at.empty() ? ": DOTNET_ROOT is not set, and no location is registered" : " in " + looked_at),
      "install .NET, set DOTNET_ROOT, or name a dotnet root with --runtime");
}

std::string VersionOfRuntimeFile(const fs::path& coreclr) {
  const std::string folder = ToUtf8(coreclr.parent_path().filename());
  if (ParseRuntimeVersion(folder)) return folder;
  const std::string product = ProductVersion(ReadVersionResource(coreclr.parent_path() / "System.Private.CoreLib.dll"));
  if (ParseRuntimeVersion(product)) return product;
  const std::uint64_t version = FileVersionOf(coreclr);
  if (version == 0) return "of unknown version";
  return std::to_string(version >> 48) + "." + std::to_string(version >> 32 & 0xFFFF) + "." +
         std::to_string(version >> 16 & 0xFFFF);
}

std::uint64_t FileVersionOf(const fs::path& file) {
  std::vector<char> block = ReadVersionResource(file);
  VS_FIXEDFILEINFO* info = nullptr;
  UINT length = 0;
  if (block.empty() || !VerQueryValueW(block.data(), L"\\", reinterpret_cast<void**>(&info), &length)) return 0;
  return std::uint64_t{info->dwFileVersionMS} << 32 | info->dwFileVersionLS;
}

std::vector<InstalledRuntime> InstalledRuntimes(const DotnetRoot& root) {
  std::vector<InstalledRuntime> runtimes;
  for (const fs::path& framework : Subfolders(root.path / "shared")) {
    std::vector<fs::path> versions = Subfolders(framework);
    // Folders whose names are no versions come first.
    std::stable_sort(versions.begin(), versions.end(), [](const fs::path& left, const fs::path& right) {
      const auto of_left = ParseRuntimeVersion(ToUtf8(left.filename()));
      const auto of_right = ParseRuntimeVersion(ToUtf8(right.filename()));
      if (!of_left || !of_right) return !of_left && of_right.has_value();
      return CompareVersions(*of_left, *of_right) < 0;
    });
    for (const fs::path& version : versions) {
      runtimes.push_back({ToUtf8(framework.filename()), ToUtf8(version.filename()), version});
    }
  }
  return runtimes;
}

}  // namespace clr_host_memory::tool
