#include "tool/program/managed_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tool/program/cli_metadata.h"

namespace clr_host_memory::tool {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Builds a byte sequence. Integers are appended in little-endian order.
class Bytes {
 public:
  Bytes& U8(unsigned value) {
    bytes_.push_back(static_cast<std::byte>(value & 0xFF));
    return *this;
  }
  Bytes& U16(unsigned value) { return U8(value).U8(value >> 8); }
  Bytes& U32(std::uint32_t value) { return U16(value & 0xFFFF).U16(value >> 16); }
  Bytes& Text(const std::string& text) {
    for (const char c : text) U8(static_cast<unsigned char>(c));
    return *this;
  }
  Bytes& Append(const Bytes& other) {
    bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end());
    return *this;
  }
  Bytes& PadTo(std::size_t size) {
    bytes_.resize(size);
    return *this;
  }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(bytes_.size()); }
  [[nodiscard]] std::vector<std::byte>& data() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct ImageShape {
  bool is_pe64 = false;
  std::uint32_t flags = 1;  // IL only
  std::uint32_t entry_point = 0x06000001;
  std::string target_framework = ".NETFramework,Version=v4.8";
  std::string reference = "mscorlib";
  bool has_clr_header = true;
  std::uint32_t member_ref_rows = 1;  // damaged images claim more rows than the tables hold
};

// Returns an assembly with one reference and one attribute, laid out as a compiler writes it.
std::vector<std::byte> MakeImage(const ImageShape& shape) {
  Bytes strings;
  strings.U8(0);
  const auto add = [&](const std::string& text) {
    const std::uint32_t at = strings.size();
    strings.Text(text).U8(0);
    return at;
  };
  const auto attribute = add("TargetFrameworkAttribute");
  const auto name_space = add("System.Runtime.Versioning");
  const auto assembly = add("Sample");
  const auto reference = add(shape.reference);
  const auto constructor = add(".ctor");
  strings.PadTo((strings.size() + 3) / 4 * 4);

  Bytes blobs;
  const auto framework_size = static_cast<unsigned>(shape.target_framework.size());
  blobs.U8(0).U8(5 + framework_size).U16(1).U8(framework_size).Text(shape.target_framework).U16(0);
  blobs.PadTo((blobs.size() + 3) / 4 * 4);

  const bool has_attribute = framework_size != 0;
  Bytes tables;
  tables.U32(0).U8(2).U8(0).U8(0).U8(1);
  tables.U32(1U << 0 | 1U << 1 | 1U << 0xA | (has_attribute ? 1U << 0xC : 0U)).U32(1U << 0 | 1U << 3).U32(0).U32(0);
  tables.U32(1).U32(1).U32(shape.member_ref_rows);
  if (has_attribute) tables.U32(1);
  tables.U32(1).U32(1);
  tables.U16(0).U16(assembly).U16(0).U16(0).U16(0);                     // Module
  tables.U16(1 << 2 | 2).U16(attribute).U16(name_space);                // TypeRef
  tables.U16(1 << 3 | 1).U16(constructor).U16(0);                       // MemberRef
  if (has_attribute) tables.U16(1 << 5 | 14).U16(1 << 3 | 3).U16(1);    // CustomAttribute
  tables.U32(0x8004).U32(1).U32(0).U32(0).U16(0).U16(assembly).U16(0);  // Assembly
  tables.U32(4).U32(0).U32(0).U16(0).U16(reference).U16(0).U16(0);      // AssemblyRef
  tables.PadTo((tables.size() + 3) / 4 * 4);

  Bytes metadata;
  const std::uint32_t header_size = 16 + 12 + 4 + (8 + 4) + (8 + 12) + (8 + 8);
  metadata.U32(0x424A5342).U16(1).U16(1).U32(0).U32(12).Text("v4.0.30319").U16(0).U16(0).U16(3);
  metadata.U32(header_size).U32(tables.size()).Text("#~").U16(0);
  metadata.U32(header_size + tables.size()).U32(strings.size()).Text("#Strings").U32(0);
  metadata.U32(header_size + tables.size() + strings.size()).U32(blobs.size()).Text("#Blob").U8(0).U16(0);
  metadata.Append(tables).Append(strings).Append(blobs);

  constexpr std::uint32_t section_address = 0x2000;
  Bytes section;
  section.U32(72).U16(2).U16(5).U32(section_address + 72).U32(metadata.size()).U32(shape.flags).U32(shape.entry_point);
  section.PadTo(72).Append(metadata);

  const unsigned optional_size = shape.is_pe64 ? 240 : 224;
  Bytes image;
  image.U16(0x5A4D).PadTo(0x3C).U32(0x80).PadTo(0x80).U32(0x4550);
  image.U16(shape.is_pe64 ? kMachineX64 : kMachineX86).U16(1).U32(0).U32(0).U32(0).U16(optional_size).U16(0x22);
  const std::uint32_t optional = image.size();
  const std::uint32_t directories = optional + (shape.is_pe64 ? 112 : 96);
  image.U16(shape.is_pe64 ? 0x20B : 0x10B).PadTo(directories - 4).U32(16).PadTo(directories + 14 * 8);
  image.U32(shape.has_clr_header ? section_address : 0).U32(shape.has_clr_header ? 72 : 0);
  image.PadTo(optional + optional_size);
  image.Text(".text").PadTo(optional + optional_size + 8);
  image.U32(section.size()).U32(section_address).U32(section.size()).U32(0x200).PadTo(0x200);
  image.Append(section);
  return image.data();
}

TEST(ManagedImage, ReadsANetFrameworkProgram) {
  const ManagedImage image = ReadManagedImage(MakeImage({}));
  EXPECT_EQ(image.kind, ImageKind::kManaged) << image.problem;
  EXPECT_TRUE(image.has_entry_point);
  EXPECT_TRUE(image.is_il_only);
  EXPECT_FALSE(image.requires_32_bit);
  EXPECT_EQ(image.machine, kMachineX86);
  EXPECT_EQ(image.metadata_version, "v4.0.30319");
  EXPECT_EQ(image.assembly_name, "Sample");
  EXPECT_EQ(image.target_framework, ".NETFramework,Version=v4.8");
  EXPECT_THAT(image.references, ElementsAre("mscorlib"));
  EXPECT_TRUE(image.IsForNetFramework());
}

TEST(ManagedImage, ReadsAModernNetProgram) {
  ImageShape shape;
  shape.is_pe64 = true;
  shape.target_framework = ".NETCoreApp,Version=v10.0";
  shape.reference = "System.Runtime";
  const ManagedImage image = ReadManagedImage(MakeImage(shape));
  EXPECT_EQ(image.kind, ImageKind::kManaged) << image.problem;
  EXPECT_EQ(image.machine, kMachineX64);
  EXPECT_EQ(image.target_framework, ".NETCoreApp,Version=v10.0");
  EXPECT_FALSE(image.IsForNetFramework());
}

TEST(ManagedImage, DetectsFrameworkFromReferencesWithoutTheAttribute) {
  ImageShape shape;
  shape.target_framework = "";
  EXPECT_TRUE(ReadManagedImage(MakeImage(shape)).IsForNetFramework());
  for (const char* modern : {"System.Runtime", "System.Private.CoreLib", "netstandard"}) {
    shape.reference = modern;
    const ManagedImage image = ReadManagedImage(MakeImage(shape));
    EXPECT_EQ(image.kind, ImageKind::kManaged) << image.problem;
    EXPECT_THAT(image.references, ElementsAre(modern));
    EXPECT_FALSE(image.IsForNetFramework()) << modern;
  }
}

TEST(ManagedImage, DetectsLibrariesAndBitness) {
  ImageShape shape;
  shape.entry_point = 0;
  EXPECT_FALSE(ReadManagedImage(MakeImage(shape)).has_entry_point);
  shape.flags = 0x3;
  EXPECT_TRUE(ReadManagedImage(MakeImage(shape)).requires_32_bit);
  shape.flags = 0x20003;
  EXPECT_FALSE(ReadManagedImage(MakeImage(shape)).requires_32_bit);
}

TEST(ManagedImage, PeWithoutClrHeaderIsNative) {
  ImageShape shape;
  shape.has_clr_header = false;
  EXPECT_EQ(ReadManagedImage(MakeImage(shape)).kind, ImageKind::kNative);
}

TEST(ManagedImage, OtherFilesAreNotPortableExecutables) {
  for (const char* text : {"", "M", "MZ", "#!/bin/sh\n",
                           "\x7f"
                           "ELF"}) {
    const auto* bytes = reinterpret_cast<const std::byte*>(text);
    EXPECT_EQ(ReadManagedImage({bytes, std::strlen(text)}).kind, ImageKind::kNotPortableExecutable) << text;
  }
}

TEST(ManagedImage, TruncatedImageIsNeverManaged) {
  const std::vector<std::byte> whole = MakeImage({});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A separate copy of exactly this size: sanitizers detect a read past its end.
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const ManagedImage image = ReadManagedImage(cut);
    EXPECT_NE(image.kind, ImageKind::kManaged) << size;
    EXPECT_EQ(image.problem.empty(), image.kind != ImageKind::kDamaged) << size;
  }
}

TEST(ManagedImage, CorruptedBytesNeverCauseReadsPastTheEnd) {
  const std::vector<std::byte> whole = MakeImage({});
  std::size_t damaged = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned value : {0x00u, 0x7Fu, 0x80u, 0xFFu}) {
      std::vector<std::byte> changed = whole;
      changed[at] = static_cast<std::byte>(value);
      if (ReadManagedImage(changed).kind == ImageKind::kDamaged) ++damaged;
    }
  }
  EXPECT_GT(damaged, 100u);
}

TEST(ManagedImage, RowCountBeyondTheTablesIsDamage) {
  ImageShape shape;
  shape.member_ref_rows = 0xFFFFFFFF;
  const ManagedImage image = ReadManagedImage(MakeImage(shape));
  EXPECT_EQ(image.kind, ImageKind::kDamaged);
  EXPECT_THAT(image.problem, HasSubstr("tables are cut off"));
}

TEST(ByteView, RefusesReadsPastTheEnd) {
  const std::byte bytes[] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{0}};
  const ByteView view(bytes);
  EXPECT_EQ(view.U32(0), 0x04030201u);
  EXPECT_EQ(view.U32(1), 0x00040302u);
  EXPECT_EQ(view.U32(2), std::nullopt);
  EXPECT_EQ(view.U8(4), 0u);
  EXPECT_EQ(view.U8(5), std::nullopt);
  EXPECT_EQ(view.U64(0), std::nullopt);
  EXPECT_EQ(view.U16(UINT64_MAX), std::nullopt);
  EXPECT_TRUE(view.Part(5, 0));
  EXPECT_FALSE(view.Part(5, 1));
  EXPECT_FALSE(view.Part(1, UINT64_MAX));
  EXPECT_EQ(view.ZeroTerminated(2)->size(), 2u);
  EXPECT_EQ(ByteView(gsl::span(bytes).first(4)).ZeroTerminated(0), std::nullopt);
}

}  // namespace
}  // namespace clr_host_memory::tool
