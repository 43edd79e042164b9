// The bridged Win32 functions, in a thunk_calls_*.cpp for each group. Each keeps the contract of the function it
// replaces, including the return value and the last error. It gets the memory from the published client. Without a
// client it calls the original function.
//
// They hold no lock, allocate nothing and never throw: a GC suspends threads anywhere inside and calls them itself.
#ifndef CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H
#define CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H

#include <clr_host_memory/memory_manager_abi.h>

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

// A bridged or guarded module, as its thunks see it. It is never destroyed, since a thunk can be called as long as the
// process lives.
struct ThunkModule {
  std::size_t index;  // index of the module's set of thunks
  // The previous targets of its imports. Each is set before the import is patched, and is never null again.
  std::array<std::atomic<void*>, kBridgedFunctionCount> originals{};
  // Calls that went to a client; relaxed.
  std::array<std::atomic<std::uint64_t>, kBridgedFunctionCount> calls{};
  // Requests that commit, and how many of them were not granted, by ClrHostMemoryPurpose; relaxed.
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> requests{};
  std::array<std::atomic<std::uint64_t>, kClrHostMemoryPurposeCount> refusals{};
  // Bytes of the largest reservation that the module has made as a GC does, including reservations since released;
  // relaxed. Its other reservations are judged by comparison (purpose.h).
  std::atomic<std::uint64_t> largest_gc_reservation{0};
  // Whether the module gets blocks of the manager. True if it is attached and all functions that take back its blocks
  // are guarded.
  std::atomic<bool> gets_blocks{false};
  // A block of the OS that is being tracked, in a guarded module, to verify that it reaches the borders. The borders
  // clear it.
  std::atomic<const void*> awaited{nullptr};
};

namespace thunks {
LPVOID VirtualAlloc(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type, DWORD protect) noexcept;
// Calls the original function if process is another process.
LPVOID VirtualAllocExNuma(ThunkModule& module, HANDLE process, LPVOID address, SIZE_T size, DWORD type, DWORD protect,
                          DWORD node) noexcept;
// Calls the original function for memory that did not come from the manager, and for placeholders of VirtualAlloc2.
BOOL VirtualFree(ThunkModule& module, LPVOID address, SIZE_T size, DWORD type) noexcept;
// These two call the original function after the manager has shut down, and if the out pointer is null.
SIZE_T VirtualQuery(ThunkModule& module, LPCVOID address, PMEMORY_BASIC_INFORMATION buffer, SIZE_T length) noexcept;
BOOL VirtualProtect(ThunkModule& module, LPVOID address, SIZE_T size, DWORD protect, PDWORD old_protect) noexcept;

// Sections backed by the paging file are registered with the manager, along with their views, until their handle is
// closed. Thus the manager can recognise views of the same pages. The manager's limit may refuse a section that is
// committed as a whole.
HANDLE CreateFileMappingW(ThunkModule& module, HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                          DWORD size_high, DWORD size_low, LPCWSTR name) noexcept;
HANDLE CreateFileMappingA(ThunkModule& module, HANDLE file, LPSECURITY_ATTRIBUTES attributes, DWORD protect,
                          DWORD size_high, DWORD size_low, LPCSTR name) noexcept;
BOOL CloseHandle(ThunkModule& module, HANDLE handle) noexcept;
// Announces the view to the manager. If address space is short, asks the manager to make room and tries the call once
// more.
LPVOID MapViewOfFile(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                     SIZE_T size) noexcept;
LPVOID MapViewOfFileEx(ThunkModule& module, HANDLE mapping, DWORD access, DWORD offset_high, DWORD offset_low,
                       SIZE_T size, LPVOID base) noexcept;
BOOL UnmapViewOfFile(ThunkModule& module, LPCVOID address) noexcept;

// A loaded standalone GC becomes a bridged module, and so do modules whose names were requested (module_registry.h).
HMODULE LoadLibraryExW(ThunkModule& module, LPCWSTR name, HANDLE file, DWORD flags) noexcept;
HMODULE LoadLibraryExA(ThunkModule& module, LPCSTR name, HANDLE file, DWORD flags) noexcept;
HMODULE LoadLibraryW(ThunkModule& module, LPCWSTR name) noexcept;
HMODULE LoadLibraryA(ThunkModule& module, LPCSTR name) noexcept;

// Reports memory as the manager's limit allows it, in the fields for load, physical memory and page file. The other
// fields are Win32's. After the manager has shut down, all fields are Win32's.
BOOL GlobalMemoryStatusEx(ThunkModule& module, LPMEMORYSTATUSEX buffer) noexcept;
// Simulate a job for this process and any job, if two conditions hold. The bridge presents the manager's limit as a
// container's, and the limit is less than the machine's memory. The simulated job limits the commit of all its
// processes to what the manager allows. Otherwise the original functions are called. A smaller limit of a real job
// stays.
BOOL IsProcessInJob(ThunkModule& module, HANDLE process, HANDLE job, PBOOL result) noexcept;
BOOL QueryInformationJobObject(ThunkModule& module, HANDLE job, JOBOBJECTINFOCLASS kind, LPVOID information,
                               DWORD length, LPDWORD returned) noexcept;
// Returns a handle to an event that is signalled while the manager reports Low (or High). The caller may close it at
// any time. The first such call registers the bridge with the manager, replacing any callback registered before. If
// that fails, the notification is Win32's.
HANDLE CreateMemoryResourceNotification(ThunkModule& module, MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept;
// Passes handles that do not refer to these events to the original function. Before Windows 10 handles cannot be
// compared, so all handles go there. The original function works for events, so it answers correctly for these events,
// too.
BOOL QueryMemoryResourceNotification(ThunkModule& module, HANDLE notification, PBOOL state) noexcept;

// Blocks come, as eProcessCritical, from a heap of the manager that replaces the C run-time's heap and the process
// heap. Other heaps belong to the OS.
//
// On a refusal the original function is called with an impossible size and fails: errno, the last error and
// HEAP_GENERATE_EXCEPTIONS thus work as usual. The bytes after the requested size, up to what HeapSize reports, are
// zero, since _recalloc and HEAP_ZERO_MEMORY fill from there on. After shutdown new blocks come from the original
// functions. Then a block of the manager that is reallocated moves to a block of the original functions.
void* Malloc(ThunkModule& module, std::size_t size) noexcept;
void* Calloc(ThunkModule& module, std::size_t count, std::size_t size) noexcept;
void* Realloc(ThunkModule& module, void* memory, std::size_t size) noexcept;
void Free(ThunkModule& module, void* memory) noexcept;
LPVOID HeapAlloc(ThunkModule& module, HANDLE heap, DWORD flags, SIZE_T size);

// The borders. The manager serves its own blocks, whichever heap is passed. The original functions of the guarded
// module serve all other blocks. The borders work also when no bridge is attached any more.
LPVOID HeapReAlloc(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory, SIZE_T size);
BOOL HeapFree(ThunkModule& module, HANDLE heap, DWORD flags, LPVOID memory);
SIZE_T HeapSize(ThunkModule& module, HANDLE heap, DWORD flags, LPCVOID memory);
}  // namespace thunks

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_THUNKS_THUNK_CALLS_H
