// Reads the import table of a loaded module.
#ifndef CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H
#define CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H

#include <windows.h>

#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory {

// A function that a module imports by name. The views and the slot lie inside the module.
struct NamedImport {
  std::string_view library;  // as the module spells it: "KERNEL32.dll"
  std::string_view name;     // "VirtualAlloc"
  void** slot;               // its entry in the import address table
};

// Returns whether library exports Win32 base functions: kernel32, kernelbase, ntdll, those of COM, or an
// api-ms-win-core-* set.
[[nodiscard]] bool IsWin32BaseLibrary(std::string_view library) noexcept;

// Returns whether library has the C run-time's malloc: the universal C run-time, its api-ms-win-crt-heap-* set, or an
// older msvc*.dll.
[[nodiscard]] bool IsCRuntimeLibrary(std::string_view library) noexcept;
// Returns whether library is a debug C run-time, such as ucrtbased.dll or msvcr120d.dll. Their blocks have a header
// that their free reads.
[[nodiscard]] bool IsDebugCRuntimeLibrary(std::string_view library) noexcept;

// Lists all imports by name of the PE image mapped at image. Leaves out imports by ordinal and delay-loaded imports:
// no CLR has memory functions among them (coreclr.dll delay-loads only VERSION.dll and WinRT). image may be any
// address: the function reads only memory that VirtualQuery shows as readable and as part of one image.
//
// S_OK; E_INVALIDARG with a reason: not a PE image, an image for another processor, or a damaged image.
[[nodiscard]] HRESULT ReadNamedImports(const void* image, std::vector<NamedImport>* imports, std::string* reason);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_IMPORT_TABLE_H
