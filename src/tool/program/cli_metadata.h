// The metadata tables that identify an assembly (ECMA-335, partition II, 22 and 24). Portable.
#ifndef CLRHM_TOOL_PROGRAM_CLI_METADATA_H
#define CLRHM_TOOL_PROGRAM_CLI_METADATA_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <gsl/span>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace clr_host_memory::tool {

// Little-endian reads from a span of bytes. A read outside the span returns nothing.
class ByteView {
 public:
  ByteView() = default;
  explicit ByteView(gsl::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::optional<ByteView> Part(std::uint64_t offset, std::uint64_t size) const;
  [[nodiscard]] std::optional<std::uint8_t> U8(std::uint64_t offset) const { return Read<std::uint8_t>(offset); }
  [[nodiscard]] std::optional<std::uint16_t> U16(std::uint64_t offset) const { return Read<std::uint16_t>(offset); }
  [[nodiscard]] std::optional<std::uint32_t> U32(std::uint64_t offset) const { return Read<std::uint32_t>(offset); }
  [[nodiscard]] std::optional<std::uint64_t> U64(std::uint64_t offset) const { return Read<std::uint64_t>(offset); }
  // Returns the text up to the next zero byte; empty optional if there is no zero byte.
  [[nodiscard]] std::optional<std::string> ZeroTerminated(std::uint64_t offset) const;
  [[nodiscard]] std::string Text() const;

 private:
  template <typename Unsigned>
  [[nodiscard]] std::optional<Unsigned> Read(std::uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(Unsigned)) return std::nullopt;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
      value |= std::to_integer<std::uint64_t>(bytes_[static_cast<std::size_t>(offset) + i]) << (8 * i);
    }
    return static_cast<Unsigned>(value);
  }

  gsl::span<const std::byte> bytes_;
};

class CliMetadata {
 public:
  // Reads a whole metadata block, which must outlive the result. On failure returns nothing and describes the fault
  // in *problem.
  [[nodiscard]] static std::optional<CliMetadata> Read(const ByteView& metadata, std::string* problem);

  [[nodiscard]] const std::string& version() const noexcept { return version_; }
  [[nodiscard]] std::string AssemblyName() const;
  [[nodiscard]] std::vector<std::string> AssemblyReferences() const;
  // Returns the argument of the assembly's TargetFrameworkAttribute; empty if the attribute is absent.
  [[nodiscard]] std::string TargetFramework() const;

 private:
  static constexpr std::size_t kTableCount = 64;
  struct Table {
    std::uint64_t offset = 0;  // in tables_
    std::uint32_t rows = 0;
    std::uint32_t row_size = 0;
  };

  [[nodiscard]] std::uint32_t ColumnSize(std::uint8_t column) const;
  // Returns the value of a column in a row (rows count from 1); nothing if the row does not exist.
  [[nodiscard]] std::optional<std::uint32_t> Cell(std::uint8_t table, std::uint32_t row, std::size_t column) const;
  [[nodiscard]] std::string String(std::optional<std::uint32_t> index) const;
  [[nodiscard]] bool LayOut(std::uint64_t first_row);

  std::string version_;
  ByteView tables_;
  ByteView strings_;
  ByteView blobs_;
  std::uint8_t heap_sizes_ = 0;
  std::array<Table, kTableCount> layout_{};
};

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_CLI_METADATA_H
