// Finds the modern .NET runtimes of this machine, in the search order of Microsoft's own hosts.
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

// A runtime version: "10.0.14" or "10.0.0-rc.1.25451.107". Ordered as semantic versions: a prerelease precedes its
// release.
struct RuntimeVersion {
  std::vector<std::uint64_t> numbers;
  std::vector<std::string> prerelease;
};
[[nodiscard]] std::optional<RuntimeVersion> ParseRuntimeVersion(std::string_view text);
[[nodiscard]] std::strong_ordering CompareVersions(const RuntimeVersion& left, const RuntimeVersion& right);

// Returns the subfolder of parent whose name is the highest version; nothing if no subfolder is named by a version.
[[nodiscard]] std::optional<std::filesystem::path> NewestVersionFolder(const std::filesystem::path& parent);

struct PlaceLookedAt {
  std::filesystem::path path;
  std::string source;  // "--runtime", "DOTNET_ROOT", "the registry", "Program Files"
};

// Returns the places where a dotnet root may be, most specific first. The places may not exist.
[[nodiscard]] std::vector<PlaceLookedAt> DotnetRootCandidates();

// A dotnet root: a folder with host\fxr\<version>\hostfxr.dll.
struct DotnetRoot {
  std::filesystem::path path;
  std::string source;
  std::filesystem::path hostfxr;  // the file of the newest version there
};
[[nodiscard]] std::optional<DotnetRoot> AsDotnetRoot(const PlaceLookedAt& place);
// Returns the app's folder as a root, if the app was published self-contained: the folder has its own hostfxr.dll and
// runtime.
[[nodiscard]] std::optional<DotnetRoot> AsSelfContainedApp(const std::filesystem::path& app_folder);

// Whether coreclr_initialize can use this folder: it holds coreclr.dll and System.Private.CoreLib.dll.
[[nodiscard]] bool IsRuntimeFolder(const std::filesystem::path& folder);

// The runtime that --runtime chose for a modern .NET program. Exactly one member is set.
struct ModernRuntime {
  std::optional<DotnetRoot> root;
  std::optional<std::filesystem::path> folder;
};
// Chooses the runtime. option is "auto" or a path. Throws ToolError, which names the places searched.
[[nodiscard]] ModernRuntime ChooseModernRuntime(const std::string& option);

// Returns the version of the runtime that a coreclr.dll belongs to. Uses the folder's name if that is a version.
// Otherwise uses the product version of System.Private.CoreLib.dll beside it. Otherwise uses the file version of
// coreclr.dll.
[[nodiscard]] std::string VersionOfRuntimeFile(const std::filesystem::path& coreclr);
// Returns the version of a file as four 16-bit numbers, the first in the highest bits; 0: the file lacks a version.
[[nodiscard]] std::uint64_t FileVersionOf(const std::filesystem::path& file);

// A shared runtime below a root: "Microsoft.NETCore.App", "8.0.33" and its folder.
struct InstalledRuntime {
  std::string name;
  std::string version;
  std::filesystem::path folder;
};
[[nodiscard]] std::vector<InstalledRuntime> InstalledRuntimes(const DotnetRoot& root);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_RUNTIME_LOCATOR_H
