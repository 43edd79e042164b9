#include "support/engine_model.h"

#include <algorithm>
#include <utility>

namespace clr_host_memory::test {
namespace {

constexpr std::size_t kPages = 2048;
constexpr std::size_t kPagesPerGranule = kGranuleSize / kPageSize;
constexpr std::uint64_t kNone = ~std::uint64_t{0};
// The pages of the model lie across a border of leaves. With 64-bit addresses this is also a border of middle nodes.
constexpr Address kBorder =
    sizeof(void*) == 8 ? Address{2} << PageMap::kMiddleShift : Address{16} << PageMap::kLeafShift;

}  // namespace

EngineModel::EngineModel(Chooser below)
    : below_(std::move(below)), start_(kBorder - kPages / 2 * kPageSize), pages_(kPages) {}

std::optional<std::string> EngineModel::Step() {
  wrong_.reset();
  switch (below_(16)) {
    case 0: Reserve(false); break;
    case 1: Reserve(true); break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6: Commit(); break;
    case 7:
    case 8:
    case 9: Decommit(); break;
    case 10: Release(); break;
    case 11: ForeignReserve(); break;
    case 12: ForeignFree(); break;
    case 13: ViewMap(); break;
    case 14: ViewUnmap(); break;
    default: ChangeLimits(); break;
  }
  manager_.os.ClearFaults();
  if (!wrong_ && manager_.Charged() != Pages{charged_}.InBytes()) {
    wrong_ = last_ + ": charged " + std::to_string(manager_.ChargedPages()) + " pages, should be " +
             std::to_string(charged_);
  }
  if (!wrong_ && manager_.os.Committed() != Pages{committed_}) wrong_ = last_ + ": the model is not the fake's";
  return wrong_;
}

void EngineModel::Expect(bool expected_ok, const Outcome& outcome, const char* what, const Range& range) {
  last_ = std::string(what) + " at page " + std::to_string(range.first) + ", " + std::to_string(range.count) + " pages";
  if (outcome.ok() == expected_ok) return;
  wrong_ = last_ + (expected_ok ? ": should succeed" : ": should fail") + ", verdict " +
           std::to_string(static_cast<int>(outcome.verdict)) + ", error " + std::to_string(outcome.error);
}

EngineModel::Range EngineModel::ChooseRange(std::size_t most) {
  const auto first = static_cast<std::size_t>(below_(kPages));
  std::size_t room = kPages - first;
  // Stays inside the existing region three times of four.
  if (pages_[first].owner != Owner::kNobody && below_(4) != 0) room = RegionOf(first).end() - first;
  const std::size_t count = 1 + static_cast<std::size_t>(below_(std::min(most, room)));
  // The same pages in bytes: the range starts anywhere in the first page and ends anywhere in the last.
  const std::uint64_t head = below_(2) == 0 ? 0 : below_(kPageSize);
  std::uint64_t tail = below_(2) == 0 ? 0 : below_(kPageSize);
  if (count == 1 && head + tail >= kPageSize) tail = 0;
  return {first, count, AddressOf(first) + head, count * kPageSize - head - tail};
}

EngineModel::Range EngineModel::RegionOf(std::size_t page) const {
  const std::size_t first = pages_[page].first;
  std::size_t end = first;
  while (end < kPages && pages_[end].owner != Owner::kNobody && pages_[end].first == first) ++end;
  return {first, end - first, AddressOf(first), 0};
}

bool EngineModel::IsFree(const Range& range) const {
  for (std::size_t i = range.first; i < range.end(); ++i) {
    if (pages_[i].owner != Owner::kNobody) return false;
  }
  return true;
}

bool EngineModel::InOneRegion(const Range& range) const {
  for (std::size_t i = range.first; i < range.end(); ++i) {
    if (pages_[i].owner == Owner::kNobody || pages_[i].first != pages_[range.first].first) return false;
  }
  return true;
}

std::uint64_t EngineModel::Uncommitted(const Range& range) const {
  std::uint64_t count = 0;
  for (std::size_t i = range.first; i < range.end(); ++i) count += pages_[i].committed ? 0u : 1u;
  return count;
}

bool EngineModel::OrderFault(OsCall call) {
  if (below_(16) != 0) return false;
  manager_.os.Fail(call, win32::kNoSystemResources);
  return true;
}

void EngineModel::Take(const Range& range, Owner owner, bool committed, bool charged) {
  for (std::size_t i = range.first; i < range.end(); ++i) {
    pages_[i] = {owner, static_cast<std::uint32_t>(range.first), committed, charged};
  }
  if (committed) committed_ += range.count;
  if (charged) charged_ += range.count;
}

void EngineModel::Forget(const Range& region) {
  for (std::size_t i = region.first; i < region.end(); ++i) {
    committed_ -= pages_[i].committed ? 1u : 0u;
    charged_ -= pages_[i].charged ? 1u : 0u;
    pages_[i] = {};
  }
}

void EngineModel::Reserve(bool commits) {
  Range range = ChooseRange(300);
  const std::size_t down = range.first % kPagesPerGranule;  // Win32 rounds the address down
  const Range whole{range.first - down, range.count + down, 0, 0};
  const bool fault = OrderFault(OsCall::kAllocate);
  const bool fits = !commits || (whole.count <= limit_ - std::min(limit_, charged_) &&
                                 whole.count <= commit_limit_ - std::min(commit_limit_, committed_));
  const bool ok = IsFree(whole) && fits && !fault;
  const std::uint32_t type = win32::kMemReserve | (commits ? win32::kMemCommit : 0);
  const AddressOutcome result = manager_.Allocate(range.address, range.size, type);
  Expect(ok, result.outcome, commits ? "reserve and commit" : "reserve", range);
  if (ok && !wrong_ && result.address != AddressOf(whole.first)) wrong_ = last_ + ": another address";
  if (ok) Take(whole, Owner::kManager, commits, commits);
}

void EngineModel::Commit() {
  const Range range = ChooseRange(below_(4) == 0 ? 400 : 20);
  const std::uint64_t fresh = Uncommitted(range);
  const bool fault = OrderFault(OsCall::kAllocate);
  const bool fits = fresh == 0 || (fresh <= limit_ - std::min(limit_, charged_) &&
                                   fresh <= commit_limit_ - std::min(commit_limit_, committed_));
  const bool ok = InOneRegion(range) && fits && !fault;
  const AddressOutcome result = manager_.Commit(range.address, range.size);
  Expect(ok, result.outcome, "commit", range);
  if (ok && !wrong_ && result.address != AddressOf(range.first)) wrong_ = last_ + ": another address";
  if (!ok) return;
  for (std::size_t i = range.first; i < range.end(); ++i) {
    if (pages_[i].committed) continue;
    pages_[i].committed = pages_[i].charged = true;
    ++committed_;
    ++charged_;
  }
}

void EngineModel::Decommit() {
  Range range = ChooseRange(below_(4) == 0 ? 400 : 20);
  const bool whole = below_(8) == 0;
  if (whole && pages_[range.first].owner != Owner::kNobody) {
    range = RegionOf(range.first);
  } else if (whole) {
    return;
  }
  bool any_charged = false;
  for (std::size_t i = range.first; i < range.end(); ++i) any_charged = any_charged || pages_[i].charged;
  const Owner owner = pages_[range.first].owner;
  const bool fault = OrderFault(OsCall::kFree);
  // The engine accepts a size of 0 only in a region that the manager reserved.
  const bool allowed = owner == Owner::kManager || (owner == Owner::kForeign && any_charged && !whole);
  const bool ok = InOneRegion(range) && allowed && !fault;
  Expect(ok, manager_.Decommit(range.address, range.size), "decommit", range);
  if (!ok) return;
  for (std::size_t i = range.first; i < range.end(); ++i) {
    committed_ -= pages_[i].committed ? 1u : 0u;
    charged_ -= pages_[i].charged ? 1u : 0u;
    pages_[i].committed = pages_[i].charged = false;
  }
}

void EngineModel::Release() {
  const auto page = static_cast<std::size_t>(below_(kPages));
  const Range region = RegionOf(page);
  const bool at_base = below_(8) != 0 && pages_[page].owner != Owner::kNobody;
  const Address address = at_base ? AddressOf(region.first) + below_(2) * 100 : AddressOf(page);
  const bool fault = OrderFault(OsCall::kFree);
  const bool ok = pages_[page].owner == Owner::kManager && (at_base || page == region.first) && !fault;
  Expect(ok, manager_.Release(address), "release", region);
  if (ok) Forget(region);
}

void EngineModel::ForeignReserve() {
  Range range = ChooseRange(200);
  range.first -= range.first % kPagesPerGranule;
  if (!IsFree(range)) return;
  last_ = "a foreign reservation";
  static_cast<void>(manager_.os.RawAllocate({.address = AddressOf(range.first),
                                             .size = range.count * kPageSize,
                                             .type = win32::kMemReserve,
                                             .protect = kPageReadWrite}));
  Take(range, Owner::kForeign, false, false);
  // The foreign owner commits half of it, if the machine has the memory.
  Range half{range.first, (range.count + 1) / 2, 0, 0};
  if (half.count > commit_limit_ - std::min(commit_limit_, committed_)) return;
  static_cast<void>(manager_.os.RawAllocate({.address = AddressOf(half.first),
                                             .size = half.count * kPageSize,
                                             .type = win32::kMemCommit,
                                             .protect = kPageReadWrite}));
  for (std::size_t i = half.first; i < half.end(); ++i) pages_[i].committed = true;
  committed_ += half.count;
}

void EngineModel::ForeignFree() {
  const auto page = static_cast<std::size_t>(below_(kPages));
  if (pages_[page].owner != Owner::kForeign) return;
  const Range region = RegionOf(page);
  const bool tells = below_(2) == 0;
  for (std::size_t i = region.first; tells && i < region.end(); ++i) {
    if (!pages_[i].charged) continue;
    // Half of the time, the manager decommits the pages it committed in the region. The release then frees the foreign
    // pages.
    Expect(true, manager_.Decommit(AddressOf(region.first), region.count * kPageSize), "foreign decommit", region);
    break;
  }
  last_ = "a foreign release";
  static_cast<void>(manager_.os.RawFree(AddressOf(region.first), 0, win32::kMemRelease));
  if (!tells) static_cast<void>(manager_.engine.UnchargeFreedElsewhere());
  Forget(region);
}

void EngineModel::ViewMap() {
  Range range = ChooseRange(200);
  range.first -= range.first % kPagesPerGranule;
  if (!IsFree(range)) return;
  static_cast<void>(manager_.os.MapView(AddressOf(range.first), range.count * kPageSize, ViewPages::kReserved));
  Take(range, Owner::kView, false, false);
  Expect(true, manager_.engine.AcquireView(AddressOf(range.first), range.count * kPageSize), "acquire view", range);
}

void EngineModel::ViewUnmap() {
  const auto page = static_cast<std::size_t>(below_(kPages));
  if (pages_[page].owner != Owner::kView) return;
  const Range region = RegionOf(page);
  static_cast<void>(manager_.os.UnmapView(AddressOf(region.first)));
  last_ = "a view that goes without a word";
  if (below_(2) == 0) {
    static_cast<void>(manager_.engine.UnchargeFreedElsewhere());
  } else {
    Expect(true, manager_.engine.ReleaseView(AddressOf(region.first)), "release view", region);
  }
  Forget(region);
}

void EngineModel::ChangeLimits() {
  last_ = "new limits";
  limit_ = below_(4) != 0 ? kNone : 1 + below_(kPages);
  commit_limit_ = below_(4) != 0 ? kNone : below_(kPages);
  manager_.engine.ledger().budget().SetLimits({.limit = limit_ == kNone ? kUnlimited : Pages{limit_}.InBytes()});
  manager_.os.SetCommitLimit(commit_limit_ == kNone ? kUnlimited : Pages{commit_limit_}.InBytes());
}

std::optional<std::string> EngineModel::Audit() const {
  const auto exact = manager_.Exact({committed_ - charged_});
  if (exact) return std::nullopt;
  return std::string("audit: ") + exact.message();
}

std::optional<std::string> EngineModel::FreeEverything() {
  wrong_.reset();
  for (std::size_t page = 0; page < kPages; ++page) {
    const Range region = RegionOf(page);
    if (pages_[page].owner == Owner::kManager) {
      Expect(true, manager_.Release(AddressOf(page)), "last release", region);
      Forget(region);
    } else if (pages_[page].owner == Owner::kView) {
      static_cast<void>(manager_.os.UnmapView(AddressOf(page)));
      Expect(true, manager_.engine.ReleaseView(AddressOf(page)), "last release of a view", region);
      Forget(region);
    }
    if (wrong_) return wrong_;
  }
  if (manager_.ChargedPages() != charged_) return "charged " + std::to_string(manager_.ChargedPages()) + " at the end";
  return Audit();
}

}  // namespace clr_host_memory::test
