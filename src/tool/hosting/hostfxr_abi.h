// The entry points of hostfxr and coreclr, by their documented signatures. Sources in dotnet/runtime:
// docs/design/features/native-hosting.md, src/native/corehost/hostfxr.h, src/coreclr/hosts/inc/coreclrhost.h. No SDK
// for MinGW has them.
#ifndef CLRHM_TOOL_HOSTING_HOSTFXR_ABI_H
#define CLRHM_TOOL_HOSTING_HOSTFXR_ABI_H

#include <windows.h>

#include <cstddef>
#include <cstdint>

namespace clr_host_memory::tool {

using HostFxrHandle = void*;

struct HostFxrInitializeParameters {
  std::size_t size;
  const wchar_t* host_path;
  const wchar_t* dotnet_root;
};

using HostFxrInitializeForDotnetCommandLine = std::int32_t(__cdecl*)(int argc, const wchar_t** argv,
                                                                     const HostFxrInitializeParameters* parameters,
                                                                     HostFxrHandle* context);
using HostFxrGetRuntimePropertyValue = std::int32_t(__cdecl*)(HostFxrHandle context, const wchar_t* name,
                                                              const wchar_t** value);
using HostFxrRunApp = std::int32_t(__cdecl*)(HostFxrHandle context);
using HostFxrClose = std::int32_t(__cdecl*)(HostFxrHandle context);
// Receives each line of an error message, on the thread where the error occurs. The setting applies to the thread
// that sets it.
using HostFxrErrorWriter = void(__cdecl*)(const wchar_t* message);
using HostFxrSetErrorWriter = HostFxrErrorWriter(__cdecl*)(HostFxrErrorWriter writer);

using CoreClrInitialize = int(__stdcall*)(const char* exe_path, const char* app_domain_name, int property_count,
                                          const char** property_keys, const char** property_values, void** host_handle,
                                          unsigned int* domain_id);
using CoreClrExecuteAssembly = int(__stdcall*)(void* host_handle, unsigned int domain_id, int argc, const char** argv,
                                               const char* managed_assembly_path, unsigned int* exit_code);
using CoreClrShutdown2 = int(__stdcall*)(void* host_handle, unsigned int domain_id, int* latched_exit_code);

// Returns a function of a loaded module; null when the module has no function of that name.
template <typename Function>
[[nodiscard]] Function FunctionOf(HMODULE module, const char* name) noexcept {
  return reinterpret_cast<Function>(reinterpret_cast<void*>(GetProcAddress(module, name)));
}

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_HOSTING_HOSTFXR_ABI_H
