#include "bridge/patch/import_patch.h"

#include <clr_host_memory/hosting_abi.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

#include "bridge/patch/import_table.h"
#include "bridge/patch/module_files.h"
#include "bridge/reason.h"

namespace clr_host_memory {
namespace {

constexpr DWORD kWritable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
constexpr DWORD kExecutable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;

// Returns the protection of address; 0: not committed.
DWORD ProtectionOf(const void* address) noexcept {
  MEMORY_BASIC_INFORMATION information{};
  if (VirtualQuery(address, &information, sizeof(information)) == 0 || information.State != MEM_COMMIT) return 0;
  return information.Protect;
}

// Makes the pages of slots writable and restores their protection in reverse order. Leaves pages alone that are
// writable already, since other threads may be writing to them.
class WritablePages {
 public:
  explicit WritablePages(const ImportPatchSystem& system) : system_(system) {}
  void Reserve(std::size_t count) { pages_.reserve(count); }

  bool Open(void** slot, DWORD* error) noexcept {
    Page page{slot, 0};
    if (!Open(system_, &page, error)) return false;
    if (page.old_protect != 0) pages_.push_back(page);  // within the reserved capacity
    return true;
  }

  bool Close(DWORD* error) noexcept {
    bool closed = true;
    for (; !pages_.empty(); pages_.pop_back()) closed = Close(system_, pages_.back(), error) && closed;
    return closed;
  }

  struct Page {
    void** slot;
    DWORD old_protect;  // 0: was writable, nothing to restore
  };

  static bool Open(const ImportPatchSystem& system, Page* page, DWORD* error) noexcept {
    page->old_protect = 0;
    const DWORD protect = ProtectionOf(page->slot);
    if ((protect & kWritable) != 0) return true;
    const DWORD wanted = (protect & kExecutable) != 0 ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    DWORD old_protect = 0;
    if (!system.protect(page->slot, sizeof(void*), wanted, &old_protect)) {
      *error = GetLastError();
      return false;
    }
    page->old_protect = old_protect;
    return true;
  }

  static bool Close(const ImportPatchSystem& system, const Page& page, DWORD* error) noexcept {
    DWORD ignored = 0;
    if (page.old_protect == 0 || system.protect(page.slot, sizeof(void*), page.old_protect, &ignored)) return true;
    *error = GetLastError();
    return false;
  }

 private:
  const ImportPatchSystem& system_;
  std::vector<Page> pages_;
};

// Takes a reference to module; module may be any value.
HRESULT HoldModule(HMODULE module, std::string* reason) {
  // The loader sets low bits in the handles of files mapped only for reading: bit 0 for LOAD_LIBRARY_AS_DATAFILE, bit
  // 1 for LOAD_LIBRARY_AS_IMAGE_RESOURCE.
  constexpr std::uintptr_t kDataFileBits = 3;
  const auto address = reinterpret_cast<std::uintptr_t>(module);
  if (module == nullptr) {
    *reason = "The module handle is null: LoadLibraryExW failed or was not called; check its result.";
    return E_INVALIDARG;
  }
  if ((address & kDataFileBits) != 0) {
    *reason = "The module at " + Hex(module) +
              " was loaded as a data file or image resource, which has no imports; load it with LoadLibraryExW and "
              "LOAD_WITH_ALTERED_SEARCH_PATH.";
    return E_INVALIDARG;
  }
  HMODULE held = nullptr;
  if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, reinterpret_cast<LPCWSTR>(module), &held)) {
    *reason = "There is no loaded module at " + Hex(module) + "; pass the handle that LoadLibraryExW returned.";
    return E_INVALIDARG;
  }
  if (held != module) {
    FreeLibrary(held);
    *reason = Hex(module) + " lies inside the module at " + Hex(held) +
              " but is not its handle; pass the handle that LoadLibraryExW returned.";
    return E_INVALIDARG;
  }
  return S_OK;
}

// A local function, since the address of an imported function is not a constant expression.
BOOL WINAPI Protect(void* address, SIZE_T size, DWORD new_protect, DWORD* old_protect) {
  return VirtualProtect(address, size, new_protect, old_protect);
}

void* CompareExchange(void** slot, void* desired, void* expected) {
  return InterlockedCompareExchangePointer(slot, desired, expected);
}

HRESULT NotWritable(HMODULE module, DWORD error, std::string* reason) {
  *reason = "VirtualProtect could not change the protection of the import table of " + Utf8(ModulePath(module)) +
            " (error " + std::to_string(error) + "); check that no security product guards it.";
  return HRESULT_FROM_WIN32(error != 0 ? error : ERROR_GEN_FAILURE);
}

}  // namespace

const ImportPatchSystem& Win32ImportPatchSystem() noexcept {
  static constexpr ImportPatchSystem kSystem = {&Protect, &CompareExchange};
  return kSystem;
}

ImportPatch::ImportPatch(ImportPatch&& other) noexcept { *this = std::move(other); }

ImportPatch& ImportPatch::operator=(ImportPatch&& other) noexcept {
  if (this != &other) {
    Undo();
    module_ = std::exchange(other.module_, nullptr);
    system_ = other.system_;
    slots_ = std::exchange(other.slots_, {});
    names_ = std::exchange(other.names_, {});
  }
  return *this;
}

HRESULT ImportPatch::Apply(HMODULE module, gsl::span<const ImportHook> hooks, gsl::span<const char* const> required,
                           ImportPatch* patch, std::string* reason, const ImportPatchSystem& system) noexcept try {
  HRESULT hr = HoldModule(module, reason);
  if (FAILED(hr)) return hr;
  ImportPatch made;
  made.module_ = module;
  made.system_ = &system;
  hr = made.Find(hooks, required, reason);
  if (SUCCEEDED(hr))
    hr = made.Write(reason);
  else
    made.slots_.clear();
  if (SUCCEEDED(hr) || !made.slots_.empty()) *patch = std::move(made);
  return hr;
} catch (const std::bad_alloc&) {
  return E_OUTOFMEMORY;
} catch (...) {
  return E_FAIL;
}

HRESULT ImportPatch::Find(gsl::span<const ImportHook> hooks, gsl::span<const char* const> required,
                          std::string* reason) {
  std::vector<NamedImport> imports;
  const HRESULT hr = ReadNamedImports(module_, &imports, reason);
  if (FAILED(hr)) return hr;

  for (const NamedImport& import : imports) {
    const auto hook = std::find_if(hooks.begin(), hooks.end(),
                                   [&import](const ImportHook& candidate) { return import.name == candidate.name; });
    if (hook == hooks.end()) continue;
    if (!(hook->of_c_runtime ? IsCRuntimeLibrary(import.library) : IsWin32BaseLibrary(import.library))) continue;
    void* const original = *static_cast<void* volatile*>(import.slot);
    if (original == hook->replacement) {
      *reason = std::string("The import of ") + hook->name + " in " + Utf8(ModulePath(module_)) +
                " is patched already; undo that patch first.";
      return HOST_E_INVALIDOPERATION;
    }
    if ((ProtectionOf(original) & kExecutable) == 0) {
      *reason = std::string("The import of ") + hook->name + " in " + Utf8(ModulePath(module_)) +
                " does not point at code; load the module without DONT_RESOLVE_DLL_REFERENCES.";
      return E_INVALIDARG;
    }
    slots_.push_back({import.slot, original, hook->replacement, hook->name, hook->original});
    if (std::find(names_.begin(), names_.end(), hook->name) == names_.end()) names_.push_back(hook->name);
  }

  // The hooks' order is that of the writes. Each hook has its own replacement.
  const auto position = [&hooks](const Slot& slot) {
    return std::find_if(hooks.begin(), hooks.end(),
                        [&slot](const ImportHook& hook) { return hook.replacement == slot.replacement; });
  };
  std::stable_sort(slots_.begin(), slots_.end(),
                   [&position](const Slot& left, const Slot& right) { return position(left) < position(right); });

  std::string missing;
  for (const char* name : required) {
    const bool found = std::any_of(names_.begin(), names_.end(),
                                   [name](const char* present) { return std::string_view(present) == name; });
    if (!found) missing += missing.empty() ? name : std::string(", ") + name;
  }
  if (!missing.empty()) {
    *reason = Utf8(ModulePath(module_)) + " does not import " + missing +
              " by name from the Win32 base libraries, so its calls cannot be redirected; check that it is the right "
              "module.";
    return E_INVALIDARG;
  }
  return S_OK;
}

// On failure slots_ keeps only the slots that could not be restored, if any.
HRESULT ImportPatch::Write(std::string* reason) {
  WritablePages pages(*system_);
  pages.Reserve(slots_.size());
  DWORD error = 0;
  DWORD ignored = 0;
  for (const Slot& slot : slots_) {
    if (pages.Open(slot.address, &error)) continue;
    slots_.clear();
    pages.Close(&ignored);
    return NotWritable(module_, error, reason);
  }
  std::size_t written = 0;
  for (; written < slots_.size(); ++written) {
    const Slot& slot = slots_[written];
    if (slot.original_out != nullptr) slot.original_out->store(slot.original, std::memory_order_release);
    if (system_->compare_exchange(slot.address, slot.replacement, slot.original) != slot.original) break;
  }
  const bool complete = written == slots_.size();
  const char* const refused = complete ? nullptr : slots_[written].name;
  if (complete && pages.Close(&error)) return S_OK;

  slots_.resize(written);
  for (auto slot = slots_.rbegin(); slot != slots_.rend(); ++slot) {
    if (Store(*slot, slot->original, slot->replacement, &ignored)) slot->address = nullptr;
  }
  std::erase_if(slots_, [](const Slot& slot) { return slot.address == nullptr; });
  pages.Close(&ignored);
  if (complete) return NotWritable(module_, error, reason);
  *reason = "Other code changed the import of " + std::string(refused) + " in " + Utf8(ModulePath(module_)) +
            " during the patch; try again.";
  return HOST_E_INVALIDOPERATION;
}

// Returns false if the slot does not hold expected, or could not be written (then *error is not 0).
bool ImportPatch::Store(const Slot& slot, void* desired, void* expected, DWORD* error) noexcept {
  WritablePages::Page page{slot.address, 0};
  if (!WritablePages::Open(*system_, &page, error)) return false;
  const bool stored = system_->compare_exchange(slot.address, desired, expected) == expected;
  DWORD ignored = 0;
  WritablePages::Close(*system_, page, &ignored);  // the result of the store counts
  return stored;
}

bool ImportPatch::IsIntact() const noexcept {
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return *static_cast<void* volatile*>(slot.address) == slot.replacement; });
}

std::size_t ImportPatch::Undo() noexcept {
  std::size_t left = 0;
  for (auto slot = slots_.rbegin(); slot != slots_.rend(); ++slot) {
    DWORD error = 0;
    if (!Store(*slot, slot->original, slot->replacement, &error)) ++left;
  }
  slots_.clear();
  names_.clear();
  if (module_ != nullptr) FreeLibrary(std::exchange(module_, nullptr));
  return left;
}

}  // namespace clr_host_memory
