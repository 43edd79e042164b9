// The address space of FakeMemorySystem: which pages are reserved and committed, and their protection, by the rules of
// Windows.
// Threads: the caller serializes all calls.
#ifndef CLRHM_TESTS_SUPPORT_FAKE_ADDRESS_SPACE_H
#define CLRHM_TESTS_SUPPORT_FAKE_ADDRESS_SPACE_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "base/units.h"
#include "base/win32.h"
#include "os/memory_system.h"

namespace clr_host_memory::test {

inline constexpr std::uint32_t kPageNoAccess = 0x01;
inline constexpr std::uint32_t kPageReadOnly = 0x02;
inline constexpr std::uint32_t kPageReadWrite = 0x04;
inline constexpr std::uint32_t kPageWriteCopy = 0x08;
inline constexpr std::uint32_t kPageExecuteReadWrite = 0x40;
inline constexpr std::uint32_t kPageExecuteWriteCopy = 0x80;
inline constexpr std::uint32_t kPageGuard = 0x100;
inline constexpr std::uint32_t kMemMapped = 0x00040000;
inline constexpr win32::Error kErrorBadLength = 24;

inline constexpr Address kUserSpaceStart = 0x10000;
inline constexpr Address kUserSpaceEnd = sizeof(void*) == 8 ? Address{0x7FFF'FFFF'0000} : Address{0x7FFF'0000};

// Has the layout of MEMORY_BASIC_INFORMATION for this build's pointer size.
struct RawMemoryInformation {
  std::uintptr_t base;
  std::uintptr_t allocation_base;
  std::uint32_t allocation_protect;
  std::uintptr_t region_size;
  std::uint32_t state;
  std::uint32_t protect;
  std::uint32_t type;
};
static_assert(sizeof(void*) != 8 || sizeof(RawMemoryInformation) == 48);
static_assert(sizeof(void*) != 4 || sizeof(RawMemoryInformation) == 28);

enum class ViewPages : std::uint8_t { kReserved, kCommitted };

class FakeAddressSpace {
 public:
  AllocateResult Allocate(const AllocateRequest& request);
  win32::Error Free(Address address, std::uint64_t size, std::uint32_t type);
  win32::Error Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect);
  AllocateResult MapView(Address base, std::uint64_t size, ViewPages pages);
  win32::Error UnmapView(Address base);
  // Makes a section backed by the paging file. VirtualAlloc commits its pages one by one, through any view. They stay
  // committed until EndSection.
  std::uint32_t MakeSection();
  AllocateResult MapSection(std::uint32_t section, std::uint64_t offset, Address base, std::uint64_t size);
  void EndSection(std::uint32_t section);
  // Returns false for addresses outside user space.
  bool Inspect(Address address, RawMemoryInformation* info, PageRun* run) const;

  void SetCommitLimit(Bytes limit) { commit_limit_ = limit; }
  void SetSearchRange(Address low, Address high);
  void SetViewsShareCommits(bool share) { views_share_commits_ = share; }
  void SetNumaNodes(std::uint32_t count) { numa_nodes_ = count; }
  void SetLockMemoryPrivilege(bool held) { may_lock_memory_ = held; }

  [[nodiscard]] Pages Committed() const { return committed_; }
  [[nodiscard]] Pages CommittedIn(PageRange range) const;
  [[nodiscard]] std::size_t RegionCount() const { return regions_.size(); }

 private:
  enum class Kind : std::uint8_t { kPrivate, kReservedView, kCommittedView };
  // The state of a page. A run of pages in the same state is one entry.
  struct PageState {
    bool committed = false;
    std::uint32_t protect = 0;
    friend bool operator==(const PageState&, const PageState&) = default;
  };
  using Runs = std::map<std::uint64_t, PageState>;  // by first page; ends at the next entry or the region's end
  struct Region {
    PageRange pages;
    Kind kind = Kind::kPrivate;
    std::uint32_t protect = 0;
    Runs runs;
    std::uint32_t section = 0;     // 0: the view has its own pages
    std::uint64_t first_page = 0;  // within the section
  };
  using Regions = std::map<std::uint64_t, Region>;  // by first page

  [[nodiscard]] win32::Error CheckAllocate(const AllocateRequest& request) const;
  AllocateResult Reserve(const AllocateRequest& request, Kind kind);
  [[nodiscard]] win32::Error Commit(Region& region, PageRange range, std::uint32_t protect);
  void Decommit(Region& region, PageRange range);
  void ShowInAllViews(std::uint32_t section, std::uint64_t page);
  [[nodiscard]] Region* RegionOf(Address address);
  [[nodiscard]] bool IsFree(PageRange range) const;
  [[nodiscard]] std::uint64_t FindFree(Pages count, std::uint64_t alignment, bool top_down) const;  // 0: none
  [[nodiscard]] static Pages CountCommitted(const Region& region, PageRange range);
  static void SetState(Region& region, PageRange range, PageState state);
  // Calls visit(first, end, state) for the runs that share pages with range, cut to it.
  template <typename Visitor>
  static void ForEachRun(const Region& region, PageRange range, Visitor visit);

  Regions regions_;
  std::map<std::uint32_t, std::set<std::uint64_t>> sections_;  // committed pages
  std::uint32_t last_section_ = 0;
  bool views_share_commits_ = true;
  Pages committed_;
  Bytes commit_limit_ = kUnlimited;
  Address search_low_ = kUserSpaceStart;
  Address search_high_ = kUserSpaceEnd;
  std::uint32_t numa_nodes_ = 1;
  bool may_lock_memory_ = false;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_FAKE_ADDRESS_SPACE_H
