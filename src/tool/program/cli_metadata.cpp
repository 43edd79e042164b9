#include "tool/program/cli_metadata.h"

#include <algorithm>

namespace clr_host_memory::tool {
namespace {

// Metadata tables by number (ECMA-335 II.22). Tables after AssemblyRef need no layout, because nothing after it is
// read.
constexpr std::uint8_t kTypeRef = 0x01;
constexpr std::uint8_t kMemberRef = 0x0A;
constexpr std::uint8_t kCustomAttribute = 0x0C;
constexpr std::uint8_t kAssembly = 0x20;
constexpr std::uint8_t kAssemblyRef = 0x23;
constexpr std::size_t kLaidOutTables = kAssemblyRef + 1;

// The kind of a column. Below 0x40: an index into the table of that number. Otherwise one of these.
enum Column : std::uint8_t {
  kNone = 0xFF,
  kU16 = 0x40,
  kU32,
  kString,
  kGuid,
  kBlob,
  kTypeDefOrRef = 0x50,
  kHasConstant,
  kHasCustomAttribute,
  kHasFieldMarshal,
  kHasDeclSecurity,
  kMemberRefParent,
  kHasSemantics,
  kMethodDefOrRef,
  kMemberForwarded,
  kCustomAttributeType,
  kResolutionScope,
};

using Row = std::array<std::uint8_t, 9>;

template <typename... Columns>
constexpr Row MakeRow(Columns... columns) {
  Row row{};
  row.fill(kNone);
  std::size_t at = 0;
  ((row[at++] = static_cast<std::uint8_t>(columns)), ...);
  return row;
}

constexpr std::array<Row, kLaidOutTables> kRows{
    MakeRow(kU16, kString, kGuid, kGuid, kGuid),                             // 00 Module
    MakeRow(kResolutionScope, kString, kString),                             // 01 TypeRef
    MakeRow(kU32, kString, kString, kTypeDefOrRef, 0x04, 0x06),              // 02 TypeDef
    MakeRow(0x04),                                                           // 03 FieldPtr
    MakeRow(kU16, kString, kBlob),                                           // 04 Field
    MakeRow(0x06),                                                           // 05 MethodPtr
    MakeRow(kU32, kU16, kU16, kString, kBlob, 0x08),                         // 06 MethodDef
    MakeRow(0x08),                                                           // 07 ParamPtr
    MakeRow(kU16, kU16, kString),                                            // 08 Param
    MakeRow(0x02, kTypeDefOrRef),                                            // 09 InterfaceImpl
    MakeRow(kMemberRefParent, kString, kBlob),                               // 0A MemberRef
    MakeRow(kU16, kHasConstant, kBlob),                                      // 0B Constant
    MakeRow(kHasCustomAttribute, kCustomAttributeType, kBlob),               // 0C CustomAttribute
    MakeRow(kHasFieldMarshal, kBlob),                                        // 0D FieldMarshal
    MakeRow(kU16, kHasDeclSecurity, kBlob),                                  // 0E DeclSecurity
    MakeRow(kU16, kU32, 0x02),                                               // 0F ClassLayout
    MakeRow(kU32, 0x04),                                                     // 10 FieldLayout
    MakeRow(kBlob),                                                          // 11 StandAloneSig
    MakeRow(0x02, 0x14),                                                     // 12 EventMap
    MakeRow(0x14),                                                           // 13 EventPtr
    MakeRow(kU16, kString, kTypeDefOrRef),                                   // 14 Event
    MakeRow(0x02, 0x17),                                                     // 15 PropertyMap
    MakeRow(0x17),                                                           // 16 PropertyPtr
    MakeRow(kU16, kString, kBlob),                                           // 17 Property
    MakeRow(kU16, 0x06, kHasSemantics),                                      // 18 MethodSemantics
    MakeRow(0x02, kMethodDefOrRef, kMethodDefOrRef),                         // 19 MethodImpl
    MakeRow(kString),                                                        // 1A ModuleRef
    MakeRow(kBlob),                                                          // 1B TypeSpec
    MakeRow(kU16, kMemberForwarded, kString, 0x1A),                          // 1C ImplMap
    MakeRow(kU32, 0x04),                                                     // 1D FieldRVA
    MakeRow(kU32, kU32),                                                     // 1E EncLog
    MakeRow(kU32),                                                           // 1F EncMap
    MakeRow(kU32, kU16, kU16, kU16, kU16, kU32, kBlob, kString, kString),    // 20 Assembly
    MakeRow(kU32),                                                           // 21 AssemblyProcessor
    MakeRow(kU32, kU32, kU32),                                               // 22 AssemblyOS
    MakeRow(kU16, kU16, kU16, kU16, kU32, kBlob, kString, kString, kBlob)};  // 23 AssemblyRef

// A coded index: the number of low bits that name the table, and the tables that determine the width (II.24.2.6).
struct CodedIndex {
  std::uint32_t tag_bits;
  std::array<std::uint8_t, 22> tables;
  std::size_t count;
};
constexpr std::array<CodedIndex, 11> kCodedIndexes{{
    {2, {0x02, 0x01, 0x1B}, 3},
    {2, {0x04, 0x08, 0x17}, 3},
    {5,
     {0x06, 0x04, 0x01, 0x02, 0x08, 0x09, 0x0A, 0x00, 0x0E, 0x17, 0x14,
      0x11, 0x1A, 0x1B, 0x20, 0x23, 0x26, 0x27, 0x28, 0x2A, 0x2C, 0x2B},
     22},
    {1, {0x04, 0x08}, 2},
    {2, {0x02, 0x06, 0x20}, 3},
    {3, {0x02, 0x01, 0x1A, 0x06, 0x1B}, 5},
    {1, {0x14, 0x17}, 2},
    {1, {0x06, 0x0A}, 2},
    {1, {0x04, 0x06}, 2},
    {3, {0x06, 0x0A}, 2},
    {2, {0x00, 0x1A, 0x23, 0x01}, 4},
}};

// The tags of coded indexes that this reader tests for.
constexpr std::uint32_t kParentIsAssembly = 14;  // HasCustomAttribute
constexpr std::uint32_t kTypeIsMemberRef = 3;    // CustomAttributeType
constexpr std::uint32_t kClassIsTypeRef = 1;     // MemberRefParent

// Reads a compressed unsigned integer (II.23.2) and advances *at.
std::optional<std::uint32_t> Compressed(const ByteView& bytes, std::uint64_t* at) {
  const auto first = bytes.U8(*at);
  if (!first) return std::nullopt;
  std::uint32_t length = 1;
  std::uint32_t value = *first;
  if ((*first & 0xC0) == 0x80) {
    length = 2;
    value = *first & 0x3FU;
  } else if ((*first & 0xE0) == 0xC0) {
    length = 4;
    value = *first & 0x1FU;
  } else if ((*first & 0x80) != 0) {
    return std::nullopt;
  }
  for (std::uint32_t i = 1; i < length; ++i) {
    const auto next = bytes.U8(*at + i);
    if (!next) return std::nullopt;
    value = value << 8 | *next;
  }
  *at += length;
  return value;
}

}  // namespace

std::optional<ByteView> ByteView::Part(std::uint64_t offset, std::uint64_t size) const {
  if (offset > bytes_.size() || size > bytes_.size() - offset) return std::nullopt;
  return ByteView(bytes_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size)));
}

std::optional<std::string> ByteView::ZeroTerminated(std::uint64_t offset) const {
  std::string text;
  for (;; ++offset) {
    const auto byte = U8(offset);
    if (!byte) return std::nullopt;
    if (*byte == 0) return text;
    text += static_cast<char>(*byte);
  }
}

std::string ByteView::Text() const {
  std::string text;
  for (const std::byte byte : bytes_) text += std::to_integer<char>(byte);
  return text;
}

std::optional<CliMetadata> CliMetadata::Read(const ByteView& metadata, std::string* problem) {
  const auto fail = [&](const char* what) {
    *problem = what;
    return std::nullopt;
  };
  if (metadata.U32(0) != 0x424A5342) return fail("its metadata has no BSJB signature");
  const auto version_length = metadata.U32(12);
  if (!version_length) return fail("its metadata header is cut off");
  const auto version = metadata.Part(16, *version_length);
  const std::uint64_t after_version = 16 + std::uint64_t{*version_length};
  const auto stream_count = metadata.U16(after_version + 2);
  if (!version || !stream_count) return fail("its metadata header is cut off");

  CliMetadata result;
  result.version_ = version->Text();
  result.version_.resize(std::min(result.version_.size(), result.version_.find('\0')));
  bool has_tables = false;
  std::uint64_t at = after_version + 4;
  for (std::uint32_t i = 0; i < *stream_count; ++i) {
    const auto offset = metadata.U32(at);
    const auto size = metadata.U32(at + 4);
    const auto name = metadata.ZeroTerminated(at + 8);
    if (!offset || !size || !name) return fail("its list of metadata streams is cut off");
    const auto stream = metadata.Part(*offset, *size);
    if (!stream) return fail("a metadata stream lies outside the file");
    if (*name == "#~" || *name == "#-") {
      result.tables_ = *stream;
      has_tables = true;
    } else if (*name == "#Strings") {
      result.strings_ = *stream;
    } else if (*name == "#Blob") {
      result.blobs_ = *stream;
    }
    at += 8 + (name->size() + 4) / 4 * 4;
  }
  if (!has_tables) return fail("its metadata has no tables");

  const auto heap_sizes = result.tables_.U8(6);
  const auto present = result.tables_.U64(8);
  if (!heap_sizes || !present) return fail("its metadata tables are cut off");
  result.heap_sizes_ = *heap_sizes;
  std::uint64_t first_row = 24;
  for (std::size_t table = 0; table < kTableCount; ++table) {
    if ((*present >> table & 1) == 0) continue;
    const auto rows = result.tables_.U32(first_row);
    if (!rows) return fail("its metadata tables are cut off");
    result.layout_[table].rows = *rows;
    first_row += 4;
  }
  if ((*heap_sizes & 0x40) != 0) first_row += 4;
  if (!result.LayOut(first_row)) return fail("its metadata tables are cut off");
  return result;
}

bool CliMetadata::LayOut(std::uint64_t first_row) {
  std::uint64_t offset = first_row;
  for (std::size_t table = 0; table < kLaidOutTables; ++table) {
    layout_[table].offset = offset;
    for (const std::uint8_t column : kRows[table]) {
      if (column != kNone) layout_[table].row_size += ColumnSize(column);
    }
    offset += std::uint64_t{layout_[table].rows} * layout_[table].row_size;
    if (offset > tables_.size()) return false;
  }
  return true;
}

std::uint32_t CliMetadata::ColumnSize(std::uint8_t column) const {
  const auto heap_index = [&](unsigned bit) { return (heap_sizes_ & bit) != 0 ? 4U : 2U; };
  if (column < kTableCount) return layout_[column].rows > 0xFFFF ? 4 : 2;
  switch (column) {
    case kU16: return 2;
    case kU32: return 4;
    case kString: return heap_index(0x1);
    case kGuid: return heap_index(0x2);
    case kBlob: return heap_index(0x4);
    default: break;
  }
  const CodedIndex& coded = kCodedIndexes[static_cast<std::size_t>(column - kTypeDefOrRef)];
  std::uint32_t most_rows = 0;
  for (std::size_t i = 0; i < coded.count; ++i) most_rows = std::max(most_rows, layout_[coded.tables[i]].rows);
  return most_rows >= 1U << (16 - coded.tag_bits) ? 4 : 2;
}

std::optional<std::uint32_t> CliMetadata::Cell(std::uint8_t table, std::uint32_t row, std::size_t column) const {
  const Table& where = layout_[table];
  if (row == 0 || row > where.rows) return std::nullopt;
  std::uint64_t at = where.offset + std::uint64_t{row - 1} * where.row_size;
  for (std::size_t i = 0; i < column; ++i) at += ColumnSize(kRows[table][i]);
  if (ColumnSize(kRows[table][column]) == 4) return tables_.U32(at);
  const auto narrow = tables_.U16(at);
  if (!narrow) return std::nullopt;
  return *narrow;
}

std::string CliMetadata::String(std::optional<std::uint32_t> index) const {
  if (!index) return {};
  return strings_.ZeroTerminated(*index).value_or(std::string());
}

std::string CliMetadata::AssemblyName() const { return String(Cell(kAssembly, 1, 7)); }

std::vector<std::string> CliMetadata::AssemblyReferences() const {
  std::vector<std::string> names;
  for (std::uint32_t row = 1; row <= layout_[kAssemblyRef].rows; ++row) {
    names.push_back(String(Cell(kAssemblyRef, row, 6)));
  }
  return names;
}

std::string CliMetadata::TargetFramework() const {
  for (std::uint32_t row = 1; row <= layout_[kCustomAttribute].rows; ++row) {
    const auto parent = Cell(kCustomAttribute, row, 0);
    const auto type = Cell(kCustomAttribute, row, 1);
    const auto value = Cell(kCustomAttribute, row, 2);
    if (!parent || !type || !value) return {};
    if ((*parent & 0x1F) != kParentIsAssembly || (*type & 0x7) != kTypeIsMemberRef) continue;
    const auto owner = Cell(kMemberRef, *type >> 3, 0);
    if (!owner || (*owner & 0x7) != kClassIsTypeRef) continue;
    if (String(Cell(kTypeRef, *owner >> 3, 1)) != "TargetFrameworkAttribute") continue;
    if (String(Cell(kTypeRef, *owner >> 3, 2)) != "System.Runtime.Versioning") continue;

    // The blob has a length, the prolog 0x0001, and then the argument as a length and UTF-8 (II.23.3).
    std::uint64_t at = *value;
    if (!Compressed(blobs_, &at) || blobs_.U16(at) != 0x0001) return {};
    at += 2;
    const auto length = Compressed(blobs_, &at);
    const auto text = length ? blobs_.Part(at, *length) : std::nullopt;
    return text ? text->Text() : std::string();
  }
  return {};
}

}  // namespace clr_host_memory::tool
