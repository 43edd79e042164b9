#include "tool/hosting/net_framework.h"

#include "tool/hosting/hostfxr_abi.h"
#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <array>

namespace clr_host_memory::tool {
namespace {

ToolError NotPresent(const std::string& why) {
  return ToolError("the .NET Framework is not present: " + why,
                   "run this program on Windows with the .NET Framework 4.x, or build it for .NET 8 or later");
}

// Whether this is Wine. Wine's mscoree.dll is a stand-in that needs Mono, which may be absent. It offers no CLR that
// requests a host's memory manager.
bool IsWine() {
  HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
  return ntdll != nullptr && FunctionOf<void (*)()>(ntdll, "wine_get_version") != nullptr;
}

struct Release {
  DWORD least;
  const char* version;
};
// Source: learn.microsoft.com, "Determine which .NET Framework versions and service packs are installed".
constexpr std::array<Release, 11> kReleases{{{533320, "4.8.1"},
                                             {528040, "4.8"},
                                             {461808, "4.7.2"},
                                             {461308, "4.7.1"},
                                             {460798, "4.7"},
                                             {394802, "4.6.2"},
                                             {394254, "4.6.1"},
                                             {393295, "4.6"},
                                             {379893, "4.5.2"},
                                             {378675, "4.5.1"},
                                             {378389, "4.5"}}};

}  // namespace

ComReference<MetaHost> OpenMetaHost() {
  if (IsWine()) throw NotPresent("Wine does not have it");
  HMODULE mscoree = LoadLibraryExW(L"mscoree.dll", nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
  if (mscoree == nullptr) throw NotPresent("mscoree.dll cannot be loaded, " + DescribeWin32Error(GetLastError()));
  const auto create = FunctionOf<ClrCreateInstance>(mscoree, "CLRCreateInstance");
  if (create == nullptr) throw NotPresent("mscoree.dll has no CLRCreateInstance");
  ComReference<MetaHost> meta_host;
  const HRESULT hr = create(kClsidMetaHost, kIidMetaHost, reinterpret_cast<void**>(meta_host.Receive()));
  if (FAILED(hr) || !meta_host) {
    throw NotPresent("CLRCreateInstance returned " + HexCode(static_cast<std::uint32_t>(hr)));
  }
  return meta_host;
}

std::vector<NetFrameworkVersion> InstalledNetFrameworks() {
  std::vector<NetFrameworkVersion> versions;
  ComReference<MetaHost> meta_host;
  try {
    meta_host = OpenMetaHost();
  } catch (const ToolError&) {
    return versions;
  }
  ComReference<IEnumUnknown> runtimes;
  if (FAILED(meta_host->EnumerateInstalledRuntimes(runtimes.Receive()))) return versions;
  for (ComReference<IUnknown> unknown; runtimes->Next(1, unknown.Receive(), nullptr) == S_OK;) {
    ComReference<RuntimeInfo> info;
    if (FAILED(unknown->QueryInterface(kIidRuntimeInfo, reinterpret_cast<void**>(info.Receive())))) continue;
    std::array<wchar_t, 1024> version{};
    std::array<wchar_t, 1024> folder{};
    auto version_length = static_cast<DWORD>(version.size());
    auto folder_length = static_cast<DWORD>(folder.size());
    if (FAILED(info->GetVersionString(version.data(), &version_length))) continue;
    if (FAILED(info->GetRuntimeDirectory(folder.data(), &folder_length))) continue;
    versions.push_back({ToUtf8(std::wstring_view(version.data())), ToUtf8(std::wstring_view(folder.data()))});
  }
  return versions;
}

std::string NetFramework4Release() {
  DWORD release = 0;
  DWORD size = sizeof(release);
  if (RegGetValueW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\Microsoft\\NET Framework Setup\\NDP\\v4\\Full", L"Release",
                   RRF_RT_REG_DWORD, nullptr, &release, &size) != ERROR_SUCCESS) {
    return {};
  }
  for (const Release& known : kReleases) {
    if (release >= known.least) return known.version;
  }
  return {};
}

}  // namespace clr_host_memory::tool
