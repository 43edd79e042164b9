// The .NET Framework installations of this machine, found through mscoree.dll's CLRCreateInstance.
#ifndef CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H
#define CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H

#include "tool/hosting/net_framework_abi.h"

#include <clr_host_memory/memory_manager.h>

#include <string>
#include <vector>

namespace clr_host_memory::tool {

// Opens ICLRMetaHost. Throws ToolError when the .NET Framework is not installed (as under Wine).
[[nodiscard]] ComReference<MetaHost> OpenMetaHost();

struct NetFrameworkVersion {
  std::string version;  // "v4.0.30319"
  std::string folder;
};
// Returns the installed versions. Empty when the .NET Framework is not installed.
[[nodiscard]] std::vector<NetFrameworkVersion> InstalledNetFrameworks();

// Returns "4.8.1" and the like, by the registry's Release value, for version 4.5 and later. Empty if none of these is
// installed.
[[nodiscard]] std::string NetFramework4Release();

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_NET_FRAMEWORK_H
