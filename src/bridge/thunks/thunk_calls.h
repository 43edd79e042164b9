// What the bridged Win32 functions do (a thunk_calls_*.cpp for each group): each keeps the contract of the function it
// stands for, return value and last error included, and gets the memory from the published client. Without a client
// they are the original functions.
//
// They hold no lock, allocate nothing and never throw: a GC suspends threads anywhere inside and calls them itself.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H
#define CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H

#include <clr_host_memory/clr_host_memory.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace clr_host_memory {

enum class BridgedFunction : std::size_t {
  kVirtualAlloc,
  kVirtualAllocExNuma,
  kVirtualFree,
  kVirtualQuery,
  kVirtualProtect,
  kCreateFileMappingW,
  kCreateFileMappingA,
  kCloseHandle,
  kMapViewOfFile,
  kMapViewOfFileEx,
  kUnmapViewOfFile,
  kLoadLibraryExW,
  kLoadLibraryExA,
  kLoadLibraryW,
  kLoadLibraryA,
  kGlobalMemoryStatusEx,
  kIsProcessInJob,
  kQueryInformationJobObject,
  kCreateMemoryResourceNotification,
  kQueryMemoryResourceNotification,
  kHeapAlloc,
  kMalloc,
  kCalloc,
  kRealloc,
  kFree,
  kHeapReAlloc,  // from here on: the borders (heap_owners.h), which belong to guarded modules
  kHeapFree,
  kHeapSize,
  kCount
};
inline constexpr std::size_t kBridgedFunctionCount = static_cast<std::size_t>(BridgedFunction::kCount);
inline constexpr std::size_t kBorderFunctionCount = 3;

// One bridged or guarded module, as its thunks see it. Never destroyed: a thunk can be called for as long as the
// process lives.
struct ThunkModule {
  std::size_t index;  // which set of thunks is its own
  // What its imports pointed at before; set before the import is patched, and never null again.
  std::array<std::atomic<void*>, kBridgedFunctionCount> originals{};
  // Calls that went to a client, relaxed.
  std::array<std::atomic<std::uint64_t>, kBridgedFunctionCount> calls{};
  // Requests that commit, and those of them that were not granted, by ClrHostMemoryPurpose; relaxed.
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> requests{};
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> refusals{};
  // Bytes: of all that the module has made as a GC does, also of those that are gone; relaxed. What lies in its others
  // is judged by it (purpose.h).
  std::atomic<std::uint64_t> largest_gc_reservation{0};
  // Whether the module gets blocks of the manager: it is attached, and every way back of its blocks is guarded.
  std::atomic<bool> gets_blocks{false};
  // Of a guarded module: a block of the OS's whose way to the borders is being proven. The borders clear it.
  std::atomic<const void*> awaited{nullptr};
};

namespace thunks {
LPVOID VirtualAlloc(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type, DWORD protect) noexcept;
// For another process than this one it is the original function.
LPVOID VirtualAllocExNuma(ThunkModule& module, HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                          DWORD node) noexcept;
// Memory that did not come from the manager, and placeholders of VirtualAlloc2, go to the original function.
BOOL VirtualFree(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type) noexcept;
// These two go to the original function when the manager is shut down, and for a null out pointer.
SIZE_T VirtualQuery(ThunkModule& module, LPCVOID address, PMEMORY_BASIC_INFORMATION buffer, SIZE_T length) noexcept;
BOOL VirtualProtect(ThunkModule& module, LPVOID address, SIZE_T size, DWORD protect, PDWORD old_protect) noexcept;

// Sections backed by the paging file are made known to the manager, with their views and until their handle is closed,
// so that it can tell views of the same pages. One that is committed as a whole may be refused by its limit.
HANDLE CreateFileMappingW(ThunkModule& module, HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                          DWORD size_high, DWORD size_low, LPCWSTR name) noexcept;
HANDLE CreateFileMappingA(ThunkModule& module, HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                          DWORD size_high, DWORD size_low, LPCSTR name) noexcept;
BOOL CloseHandle(ThunkModule& module, HANDLE handle) noexcept;
// Views are announced to the manager; when address space is short it is asked to make room, and the call tried once
// more.
LPVOID MapViewOfFile(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                     SIZE_T size) noexcept;
LPVOID MapViewOfFileEx(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                       SIZE_T size, LPVOID base) noexcept;
BOOL UnmapViewOfFile(ThunkModule& module, LPCVOID address) noexcept;

// A standalone GC that was loaded becomes a bridged module, and so do modules that were asked for (module_registry.h).
HMODULE LoadLibraryExW(ThunkModule& module, LPCWSTR name, HANDLE file, DWORD flags) noexcept;
HMODULE LoadLibraryExA(ThunkModule& module, LPCSTR name, HANDLE file, DWORD flags) noexcept;
HMODULE LoadLibraryW(ThunkModule& module, LPCWSTR name) noexcept;
HMODULE LoadLibraryA(ThunkModule& module, LPCSTR name) noexcept;

// Memory as the manager's limit leaves it, in the fields for load, physical memory and page file; the rest is Win32's,
// and all of it when the manager is shut down.
BOOL GlobalMemoryStatusEx(ThunkModule& module, LPMEMORYSTATUSEX buffer) noexcept;
// Of this process and any job: in a job whose processes together may commit what the manager allows, when the bridge
// presents the manager's limit as a container's and that is less than the machine has. Otherwise the original
// functions; what a real job limits to less stays.
BOOL IsProcessInJob(ThunkModule& module, HANDLE process, HANDLE job, PBOOL result) noexcept;
BOOL QueryInformationJobObject(ThunkModule& module, HANDLE job, JOBOBJECTINFOCLASS kind, LPVOID information,
                               DWORD length, LPDWORD returned) noexcept;
// A handle to an event that is signalled while the manager says Low (or High), for the caller to close whenever it
// likes. The first such call registers the bridge with the manager, in place of whoever was; when that fails, the
// notification is Win32's.
HANDLE CreateMemoryResourceNotification(ThunkModule& module, MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept;
// Handles that are not to one of these events go to the original function. Where they cannot be told (before Windows
// 10) all do: it answers for the events, too, being made for events itself.
BOOL QueryMemoryResourceNotification(ThunkModule& module, HANDLE notification, PBOOL state) noexcept;

// Blocks, eProcessCritical, from a heap of the manager's that stands for the C run-time's and the process heap. Other
// heaps are the OS's. A refusal comes from the original function, which is asked for a size that does not exist: errno,
// the last error and HEAP_GENERATE_EXCEPTIONS are as ever. Bytes beyond the size that was asked for are zero as far as
// HeapSize goes, since _recalloc and HEAP_ZERO_MEMORY fill from there on. After shutdown new blocks come from the
// original functions. A block of the manager's that is reallocated then moves to one of theirs.
void* Malloc(ThunkModule& module, std::size_t size) noexcept;
void* Calloc(ThunkModule& module, std::size_t count, std::size_t size) noexcept;
void* Realloc(ThunkModule& module, void* memory, std::size_t size) noexcept;
void Free(ThunkModule& module, void* memory) noexcept;
LPVOID HeapAlloc(ThunkModule& module, HANDLE heap, DWORD flags, SIZE_T size);

// The borders: blocks of the manager's are served by it, whatever the heap, and all others by the original functions of
// the guarded module. They serve also when no bridge is attached any more.
LPVOID HeapReAlloc(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size);
BOOL HeapFree(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory);
SIZE_T HeapSize(ThunkModule& module, HANDLE heap, DWORD flags, LPCVOID memory);
}  // namespace thunks

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H
