#include "bridge/start/companion_start.h"

#include <clr_host_memory/bridge_abi.h>

#include <array>
#include <cstdint>
#include <cstdio>

#include "bridge/patch/module_files.h"
#include "bridge/reason.h"
#include "bridge/start/started_runtime.h"
#include "bridge/state/bridge_client.h"

namespace clr_host_memory {
namespace {

// coreclr_create_delegate of coreclrhost.h (dotnet/runtime).
using CreateDelegate = int(WINAPI*)(void* host, unsigned domain, const char* assembly, const char* type,
                                    const char* method, void** function);
// Companion.StartForHost.
using StartForHost = int(WINAPI*)(IClrHostMemoryControl* control, std::uint64_t start_limit);

constexpr unsigned kFirstVersion = 8;

// Returns the control of the bridged manager; null: there is none.
ComReference<IClrHostMemoryControl> ControlOfManager() {
  const CallScope scope;
  ComReference<IClrHostMemoryControl> control;
  if (scope.client() != nullptr) {
    (void)scope.client()->manager->QueryInterface(kIidClrHostMemoryControl,
                                                  reinterpret_cast<void**>(control.Receive()));
  }
  return control;
}

}  // namespace

bool LoadsCompanions(HMODULE coreclr) noexcept { return MajorVersionOf(coreclr) >= kFirstVersion; }

std::string CompanionFile() {
  std::wstring path = ModulePath(ModuleOf(reinterpret_cast<const void*>(&LoadsCompanions)));
  path.replace(path.size() - BaseName(path).size(), std::wstring::npos, L"ClrHostMemory.Companion.dll");
  const DWORD attributes = GetFileAttributesW(path.c_str());
  const bool is_file = attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0;
  // The runtime would take a semicolon for the end of the path.
  if (!is_file || path.find(L';') != std::wstring::npos) return {};
  std::string file = Utf8(path);
  if (file.size() >= sizeof(ClrHostMemoryStartProperties::companion)) file.clear();
  return file;
}

HRESULT StartCompanionIn(HMODULE coreclr, const RuntimeHost& runtime, std::uint64_t start_limit, std::string* reason) {
  if (runtime.handle == nullptr) {
    *reason = "The runtime's host handle is null; pass the one that coreclr_initialize returned.";
    return E_INVALIDARG;
  }
  if (!LoadsCompanions(coreclr)) {
    *reason = "The runtime is older than .NET 8, so it cannot load the companion; its GC keeps its limit of the start.";
    return HOST_E_INVALIDOPERATION;
  }
  ComReference<IClrHostMemoryControl> control = ControlOfManager();
  if (!control) {
    *reason = "The bridge is detached; start the companion while it is attached.";
    return HOST_E_CLRNOTAVAILABLE;
  }
  const auto create =
      reinterpret_cast<CreateDelegate>(reinterpret_cast<void*>(GetProcAddress(coreclr, "coreclr_create_delegate")));
  void* start = nullptr;
  const HRESULT made = create == nullptr ? HRESULT_FROM_WIN32(ERROR_PROC_NOT_FOUND)
                                         : create(runtime.handle, runtime.domain, "ClrHostMemory.Companion",
                                                  "ClrHostMemory.Companion", "StartForHost", &start);
  if (FAILED(made)) {
    std::array<char, 11> code{};
    std::snprintf(code.data(), code.size(), "0x%08x", static_cast<unsigned>(made));
    *reason = "The runtime cannot load the companion, " + std::string(code.data()) +
              "; name ClrHostMemory.Companion.dll in TRUSTED_PLATFORM_ASSEMBLIES, as StartProperties does.";
    return made;
  }
  if (reinterpret_cast<StartForHost>(start)(control.get(), start_limit) != 1) {
    *reason = "There is no memory for the companion's thread; its GC keeps its limit of the start.";
    return E_OUTOFMEMORY;
  }
  static_cast<void>(control.Detach());  // the companion owns the reference
  return S_OK;
}

}  // namespace clr_host_memory
