// The interfaces the bridge and clrmem use beyond the public ones. Internal: they may change with every version.
#ifndef CLRHM_COM_BACKEND_H
#define CLRHM_COM_BACKEND_H

#include <clr_host_memory/memory_manager_abi.h>

#include <cstdint>

namespace clr_host_memory {

inline constexpr GUID kIidManagerBackend = {
    0xe4a90c37, 0x5b1d, 0x4f62, {0x9d, 0x08, 0x73, 0xc5, 0xb6, 0xa1, 0xf2, 0xe4}};
inline constexpr GUID kIidHeapBackend = {0x3a1f5c0e, 0x7b64, 0x4d0b, {0x9c, 0x2e, 0x51, 0x88, 0xd3, 0x0a, 0x6f, 0x27}};

// A region as the ledger records it.
struct BackendRegion {
  void* base;
  std::uint64_t reserved;     // bytes
  std::uint32_t is_view;      // 1: announced by AcquiredVirtualAddressSpace; 0: reserved through VirtualAlloc
  std::uint32_t reserved_as;  // the PAGE_* of the reservation without modifiers, and the bits below; 0 for a view
};
inline constexpr std::uint32_t kRegionCommittedAtOnce = 0x100;  // one call reserved and committed it
inline constexpr std::uint32_t kRegionOfHeap = 0x200;           // an IHostMalloc's heap allocates blocks in it

// Memory as the CLR should see the machine: GlobalMemoryStatusEx of a machine with as much memory as the limit allows.
struct BackendMemoryStatus {
  std::uint32_t size;            // sizeof(BackendMemoryStatus) of the caller
  std::uint32_t percent_in_use;  // of the tightest bound
  std::uint64_t total_physical;  // the least of limit, job and physical memory
  std::uint64_t available_physical;
  std::uint64_t total_commit;  // the least of limit, job and commit limit
  std::uint64_t available_commit;
  std::uint64_t gc_limit_at_start;  // what the limit leaves to a GC's heap at the start, or CLR_HOST_MEMORY_NO_LIMIT
};

// What the bridge needs in addition to IHostMemoryManager in order to replace the Win32 functions. QueryInterface of
// the manager returns it. Threads: any.
struct IManagerBackend : public IUnknown {
  // IHostMemoryManager::VirtualAlloc with the preferred node of VirtualAllocExNuma.
  STDMETHOD(VirtualAllocOnNode)
  (void* address, SIZE_T size, DWORD allocation_type, DWORD protect, DWORD node, EMemoryCriticalLevel level,
   void** memory) = 0;
  // Returns the region that holds address, from the ledger: no system call, never waits. S_FALSE: the manager knows
  // none. E_POINTER.
  STDMETHOD(FindRegion)(const void* address, BackendRegion* region) = 0;
  // Notes memory that a GC has reserved before its runtime was attached, of which `committed` bytes are committed by
  // now. FindRegion then returns it. S_FALSE: it is known already, or there is no place for it. E_INVALIDARG.
  STDMETHOD(AddEarlierReservation)(const void* base, std::uint64_t size, std::uint64_t committed) = 0;
  // As cheap as GetMemoryLoad, and from the same figures. E_POINTER; E_INVALIDARG: a size below 8;
  // HOST_E_CLRNOTAVAILABLE: shut down.
  STDMETHOD(GetMemoryStatus)(BackendMemoryStatus* status) = 0;

  // Sections backed by the paging file. Pages committed in the views of a section are charged once, however often it is
  // mapped. They stay charged until its last handle is closed and its last view unmapped.
  //
  // Registers a section of `size` bytes before the OS makes it. If `committed` (SEC_COMMIT), charges all its pages at
  // this level now. *section receives its name, which is not 0, with one reference. The caller drops the reference
  // when the section cannot be made or its handle is closed. E_POINTER; E_INVALIDARG: no size; E_OUTOFMEMORY; HOST_E_*
  // as VirtualAlloc.
  STDMETHOD(AddSection)(std::uint64_t size, BOOL committed, EMemoryCriticalLevel level, std::uint64_t* section) = 0;
  // Adds a reference for one more handle. HOST_E_INVALIDOPERATION: no such section is alive.
  STDMETHOD(KeepSection)(std::uint64_t section) = 0;
  // Drops a reference. HOST_E_INVALIDOPERATION: no such section is alive.
  STDMETHOD(DropSection)(std::uint64_t section) = 0;
  // AcquiredVirtualAddressSpace for a view of section from offset on.
  STDMETHOD(AcquireViewOfSection)(void* base, SIZE_T size, std::uint64_t section, std::uint64_t offset) = 0;
  // Calls unmap(address). If unmap returns TRUE, uncharges the view that holds address. *unmapped receives the result
  // of unmap, and the thread keeps its last error. S_OK also when unmap failed or no view is known there. E_POINTER.
  STDMETHOD(UnmapView)(const void* address, BOOL(STDMETHODCALLTYPE* unmap)(const void* address), BOOL* unmapped) = 0;
  // Opens the last part of the last resort to the next process-critical requests. The caller was refused a request, and
  // the refusal is fatal to the CLR. Always S_OK.
  STDMETHOD(OpenLastPart)() = 0;
  // Reports kClrHostMemoryEventDetached to the host: requests of the bridge's runtime no longer arrive although the
  // runtime runs. Always S_OK.
  STDMETHOD(NoteDetached)() = 0;
  // Returns the ClrHostMemoryState, cheaply. A bridge learns from it what HOST_E_CLRNOTAVAILABLE means: a latched
  // manager is still running. E_POINTER.
  STDMETHOD(GetState)(std::uint32_t* state) = 0;
  // IClrHostMemoryControl's methods of these names.
  STDMETHOD(BeginStart)() = 0;
  STDMETHOD(EndStart)(std::uint64_t* least_limit) = 0;
};

// Bits of `flags` in IHeapBackend's methods.
inline constexpr std::uint32_t kHeapZero = 1;  // new bytes are zero: a whole new block, or the bytes after the old
inline constexpr std::uint32_t kHeapZeroBeyond = 2;  // bytes after the requested size are zero, up to GetSize
inline constexpr std::uint32_t kHeapInPlace = 4;     // Reallocate only: the block is not moved

// What HeapAlloc and malloc offer and IHostMalloc lacks. QueryInterface of an IHostMalloc of this library returns it,
// for the same heap and the same blocks. Allocate and Reallocate are counted as Alloc, FreeIfOwned as Free. Every block
// is aligned to 16 bytes. memory parameters may have any value. Threads: any.
struct IHeapBackend : public IClrHostMemoryHeap {
  // IHostMalloc::Alloc with flags. E_INVALIDARG: other flags.
  STDMETHOD(Allocate)(SIZE_T size, std::uint32_t flags, EMemoryCriticalLevel level, void** memory) = 0;
  // Moves or resizes a block. *moved receives the block with the old bytes as far as both sizes reach; the old block is
  // freed unless it is the same. On failure the old block is unchanged and *moved is null. Making a block smaller
  // always succeeds. HOST_E_NOT_OWNER: the block touches a sealed page and has to move. S_FALSE: no block of this heap;
  // nothing is done and *moved is null.
  STDMETHOD(Reallocate)
  (void* memory, SIZE_T size, std::uint32_t flags, EMemoryCriticalLevel level, void** moved) = 0;
  // IHostMalloc::Free with two differences. For a pointer that is no block of this heap it returns S_FALSE and is not
  // counted. For a block that touches a sealed page it returns S_OK, and decommits the block's memory after the seal
  // ends.
  STDMETHOD(FreeIfOwned)(void* memory) = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_BACKEND_H
