// Redirects imports of a loaded module to other functions: either all of them or none.
#ifndef CLRHM_BRIDGE_PATCH_IMPORT_PATCH_H
#define CLRHM_BRIDGE_PATCH_IMPORT_PATCH_H

#include <windows.h>

#include <atomic>
#include <cstddef>
#include <gsl/span>
#include <string>
#include <vector>

namespace clr_host_memory {

// The replacement for all imports with one name. name must outlive the patch.
struct ImportHook {
  const char* name;              // "VirtualAlloc"
  void* replacement;             // same signature and calling convention
  std::atomic<void*>* original;  // receives the import's old target before any call can reach replacement; may be null
  bool of_c_runtime = false;     // search in C run-time libraries instead of the Win32 base libraries
};

// The OS functions that a patch uses; tests make them fail.
struct ImportPatchSystem {
  BOOL(WINAPI* protect)(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect);
  // Writes desired if *slot holds expected, atomically; returns what *slot held.
  void* (*compare_exchange)(void** slot, void* desired, void* expected);
};
[[nodiscard]] const ImportPatchSystem& Win32ImportPatchSystem() noexcept;

// Owns patched imports and a reference to their module; the destructor restores the imports. Move-only, not
// thread-safe.
class ImportPatch {
 public:
  ImportPatch() = default;
  ImportPatch(ImportPatch&& other) noexcept;
  ImportPatch& operator=(ImportPatch&& other) noexcept;
  ImportPatch(const ImportPatch&) = delete;
  ImportPatch& operator=(const ImportPatch&) = delete;
  ~ImportPatch() { Undo(); }

  // Redirects every import of module that has the name of a hook to the hook's replacement, in the order of the hooks.
  // The import may come from any library of the hook's kind. Other threads may call through the imports meanwhile. On
  // failure every import is as it was, and *reason gives the cause. If an import cannot be restored after a failure,
  // *patch owns it, and Undo tries again and counts it.
  //
  // Returns:
  // - S_OK
  // - E_INVALIDARG: module is not a module loaded as code, or lacks an import in required.
  // - HOST_E_INVALIDOPERATION: an import points at its replacement already, or other code changed it meanwhile.
  // - E_OUTOFMEMORY
  // - HRESULT_FROM_WIN32: the import table cannot be made writable.
  [[nodiscard]] static HRESULT Apply(HMODULE module, gsl::span<const ImportHook> hooks,
                                     gsl::span<const char* const> required, ImportPatch* patch, std::string* reason,
                                     const ImportPatchSystem& system = Win32ImportPatchSystem()) noexcept;

  // Restores the imports that still point at their replacements, and releases the module; idempotent. Returns how many
  // point elsewhere: other code has hooked over them and may call the replacement for the rest of the process.
  std::size_t Undo() noexcept;

  // Returns whether all imports still point at their replacements, so that Undo would restore all of them.
  [[nodiscard]] bool IsIntact() const noexcept;

  [[nodiscard]] HMODULE module() const noexcept { return module_; }
  // Returns the names of the patched imports, each once, in the module's order. They point into the hooks' names.
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
