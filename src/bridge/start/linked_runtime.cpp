#include "bridge/start/linked_runtime.h"

#include <cstring>

namespace clr_host_memory {
namespace {

// RuntimeInfo of runtimeinfo.h (dotnet/runtime), the parts that are used here.
struct RuntimeInfo {
  char signature[18];
  int version;  // of the structure; 2 has runtime_version
  unsigned char module_indexes[3][24];
  int runtime_version[4];
};
constexpr char kSignature[] = "DotNetRuntimeInfo";

}  // namespace

bool HasLinkedRuntime(HMODULE module) noexcept {
  return module != nullptr && module == GetModuleHandleW(nullptr) &&
         (GetProcAddress(module, kSignature) != nullptr ||
          GetProcAddress(module, "DotNetRuntimeDebugHeader") != nullptr);
}

std::array<int, 4> LinkedRuntimeVersion(HMODULE module) noexcept {
  std::array<int, 4> version{};
  const auto* const info =
      reinterpret_cast<const RuntimeInfo*>(reinterpret_cast<const void*>(GetProcAddress(module, kSignature)));
  if (info == nullptr || std::memcmp(info->signature, kSignature, sizeof(kSignature)) != 0 || info->version < 2) {
    return version;
  }
  std::memcpy(version.data(), info->runtime_version, sizeof(version));
  return version;
}

}  // namespace clr_host_memory
