// The kind and properties of a program file. They are read from the PE headers, the CLR header and some metadata
// tables (ECMA-335, partition II, 22-25). Portable. Every offset is checked against the size of the file.
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
  kDamaged  // headers that point outside the file, or unreadable metadata; problem describes which
};

// IMAGE_FILE_MACHINE_* by value.
inline constexpr std::uint16_t kMachineX86 = 0x014C;
inline constexpr std::uint16_t kMachineX64 = 0x8664;
inline constexpr std::uint16_t kMachineArm64 = 0xAA64;

struct ManagedImage {
  ImageKind kind = ImageKind::kNotPortableExecutable;
  std::string problem;                  // for kDamaged: the fault, as a part of a sentence
  std::uint16_t machine = 0;            // IMAGE_FILE_MACHINE_*
  bool is_il_only = false;              // IL only: the machine field does not bind it
  bool requires_32_bit = false;         // 32BITREQUIRED without 32BITPREFERRED
  bool has_entry_point = false;         // a program, not a library
  std::string metadata_version;         // the runtime that the compiler targeted
  std::string assembly_name;            // empty for a module without a manifest
  std::string target_framework;         // ".NETFramework,Version=v4.8"; empty when the attribute is absent
  std::vector<std::string> references;  // names of referenced assemblies

  // Whether the assembly targets the .NET Framework: its target framework names it. If the attribute is absent: the
  // assembly refers to mscorlib, and to neither System.Runtime nor System.Private.CoreLib.
  [[nodiscard]] bool IsForNetFramework() const;
};

// Reads an image. Reports faults of the bytes in the result. Throws only std::bad_alloc.
[[nodiscard]] ManagedImage ReadManagedImage(gsl::span<const std::byte> file);

}  // namespace clr_host_memory::tool

#endif  // CLRHM_TOOL_PROGRAM_MANAGED_IMAGE_H
