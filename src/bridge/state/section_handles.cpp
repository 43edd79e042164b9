#include "bridge/state/section_handles.h"

#include "bridge/state/handle_identity.h"

namespace clr_host_memory {

bool SectionHandles::Add(HANDLE handle, std::uint64_t section) noexcept {
  for (std::size_t index = 0; index < kMost; ++index) {
    Entry& entry = entries_[index];
    // An entry is claimed by its section and found by its handle. Since the handle is stored last, Find never sees a
    // half-made entry.
    std::uint64_t none = 0;
    if (!entry.section.compare_exchange_strong(none, section)) continue;
    entry.handle.store(handle, std::memory_order_release);
    std::size_t end = end_.load();
    while (end <= index && !end_.compare_exchange_weak(end, index + 1)) {
    }
    return true;
  }
  return false;
}

std::uint64_t SectionHandles::Take(HANDLE handle) noexcept {
  const std::size_t end = end_.load();
  for (std::size_t index = 0; index < end; ++index) {
    Entry& entry = entries_[index];
    HANDLE expected = handle;
    if (entry.handle.load(std::memory_order_relaxed) != handle) continue;
    if (entry.handle.compare_exchange_strong(expected, nullptr)) return entry.section.exchange(0);
  }
  return 0;
}

std::uint64_t SectionHandles::Find(HANDLE handle) const noexcept {
  const std::size_t end = end_.load();
  for (std::size_t index = 0; index < end; ++index) {
    if (entries_[index].handle.load(std::memory_order_acquire) == handle) return entries_[index].section.load();
  }
  for (std::size_t index = 0; index < end; ++index) {
    const HANDLE known = entries_[index].handle.load(std::memory_order_acquire);
    if (known != nullptr && IsSameObject(known, handle)) return entries_[index].section.load();
  }
  return 0;
}

}  // namespace clr_host_memory
