// Which section of the manager's ledger a handle is to: of sections backed by the paging file that bridged modules
// make.
//
// Handles that come about otherwise (duplicated, inherited, opened by name) are recognised while a known one is open,
// where the OS can compare handles (Windows 10); what is known by none is a section the manager does not know. Threads:
// any number, lock-free; a thread may be suspended anywhere.
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
  // handle is not known, and section not 0. False: no room, as there are kMost.
  [[nodiscard]] bool Add(HANDLE handle, std::uint64_t section) noexcept;
  // Before the handle is closed, since its value may be someone else's at once, and when the OS gives it out: it was
  // closed unseen then. One caller gets its section. 0: none.
  [[nodiscard]] std::uint64_t Take(HANDLE handle) noexcept;
  // The section that this handle, or another to the same, is to. 0: none.
  [[nodiscard]] std::uint64_t Find(HANDLE handle) const noexcept;

 private:
  static constexpr std::size_t kMost = 4096;
  struct Entry {
    std::atomic<HANDLE> handle{nullptr};  // null: free
    std::atomic<std::uint64_t> section{0};
  };

  std::array<Entry, kMost> entries_{};
  std::atomic<std::size_t> end_{0};  // of the entries that were ever used
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_SECTION_HANDLES_H
