#include "support/fake_address_space.h"

#include <algorithm>
#include <iterator>

namespace clr_host_memory::test {
namespace {

constexpr std::uint64_t kPagesPerGranule = kGranuleSize / kPageSize;
constexpr std::uint64_t kLargePage = 2 * 1024 * 1024;

[[nodiscard]] bool HasAny(std::uint32_t flags, std::uint32_t any_of) { return (flags & any_of) != 0; }

[[nodiscard]] bool IsPrivateProtection(std::uint32_t protect) {
  constexpr std::uint32_t kModifiers = 0x700;
  constexpr std::uint32_t kAccess = 0xFF & ~(kPageWriteCopy | kPageExecuteWriteCopy);
  const std::uint32_t access = protect & ~kModifiers;
  const bool one_bit = access != 0 && (access & (access - 1)) == 0;
  return one_bit && (access & ~kAccess) == 0 && !(access == kPageNoAccess && HasAny(protect, kModifiers));
}

[[nodiscard]] AllocateResult Failed(win32::Error error) { return {0, error}; }

}  // namespace

template <typename Visitor>
void FakeAddressSpace::ForEachRun(const Region& region, PageRange range, Visitor visit) {
  auto run = std::prev(region.runs.upper_bound(range.first));
  while (run != region.runs.end() && run->first < range.end()) {
    const auto next = std::next(run);
    const std::uint64_t run_end = next == region.runs.end() ? region.pages.end() : next->first;
    visit(std::max(run->first, range.first), std::min(run_end, range.end()), run->second);
    run = next;
  }
}

void FakeAddressSpace::SetSearchRange(Address low, Address high) {
  search_low_ = std::max(low, kUserSpaceStart);
  search_high_ = std::min(high, kUserSpaceEnd);
}

Pages FakeAddressSpace::CountCommitted(const Region& region, PageRange range) {
  Pages count;
  ForEachRun(region, range, [&](std::uint64_t first, std::uint64_t end, const PageState& state) {
    if (state.committed) count += Pages{end - first};
  });
  return count;
}

Pages FakeAddressSpace::CommittedIn(PageRange range) const {
  Pages count;
  auto it = regions_.upper_bound(range.first);
  if (it != regions_.begin()) --it;
  for (; it != regions_.end() && it->first < range.end(); ++it) {
    const std::uint64_t first = std::max(it->first, range.first);
    const std::uint64_t end = std::min(it->second.pages.end(), range.end());
    if (first < end) count += CountCommitted(it->second, {first, {end - first}});
  }
  return count;
}

void FakeAddressSpace::SetState(Region& region, PageRange range, PageState state) {
  Runs& runs = region.runs;
  const PageState after = std::prev(runs.upper_bound(range.end()))->second;
  const bool reaches_end = range.end() == region.pages.end();
  runs.erase(runs.lower_bound(range.first), runs.lower_bound(range.end()));
  auto it = runs.insert_or_assign(range.first, state).first;
  if (!reaches_end) runs.insert_or_assign(range.end(), after);
  if (it != runs.begin() && std::prev(it)->second == state) it = std::prev(runs.erase(it));
  const auto next = std::next(it);
  if (next != runs.end() && next->second == state) runs.erase(next);
}

FakeAddressSpace::Region* FakeAddressSpace::RegionOf(Address address) {
  const std::uint64_t page = address >> kPageShift;
  auto it = regions_.upper_bound(page);
  if (it == regions_.begin()) return nullptr;
  --it;
  return page < it->second.pages.end() ? &it->second : nullptr;
}

bool FakeAddressSpace::IsFree(PageRange range) const {
  auto it = regions_.lower_bound(range.end());
  if (it == regions_.begin()) return true;
  return std::prev(it)->second.pages.end() <= range.first;
}

std::uint64_t FakeAddressSpace::FindFree(Pages count, std::uint64_t alignment, bool top_down) const {
  const std::uint64_t step = alignment >> kPageShift;
  const std::uint64_t low = search_low_ >> kPageShift;
  const std::uint64_t high = search_high_ >> kPageShift;
  const auto round_up = [&](std::uint64_t page) { return (page + step - 1) / step * step; };
  if (high < low || count.value > high - low) return 0;
  if (!top_down) {
    std::uint64_t candidate = round_up(low);
    for (const auto& [first, region] : regions_) {
      if (region.pages.end() <= candidate) continue;
      if (candidate + count.value <= first) break;
      candidate = round_up(region.pages.end());
    }
    return candidate + count.value <= high ? candidate : 0;
  }
  std::uint64_t candidate = (high - count.value) / step * step;
  for (auto it = regions_.rbegin(); it != regions_.rend(); ++it) {
    if (it->first >= candidate + count.value) continue;
    if (it->second.pages.end() <= candidate) break;
    if (it->first < count.value) return 0;
    candidate = (it->first - count.value) / step * step;
  }
  return candidate >= low ? candidate : 0;
}

win32::Error FakeAddressSpace::CheckAllocate(const AllocateRequest& request) const {
  constexpr std::uint32_t kKnown = win32::kMemCommit | win32::kMemReserve | win32::kMemReset | win32::kMemResetUndo |
                                   win32::kMemTopDown | win32::kMemWriteWatch | win32::kMemLargePages;
  if (request.size == 0 || HasAny(request.type, ~kKnown)) return win32::kInvalidParameter;
  if (request.address != 0 && request.address < kGranuleSize) return win32::kInvalidParameter;
  if (!PageRange::Covering(request.address, request.size)) return win32::kInvalidParameter;
  if (request.address + request.size > kUserSpaceEnd) {
    return request.address >= kUserSpaceEnd ? win32::kInvalidParameter : win32::kNotEnoughMemory;
  }
  if (request.node != win32::kNoPreferredNode && request.node >= numa_nodes_) return win32::kInvalidParameter;
  const bool reserves = HasAny(request.type, win32::kMemReserve);
  if (HasAny(request.type, win32::kMemReset | win32::kMemResetUndo)) {
    const bool alone = request.type == win32::kMemReset || request.type == win32::kMemResetUndo;
    return alone && request.address != 0 ? win32::kSuccess : win32::kInvalidParameter;
  }
  if (!HasAny(request.type, win32::kMemCommit | win32::kMemReserve)) return win32::kInvalidParameter;
  if (HasAny(request.type, win32::kMemWriteWatch) && !reserves) return win32::kInvalidParameter;
  if (!IsPrivateProtection(request.protect)) return win32::kInvalidParameter;
  if (HasAny(request.type, win32::kMemLargePages)) {
    if (!reserves || !HasAny(request.type, win32::kMemCommit)) return win32::kInvalidParameter;
    if (!may_lock_memory_) return win32::kPrivilegeNotHeld;
    if (request.size % kLargePage != 0 || request.address % kLargePage != 0) return win32::kInvalidParameter;
  }
  return win32::kSuccess;
}

AllocateResult FakeAddressSpace::Allocate(const AllocateRequest& request) {
  if (const win32::Error error = CheckAllocate(request); error != win32::kSuccess) return Failed(error);
  const bool commits = HasAny(request.type, win32::kMemCommit);
  const bool resets = HasAny(request.type, win32::kMemReset | win32::kMemResetUndo);
  if (!resets && (HasAny(request.type, win32::kMemReserve) || request.address == 0)) {
    AllocateResult result = Reserve(request, Kind::kPrivate);
    if (result.error != win32::kSuccess || !commits) return result;
    Region& region = *RegionOf(result.address);
    if (const win32::Error error = Commit(region, region.pages, request.protect); error != win32::kSuccess) {
      regions_.erase(region.pages.first);
      return Failed(error);
    }
    return result;
  }
  const PageRange range = *PageRange::Covering(request.address, request.size);
  Region* region = RegionOf(request.address);
  if (region == nullptr || !region->pages.Contains(range)) return Failed(win32::kInvalidAddress);
  if (resets) {
    const bool all = CountCommitted(*region, range) == range.count;
    return all ? AllocateResult{range.Start()} : Failed(win32::kInvalidAddress);
  }
  if (region->kind == Kind::kCommittedView) return Failed(win32::kAccessDenied);  // STATUS_ALREADY_COMMITTED
  if (const win32::Error error = Commit(*region, range, request.protect); error != win32::kSuccess) {
    return Failed(error);
  }
  return {range.Start()};
}

AllocateResult FakeAddressSpace::Reserve(const AllocateRequest& request, Kind kind) {
  PageRange pages = *PageRange::Covering(request.address, request.size);
  if (request.address == 0) {
    const bool large = HasAny(request.type, win32::kMemLargePages);
    const std::uint64_t alignment = large ? kLargePage : kGranuleSize;
    pages.first = FindFree(pages.count, alignment, HasAny(request.type, win32::kMemTopDown));
    if (pages.first == 0) return Failed(win32::kNotEnoughMemory);
  } else {
    const std::uint64_t start = pages.first / kPagesPerGranule * kPagesPerGranule;
    pages = {start, {pages.end() - start}};
    if (!IsFree(pages)) return Failed(win32::kInvalidAddress);
  }
  Region& region = regions_[pages.first];
  region.pages = pages;
  region.kind = kind;
  region.protect = request.protect;
  region.runs[pages.first] = {};
  return {pages.Start()};
}

win32::Error FakeAddressSpace::Commit(Region& region, PageRange range, std::uint32_t protect) {
  const Pages fresh = range.count - CountCommitted(region, range);
  const Bytes after = (committed_ + fresh).InBytes();
  if (fresh.value != 0 && after > commit_limit_) return win32::kCommitmentLimit;
  committed_ += fresh;
  SetState(region, range, {true, protect});
  if (region.section != 0 && views_share_commits_) {
    for (std::uint64_t page = range.first; page < range.end(); ++page) {
      const std::uint64_t of_section = page - region.pages.first + region.first_page;
      if (sections_[region.section].insert(of_section).second) ShowInAllViews(region.section, of_section);
    }
  }
  return win32::kSuccess;
}

void FakeAddressSpace::ShowInAllViews(std::uint32_t section, std::uint64_t page) {
  for (auto& [first, view] : regions_) {
    if (view.section != section || page < view.first_page || page - view.first_page >= view.pages.count.value) continue;
    const PageRange shown{view.pages.first + page - view.first_page, {1}};
    if (CountCommitted(view, shown).value == 0) SetState(view, shown, {true, view.protect});
  }
}

std::uint32_t FakeAddressSpace::MakeSection() {
  sections_[++last_section_];
  return last_section_;
}

AllocateResult FakeAddressSpace::MapSection(std::uint32_t section, std::uint64_t offset, Address base,
                                            std::uint64_t size) {
  const AllocateResult result = MapView(base, size, ViewPages::kReserved);
  if (result.error != win32::kSuccess) return result;
  Region& view = *RegionOf(result.address);
  view.section = section;
  view.first_page = offset >> kPageShift;
  for (const std::uint64_t page : sections_.at(section)) {
    if (page < view.first_page || page - view.first_page >= view.pages.count.value) continue;
    SetState(view, {view.pages.first + page - view.first_page, {1}}, {true, view.protect});
  }
  return result;
}

void FakeAddressSpace::EndSection(std::uint32_t section) {
  committed_ = committed_ - Pages{sections_.at(section).size()};
  sections_.erase(section);
}

void FakeAddressSpace::Decommit(Region& region, PageRange range) {
  committed_ = committed_ - CountCommitted(region, range);
  SetState(region, range, {});
}

win32::Error FakeAddressSpace::Free(Address address, std::uint64_t size, std::uint32_t type) {
  if (type != win32::kMemDecommit && type != win32::kMemRelease) return win32::kInvalidParameter;
  if (type == win32::kMemRelease && size != 0) return win32::kInvalidParameter;
  if (address >= kUserSpaceEnd) return win32::kInvalidParameter;
  Region* region = RegionOf(address);
  if (region == nullptr) return win32::kInvalidAddress;
  if (region->kind != Kind::kPrivate) return win32::kInvalidParameter;  // STATUS_UNABLE_TO_DELETE_SECTION
  PageRange range = region->pages;
  if (size == 0) {
    if (RoundDownToPage(address) != region->pages.Start()) return win32::kInvalidAddress;  // STATUS_FREE_VM_NOT_AT_BASE
  } else {
    const auto wanted = PageRange::Covering(address, size);
    if (!wanted || !region->pages.Contains(*wanted)) return win32::kInvalidParameter;  // STATUS_UNABLE_TO_FREE_VM
    range = *wanted;
  }
  Decommit(*region, range);
  if (type == win32::kMemRelease) regions_.erase(region->pages.first);
  return win32::kSuccess;
}

win32::Error FakeAddressSpace::Protect(Address address, std::uint64_t size, std::uint32_t protect,
                                       std::uint32_t* old_protect) {
  if (!IsPrivateProtection(protect) || address >= kUserSpaceEnd) return win32::kInvalidParameter;
  const auto range = PageRange::Covering(address, size);
  if (!range) return win32::kInvalidParameter;
  if (old_protect == nullptr) return win32::kNoAccess;
  Region* region = RegionOf(address);
  if (region == nullptr || !region->pages.Contains(*range)) return win32::kInvalidAddress;
  if (CountCommitted(*region, *range) != range->count) return win32::kInvalidAddress;  // STATUS_NOT_COMMITTED
  *old_protect = std::prev(region->runs.upper_bound(range->first))->second.protect;
  SetState(*region, *range, {true, protect});
  return win32::kSuccess;
}

AllocateResult FakeAddressSpace::MapView(Address base, std::uint64_t size, ViewPages pages) {
  if (base % kGranuleSize != 0 || !PageRange::Covering(base, size)) return Failed(win32::kInvalidParameter);
  const Kind kind = pages == ViewPages::kReserved ? Kind::kReservedView : Kind::kCommittedView;
  const AllocateResult result = Reserve({.address = base, .size = size, .protect = kPageReadWrite}, kind);
  if (result.error != win32::kSuccess || pages == ViewPages::kReserved) return result;
  Region& region = *RegionOf(result.address);
  committed_ += region.pages.count;
  SetState(region, region.pages, {true, kPageReadWrite});
  return result;
}

win32::Error FakeAddressSpace::UnmapView(Address base) {
  Region* region = RegionOf(base);
  if (region == nullptr || region->kind == Kind::kPrivate) return win32::kInvalidAddress;
  if (region->section == 0) Decommit(*region, region->pages);
  regions_.erase(region->pages.first);
  return win32::kSuccess;
}

bool FakeAddressSpace::Inspect(Address address, RawMemoryInformation* info, PageRun* run) const {
  if (address >= kUserSpaceEnd) return false;
  const std::uint64_t page = address >> kPageShift;
  *info = {};
  info->base = static_cast<std::uintptr_t>(page << kPageShift);
  const auto after = regions_.upper_bound(page);
  const auto fill_run = [&] {
    *run = {.base = info->base,
            .allocation_base = info->allocation_base,
            .size = info->region_size,
            .committed = info->state == win32::kMemCommit,
            .is_private = info->type == win32::kMemPrivate};
  };
  if (after == regions_.begin() || std::prev(after)->second.pages.end() <= page) {
    const Address end = after == regions_.end() ? kUserSpaceEnd : after->first << kPageShift;
    info->region_size = static_cast<std::uintptr_t>(end - info->base);
    info->state = win32::kMemFree;
    info->protect = kPageNoAccess;
    fill_run();
    return true;
  }
  const Region& region = std::prev(after)->second;
  const auto next = region.runs.upper_bound(page);
  const PageState state = std::prev(next)->second;
  const std::uint64_t end = next == region.runs.end() ? region.pages.end() : next->first;
  info->allocation_base = static_cast<std::uintptr_t>(region.pages.Start());
  info->allocation_protect = region.protect;
  info->region_size = static_cast<std::uintptr_t>((end - page) << kPageShift);
  info->state = state.committed ? win32::kMemCommit : win32::kMemReserve;
  info->protect = state.protect;
  info->type = region.kind == Kind::kPrivate ? win32::kMemPrivate : kMemMapped;
  fill_run();
  return true;
}

}  // namespace clr_host_memory::test
