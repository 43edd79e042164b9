#include "bridge/patch/import_table.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "bridge/reason.h"

namespace clr_host_memory {
namespace {

#if defined(_M_ARM64) || defined(__aarch64__)
constexpr WORD kMachine = IMAGE_FILE_MACHINE_ARM64;
#elif defined(_WIN64)
constexpr WORD kMachine = IMAGE_FILE_MACHINE_AMD64;
#else
constexpr WORD kMachine = IMAGE_FILE_MACHINE_I386;
#endif

#if defined(_WIN64)
constexpr std::uintptr_t kOrdinalFlag = IMAGE_ORDINAL_FLAG64;
#else
constexpr std::uintptr_t kOrdinalFlag = IMAGE_ORDINAL_FLAG32;
#endif

// Bounded access to the memory of one allocation, by offsets from its base (RVAs for an image).
class ImageMemory {
 public:
  explicit ImageMemory(const void* base) : base_(static_cast<const std::byte*>(base)) {}

  // Sets the size of the image, which the header states. Before that, reading is limited only by what VirtualQuery
  // shows.
  void SetSize(std::size_t size) { size_ = size; }

  // Returns a copy: a damaged image may be unaligned.
  template <typename T>
  [[nodiscard]] std::optional<T> Read(std::size_t offset) {
    if (!IsReadable(offset, sizeof(T))) return std::nullopt;
    T value;
    std::memcpy(&value, base_ + offset, sizeof(T));
    return value;
  }

  // Returns the null-terminated string at offset; nullopt if it does not end within readable memory.
  [[nodiscard]] std::optional<std::string_view> ReadString(std::size_t offset) {
    const char* text = reinterpret_cast<const char*>(base_ + offset);
    for (std::size_t length = 0; IsReadable(offset + length, 1); ++length) {
      if (text[length] == '\0') return std::string_view(text, length);
    }
    return std::nullopt;
  }

  [[nodiscard]] bool IsReadable(std::size_t offset, std::size_t length) {
    if (offset > size_ || length > size_ - offset) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(base_) + offset;
    for (std::uintptr_t at = address; at - address < length;) {
      if ((at < readable_begin_ || at >= readable_end_) && !FindReadableRun(at)) return false;
      at = readable_end_;
    }
    return true;
  }

 private:
  bool FindReadableRun(std::uintptr_t address) {
    MEMORY_BASIC_INFORMATION information{};
    if (VirtualQuery(reinterpret_cast<const void*>(address), &information, sizeof(information)) == 0) return false;
    constexpr DWORD kReadable = PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READ |
                                PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    if (information.State != MEM_COMMIT || (information.Protect & kReadable) == 0 ||
        (information.Protect & PAGE_GUARD) != 0 || information.AllocationBase != base_) {
      return false;
    }
    readable_begin_ = reinterpret_cast<std::uintptr_t>(information.BaseAddress);
    readable_end_ = readable_begin_ + information.RegionSize;
    return true;
  }

  const std::byte* base_;
  std::size_t size_ = SIZE_MAX / 2;
  std::uintptr_t readable_begin_ = 0;
  std::uintptr_t readable_end_ = 0;
};

HRESULT Invalid(std::string* reason, const void* image, const char* what) {
  *reason = "There is " + std::string(what) + " at " + Hex(image) +
            "; pass the handle that LoadLibraryExW returned for a module loaded as code.";
  return E_INVALIDARG;
}

HRESULT Damaged(std::string* reason, const void* image, const char* what) {
  *reason = "The import table of the module at " + Hex(image) + " cannot be used: " + what +
            ". Check whether the file is damaged or packed.";
  return E_INVALIDARG;
}

// Reads the import directory of a PE image for this processor.
HRESULT ReadHeader(const void* image, ImageMemory* memory, IMAGE_DATA_DIRECTORY* directory, std::string* reason) {
  const auto dos = memory->Read<IMAGE_DOS_HEADER>(0);
  if (!dos) return Invalid(reason, image, "no readable module");
  if (dos->e_magic != IMAGE_DOS_SIGNATURE || dos->e_lfanew <= 0) return Invalid(reason, image, "no PE image");
  const auto headers = static_cast<std::size_t>(dos->e_lfanew);
  const auto signature = memory->Read<DWORD>(headers);
  const auto file = memory->Read<IMAGE_FILE_HEADER>(headers + sizeof(DWORD));
  if (!signature || !file || *signature != IMAGE_NT_SIGNATURE) return Invalid(reason, image, "no PE image");
  const auto nt = memory->Read<IMAGE_NT_HEADERS>(headers);
  if (file->Machine != kMachine || !nt || nt->OptionalHeader.Magic != IMAGE_NT_OPTIONAL_HDR_MAGIC) {
    return Invalid(reason, image, "a PE image for another processor");
  }
  memory->SetSize(nt->OptionalHeader.SizeOfImage);
  *directory = {};
  if (nt->OptionalHeader.NumberOfRvaAndSizes > IMAGE_DIRECTORY_ENTRY_IMPORT) {
    *directory = nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  }
  return S_OK;
}

// Reads the imports of one library. The loader has overwritten FirstThunk with addresses; OriginalFirstThunk keeps the
// names.
HRESULT ReadLibrary(const void* image, const IMAGE_IMPORT_DESCRIPTOR& descriptor, std::string_view library,
                    ImageMemory* memory, std::vector<NamedImport>* imports, std::string* reason) {
  const auto address = reinterpret_cast<std::uintptr_t>(image);
  for (std::size_t index = 0;; ++index) {
    const std::size_t lookup_offset = std::size_t{descriptor.OriginalFirstThunk} + index * sizeof(std::uintptr_t);
    const std::size_t slot_offset = std::size_t{descriptor.FirstThunk} + index * sizeof(std::uintptr_t);
    const auto lookup = memory->Read<std::uintptr_t>(lookup_offset);
    if (!lookup) return Damaged(reason, image, "a list of names does not end inside the image");
    if (*lookup == 0) return S_OK;
    if (!memory->IsReadable(slot_offset, sizeof(void*)) || (address + slot_offset) % alignof(void*) != 0) {
      return Damaged(reason, image, "an address slot is outside of the image or not aligned");
    }
    if ((*lookup & kOrdinalFlag) != 0) continue;
    const auto name = memory->ReadString(*lookup + offsetof(IMAGE_IMPORT_BY_NAME, Name));
    if (!name) return Damaged(reason, image, "a function's name is outside of the image");
    imports->push_back({library, *name, reinterpret_cast<void**>(address + slot_offset)});
  }
}

bool StartsWith(std::string_view text, std::string_view lower_prefix) noexcept {
  return text.size() >= lower_prefix.size() &&
         std::equal(lower_prefix.begin(), lower_prefix.end(), text.begin(), [](char lower, char c) {
           return lower == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
         });
}

}  // namespace

bool IsWin32BaseLibrary(std::string_view library) noexcept {
  constexpr std::array<std::string_view, 5> kNames = {"kernel32.dll", "kernelbase.dll", "ntdll.dll", "ole32.dll",
                                                      "combase.dll"};
  return StartsWith(library, "api-ms-win-core-") ||
         std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view name) { return library.size() == name.size() && StartsWith(library, name); });
}

bool IsCRuntimeLibrary(std::string_view library) noexcept {
  constexpr std::array<std::string_view, 4> kNames = {"api-ms-win-crt-heap-", "ucrtbase", "msvcrt", "msvcr1"};
  return std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) { return StartsWith(library, name); });
}

bool IsDebugCRuntimeLibrary(std::string_view library) noexcept {
  constexpr std::string_view kEnd = "d.dll";
  return IsCRuntimeLibrary(library) && library.size() > kEnd.size() &&
         StartsWith(library.substr(library.size() - kEnd.size()), kEnd);
}

HRESULT ReadNamedImports(const void* image, std::vector<NamedImport>* imports, std::string* reason) {
  imports->clear();
  ImageMemory memory(image);
  IMAGE_DATA_DIRECTORY directory{};
  const HRESULT header = ReadHeader(image, &memory, &directory, reason);
  if (FAILED(header)) return header;
  if (directory.VirtualAddress == 0) return S_OK;

  // The loader stops at the empty descriptor at the end and ignores the directory's size.
  for (std::size_t index = 0;; ++index) {
    const auto descriptor = memory.Read<IMAGE_IMPORT_DESCRIPTOR>(std::size_t{directory.VirtualAddress} +
                                                                 index * sizeof(IMAGE_IMPORT_DESCRIPTOR));
    if (!descriptor) return Damaged(reason, image, "the list of libraries does not end inside the image");
    if (descriptor->Name == 0 || descriptor->FirstThunk == 0) return S_OK;
    const auto library = memory.ReadString(descriptor->Name);
    if (!library) return Damaged(reason, image, "a library's name is outside of the image");
    if (descriptor->OriginalFirstThunk == 0) continue;  // after loading, no names are left
    const HRESULT hr = ReadLibrary(image, *descriptor, *library, &memory, imports, reason);
    if (FAILED(hr)) return hr;
  }
}

}  // namespace clr_host_memory
