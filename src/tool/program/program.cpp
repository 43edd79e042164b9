#include "tool/program/program.h"

#include "tool/text/text.h"
#include "tool/text/tool_error.h"

#include <gsl/span>

#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

namespace clr_host_memory::tool {
namespace {

namespace fs = std::filesystem;

// Largest image to read. A linker creates at most 2 GiB: the PE format's file offsets are 31 bits in practice.
constexpr std::uintmax_t kLargestImage = std::uintmax_t{1} << 31;

ManagedImage ReadImage(const fs::path& file) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(file, error);
  std::ifstream stream(file, std::ios::binary);
  if (error || !stream) throw ToolError(ToUtf8(file) + " cannot be opened", "check its permissions");
  if (size > kLargestImage) return {};
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!stream) throw ToolError(ToUtf8(file) + " cannot be read", "check its permissions and the disk");
  return ReadManagedImage(bytes);
}

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Whether a runtimeconfig.json names frameworks. Throws ToolError if it is not JSON.
bool NamesFrameworks(const fs::path& runtime_config) {
  std::ifstream stream(runtime_config);
  const auto json = nlohmann::json::parse(stream, nullptr, false, true);
  if (!json.is_object()) {
    std::error_code ignored;
    throw ToolError(
        ToUtf8(runtime_config) + (fs::file_size(runtime_config, ignored) == 0 ? " is empty" : " is not valid JSON"),
        "build the program again");
  }
  const auto options = json.find("runtimeOptions");
  if (options == json.end() || !options->is_object()) return false;
  return options->contains("framework") || options->contains("frameworks");
}

// Checks that the code of the image is for this clrmem's processor.
void CheckProcessor(const ManagedImage& image, const std::string& shown) {
  const bool is_32_bit = image.requires_32_bit || (image.machine == kMachineX86 && !image.is_il_only);
  const bool is_64_bit = image.machine == kMachineX64 || image.machine == kMachineArm64;
  if (sizeof(void*) == 8 && is_32_bit) throw ToolError(shown + " is a 32-bit program", "run it with the 32-bit clrmem");
  if (sizeof(void*) == 4 && is_64_bit) throw ToolError(shown + " is a 64-bit program", "run it with the 64-bit clrmem");
}

}  // namespace

fs::path RuntimeConfigOf(const fs::path& file) {
  fs::path config = file;
  config.replace_extension(".runtimeconfig.json");
  return config;
}

Program FindProgram(const std::string& app) {
  std::error_code error;
  Program program;
  program.file = fs::absolute(fs::path(ToWide(app)), error).lexically_normal();
  if (error) throw ToolError("'" + app + "' is not a path", "name a .NET program's .dll or .exe");
  if (fs::is_directory(program.file, error)) {
    throw ToolError(app + " is a folder", "name a .NET program's .dll or .exe in it");
  }
  if (!IsFile(program.file)) throw ToolError("there is no file " + app, "name a .NET program's .dll or .exe");

  program.image = ReadImage(program.file);
  const std::string shown = ToUtf8(program.file);
  switch (program.image.kind) {
    case ImageKind::kManaged: break;
    case ImageKind::kNative: {
      if (_wcsicmp(program.file.extension().c_str(), L".exe") != 0) {
        throw ToolError(shown + " is native code, not a managed program", "name a .NET program's .dll or .exe");
      }
      CheckProcessor(program.image, shown);
      program.is_native = true;
      return program;
    }
    case ImageKind::kNotPortableExecutable:
      throw ToolError(shown + " is not a program for Windows or .NET", "name a .NET program's .dll or .exe");
    case ImageKind::kDamaged:
      throw ToolError(shown + " is damaged, " + program.image.problem, "build or copy it again");
  }
  if (!program.image.has_entry_point) {
    throw ToolError(shown + " is a class library, which has no Main", "name the program that uses it");
  }
  CheckProcessor(program.image, shown);
  program.has_runtime_config = IsFile(RuntimeConfigOf(program.file));
  program.is_self_contained = program.has_runtime_config && !NamesFrameworks(RuntimeConfigOf(program.file));
  program.is_net_framework = !program.has_runtime_config && program.image.IsForNetFramework();
  return program;
}

}  // namespace clr_host_memory::tool
