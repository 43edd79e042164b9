// What a program file is, read from its bytes: the PE headers, the CLR header and a few metadata tables (ECMA-335,
// partition II, 22-25). Portable; every offset is checked against the bytes that are there.
#ifndef CLRHM_TOOL_PROGRAM_MANAGED_IMAGE_H
#define CLRHM_TOOL_PROGRAM_MANAGED_IMAGE_H

#include <cstddef>
#include <cstdint>
#include <gsl/span>
#include <string>
#include <vector>

namespace clr_host_memory::tool {

enum class ImageKind {
  kNotPortableExecutable,  // no MZ/PE headers
  kNative,                 // a PE without a CLR header
  kManaged,
  kDamaged  // headers that point outside the file, or metadata that cannot be read; problem says which
};

// IMAGE_FILE_MACHINE_* by value.
inline constexpr std::uint16_t kMachineX86 = 0x014C;
inline constexpr std::uint16_t kMachineX64 = 0x8664;
inline constexpr std::uint16_t kMachineArm64 = 0xAA64;

struct ManagedImage {
  ImageKind kind = ImageKind::kNotPortableExecutable;
  std::string problem;                  // for kDamaged: what is wrong, as a part of a sentence
  std::uint16_t machine = 0;            // IMAGE_FILE_MACHINE_*
  bool is_il_only = false;              // IL only: the machine does not bind it
  bool requires_32_bit = false;         // 32BITREQUIRED without 32BITPREFERRED
  bool has_entry_point = false;         // a program, not a library
  std::string metadata_version;         // "v4.0.30319": the runtime the compiler aimed at
  std::string assembly_name;            // empty for a module without a manifest
  std::string target_framework;         // ".NETFramework,Version=v4.8"; empty when the attribute is absent
  std::vector<std::string> references;  // names of referenced assemblies

  // A program of the .NET Framework: says so, or says nothing and stands on mscorlib rather than on System.Runtime.
  [[nodiscard]] bool IsForNetFramework() const;
};

// Never throws for what the bytes say; std::bad_alloc only.
[[nodiscard]] ManagedImage ReadManagedImage(gsl::span<const std::byte> file);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_MANAGED_IMAGE_H
