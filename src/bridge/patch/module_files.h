// Loaded modules and the files they come from.
#ifndef CLRHM_BRIDGE_PATCH_MODULE_FILES_H
#define CLRHM_BRIDGE_PATCH_MODULE_FILES_H

#include <windows.h>

#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// Returns the part after the last separator: L"C:\\x\\coreclr.dll" -> L"coreclr.dll".
[[nodiscard]] std::wstring_view BaseName(std::wstring_view path) noexcept;

// Compares file names as Windows does, for ASCII letters.
[[nodiscard]] bool SameName(std::wstring_view left, std::wstring_view right) noexcept;

// Returns whether the file name matches clrgc*.dll, the names of .NET's standalone garbage collectors. path may lack
// the extension, as LoadLibrary allows.
[[nodiscard]] bool IsGcFileName(std::wstring_view path) noexcept;

// Returns the full path of a module's file; empty if module is not a module.
[[nodiscard]] std::wstring ModulePath(HMODULE module);

// Returns all modules of this process. Empty: the OS does not list them, even after some attempts. Throws
// std::bad_alloc.
[[nodiscard]] std::vector<HMODULE> LoadedModules();

// Returns all modules of this process whose file is called name. Throws std::bad_alloc.
[[nodiscard]] std::vector<HMODULE> LoadedModulesNamed(std::wstring_view name);

// Returns the module whose code or data includes address, without adding a reference; null: none.
[[nodiscard]] HMODULE ModuleOf(const void* address) noexcept;

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_MODULE_FILES_H
