// Reads the import table of a loaded module.
#ifndef CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H
#define CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H

#include <windows.h>

#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// One function that a module imports by name. The views and the slot lie inside the module.
struct NamedImport {
  std::string_view library;  // as the module spells it: "KERNEL32.dll"
  std::string_view name;     // "VirtualAlloc"
  void** slot;               // its place in the import address table
};

// Whether library is one the Win32 base functions are imported from: kernel32, kernelbase, or an api-ms-win-core-* set.
[[nodiscard]] bool IsWin32BaseLibrary(std::string_view library) noexcept;

// Whether library has the C run-time's malloc: the universal one, its api-ms-win-crt-heap-* set, or an older msvc*.dll.
[[nodiscard]] bool IsCRuntimeLibrary(std::string_view library) noexcept;
// Whether it is a debug one: ucrtbased.dll, msvcr120d.dll. Their blocks have a header, which their free looks at.
[[nodiscard]] bool IsDebugCRuntimeLibrary(std::string_view library) noexcept;

// Lists all imports by name of the PE image that is mapped at image; imports by ordinal and delay-loaded ones are left
// out: no CLR has memory functions among them (coreclr.dll delays VERSION.dll and WinRT alone). Any address may be
// given: nothing is read that VirtualQuery does not show as readable and as part of one image. S_OK; E_INVALIDARG with
// a reason: no PE image, one for another processor, or a damaged one.
[[nodiscard]] HRESULT ReadNamedImports(const void* image, std::vector<NamedImport>* imports, std::string* reason);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H
