// Where the modern .NET runtimes of this machine are, in the order that Microsoft's own hosts look.
#ifndef CLRHM_TOOL_PROGRAM_RUNTIME_LOCATOR_H
#define CLRHM_TOOL_PROGRAM_RUNTIME_LOCATOR_H

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

// "10.0.14" or "10.0.0-rc.1.25451.107": ordered as semantic versions, a prerelease before its release.
struct RuntimeVersion {
  std::vector<std::uint64_t> numbers;
  std::vector<std::string> prerelease;
};
[[nodiscard]] std::optional<RuntimeVersion> ParseRuntimeVersion(std::string_view text);
[[nodiscard]] std::strong_ordering CompareVersions(const RuntimeVersion& left, const RuntimeVersion& right);

// The subfolder of parent whose name is the highest version; none: parent has no such folder.
[[nodiscard]] std::optional<std::filesystem::path> NewestVersionFolder(const std::filesystem::path& parent);

struct PlaceLookedAt {
  std::filesystem::path path;
  std::string source;  // "--runtime", "DOTNET_ROOT", "registry", "Program Files"
};

// The places a dotnet root may be at, most specific first; nothing is said of whether they exist.
[[nodiscard]] std::vector<PlaceLookedAt> DotnetRootCandidates();

// A dotnet root: a folder with host\fxr\<version>\hostfxr.dll.
struct DotnetRoot {
  std::filesystem::path path;
  std::string source;
  std::filesystem::path hostfxr;  // of the newest version there
};
[[nodiscard]] std::optional<DotnetRoot> AsDotnetRoot(const PlaceLookedAt& place);
// What stands for it where an app was published self-contained: the app's folder, with its own hostfxr.dll and runtime.
[[nodiscard]] std::optional<DotnetRoot> AsSelfContainedApp(const std::filesystem::path& app_folder);

// A folder that coreclr_initialize can be used with: coreclr.dll and System.Private.CoreLib.dll are in it.
[[nodiscard]] bool IsRuntimeFolder(const std::filesystem::path& folder);

// What --runtime chose for a program of modern .NET: either member, never both.
struct ModernRuntime {
  std::optional<DotnetRoot> root;
  std::optional<std::filesystem::path> folder;
};
// option is "auto" or a path. Throws ToolError, which says where was looked.
[[nodiscard]] ModernRuntime ChooseModernRuntime(const std::string& option);

// The runtime a coreclr.dll belongs to: its folder's name where that is a version, else what System.Private.CoreLib.dll
// beside it says of itself, else the file's own version.
[[nodiscard]] std::string VersionOfRuntimeFile(const std::filesystem::path& coreclr);

// Every shared runtime below a root: "Microsoft.NETCore.App 8.0.33" and its folder.
struct InstalledRuntime {
  std::string name;
  std::string version;
  std::filesystem::path folder;
};
[[nodiscard]] std::vector<InstalledRuntime> InstalledRuntimes(const DotnetRoot& root);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_RUNTIME_LOCATOR_H
