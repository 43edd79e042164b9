#include "tool/program/managed_image.h"

#include "tool/program/cli_metadata.h"

#include <algorithm>
#include <string_view>

namespace clr_host_memory::tool {
namespace {

constexpr std::uint32_t kIlOnly = 0x1;
constexpr std::uint32_t k32BitRequired = 0x2;
constexpr std::uint32_t k32BitPreferred = 0x20000;

struct Section {
  std::uint32_t address;
  std::uint32_t size;
  std::uint32_t file_offset;
};

// Returns the bytes of the image at [rva, rva + size). They must lie in one section of the file.
std::optional<ByteView> AtAddress(const ByteView& file, const std::vector<Section>& sections, std::uint32_t rva,
                                  std::uint32_t size) {
  for (const Section& section : sections) {
    if (rva < section.address || rva - section.address > section.size) continue;
    const std::uint32_t inside = rva - section.address;
    if (size > section.size - inside) return std::nullopt;
    return file.Part(std::uint64_t{section.file_offset} + inside, size);
  }
  return std::nullopt;
}

ManagedImage Damaged(ManagedImage image, std::string problem) {
  image.kind = ImageKind::kDamaged;
  image.problem = std::move(problem);
  return image;
}

}  // namespace

bool ManagedImage::IsForNetFramework() const {
  if (!target_framework.empty()) return target_framework.starts_with(".NETFramework,");
  const auto refers_to = [&](std::string_view name) {
    return std::find(references.begin(), references.end(), name) != references.end();
  };
  return refers_to("mscorlib") && !refers_to("System.Runtime") && !refers_to("System.Private.CoreLib");
}

ManagedImage ReadManagedImage(gsl::span<const std::byte> bytes) {
  ManagedImage image;
  const ByteView file(bytes);
  if (file.U16(0) != 0x5A4D) return image;  // MZ
  const auto pe_offset = file.U32(0x3C);
  if (!pe_offset || file.U32(*pe_offset) != 0x00004550) return image;  // PE\0\0

  const std::uint64_t header = std::uint64_t{*pe_offset} + 4;
  const auto machine = file.U16(header);
  const auto section_count = file.U16(header + 2);
  const auto optional_size = file.U16(header + 16);
  const std::uint64_t optional = header + 20;
  const auto magic = file.U16(optional);
  if (!machine || !section_count || !optional_size || !magic) return Damaged(image, "its PE header is cut off");
  image.machine = *machine;
  if (*magic != 0x10B && *magic != 0x20B) return Damaged(image, "its optional header is of an unknown kind");

  // Data directory 14 is the CLR header. The directories start after the fixed part of the optional header.
  const std::uint64_t directories = *magic == 0x20B ? 112 : 96;
  const auto directory_count = file.U32(optional + directories - 4);
  if (!directory_count) return Damaged(image, "its optional header is cut off");
  const std::uint64_t clr_entry = directories + 14 * 8;
  if (*directory_count <= 14 || *optional_size < clr_entry + 8) {
    image.kind = ImageKind::kNative;
    return image;
  }
  const auto clr_address = file.U32(optional + clr_entry);
  const auto clr_size = file.U32(optional + clr_entry + 4);
  if (!clr_address || !clr_size) return Damaged(image, "its optional header is cut off");
  if (*clr_address == 0) {
    image.kind = ImageKind::kNative;
    return image;
  }

  std::vector<Section> sections;
  for (std::uint64_t i = 0; i < *section_count; ++i) {
    const std::uint64_t at = optional + *optional_size + i * 40;
    const auto address = file.U32(at + 12);
    const auto raw_size = file.U32(at + 16);
    const auto raw_offset = file.U32(at + 20);
    if (!address || !raw_size || !raw_offset) return Damaged(image, "its section table is cut off");
    if (!file.Part(*raw_offset, *raw_size)) return Damaged(image, "it ends before its last section does");
    sections.push_back({*address, *raw_size, *raw_offset});
  }

  constexpr std::uint32_t clr_header_size = 72;
  const auto clr = AtAddress(file, sections, *clr_address, clr_header_size);
  if (*clr_size < clr_header_size || !clr) return Damaged(image, "its CLR header lies outside the file");
  const std::uint32_t flags = *clr->U32(16);
  image.is_il_only = (flags & kIlOnly) != 0;
  image.requires_32_bit = (flags & k32BitRequired) != 0 && (flags & k32BitPreferred) == 0;
  image.has_entry_point = *clr->U32(20) != 0;

  const auto metadata = AtAddress(file, sections, *clr->U32(8), *clr->U32(12));
  if (!metadata) return Damaged(image, "its metadata lies outside the file");
  std::string problem;
  const auto tables = CliMetadata::Read(*metadata, &problem);
  if (!tables) return Damaged(image, problem);
  image.metadata_version = tables->version();
  image.assembly_name = tables->AssemblyName();
  image.target_framework = tables->TargetFramework();
  image.references = tables->AssemblyReferences();
  image.kind = ImageKind::kManaged;
  return image;
}

}  // namespace clr_host_memory::tool
