// A runtime that has started before it is bridged (ClrHostMemoryAttachToRunningCoreClr): its modules, and what its GC
// has reserved by then.
#ifndef CLRHM_BRIDGE_START_RUNNING_RUNTIME_H
#define CLRHM_BRIDGE_START_RUNNING_RUNTIME_H

#include <windows.h>

#include <cstdint>
#include <vector>

namespace clr_host_memory {

// Returns the coreclr.dll whose runtime has started in this process; null: there is no such runtime. Throws
// std::bad_alloc.
[[nodiscard]] HMODULE RunningCoreClr();

// Returns the same, or else the program's .exe if the runtime is linked into it. Whether that has started cannot be
// seen: the caller knows. Throws std::bad_alloc.
[[nodiscard]] HMODULE RunningRuntime();

// Returns the loaded JIT compilers and standalone GCs, of any name and folder. Throws std::bad_alloc.
[[nodiscard]] std::vector<HMODULE> LoadedJitsAndGcs();

struct EarlierReservation {
  void* base;
  std::uint64_t size;       // bytes
  std::uint64_t committed;  // of them
};
// Returns the private memory of this process that was reserved as a GC does and is not committed as a whole. Each
// reservation has `least` bytes or more; the largest comes first. Asks the OS about each run of pages in the process.
// Throws std::bad_alloc.
[[nodiscard]] std::vector<EarlierReservation> GcReservations(std::uint64_t least);

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_START_RUNNING_RUNTIME_H
