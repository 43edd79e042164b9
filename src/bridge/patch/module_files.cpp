#include "bridge/patch/module_files.h"

#include <psapi.h>

#include <algorithm>

namespace clr_host_memory {
namespace {

constexpr wchar_t Lower(wchar_t c) noexcept {
  return c >= L'A' && c <= L'Z' ? static_cast<wchar_t>(c - L'A' + L'a') : c;
}

}  // namespace

std::wstring_view BaseName(std::wstring_view path) noexcept {
  const std::size_t separator = path.find_last_of(L"\\/");
  return separator == std::wstring_view::npos ? path : path.substr(separator + 1);
}

bool SameName(std::wstring_view left, std::wstring_view right) noexcept {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](wchar_t a, wchar_t b) { return Lower(a) == Lower(b); });
}

bool IsGcFileName(std::wstring_view path) noexcept {
  constexpr std::wstring_view kPrefix = L"clrgc";
  constexpr std::wstring_view kExtension = L".dll";
  const std::wstring_view name = BaseName(path);
  if (!SameName(name.substr(0, kPrefix.size()), kPrefix)) return false;
  if (name.find(L'.') == std::wstring_view::npos) return true;
  return name.size() >= kPrefix.size() + kExtension.size() &&
         SameName(name.substr(name.size() - kExtension.size()), kExtension);
}

std::wstring ModulePath(HMODULE module) {
  constexpr std::size_t kLongestPath = 32768;
  std::wstring path(MAX_PATH, L'\0');
  for (;;) {
    const DWORD length = GetModuleFileNameW(module, path.data(), static_cast<DWORD>(path.size()));
    if (length == 0) return {};
    if (length < path.size()) {
      path.resize(length);
      return path;
    }
    if (path.size() >= kLongestPath) return path;
    path.resize(std::min(path.size() * 2, kLongestPath));
  }
}

std::vector<HMODULE> LoadedModules() {
  constexpr int kAttempts = 20;  // the OS may fail while another thread loads or unloads a module
  std::vector<HMODULE> modules(256);
  for (int attempt = 0; attempt < kAttempts;) {
    const DWORD size = static_cast<DWORD>(modules.size() * sizeof(HMODULE));
    DWORD needed = 0;
    if (!EnumProcessModules(GetCurrentProcess(), modules.data(), size, &needed)) {
      ++attempt;
      Sleep(1);
      continue;
    }
    const bool complete = needed <= size;
    modules.resize(needed / sizeof(HMODULE));
    if (complete) return modules;
  }
  return {};
}

std::vector<HMODULE> LoadedModulesNamed(std::wstring_view name) {
  std::vector<HMODULE> modules = LoadedModules();
  std::erase_if(modules, [name](HMODULE module) {
    const std::wstring path = ModulePath(module);
    return !SameName(BaseName(path), name);
  });
  return modules;
}

HMODULE ModuleOf(const void* address) noexcept {
  HMODULE module = nullptr;
  constexpr DWORD kFlags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
  if (!GetModuleHandleExW(kFlags, static_cast<LPCWSTR>(address), &module)) return nullptr;
  return module;
}

}  // namespace clr_host_memory
