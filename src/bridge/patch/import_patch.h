// Points imports of a loaded module at other functions, all or nothing.
#ifndef CLRHM_BRIDGE_PATCH_IMPORT_PATCH_H
#define CLRHM_BRIDGE_PATCH_IMPORT_PATCH_H

#include <windows.h>

#include <atomic>
#include <cstddef>
#include <gsl/span>
#include <string>
#include <vector>

namespace clr_host_memory {

// What to do with the imports of one name. name must outlive the patch.
struct ImportHook {
  const char* name;   // "VirtualAlloc"
  void* replacement;  // same signature and calling convention
  std::atomic<void*>*
      original;               // receives what the import pointed at, before any call can reach replacement; may be null
  bool of_c_runtime = false;  // looked for in C run-time libraries, not in the Win32 base libraries
};

// What a patch asks of the OS; tests make it fail.
struct ImportPatchSystem {
  BOOL(WINAPI* protect)(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect);
  // Writes desired if *slot holds expected, in one step; returns what *slot held.
  void* (*compare_exchange)(void** slot, void* desired, void* expected);
};
[[nodiscard]] const ImportPatchSystem& Win32ImportPatchSystem() noexcept;

// Owns patched imports and a reference to their module; the destructor undoes. Move-only, not thread-safe.
class ImportPatch {
 public:
  ImportPatch() = default;
  ImportPatch(ImportPatch&& other) noexcept;
  ImportPatch& operator=(ImportPatch&& other) noexcept;
  ImportPatch(const ImportPatch&) = delete;
  ImportPatch& operator=(const ImportPatch&) = delete;
  ~ImportPatch() { Undo(); }

  // Points every import of module that has the name of a hook, from whichever library of its kind, at its replacement.
  // Threads may run through the imports meanwhile. On failure every import is as it was, and *reason says why; should
  // even putting one back fail, *patch owns it, for Undo to try again and to count.
  // S_OK; E_INVALIDARG: module is no module loaded as code, or lacks one of required; HOST_E_INVALIDOPERATION: an
  // import points at its replacement already, or was changed by others meanwhile; E_OUTOFMEMORY; HRESULT_FROM_WIN32:
  // the table cannot be made writable.
  [[nodiscard]] static HRESULT Apply(HMODULE module, gsl::span<const ImportHook> hooks,
                                     gsl::span<const char* const> required, ImportPatch* patch, std::string* reason,
                                     const ImportPatchSystem& system = Win32ImportPatchSystem()) noexcept;

  // Restores the imports that still point at their replacements and gives the module back; idempotent. Returns how many
  // point elsewhere: someone has hooked over them and may go on calling the replacement for the rest of the process.
  std::size_t Undo() noexcept;

  // Whether nobody has hooked over any of the imports: Undo would restore all of them.
  [[nodiscard]] bool IsIntact() const noexcept;

  [[nodiscard]] HMODULE module() const noexcept { return module_; }
  // The imports patched, each name once, in the module's order; views into the hooks' names.
  [[nodiscard]] const std::vector<const char*>& names() const noexcept { return names_; }

 private:
  struct Slot {
    void** address;
    void* original;
    void* replacement;
    const char* name;
    std::atomic<void*>* original_out;
  };

  HRESULT Find(gsl::span<const ImportHook> hooks, gsl::span<const char* const> required, std::string* reason);
  HRESULT Write(std::string* reason);
  bool Store(const Slot& slot, void* desired, void* expected, DWORD* error) noexcept;

  HMODULE module_ = nullptr;
  const ImportPatchSystem* system_ = nullptr;
  std::vector<Slot> slots_;
  std::vector<const char*> names_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_PATCH_IMPORT_PATCH_H
