// The functions of hostfxr that the examples call, as hostfxr.h and coreclr_delegates.h of dotnet/runtime declare them.
// A host of yours includes those files, which come with the .NET SDK.
#ifndef EXAMPLES_HOSTFXR_H
#define EXAMPLES_HOSTFXR_H

#include <windows.h>

#include <cstdint>

using hostfxr_handle = void*;
using hostfxr_initialize_for_dotnet_command_line_fn = std::int32_t(__cdecl*)(int argc, const wchar_t** argv,
                                                                             const void* parameters,
                                                                             hostfxr_handle* context);
using hostfxr_initialize_for_runtime_config_fn = std::int32_t(__cdecl*)(const wchar_t* runtime_config_path,
                                                                        const void* parameters,
                                                                        hostfxr_handle* context);
using hostfxr_get_runtime_delegate_fn = std::int32_t(__cdecl*)(hostfxr_handle context, int type, void** delegate);
using hostfxr_run_app_fn = std::int32_t(__cdecl*)(hostfxr_handle context);
using hostfxr_close_fn = std::int32_t(__cdecl*)(hostfxr_handle context);
constexpr int hdt_load_assembly_and_get_function_pointer = 5;
using load_assembly_and_get_function_pointer_fn = int(__stdcall*)(const wchar_t* assembly_path,
                                                                  const wchar_t* type_name, const wchar_t* method_name,
                                                                  const wchar_t* delegate_type_name, void* reserved,
                                                                  void** delegate);
using component_entry_point_fn = int(__stdcall*)(void* argument, std::int32_t size);

template <typename Function>
Function Find(HMODULE module, const char* name) {
  return reinterpret_cast<Function>(reinterpret_cast<void*>(GetProcAddress(module, name)));
}

#endif  // EXAMPLES_HOSTFXR_H
