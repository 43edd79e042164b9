// Loaded modules and the files they come from.
#ifndef CLRHM_BRIDGE_PATCH_MODULE_FILES_H
#define CLRHM_BRIDGE_PATCH_MODULE_FILES_H

#include <windows.h>

#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// What follows the last separator: L"C:\\x\\coreclr.dll" -> L"coreclr.dll".
[[nodiscard]] std::wstring_view BaseName(std::wstring_view path) noexcept;

// Compares names of files as Windows does, for ASCII letters.
[[nodiscard]] bool SameName(std::wstring_view left, std::wstring_view right) noexcept;

// clrgc*.dll, the file names of .NET's standalone garbage collectors; path may lack the extension, as LoadLibrary
// allows.
[[nodiscard]] bool IsGcFileName(std::wstring_view path) noexcept;

// Full path of a module's file; empty when module is none.
[[nodiscard]] std::wstring ModulePath(HMODULE module);

// All modules of this process whose file is called name.
[[nodiscard]] std::vector<HMODULE> LoadedModulesNamed(std::wstring_view name);

// The module whose code or data includes address, without a reference; null: none.
[[nodiscard]] HMODULE ModuleOf(const void* address) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_MODULE_FILES_H
