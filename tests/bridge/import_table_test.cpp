#include "bridge/patch/import_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/fake_clr.h"

namespace clr_host_memory {
namespace {

#if defined(_WIN64)
constexpr std::uintptr_t kOrdinalFlag = IMAGE_ORDINAL_FLAG64;
#else
constexpr std::uintptr_t kOrdinalFlag = IMAGE_ORDINAL_FLAG32;
#endif

// A hand-made PE image in two pages of memory, followed by unreadable memory.
class HandMadeImage {
 public:
  static constexpr std::size_t kSize = 8192;
  static constexpr DWORD kHeaders = 0x80;
  static constexpr DWORD kDescriptors = 0x400;
  static constexpr DWORD kLookups = 0x500;
  static constexpr DWORD kSlots = 0x600;
  static constexpr DWORD kLibraryName = 0x700;
  static constexpr DWORD kFirstName = 0x740;
  static constexpr DWORD kSecondName = 0x780;

  HandMadeImage() {
    base_ = static_cast<char*>(VirtualAlloc(nullptr, 65536, MEM_RESERVE, PAGE_NOACCESS));
    VirtualAlloc(base_, kSize, MEM_COMMIT, PAGE_READWRITE);
    At<IMAGE_DOS_HEADER>(0) = {};
    At<IMAGE_DOS_HEADER>(0).e_magic = IMAGE_DOS_SIGNATURE;
    At<IMAGE_DOS_HEADER>(0).e_lfanew = kHeaders;
    // The processor of this program, taken from its own header.
    const auto* self = reinterpret_cast<const char*>(GetModuleHandleW(nullptr));
    const auto* self_dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(self);
    nt() = *reinterpret_cast<const IMAGE_NT_HEADERS*>(self + self_dos->e_lfanew);
    nt().OptionalHeader.SizeOfImage = kSize;
    nt().OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT] = {kDescriptors, 40};
    descriptor() = {};
    descriptor().OriginalFirstThunk = kLookups;
    descriptor().Name = kLibraryName;
    descriptor().FirstThunk = kSlots;
    lookup(0) = kFirstName;
    lookup(1) = kOrdinalFlag | 7;
    lookup(2) = kSecondName;
    Write(kLibraryName, "KERNEL32.dll");
    Write(kFirstName + 2, "VirtualAlloc");
    Write(kSecondName + 2, "VirtualFree");
  }
  HandMadeImage(const HandMadeImage&) = delete;
  HandMadeImage& operator=(const HandMadeImage&) = delete;
  ~HandMadeImage() { VirtualFree(base_, 0, MEM_RELEASE); }

  template <typename T>
  T& At(std::size_t offset) {
    return *reinterpret_cast<T*>(base_ + offset);
  }
  IMAGE_NT_HEADERS& nt() { return At<IMAGE_NT_HEADERS>(kHeaders); }
  IMAGE_IMPORT_DESCRIPTOR& descriptor() { return At<IMAGE_IMPORT_DESCRIPTOR>(kDescriptors); }
  std::uintptr_t& lookup(std::size_t index) { return At<std::uintptr_t>(kLookups + index * sizeof(std::uintptr_t)); }
  [[nodiscard]] char* base() const { return base_; }

  HRESULT Read() { return ReadNamedImports(base_, &imports, &reason); }

  std::vector<NamedImport> imports;
  std::string reason;

 private:
  void Write(std::size_t offset, std::string_view text) { std::copy(text.begin(), text.end(), base_ + offset); }

  char* base_;
};

TEST(ImportTable, ListsImportsByNameAndOmitsOrdinals) {
  HandMadeImage image;
  ASSERT_EQ(image.Read(), S_OK) << image.reason;
  ASSERT_EQ(image.imports.size(), 2U);
  EXPECT_EQ(image.imports[0].library, "KERNEL32.dll");
  EXPECT_EQ(image.imports[0].name, "VirtualAlloc");
  EXPECT_EQ(image.imports[0].slot, reinterpret_cast<void**>(image.base() + HandMadeImage::kSlots));
  EXPECT_EQ(image.imports[1].name, "VirtualFree");
  EXPECT_EQ(image.imports[1].slot, reinterpret_cast<void**>(image.base() + HandMadeImage::kSlots) + 2);
}

TEST(ImportTable, SlotsOfLoadedModuleHoldGetProcAddressResults) {
  clrhm_test::FakeCoreClr clr;
  const HMODULE kernel32 = GetModuleHandleW(L"kernel32.dll");
  for (const char* name : {"VirtualAlloc", "VirtualFree", "MapViewOfFileEx", "LoadLibraryExW"}) {
    EXPECT_EQ(*clr.Slot(name), reinterpret_cast<void*>(GetProcAddress(kernel32, name))) << name;
  }
}

TEST(ImportTable, ImageWithoutImportsHasNone) {
  HandMadeImage image;
  image.nt().OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT] = {};
  EXPECT_EQ(image.Read(), S_OK);
  EXPECT_TRUE(image.imports.empty());
  image.nt().OptionalHeader.NumberOfRvaAndSizes = 1;
  EXPECT_EQ(image.Read(), S_OK);
}

TEST(ImportTable, LibraryWithoutNamesIsOmitted) {
  HandMadeImage image;
  image.descriptor().OriginalFirstThunk = 0;
  EXPECT_EQ(image.Read(), S_OK);
  EXPECT_TRUE(image.imports.empty());
}

TEST(ImportTable, DamagedImagesAreRefusedWithReason) {
  const struct {
    const char* what;
    std::function<void(HandMadeImage&)> damage;
  } table[] = {
      {"no MZ", [](HandMadeImage& i) { i.At<WORD>(0) = 0; }},
      {"headers before the start", [](HandMadeImage& i) { i.At<IMAGE_DOS_HEADER>(0).e_lfanew = -64; }},
      {"headers beyond the end", [](HandMadeImage& i) { i.At<IMAGE_DOS_HEADER>(0).e_lfanew = 0x7FFFFFFF; }},
      {"headers cut by the end",
       [](HandMadeImage& i) { i.At<IMAGE_DOS_HEADER>(0).e_lfanew = HandMadeImage::kSize - 8; }},
      {"no PE signature", [](HandMadeImage& i) { i.nt().Signature = 0; }},
      {"another processor", [](HandMadeImage& i) { i.nt().FileHeader.Machine = IMAGE_FILE_MACHINE_POWERPC; }},
      {"another header format", [](HandMadeImage& i) { i.nt().OptionalHeader.Magic = IMAGE_ROM_OPTIONAL_HDR_MAGIC; }},
      {"descriptors beyond the end",
       [](HandMadeImage& i) {
         i.nt().OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress = 0xFFFFFFF0;
       }},
      {"descriptors cut by the end",
       [](HandMadeImage& i) {
         i.nt().OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress = HandMadeImage::kSize - 12;
       }},
      {"descriptors in memory that cannot be read",
       [](HandMadeImage& i) {
         i.nt().OptionalHeader.SizeOfImage = 65536;
         i.nt().OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress = HandMadeImage::kSize;
       }},
      {"library name beyond the end", [](HandMadeImage& i) { i.descriptor().Name = HandMadeImage::kSize; }},
      {"library name without an end",
       [](HandMadeImage& i) {
         i.descriptor().Name = HandMadeImage::kSize - 4;
         std::memset(i.base() + HandMadeImage::kSize - 4, 'x', 4);
       }},
      {"lookups beyond the end", [](HandMadeImage& i) { i.descriptor().OriginalFirstThunk = 0xFFFFFFF8; }},
      {"lookups without an end",
       [](HandMadeImage& i) {
         i.descriptor().OriginalFirstThunk = HandMadeImage::kSize - 2 * sizeof(std::uintptr_t);
         for (std::size_t n = 1; n <= 2; ++n) {
           i.At<std::uintptr_t>(HandMadeImage::kSize - n * sizeof(std::uintptr_t)) = HandMadeImage::kFirstName;
         }
       }},
      {"slots beyond the end", [](HandMadeImage& i) { i.descriptor().FirstThunk = HandMadeImage::kSize - 4; }},
      {"slots not aligned", [](HandMadeImage& i) { i.descriptor().FirstThunk = HandMadeImage::kSlots + 1; }},
      {"function name beyond the end", [](HandMadeImage& i) { i.lookup(2) = 0x7FFFFFFF; }},
  };
  for (const auto& row : table) {
    HandMadeImage image;
    row.damage(image);
    EXPECT_EQ(image.Read(), E_INVALIDARG) << row.what;
    EXPECT_FALSE(image.reason.empty()) << row.what;
  }
}

TEST(ImportTable, AddressesWithoutImageAreRefused) {
  std::vector<NamedImport> imports;
  std::string reason;
  int on_the_stack = 0;
  HandMadeImage image;
  for (const void* address :
       {static_cast<const void*>(nullptr), static_cast<const void*>(&on_the_stack),
        reinterpret_cast<const void*>(std::uintptr_t{1}), reinterpret_cast<const void*>(~std::uintptr_t{0}),
        static_cast<const void*>(image.base() + 4096), static_cast<const void*>(image.base() + 16384)}) {
    reason.clear();
    EXPECT_EQ(ReadNamedImports(address, &imports, &reason), E_INVALIDARG) << address;
    EXPECT_FALSE(reason.empty()) << address;
  }
}

TEST(ImportTable, RandomDamageNeverCausesReadsOutsideTheImage) {
  std::mt19937 random(20240815);
  for (int round = 0; round < 3000; ++round) {
    HandMadeImage image;
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes) {
      // Damage the headers and the tables: the rest contains only zeros.
      const std::size_t offset = random() % 2 == 0 ? random() % 0x190 : 0x400 + random() % 0x400;
      image.At<unsigned char>(offset) = static_cast<unsigned char>(random());
    }
    if (image.Read() != S_OK) {
      EXPECT_FALSE(image.reason.empty());
      continue;
    }
    for (const NamedImport& import : image.imports) {
      const char* slot = reinterpret_cast<const char*>(import.slot);
      EXPECT_TRUE(slot >= image.base() && slot + sizeof(void*) <= image.base() + HandMadeImage::kSize);
      EXPECT_TRUE(import.name.data() >= image.base() &&
                  import.name.data() + import.name.size() < image.base() + HandMadeImage::kSize);
    }
  }
}

}  // namespace
}  // namespace clr_host_memory
