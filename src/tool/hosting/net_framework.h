// The .NET Framework of this machine, by mscoree.dll's CLRCreateInstance.
#ifndef CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H
#define CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H

#include "tool/hosting/net_framework_abi.h"

#include <clr_host_memory/memory_manager.h>

#include <string>
#include <vector>

namespace clr_host_memory::tool {

// Throws ToolError when the .NET Framework is not installed (as under Wine).
[[nodiscard]] ComPtr<MetaHost> OpenMetaHost();

struct NetFrameworkVersion {
  std::string version;  // "v4.0.30319"
  std::string folder;
};
// Empty when the .NET Framework is not installed.
[[nodiscard]] std::vector<NetFrameworkVersion> InstalledNetFrameworks();

// "4.8.1" by the registry's Release value, for 4.5 and later; empty: not installed.
[[nodiscard]] std::string NetFramework4Release();

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H
