// A small simulated address space without locks: slots of 2 MiB with one bit per committed page. Describe answers
// truthfully, so the manager's audit over it is meaningful. Addresses are never dereferenced.
// Threads: any. A thread suspended inside blocks no other thread.
#ifndef CLRHM_TESTS_COM_LOCK_FREE_MEMORY_SYSTEM_H
#define CLRHM_TESTS_COM_LOCK_FREE_MEMORY_SYSTEM_H

#include <windows.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "os/memory_system.h"

namespace clr_host_memory::test {

class LockFreeMemorySystem final : public MemorySystem {
 public:
  AllocateResult Allocate(const AllocateRequest& request) override {
    if (request.address == 0) return Reserve(request);
    const auto range = PageRange::Covering(request.address, request.size);
    Slot* slot = SlotOf(request.address);
    if (!range || slot == nullptr || !Holds(*slot, *range)) return {0, win32::kInvalidAddress};
    ForEachWord(*slot, *range, [](std::atomic<std::uint64_t>& word, std::uint64_t mask) { word.fetch_or(mask); });
    return {range->Start()};
  }
  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type) override {
    Slot* slot = SlotOf(address);
    if (slot == nullptr || slot->pages.load() == 0) return win32::kInvalidAddress;
    if (type == win32::kMemRelease) {
      for (auto& word : slot->committed) word.store(0);
      slot->pages.store(0);
      return win32::kSuccess;
    }
    const auto range = PageRange::Covering(address, size);
    if (!range || !Holds(*slot, *range)) return win32::kInvalidAddress;
    ForEachWord(*slot, *range, [](std::atomic<std::uint64_t>& word, std::uint64_t mask) { word.fetch_and(~mask); });
    return win32::kSuccess;
  }
  win32::Error Query(Address, void*, std::size_t length, std::size_t* written) override {
    *written = length;
    return win32::kSuccess;
  }
  win32::Error Protect(Address, std::uint64_t, std::uint32_t, std::uint32_t* old) override {
    *old = PAGE_READWRITE;
    return win32::kSuccess;
  }
  PageRun Describe(Address address) override {
    const Address page_base = RoundDownToPage(address);
    const Slot* slot = SlotOf(address);
    if (slot == nullptr) return {.base = page_base, .size = kPageSize};
    const Address base = BaseOf(*slot);
    const std::uint64_t pages = slot->pages.load();
    std::uint64_t page = (page_base - base) >> kPageShift;
    if (page >= pages) return {.base = page_base, .size = base + kSlotSize - page_base};
    const bool committed = IsCommitted(*slot, page);
    const std::uint64_t first = page;
    while (page < pages && IsCommitted(*slot, page) == committed) ++page;
    return {.base = page_base,
            .allocation_base = base,
            .size = (std::max(page, first + 1) - first) << kPageShift,
            .committed = committed,
            .is_private = true};
  }
  win32::Error Load(MemoryLoad*) override { return win32::kSuccess; }

  // These calls are rare and go directly to the kernel.
  void* AllocateMetadata(std::size_t size) override {
    return ::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  }
  void FreeMetadata(void* memory, std::size_t) override { ::VirtualFree(memory, 0, MEM_RELEASE); }

 private:
  static constexpr std::uint64_t kSlotPages = 512;
  static constexpr std::uint64_t kSlotSize = kSlotPages << kPageShift;
  static constexpr Address kBase = 0x1000'0000;

  struct Slot {
    std::atomic<std::uint64_t> pages;  // 0: free; no page is committed
    std::array<std::atomic<std::uint64_t>, kSlotPages / 64> committed;
  };
  using Slots = std::array<Slot, 256>;

  AllocateResult Reserve(const AllocateRequest& request) {
    const std::uint64_t pages = (request.size + kPageSize - 1) >> kPageShift;
    if (pages == 0 || pages > kSlotPages) return {0, win32::kNotEnoughMemory};
    for (Slot& slot : *slots_) {
      std::uint64_t free = 0;
      if (slot.pages.compare_exchange_strong(free, pages)) return {BaseOf(slot)};
    }
    return {0, win32::kNotEnoughMemory};
  }
  [[nodiscard]] Slot* SlotOf(Address address) {
    if (address < kBase || address >= kBase + slots_->size() * kSlotSize) return nullptr;
    return &(*slots_)[static_cast<std::size_t>((address - kBase) / kSlotSize)];
  }
  [[nodiscard]] Address BaseOf(const Slot& slot) const {
    return kBase + static_cast<std::uint64_t>(&slot - slots_->data()) * kSlotSize;
  }
  [[nodiscard]] bool Holds(const Slot& slot, PageRange range) const {
    return PageRange{BaseOf(slot) >> kPageShift, {slot.pages.load()}}.Contains(range);
  }
  [[nodiscard]] static bool IsCommitted(const Slot& slot, std::uint64_t page) {
    return (slot.committed[static_cast<std::size_t>(page / 64)].load() >> page % 64 & 1) != 0;
  }
  // Visits each page word in one atomic step: the ledger is exact per page word (64 pages), too.
  template <typename Visitor>
  void ForEachWord(Slot& slot, PageRange range, Visitor visit) {
    const std::uint64_t first = range.first - (BaseOf(slot) >> kPageShift);
    for (std::size_t i = 0; i < slot.committed.size(); ++i) {
      std::uint64_t mask = 0;
      for (std::uint64_t bit = 0; bit < 64; ++bit) {
        const std::uint64_t page = i * 64 + bit;
        if (page >= first && page < first + range.count.value) mask |= std::uint64_t{1} << bit;
      }
      if (mask != 0) visit(slot.committed[i], mask);
    }
  }

  std::unique_ptr<Slots> slots_ = std::make_unique<Slots>();
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_LOCK_FREE_MEMORY_SYSTEM_H
