// Stands in for coreclr.dll. It imports the memory functions from KERNEL32 by name, as the real one does. Its exports
// call them, so a test sees what the CLR would see: the return value and the last error. Each export has the calling
// convention of the function that it calls.
#include <windows.h>
// psapi.h needs windows.h before it.
#include <psapi.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#define FAKE_EXPORT extern "C" __declspec(dllexport)

FAKE_EXPORT LPVOID WINAPI FakeVirtualAlloc(LPVOID address, SIZE_T size, DWORD type, DWORD protect) {
  return VirtualAlloc(address, size, type, protect);
}
FAKE_EXPORT LPVOID WINAPI FakeVirtualAllocExNuma(HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                                                 DWORD node) {
  return VirtualAllocExNuma(process, address, size, type, protect, node);
}
FAKE_EXPORT BOOL WINAPI FakeVirtualFree(LPVOID address, SIZE_T size, DWORD type) {
  return VirtualFree(address, size, type);
}
FAKE_EXPORT SIZE_T WINAPI FakeVirtualQuery(LPCVOID address, PMEMORY_BASIC_INFORMATION buffer, SIZE_T length) {
  return VirtualQuery(address, buffer, length);
}
FAKE_EXPORT BOOL WINAPI FakeVirtualProtect(LPVOID address, SIZE_T size, DWORD protect, PDWORD old_protect) {
  return VirtualProtect(address, size, protect, old_protect);
}
FAKE_EXPORT HANDLE WINAPI FakeCreateFileMappingW(HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                                                 DWORD high, DWORD low, LPCWSTR name) {
  return CreateFileMappingW(file, attributes, protect, high, low, name);
}
FAKE_EXPORT HANDLE WINAPI FakeCreateFileMappingA(HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                                                 DWORD high, DWORD low, LPCSTR name) {
  return CreateFileMappingA(file, attributes, protect, high, low, name);
}
FAKE_EXPORT BOOL WINAPI FakeCloseHandle(HANDLE handle) { return CloseHandle(handle); }
FAKE_EXPORT LPVOID WINAPI FakeMapViewOfFile(HANDLE mapping, DWORD access, DWORD high, DWORD low, SIZE_T size) {
  return MapViewOfFile(mapping, access, high, low, size);
}
FAKE_EXPORT LPVOID WINAPI FakeMapViewOfFileEx(HANDLE mapping, DWORD access, DWORD high, DWORD low, SIZE_T size,
                                              LPVOID base) {
  return MapViewOfFileEx(mapping, access, high, low, size, base);
}
FAKE_EXPORT BOOL WINAPI FakeUnmapViewOfFile(LPCVOID address) { return UnmapViewOfFile(address); }
FAKE_EXPORT HMODULE WINAPI FakeLoadLibraryExW(LPCWSTR name, HANDLE file, DWORD flags) {
  return LoadLibraryExW(name, file, flags);
}
FAKE_EXPORT HMODULE WINAPI FakeLoadLibraryExA(LPCSTR name, HANDLE file, DWORD flags) {
  return LoadLibraryExA(name, file, flags);
}
FAKE_EXPORT HMODULE WINAPI FakeLoadLibraryW(LPCWSTR name) { return LoadLibraryW(name); }
FAKE_EXPORT HMODULE WINAPI FakeLoadLibraryA(LPCSTR name) { return LoadLibraryA(name); }
FAKE_EXPORT BOOL WINAPI FakeIsProcessInJob(HANDLE process, HANDLE job, PBOOL result) {
  return IsProcessInJob(process, job, result);
}
FAKE_EXPORT BOOL WINAPI FakeQueryInformationJobObject(HANDLE job, JOBOBJECTINFOCLASS kind, LPVOID information,
                                                      DWORD length, LPDWORD returned) {
  return QueryInformationJobObject(job, kind, information, length, returned);
}
FAKE_EXPORT BOOL WINAPI FakeK32GetProcessMemoryInfo(HANDLE process, PPROCESS_MEMORY_COUNTERS counters, DWORD size) {
  return K32GetProcessMemoryInfo(process, counters, size);
}
FAKE_EXPORT BOOL WINAPI FakeGlobalMemoryStatusEx(LPMEMORYSTATUSEX buffer) { return GlobalMemoryStatusEx(buffer); }
FAKE_EXPORT HANDLE WINAPI FakeCreateMemoryResourceNotification(MEMORY_RESOURCE_NOTIFICATION_TYPE type) {
  return CreateMemoryResourceNotification(type);
}
FAKE_EXPORT BOOL WINAPI FakeQueryMemoryResourceNotification(HANDLE notification, PBOOL state) {
  return QueryMemoryResourceNotification(notification, state);
}

FAKE_EXPORT void* FakeMalloc(std::size_t size) { return std::malloc(size); }
FAKE_EXPORT void* FakeCalloc(std::size_t count, std::size_t size) { return std::calloc(count, size); }
FAKE_EXPORT void* FakeRealloc(void* memory, std::size_t size) { return std::realloc(memory, size); }
FAKE_EXPORT void FakeFree(void* memory) { std::free(memory); }
FAKE_EXPORT HANDLE WINAPI FakeHeapCreate(DWORD options, SIZE_T initial, SIZE_T maximum) {
  return HeapCreate(options, initial, maximum);
}
FAKE_EXPORT BOOL WINAPI FakeHeapDestroy(HANDLE heap) { return HeapDestroy(heap); }
FAKE_EXPORT LPVOID WINAPI FakeHeapAlloc(HANDLE heap, DWORD flags, SIZE_T size) { return HeapAlloc(heap, flags, size); }
FAKE_EXPORT LPVOID WINAPI FakeHeapReAlloc(HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size) {
  return HeapReAlloc(heap, flags, memory, size);
}
FAKE_EXPORT BOOL WINAPI FakeHeapFree(HANDLE heap, DWORD flags, LPVOID memory) { return HeapFree(heap, flags, memory); }
FAKE_EXPORT SIZE_T WINAPI FakeHeapSize(HANDLE heap, DWORD flags, LPCVOID memory) {
  return HeapSize(heap, flags, memory);
}

static std::string start_properties;

// Returns the properties of the last start: "KEY=VALUE\n" each.
FAKE_EXPORT const char* FakeStartProperties() { return start_properties.c_str(); }

// Starts a runtime, as hostpolicy calls it. Returns the number in the first property's value.
FAKE_EXPORT int WINAPI coreclr_initialize(const char* exe_path, const char* app_domain_name, int property_count,
                                          const char** keys, const char** values, void** host_handle,
                                          unsigned int* domain_id) {
  if (exe_path == nullptr || app_domain_name == nullptr || property_count < 1) return E_INVALIDARG;
  start_properties.clear();
  for (int index = 0; index < property_count; ++index) {
    start_properties += std::string(keys[index]) + "=" + values[index] + "\n";
  }
  *host_handle = VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  *domain_id = 1;
  std::int64_t answer = 0;
  bool negative = false;
  for (const char* digit = values[0]; *digit != '\0'; ++digit) {
    if (*digit == '-') negative = true;
    if (*digit >= '0' && *digit <= '9') answer = answer * 10 + (*digit - '0');
  }
  return static_cast<int>(negative ? -answer : answer);
}

static int companion_answer = 1;
static int WINAPI CompanionStart(void* /*control*/, std::uint64_t /*start_limit*/) { return companion_answer; }

// Sets what the companion's start returns.
FAKE_EXPORT void FakeSetCompanionAnswer(int answer) { companion_answer = answer; }

// Finds only the start of the companion, for the host of coreclr_initialize. Otherwise returns "file not found".
FAKE_EXPORT int WINAPI coreclr_create_delegate(void* host_handle, unsigned int domain_id, const char* assembly,
                                               const char* type, const char* method, void** delegate) {
  const bool found = host_handle != nullptr && domain_id == 1 && std::string(assembly) == "ClrHostMemory.Companion" &&
                     std::string(type) == "ClrHostMemory.Companion" && std::string(method) == "StartForHost";
  *delegate = found ? reinterpret_cast<void*>(&CompanionStart) : nullptr;
  return found ? S_OK : static_cast<int>(0x80070002);
}
