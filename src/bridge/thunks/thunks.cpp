#include "bridge/thunks/thunks.h"

#include <cstdlib>
#include <utility>

namespace clr_host_memory {
namespace {

template <std::size_t... kIndex>
constexpr std::array<ThunkModule, sizeof...(kIndex)> MakeModules(std::index_sequence<kIndex...>) {
  return {ThunkModule{kIndex}...};
}

// The thunks of the bridged modules, followed by those of the guarded modules.
constinit std::array<ThunkModule, kMaxBridgedModules + kMaxGuardedModules> thunk_modules =
    MakeModules(std::make_index_sequence<kMaxBridgedModules + kMaxGuardedModules>());

template <std::size_t kIndex>
ThunkModule& Module() noexcept {
  return thunk_modules[kIndex];
}

// Functions with the exact Win32 signatures, one set for each index.
template <std::size_t kIndex>
struct Thunks {
  static LPVOID WINAPI VirtualAlloc(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
    return thunks::VirtualAlloc(Module<kIndex>(), address, size, type, protect);
  }
  static LPVOID WINAPI VirtualAllocExNuma(HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                                          DWORD node) {
    return thunks::VirtualAllocExNuma(Module<kIndex>(), process, address, size, type, protect, node);
  }
  static BOOL WINAPI VirtualFree(LPVOID address, SIZE_T size, DWORD type) {
    return thunks::VirtualFree(Module<kIndex>(), address, size, type);
  }
  static SIZE_T WINAPI VirtualQuery(LPCVOID address, PMEMORY_BASIC_INFORMATION buffer, SIZE_T length) {
    return thunks::VirtualQuery(Module<kIndex>(), address, buffer, length);
  }
  static BOOL WINAPI VirtualProtect(LPVOID address, SIZE_T size, DWORD protect, PDWORD old_protect) {
    return thunks::VirtualProtect(Module<kIndex>(), address, size, protect, old_protect);
  }
  static HANDLE WINAPI CreateFileMappingW(HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect, DWORD size_high,
                                          DWORD size_low, LPCWSTR name) {
    return thunks::CreateFileMappingW(Module<kIndex>(), file, attributes, protect, size_high, size_low, name);
  }
  static HANDLE WINAPI CreateFileMappingA(HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect, DWORD size_high,
                                          DWORD size_low, LPCSTR name) {
    return thunks::CreateFileMappingA(Module<kIndex>(), file, attributes, protect, size_high, size_low, name);
  }
  static BOOL WINAPI CloseHandle(HANDLE handle) { return thunks::CloseHandle(Module<kIndex>(), handle); }
  static LPVOID WINAPI MapViewOfFile(HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low, SIZE_T size) {
    return thunks::MapViewOfFile(Module<kIndex>(), mapping, access, offset_high, offset_low, size);
  }
  static LPVOID WINAPI MapViewOfFileEx(HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low, SIZE_T size,
                                       LPVOID base) {
    return thunks::MapViewOfFileEx(Module<kIndex>(), mapping, access, offset_high, offset_low, size, base);
  }
  static BOOL WINAPI UnmapViewOfFile(LPCVOID address) { return thunks::UnmapViewOfFile(Module<kIndex>(), address); }
  static HMODULE WINAPI LoadLibraryExW(LPCWSTR name, HANDLE file, DWORD flags) {
    return thunks::LoadLibraryExW(Module<kIndex>(), name, file, flags);
  }
  static HMODULE WINAPI LoadLibraryExA(LPCSTR name, HANDLE file, DWORD flags) {
    return thunks::LoadLibraryExA(Module<kIndex>(), name, file, flags);
  }
  static HMODULE WINAPI LoadLibraryW(LPCWSTR name) { return thunks::LoadLibraryW(Module<kIndex>(), name); }
  static HMODULE WINAPI LoadLibraryA(LPCSTR name) { return thunks::LoadLibraryA(Module<kIndex>(), name); }
  static BOOL WINAPI GlobalMemoryStatusEx(LPMEMORYSTATUSEX buffer) {
    return thunks::GlobalMemoryStatusEx(Module<kIndex>(), buffer);
  }
  static BOOL WINAPI IsProcessInJob(HANDLE process, HANDLE job, PBOOL result) {
    return thunks::IsProcessInJob(Module<kIndex>(), process, job, result);
  }
  static BOOL WINAPI QueryInformationJobObject(HANDLE job, JOBOBJECTINFOCLASS kind, LPVOID information, DWORD length,
                                               LPDWORD returned) {
    return thunks::QueryInformationJobObject(Module<kIndex>(), job, kind, information, length, returned);
  }
  static HANDLE WINAPI CreateMemoryResourceNotification(MEMORY_RESOURCE_NOTIFICATION_TYPE type) {
    return thunks::CreateMemoryResourceNotification(Module<kIndex>(), type);
  }
  static BOOL WINAPI QueryMemoryResourceNotification(HANDLE notification, PBOOL state) {
    return thunks::QueryMemoryResourceNotification(Module<kIndex>(), notification, state);
  }
  static LPVOID WINAPI HeapAlloc(HANDLE heap, DWORD flags, SIZE_T size) {
    return thunks::HeapAlloc(Module<kIndex>(), heap, flags, size);
  }
  static void* __cdecl Malloc(std::size_t size) { return thunks::Malloc(Module<kIndex>(), size); }
  static void* __cdecl Calloc(std::size_t count, std::size_t size) {
    return thunks::Calloc(Module<kIndex>(), count, size);
  }
  static void* __cdecl Realloc(void* memory, std::size_t size) {
    return thunks::Realloc(Module<kIndex>(), memory, size);
  }
  static void __cdecl Free(void* memory) { thunks::Free(Module<kIndex>(), memory); }
  static LPVOID WINAPI HeapReAlloc(HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size) {
    return thunks::HeapReAlloc(Module<kIndex>(), heap, flags, memory, size);
  }
  static BOOL WINAPI HeapFree(HANDLE heap, DWORD flags, LPVOID memory) {
    return thunks::HeapFree(Module<kIndex>(), heap, flags, memory);
  }
  static SIZE_T WINAPI HeapSize(HANDLE heap, DWORD flags, LPCVOID memory) {
    return thunks::HeapSize(Module<kIndex>(), heap, flags, memory);
  }
};

// Function is the exact type that replacement must have: a thunk with another signature does not compile.
template <typename Function>
ImportHook Hook(std::size_t index, BridgedFunction function, const char* name, Function* replacement) noexcept {
  return {name, reinterpret_cast<void*>(replacement),
          &thunk_modules[index].originals[static_cast<std::size_t>(function)]};
}

template <typename Function>
ImportHook CHook(std::size_t index, BridgedFunction function, const char* name, Function* replacement) noexcept {
  ImportHook hook = Hook<Function>(index, function, name, replacement);
  hook.of_c_runtime = true;
  return hook;
}

using Hooks = std::array<ImportHook, kBridgedFunctionCount - kBorderFunctionCount>;
using BorderHooks = std::array<ImportHook, kBorderFunctionCount>;

template <std::size_t kIndex>
Hooks MakeHooks() noexcept {
  using F = BridgedFunction;
  using T = Thunks<kIndex>;
  return {
      Hook<decltype(::VirtualAlloc)>(kIndex, F::kVirtualAlloc, "VirtualAlloc", &T::VirtualAlloc),
      Hook<decltype(::VirtualAllocExNuma)>(kIndex, F::kVirtualAllocExNuma, "VirtualAllocExNuma",
                                           &T::VirtualAllocExNuma),
      Hook<decltype(::VirtualFree)>(kIndex, F::kVirtualFree, "VirtualFree", &T::VirtualFree),
      Hook<decltype(::VirtualQuery)>(kIndex, F::kVirtualQuery, "VirtualQuery", &T::VirtualQuery),
      Hook<decltype(::VirtualProtect)>(kIndex, F::kVirtualProtect, "VirtualProtect", &T::VirtualProtect),
      Hook<decltype(::CreateFileMappingW)>(kIndex, F::kCreateFileMappingW, "CreateFileMappingW",
                                           &T::CreateFileMappingW),
      Hook<decltype(::CreateFileMappingA)>(kIndex, F::kCreateFileMappingA, "CreateFileMappingA",
                                           &T::CreateFileMappingA),
      Hook<decltype(::CloseHandle)>(kIndex, F::kCloseHandle, "CloseHandle", &T::CloseHandle),
      Hook<decltype(::MapViewOfFile)>(kIndex, F::kMapViewOfFile, "MapViewOfFile", &T::MapViewOfFile),
      Hook<decltype(::MapViewOfFileEx)>(kIndex, F::kMapViewOfFileEx, "MapViewOfFileEx", &T::MapViewOfFileEx),
      Hook<decltype(::UnmapViewOfFile)>(kIndex, F::kUnmapViewOfFile, "UnmapViewOfFile", &T::UnmapViewOfFile),
      Hook<decltype(::LoadLibraryExW)>(kIndex, F::kLoadLibraryExW, "LoadLibraryExW", &T::LoadLibraryExW),
      Hook<decltype(::LoadLibraryExA)>(kIndex, F::kLoadLibraryExA, "LoadLibraryExA", &T::LoadLibraryExA),
      Hook<decltype(::LoadLibraryW)>(kIndex, F::kLoadLibraryW, "LoadLibraryW", &T::LoadLibraryW),
      Hook<decltype(::LoadLibraryA)>(kIndex, F::kLoadLibraryA, "LoadLibraryA", &T::LoadLibraryA),
      Hook<decltype(::GlobalMemoryStatusEx)>(kIndex, F::kGlobalMemoryStatusEx, "GlobalMemoryStatusEx",
                                             &T::GlobalMemoryStatusEx),
      Hook<decltype(::IsProcessInJob)>(kIndex, F::kIsProcessInJob, "IsProcessInJob", &T::IsProcessInJob),
      Hook<decltype(::QueryInformationJobObject)>(kIndex, F::kQueryInformationJobObject, "QueryInformationJobObject",
                                                  &T::QueryInformationJobObject),
      Hook<decltype(::CreateMemoryResourceNotification)>(kIndex, F::kCreateMemoryResourceNotification,
                                                         "CreateMemoryResourceNotification",
                                                         &T::CreateMemoryResourceNotification),
      Hook<decltype(::QueryMemoryResourceNotification)>(kIndex, F::kQueryMemoryResourceNotification,
                                                        "QueryMemoryResourceNotification",
                                                        &T::QueryMemoryResourceNotification),
      Hook<decltype(::HeapAlloc)>(kIndex, F::kHeapAlloc, "HeapAlloc", &T::HeapAlloc),
      CHook<void* __cdecl(std::size_t)>(kIndex, F::kMalloc, "malloc", &T::Malloc),
      CHook<void* __cdecl(std::size_t, std::size_t)>(kIndex, F::kCalloc, "calloc", &T::Calloc),
      CHook<void* __cdecl(void*, std::size_t)>(kIndex, F::kRealloc, "realloc", &T::Realloc),
      CHook<void __cdecl(void*)>(kIndex, F::kFree, "free", &T::Free),
  };
}

template <std::size_t kIndex>
BorderHooks MakeBorderHooks() noexcept {
  using F = BridgedFunction;
  using T = Thunks<kIndex>;
  return {
      Hook<decltype(::HeapReAlloc)>(kIndex, F::kHeapReAlloc, "HeapReAlloc", &T::HeapReAlloc),
      Hook<decltype(::HeapFree)>(kIndex, F::kHeapFree, "HeapFree", &T::HeapFree),
      Hook<decltype(::HeapSize)>(kIndex, F::kHeapSize, "HeapSize", &T::HeapSize),
  };
}

template <std::size_t... kIndex>
constexpr std::array<Hooks (*)() noexcept, sizeof...(kIndex)> MakeHookMakers(std::index_sequence<kIndex...>) {
  return {&MakeHooks<kIndex>...};
}

template <std::size_t... kIndex>
constexpr std::array<BorderHooks (*)() noexcept, sizeof...(kIndex)> MakeBorderHookMakers(
    std::index_sequence<kIndex...>) {
  return {&MakeBorderHooks<kMaxBridgedModules + kIndex>...};
}

}  // namespace

ThunkModule& ThunksOf(std::size_t index) noexcept { return thunk_modules[index]; }

Hooks HooksOf(std::size_t index) noexcept {
  static constexpr auto kMakers = MakeHookMakers(std::make_index_sequence<kMaxBridgedModules>());
  return kMakers[index]();
}

ThunkModule& GuardThunksOf(std::size_t index) noexcept { return thunk_modules[kMaxBridgedModules + index]; }

BorderHooks GuardHooksOf(std::size_t index) noexcept {
  static constexpr auto kMakers = MakeBorderHookMakers(std::make_index_sequence<kMaxGuardedModules>());
  return kMakers[index]();
}

}  // namespace clr_host_memory
