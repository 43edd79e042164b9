#include "engine/engine.h"

#include <algorithm>

namespace clr_host_memory {
namespace {

[[nodiscard]] bool HasAny(std::uint32_t flags, std::uint32_t any_of) { return (flags & any_of) != 0; }

// The pages a new region will have, and from where the OS counts them: it rounds a wanted address down to a granule.
[[nodiscard]] std::optional<PageRange> PagesOfNewRegion(const os::AllocateRequest& request) {
  const auto range = PageRange::Covering(request.address, request.size);
  if (!range) return std::nullopt;
  const std::uint64_t start = RoundDownToGranule(request.address) >> kPageShift;
  return PageRange{start, {range->end() - start}};
}

// The whole of a commit in a region the ledger knows. A function of this file alone, so that it is compiled into its
// caller: it is the hottest path there is.
template <typename Commit>
AddressOutcome CommitInRegion(os::MemorySystem& os, Budget& budget, Commit& commit, const os::AllocateRequest& request,
                              Criticality level) {
  const Pages missing = commit.Missing();
  const Bytes charge = missing.InBytes();
  if (budget.TryCharge(charge, level) != policy::Admission::kAdmitted) return {Outcome::OverLimit()};

  const os::AllocateResult result = os.Allocate(request);
  if (result.error != win32::kSuccess) {
    budget.Return(charge);
    return {Outcome::OsRefused(result.error)};
  }
  if (result.address != RoundDownToPage(request.address)) {
    budget.Return(charge);
    commit.AskOs();
    return {Outcome::InvariantBroken()};
  }

  commit.Settle(missing);
  return {Outcome::Done(), result.address};
}

}  // namespace

AddressOutcome Engine::Allocate(const os::AllocateRequest& request, Criticality level) {
  if (!Serving()) return {Outcome::Unavailable()};
  if (request.type == win32::kMemCommit) {
    const PageSpan span = ledger_.LocateOwn(request.address, request.size);
    if (span.word != nullptr) {
      CommitInWord commit(ledger_, span);
      return CommitInRegion(os_, ledger_.budget(), commit, request, level);
    }
  }
  return AllocateSlowly(request, level);
}

AddressOutcome Engine::AllocateSlowly(const os::AllocateRequest& request, Criticality level) {
  // Whatever comes of it is new memory; Wine reserves some even for a MEM_RESET at null.
  if (HasAny(request.type, win32::kMemReserve) || request.address == 0) return AllocateRegion(request, level);
  // MEM_RESET, MEM_RESET_UNDO and what Win32 will reject change no charge.
  const bool commits = HasAny(request.type, win32::kMemCommit);
  if (HasAny(request.type, win32::kMemReset | win32::kMemResetUndo) || !commits) return Forward(request);

  const auto range = PageRange::Covering(request.address, request.size);
  if (!range || !PageMap::Tracks(*range)) return Forward(request);
  const auto region = ledger_.FindRegion(request.address);
  if (!region || !region->Range().Contains(*range)) return CommitInForeignMemory(request, *range, level);
  CommitInFlight commit(ledger_, *range);
  if (!commit.ok()) return {Outcome::NoTracking()};
  return CommitInRegion(os_, ledger_.budget(), commit, request, level);
}

AddressOutcome Engine::Forward(const os::AllocateRequest& request) {
  const os::AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) return {Outcome::OsRefused(result.error)};
  return {Outcome::Done(), result.address};
}

AddressOutcome Engine::AllocateRegion(const os::AllocateRequest& request, Criticality level) {
  const bool commits = HasAny(request.type, win32::kMemCommit);
  const auto expected = PagesOfNewRegion(request);
  if (!expected) return Forward(request);  // no such size: the OS says so
  const Bytes charge = commits ? expected->count.InBytes() : Bytes{};
  Budget& budget = ledger_.budget();
  if (budget.TryCharge(charge, level) != policy::Admission::kAdmitted) return {Outcome::OverLimit()};

  const std::uint64_t doubts = ledger_.Doubts();
  const os::AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    budget.Return(charge);
    return {Outcome::OsRefused(result.error)};
  }

  const Region region{result.address, expected->count, Region::Kind::kReserved};
  const auto give_back = [&](Outcome outcome) -> AddressOutcome {
    const win32::Error error = os_.Free(result.address, 0, win32::kMemRelease);
    budget.Return(charge);
    return {error == win32::kSuccess ? outcome : Outcome::InvariantBroken()};
  };
  const bool elsewhere = request.address != 0 && region.base != RoundDownToGranule(request.address);
  if (elsewhere || !IsGranuleAligned(region.base) || !PageMap::Tracks(region.Range()) || region.base == 0) {
    return give_back(Outcome::InvariantBroken());
  }
  // At work on the pages before anyone can find the region and free some of them.
  std::optional<CommitInFlight> commit;
  if (commits && !commit.emplace(ledger_, region.Range()).ok()) return give_back(Outcome::NoTracking());
  if (!ledger_.AddRegion(region)) return give_back(Outcome::NoTracking());
  if (commit) commit->Settle(expected->count);
  if (ledger_.Doubts() != doubts) ledger_.AskOsAbout(region.Range());
  return {Outcome::Done(), region.base};
}

// Memory that others reserved: a view nobody announced, a thread's stack. Rare, so it may ask the OS what is committed
// there already, which is not the CLR's.
AddressOutcome Engine::CommitInForeignMemory(const os::AllocateRequest& request, PageRange range, Criticality level) {
  const os::PageRun start = os_.Describe(range.Start());
  if (start.allocation_base == 0) {
    const AddressOutcome forwarded = Forward(request);  // nothing is reserved there: the OS says so
    if (!forwarded.outcome.ok()) return forwarded;
    // It was reserved meanwhile, by someone who may not have told the ledger yet.
    CommitInFlight late(ledger_, range);
    if (!late.ok()) return {Outcome::InvariantBroken()};
    late.Settle({});
    late.AskOs();
    return forwarded;
  }
  CommitInFlight commit(ledger_, range);
  if (!commit.ok()) return {Outcome::NoTracking()};
  const Pages missing = commit.Missing() - std::min(commit.Missing(), ledger_.CommittedByOthers(range));
  Budget& budget = ledger_.budget();
  if (budget.TryCharge(missing.InBytes(), level) != policy::Admission::kAdmitted) return {Outcome::OverLimit()};
  commit.ClaimUncommitted(missing);

  const os::AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    commit.AskOs();
    return {Outcome::OsRefused(result.error)};
  }
  return {Outcome::Done(), result.address};
}

Outcome Engine::Free(Address address, std::uint64_t size, std::uint32_t type) {
  if (type == win32::kMemDecommit) return Decommit(address, size);
  if (type == win32::kMemRelease) return ReleaseRegion(address, size);
  // No such type, or one for placeholders, which VirtualAlloc does not make: for the OS to say, and to be believed.
  const win32::Error error = os_.Free(address, size, type);
  if (error != win32::kSuccess) return Outcome::OsRefused(error);
  if (const auto region = ledger_.FindRegion(address); region) ledger_.AskOsAbout(region->Range());
  return Outcome::Done();
}

Outcome Engine::ReleaseRegion(Address address, std::uint64_t size) {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kReserved) return Outcome::NotOurs();
  if (size != 0 || RoundDownToPage(address) != region->base) {
    // Ours, but not to be released like this: the OS says why, and is believed. (Wine releases a region for a size that
    // wraps round to nothing.)
    const win32::Error error = os_.Free(address, size, win32::kMemRelease);
    if (error != win32::kSuccess) return Outcome::OsRefused(error);
    if (os_.Describe(region->base).allocation_base != region->base &&
        ledger_.TakeRegion(region->base, Region::Kind::kReserved)) {
      ledger_.budget().Return(ledger_.ClearCharged(region->Range()).InBytes());
    }
    ledger_.AskOsAbout(region->Range());
    return Outcome::Done();
  }
  if (!ledger_.TakeRegion(region->base, Region::Kind::kReserved)) return Outcome::NotOurs();  // someone else did
  const Pages cleared = ledger_.ClearCharged(region->Range());

  const win32::Error error = os_.Free(address, size, win32::kMemRelease);
  if (error != win32::kSuccess) {
    ledger_.RestoreRegion(*region);
    ledger_.AskOsAbout(region->Range());
    ledger_.budget().Return(cleared.InBytes());
    return Outcome::OsRefused(error);
  }
  ledger_.budget().Return(cleared.InBytes());
  ledger_.SweepAfterFree(region->Range());
  return Outcome::Done();
}

Outcome Engine::Decommit(Address address, std::uint64_t size) {
  const std::uint64_t takes = ledger_.Takes();
  PageSpan span = ledger_.LocateOwn(address, size);
  if (span.word == nullptr) {
    const auto located = LocateInOwnRegion(address, size);
    if (!located) return DecommitElsewhere(address, size);
    span = *located;
  }

  const Pages cleared = ledger_.ClearCharged(span);
  const win32::Error error = os_.Free(address, size, win32::kMemDecommit);
  if (error != win32::kSuccess) ledger_.AskOsAbout(span.range);
  ledger_.budget().Return(cleared.InBytes());
  if (error != win32::kSuccess) return Outcome::OsRefused(error);
  if (ledger_.Takes() != takes) ledger_.NoteDoubt();
  ledger_.SweepAfterFree(span);
  return Outcome::Done();
}

std::optional<PageSpan> Engine::LocateInOwnRegion(Address address, std::uint64_t size) const {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kReserved) return std::nullopt;
  auto range = PageRange::Covering(address, size);
  if (size == 0 && RoundDownToPage(address) == region->base) range = region->Range();  // all of it
  if (!range || !region->Range().Contains(*range)) return std::nullopt;
  return ledger_.Locate(*range);
}

Outcome Engine::DecommitElsewhere(Address address, std::uint64_t size) {
  const auto region = ledger_.FindRegion(address);
  auto range = PageRange::Covering(address, size);
  if (range && !PageMap::Tracks(*range)) range.reset();
  // Should the OS accept it after all; Wine does so with sizes that wrap round.
  if ((size == 0 || !range) && region) range = region->Range();
  // A wrong range of a region of ours, or pages the manager committed in memory that others reserved.
  if (!region && (!range || !ledger_.AnyCharged(*range))) return Outcome::NotOurs();
  const win32::Error error = os_.Free(address, size, win32::kMemDecommit);
  if (error != win32::kSuccess) return Outcome::OsRefused(error);
  if (range) {
    ledger_.budget().Return(ledger_.ClearCharged(*range).InBytes());
    // A region that was reserved there meanwhile has lost pages, or bits of its own.
    ledger_.NoteDoubt();
    ledger_.AskOsAbout(*range);
  }
  return Outcome::Done();
}

Outcome Engine::Query(Address address, void* buffer, std::size_t length, std::size_t* written) {
  if (!Serving()) return Outcome::Unavailable();
  const win32::Error error = os_.Query(address, buffer, length, written);
  return error == win32::kSuccess ? Outcome::Done() : Outcome::OsRefused(error);
}

Outcome Engine::Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect) {
  if (!Serving()) return Outcome::Unavailable();
  const win32::Error error = os_.Protect(address, size, protect, old_protect);
  return error == win32::kSuccess ? Outcome::Done() : Outcome::OsRefused(error);
}

MemoryLoadOutcome Engine::Load() {
  if (!Serving()) return {Outcome::Unavailable()};
  os::MemoryLoad load;
  if (const win32::Error error = os_.Load(&load); error != win32::kSuccess) return {Outcome::OsRefused(error)};
  const Bytes limit = ledger_.budget().Limit();
  if (limit == kUnlimited) return {Outcome::Done(), load.percent_in_use, load.available_physical};
  const Bytes charged = std::min(ledger_.budget().Charged(), limit);
  // In steps of 1/100 of the limit rounded up, so that no product overflows.
  const std::uint64_t step = std::max<std::uint64_t>((limit.value + 99) / 100, 1);
  const auto percent = static_cast<std::uint32_t>(std::min<std::uint64_t>(charged.value / step, 100));
  return {Outcome::Done(), std::max(load.percent_in_use, percent),
          std::min(load.available_physical, limit - charged)};
}

Outcome Engine::AcquireView(Address base, std::uint64_t size) {
  if (!Serving()) return Outcome::Unavailable();
  const auto range = PageRange::Covering(base, size);
  if (!range || !PageMap::Tracks(*range) || !IsGranuleAligned(base) || base == 0) {
    return Outcome::OsRefused(win32::kInvalidParameter);
  }
  if (!ledger_.AddRegion({base, range->count, Region::Kind::kView})) return Outcome::NoTracking();
  return Outcome::Done();
}

Outcome Engine::ReleaseView(Address base) {
  const auto region = ledger_.TakeRegion(base, Region::Kind::kView);
  if (!region) return Outcome::Done();  // mapped before the manager was there, or known as something else by now
  ledger_.ClearViewThatIsGone(*region);
  return Outcome::Done();
}

}  // namespace clr_host_memory
