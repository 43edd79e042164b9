// Maps handles to sections of the manager's ledger. It covers sections backed by the paging file that bridged modules
// make.
//
// A handle may be obtained otherwise: duplicated, inherited or opened by name. It is recognised while a known handle
// to the section is open, where the OS can compare handles (Windows 10). If no known handle matches, the manager does
// not know the section. Any number of threads may call; the functions are lock-free, and a thread may be suspended
// anywhere.
#ifndef CLRHM_BRIDGE_STATE_SECTION_HANDLES_H
#define CLRHM_BRIDGE_STATE_SECTION_HANDLES_H

#include <windows.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace clr_host_memory {

class SectionHandles {
 public:
  // Requires that handle is not known and section is not 0. False: the table is full with kMost entries.
  [[nodiscard]] bool Add(HANDLE handle, std::uint64_t section) noexcept;
  // Removes handle and returns its section to one caller; 0: none. Call it before the handle is closed, since another
  // thread may receive the same value at once. Call it also when the OS hands out handle: then it was closed without
  // being seen.
  [[nodiscard]] std::uint64_t Take(HANDLE handle) noexcept;
  // Returns the section that this handle, or another handle to the same object, refers to. 0: none.
  [[nodiscard]] std::uint64_t Find(HANDLE handle) const noexcept;

 private:
  static constexpr std::size_t kMost = 4096;
  struct Entry {
    std::atomic<HANDLE> handle{nullptr};  // null: free
    std::atomic<std::uint64_t> section{0};
  };

  std::array<Entry, kMost> entries_{};
  std::atomic<std::size_t> end_{0};  // end of the entries that were ever used
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_SECTION_HANDLES_H
