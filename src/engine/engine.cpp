#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/error_family.h"
#include "ledger/runs.h"

namespace clr_host_memory {
namespace {

[[nodiscard]] bool HasAny(std::uint32_t flags, std::uint32_t any_of) { return (flags & any_of) != 0; }

// Returns the pages of a new region. The OS rounds a requested address down to a granule.
[[nodiscard]] std::optional<PageRange> PagesOfNewRegion(const AllocateRequest& request) {
  const auto range = PageRange::Covering(request.address, request.size);
  if (!range) return std::nullopt;
  const std::uint64_t start = RoundDownToGranule(request.address) >> kPageShift;
  return PageRange{start, {range->end() - start}};
}

// Returns the value of Region::reserved_as.
[[nodiscard]] std::uint16_t ReservedAs(const AllocateRequest& request) {
  constexpr std::uint32_t kWithoutModifiers = 0xFF;  // without PAGE_GUARD and the modifiers above it
  const bool committed = HasAny(request.type, win32::kMemCommit);
  return static_cast<std::uint16_t>((request.protect & kWithoutModifiers) | (committed ? Region::kCommittedAtOnce : 0));
}

// Commits in a region the ledger knows. Local to this file, so that the compiler inlines it into its callers: it is
// the hottest path.
template <typename Commit, typename RequestCharge>
AddressOutcome CommitInRegion(MemorySystem& os, RequestCharge& request_charge, Commit& commit,
                              const AllocateRequest& request) {
  const Pages missing = commit.Missing();
  const Bytes charge = missing.InBytes();
  if (!request_charge.TryCharge(charge)) return {Outcome::OverLimit()};
  if (!commit.Enter()) {
    request_charge.Cancel(charge);
    return {Outcome::NoMetadata()};
  }

  const AllocateResult result = os.Allocate(request);
  if (result.error != win32::kSuccess) {
    request_charge.Cancel(charge);
    return {Outcome::OsRefused(result.error)};
  }
  if (result.address != RoundDownToPage(request.address)) {
    request_charge.Cancel(charge);
    commit.AskOs();
    return {Outcome::InvariantBroken()};
  }

  commit.Settle(missing);
  request_charge.Confirm(charge);
  return {Outcome::Done(), result.address};
}

}  // namespace

AddressOutcome Engine::Allocate(const AllocateRequest& request, Criticality level) {
  if (request.type != win32::kMemCommit) return AllocateWithRetries(request, level);
  const PageSpan span = ledger_.LocateOwn(request.address, request.size);
  if (span.word == nullptr) return AllocateWithRetries(request, level);
  bool attempted = true;
  const AddressOutcome first = [&] {
    CommitInWord commit(ledger_, span);
    // Register the commit before reading the gate: a thread that closes the gate either sees this commit or is seen
    // here.
    if (gate_.load() != 0) [[unlikely]] {
      attempted = false;
      return AddressOutcome{Outcome::ExclusiveElsewhere()};
    }
    FirstCharge first_charge{ledger_.budget(), level};
    return CommitInRegion(os_, first_charge, commit, request);
  }();
  if (first.outcome.ok()) [[likely]]
    return first;
  return attempted ? RetryAllocation(request, level, first, span.range.count) : AllocateWithRetries(request, level);
}

AddressOutcome Engine::AllocateWithRetries(const AllocateRequest& request, Criticality level) {
  RequestCharge request_charge(ledger_.budget(), level);
  return RetryUntilDone(request, request_charge, AllocateOnce(request, request_charge));
}

AddressOutcome Engine::RetryAllocation(const AllocateRequest& request, Criticality level, AddressOutcome first,
                                       Pages requested) {
  RequestCharge request_charge(ledger_.budget(), level, requested.InBytes());
  // The first attempt charged without the emergency pool, so a refusal by the limit is tried once with it.
  if (first.outcome.verdict == Verdict::kOverLimit) first = AllocateOnce(request, request_charge);
  return RetryUntilDone(request, request_charge, first);
}

AddressOutcome Engine::RetryUntilDone(const AllocateRequest& request, RequestCharge& request_charge,
                                      AddressOutcome result) {
  const bool anywhere = request.address == 0 && HasAny(request.type, win32::kMemReserve);
  RetryState retry{.room = anywhere ? request.size : 0, .possible = !HasAny(request.type, win32::kMemLargePages)};
  while (!result.outcome.ok() && PrepareRetry(&result.outcome, request_charge, &retry)) {
    result = AllocateOnce(request, request_charge);
  }
  return result;
}

AddressOutcome Engine::AllocateOnce(const AllocateRequest& request, RequestCharge& request_charge) {
  const AllocationInProgress visit(*this);
  if (const Outcome closed = CheckGate(); !closed.ok()) return {closed};
  // A null address always means new memory: Wine reserves some even for a MEM_RESET at null.
  if (request.address == 0) return AllocateRegion(request, request_charge);
  if (IsHostOwned(request.address, std::max<std::uint64_t>(request.size, 1))) return {Outcome::NotOwner()};
  if (HasAny(request.type, win32::kMemReserve)) return AllocateRegion(request, request_charge);
  // MEM_RESET, MEM_RESET_UNDO and requests that Win32 rejects change no charge.
  const bool commits = HasAny(request.type, win32::kMemCommit);
  if (HasAny(request.type, win32::kMemReset | win32::kMemResetUndo) || !commits) return Forward(request);

  const auto range = PageRange::Covering(request.address, request.size);
  if (!range || !PageMap::Tracks(*range)) return Forward(request);
  const auto region = ledger_.FindRegion(request.address);
  if (!region || !region->Range().Contains(*range)) return CommitInForeignMemory(request, *range, request_charge);
  if (region->section_view != 0) return CommitInSection(request, *range, *region, request_charge);
  return CommitInKnownRegion(request, *range, region->kind, request_charge);
}

AddressOutcome Engine::CommitInKnownRegion(const AllocateRequest& request, PageRange range, Region::Kind kind,
                                           RequestCharge& request_charge) {
  if (ledger_.IsWide(range)) return CommitWidely(request, range, request_charge);
  CommitInFlight commit(ledger_, range);
  const AddressOutcome result = CommitInRegion(os_, request_charge, commit, request);
  // The CLR may unmap a view without telling the manager.
  if (result.outcome.ok() && kind == Region::Kind::kView) commit.NoteForeign();
  return result;
}

// Commits a range so large that its tables are made only after the OS has granted it.
AddressOutcome Engine::CommitWidely(const AllocateRequest& request, PageRange range, RequestCharge& request_charge) {
  const WideCommit wide(ledger_);
  CommitInFlight commit(ledger_, range);
  const Pages missing = commit.Missing();
  if (!request_charge.TryCharge(missing.InBytes())) return {Outcome::OverLimit()};
  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    request_charge.Cancel(missing.InBytes());
    return {Outcome::OsRefused(result.error)};
  }
  if (!commit.Enter()) {
    // Earlier committed pages are charged, so the uncharged pages belong to this commit.
    bool undone = true;
    ledger_.ForEachUncharged(range, [&](PageRange pages) {
      undone &= os_.Free(pages.Start(), pages.count.InBytes().value, win32::kMemDecommit) == win32::kSuccess;
    });
    request_charge.Cancel(missing.InBytes());
    ledger_.AskOsAbout(range);
    return {undone ? Outcome::NoMetadata() : Outcome::InvariantBroken()};
  }
  commit.Settle(missing);
  request_charge.Confirm(missing.InBytes());
  if (wide.HasConflict()) commit.AskOs();
  return {Outcome::Done(), result.address};
}

// Commits in a view of a section. The pages may already be committed through another view, and stay committed after
// this view is unmapped.
AddressOutcome Engine::CommitInSection(const AllocateRequest& request, PageRange range, const Region& view,
                                       RequestCharge& request_charge) {
  const SectionView shown = SectionView::Unpack(view.section_view);
  Sections::Use section(ledger_.sections(), shown.section);
  if (!section.ok()) return Forward(request);  // the view is being unmapped: the OS returns the error
  const PageRange pages{range.first - view.Range().first + shown.FirstPage(), range.count};
  const Pages missing = section.Missing(pages);
  if (!request_charge.TryCharge(missing.InBytes())) return {Outcome::OverLimit()};
  if (!section.Prepare(pages)) {
    request_charge.Cancel(missing.InBytes());
    return {Outcome::NoMetadata()};
  }

  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    request_charge.Cancel(missing.InBytes());
    return {Outcome::OsRefused(result.error)};
  }

  const auto now = ledger_.FindRegion(request.address);
  if (!now || now->base != view.base || now->section_view != view.section_view) {
    // Another mapping has taken the view's place, and the OS has committed in it.
    request_charge.Cancel(missing.InBytes());
    if (now && now->section_view != 0) {
      ledger_.AskOsAboutView(range);
    } else if (CommitInFlight late(ledger_, range); late.Enter()) {
      late.Settle({});
      late.AskOs();
    }
    return {Outcome::Done(), result.address};
  }
  const Pages marked = section.Mark(pages);
  if (missing != marked)
    ledger_.budget().Uncharge((missing - marked).InBytes());  // other threads committed some of them
  request_charge.Confirm(missing.InBytes());
  return {Outcome::Done(), result.address};
}

AddressOutcome Engine::Forward(const AllocateRequest& request) {
  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) return {Outcome::OsRefused(result.error)};
  return {Outcome::Done(), result.address};
}

AddressOutcome Engine::AllocateRegion(const AllocateRequest& request, RequestCharge& request_charge) {
  const bool commits = HasAny(request.type, win32::kMemCommit);
  const auto expected = PagesOfNewRegion(request);
  // An impossible size: the OS returns the error.
  if (!expected || expected->count > PageMap::kEverything.count) return Forward(request);
  const std::uint16_t reserved_as = ReservedAs(request);
  // Large pages are committed as they are reserved, and the OS judges other combinations of types.
  constexpr std::uint32_t kInTwoSteps =
      win32::kMemReserve | win32::kMemCommit | win32::kMemTopDown | win32::kMemWriteWatch;
  if (!commits || HasAny(request.type, ~kInTwoSteps))
    return ReserveRegion(request, *expected, reserved_as, request_charge);

  // Reserves first and commits second, so that a taken address or a lack of address space is never charged. If the
  // limit would refuse the commit now, reserves nothing.
  if (!request_charge.WouldAdmit(expected->count.InBytes())) return {Outcome::OverLimit()};
  AllocateRequest step = request;
  step.type = (request.type & ~win32::kMemCommit) | win32::kMemReserve;
  const AddressOutcome reserved = ReserveRegion(step, *expected, reserved_as, request_charge);
  if (!reserved.outcome.ok()) return reserved;
  step = {reserved.address, expected->count.InBytes().value, win32::kMemCommit, request.protect, request.node};
  const PageRange range{reserved.address >> kPageShift, expected->count};
  const AddressOutcome committed = CommitInKnownRegion(step, range, Region::Kind::kReserved, request_charge);
  if (committed.outcome.ok()) return committed;
  // If the OS does not release it, it stays reserved and the ledger keeps its record.
  (void)ReleaseRegion(reserved.address, 0);
  return {committed.outcome};
}

// Reserves a region with one call to the OS, which also commits it if the request does.
AddressOutcome Engine::ReserveRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as,
                                     RequestCharge& request_charge) {
  const bool commits = HasAny(request.type, win32::kMemCommit);
  const Bytes charge = commits ? expected.count.InBytes() : Bytes{};
  if (commits && !request_charge.TryCharge(charge)) return {Outcome::OverLimit()};

  const std::uint64_t conflicts = ledger_.ConflictCount();
  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    if (commits) request_charge.Cancel(charge);
    return {Outcome::OsRefused(result.error)};
  }

  const Region region{result.address, expected.count, Region::Kind::kReserved, reserved_as};
  const auto give_back = [&](Outcome outcome) -> AddressOutcome {
    const win32::Error error = os_.Free(result.address, 0, win32::kMemRelease);
    if (commits) request_charge.Cancel(charge);
    return {error == win32::kSuccess ? outcome : Outcome::InvariantBroken()};
  };
  const bool elsewhere = request.address != 0 && region.base != RoundDownToGranule(request.address);
  if (elsewhere || !IsGranuleAligned(region.base) || !PageMap::Tracks(region.Range()) || region.base == 0) {
    return give_back(Outcome::InvariantBroken());
  }
  // Register the commit before the region's record: another thread that finds the region may free some of it.
  std::optional<CommitInFlight> commit;
  if (commits && !commit.emplace(ledger_, region.Range()).Enter()) return give_back(Outcome::NoMetadata());
  if (!ledger_.AddRegion(region)) return give_back(Outcome::NoMetadata());
  if (commit) {
    commit->Settle(expected.count);
    request_charge.Confirm(charge);
  }
  if (ledger_.ConflictCount() != conflicts) ledger_.AskOsAbout(region.Range());
  return {Outcome::Done(), region.base};
}

// Commits in memory that was reserved without the manager: an unannounced view, a thread's stack. This is rare, so it
// may ask the OS which pages are already committed. Those are not the CLR's.
AddressOutcome Engine::CommitInForeignMemory(const AllocateRequest& request, PageRange range,
                                             RequestCharge& request_charge) {
  const PageRun start = os_.Describe(range.Start());
  if (start.allocation_base == 0) {
    const AddressOutcome forwarded = Forward(request);  // nothing is reserved there: the OS returns the error
    if (!forwarded.outcome.ok()) return forwarded;
    // Another thread has reserved it meanwhile, and may not have told the ledger yet.
    CommitInFlight late(ledger_, range);
    if (!late.Enter()) return {Outcome::InvariantBroken()};
    late.NoteForeign();
    late.Settle({});
    late.AskOs();
    return forwarded;
  }
  const Pages missing = ledger_.CountUncommitted(range);
  const Bytes charge = missing.InBytes();
  if (!request_charge.TryCharge(charge)) return {Outcome::OverLimit()};
  std::optional<CommitInFlight> commit(std::in_place, ledger_, range);
  if (!commit->Enter()) {
    request_charge.Cancel(charge);
    return {Outcome::NoMetadata()};
  }
  commit->ClaimUncommitted(missing);

  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) {
    commit->AskOs();
    commit.reset();  // uncharges the pages, unless another commit is in progress there
    request_charge.Drop(charge);
    return {Outcome::OsRefused(result.error)};
  }
  request_charge.Confirm(charge);
  return {Outcome::Done(), result.address};
}

Outcome Engine::Free(Address address, std::uint64_t size, std::uint32_t type) {
  const bool host_owns = host_owns_.load(std::memory_order_relaxed);
  if (type == win32::kMemDecommit && !host_owns) [[likely]]
    return Decommit(address, size);
  return FreeWithHostChecks(address, size, type);
}

Outcome Engine::FreeWithHostChecks(Address address, std::uint64_t size, std::uint32_t type) {
  if (IsHostOwned(address, size)) return Outcome::NotOwner();
  if (type == win32::kMemDecommit) return Decommit(address, size);
  if (type == win32::kMemRelease) return ReleaseRegion(address, size);
  // An unknown type, or one for placeholders, which VirtualAlloc does not create: the OS decides.
  const win32::Error error = os_.Free(address, size, type);
  if (error != win32::kSuccess) return Outcome::OsRefused(error);
  ledger_.NoteConflict();
  if (const auto region = ledger_.FindRegion(address); region) ledger_.AskOsAbout(region->Range());
  return Outcome::Done();
}

Outcome Engine::ReleaseRegion(Address address, std::uint64_t size) {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kReserved || ledger_.IsOwned(*region)) return Outcome::NotOurs();
  if (size != 0 || RoundDownToPage(address) != region->base) {
    // A known region, but an invalid release: the OS decides. (Wine releases a region for a size that wraps round to
    // 0.)
    const win32::Error error = os_.Free(address, size, win32::kMemRelease);
    if (error != win32::kSuccess) return Outcome::OsRefused(error);
    if (os_.Describe(region->base).allocation_base != region->base &&
        ledger_.RemoveRegion(region->base, Region::Kind::kReserved)) {
      ledger_.budget().Uncharge(ledger_.ClearCharged(region->Range()).InBytes());
    }
    ledger_.NoteConflict();
    ledger_.AskOsAbout(region->Range());
    return Outcome::Done();
  }
  if (!ledger_.RemoveRegion(region->base, Region::Kind::kReserved))
    return Outcome::NotOurs();  // another thread removed it
  const std::uint64_t removals = ledger_.RemovalCount();
  const Pages cleared = ledger_.ClearCharged(region->Range());

  const win32::Error error = os_.Free(address, size, win32::kMemRelease);
  if (error != win32::kSuccess) {
    ledger_.RestoreRegion(*region);
    ledger_.AskOsAbout(region->Range());
    ledger_.budget().Uncharge(cleared.InBytes());
    return Outcome::OsRefused(error);
  }
  ledger_.budget().Uncharge(cleared.InBytes());
  ledger_.NoteConflictUnless(removals);
  ledger_.SweepAfterFree(region->Range());
  return Outcome::Done();
}

Outcome Engine::AwaitOpen(Criticality level) {
  return AllocateNonPages<AddressOutcome>(level, [](RequestCharge&) { return AddressOutcome{Outcome::Done()}; })
      .outcome;
}

Outcome Engine::AllocateMetadata(std::size_t size, Criticality level, void** memory) {
  *memory = nullptr;
  const AddressOutcome result = AllocateNonPages<AddressOutcome>(level, [&](RequestCharge&) {
    *memory = os_.AllocateMetadata(size);
    return AddressOutcome{*memory != nullptr ? Outcome::Done() : Outcome::NoMetadata()};
  });
  if (result.outcome.ok()) ledger_.AddMetadata({size});
  return result.outcome;
}

Outcome Engine::DecommitOwned(Address address, std::uint64_t size) {
  return IsHostOwned(address, size) ? Outcome::NotOwner() : Decommit(address, size, true);
}

void Engine::FreeMetadata(void* memory, std::size_t size) {
  os_.FreeMetadata(memory, size);
  ledger_.SubtractMetadata({size});
}

Outcome Engine::Decommit(Address address, std::uint64_t size, bool by_owner) {
  const std::uint64_t removals = ledger_.RemovalCount();
  PageSpan span = ledger_.LocateOwn(address, size);
  if (span.word == nullptr) {
    if (!by_owner && ledger_.OwnedAt(address).owner != 0) return Outcome::NotOurs();
    const auto located = LocateInOwnRegion(address, size);
    if (!located) return DecommitElsewhere(address, size);
    span = *located;
  } else if (span.owner != 0 && !by_owner) {
    return Outcome::NotOurs();
  }

  const Pages cleared = ledger_.ClearCharged(span);
  const win32::Error error = os_.Free(address, size, win32::kMemDecommit);
  if (error != win32::kSuccess) [[unlikely]] {
    ledger_.AskOsAbout(span.range);
    ledger_.budget().Uncharge(cleared.InBytes());
    return Outcome::OsRefused(error);
  }
  ledger_.budget().Uncharge(cleared.InBytes());
  ledger_.NoteConflictUnless(removals);
  ledger_.SweepAfterFree(span);
  return Outcome::Done();
}

std::optional<PageSpan> Engine::LocateInOwnRegion(Address address, std::uint64_t size) const {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kReserved) return std::nullopt;
  auto range = PageRange::Covering(address, size);
  if (size == 0 && RoundDownToPage(address) == region->base) range = region->Range();  // the whole region
  if (!range || !region->Range().Contains(*range)) return std::nullopt;
  return ledger_.Locate(*range);
}

Outcome Engine::DecommitElsewhere(Address address, std::uint64_t size) {
  const auto region = ledger_.FindRegion(address);
  auto range = PageRange::Covering(address, size);
  if (range && !PageMap::Tracks(*range)) range.reset();
  // For the case that the OS accepts it: Wine does for sizes that wrap round.
  if ((size == 0 || !range) && region) range = region->Range();
  // Either an invalid range in a known region, or pages the manager committed in foreign memory.
  if (!region && (!range || !ledger_.AnyCharged(*range))) return Outcome::NotOurs();
  const win32::Error error = os_.Free(address, size, win32::kMemDecommit);
  if (error != win32::kSuccess) return Outcome::OsRefused(error);
  if (range) {
    ledger_.budget().Uncharge(ledger_.ClearCharged(*range).InBytes());
    // A region that was reserved there meanwhile may have lost pages, or bits in the ledger.
    ledger_.NoteConflict();
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
  if (IsHostOwned(address, std::max<std::uint64_t>(size, 1))) return Outcome::NotOwner();
  const win32::Error error = os_.Protect(address, size, protect, old_protect);
  return error == win32::kSuccess ? Outcome::Done() : Outcome::OsRefused(error);
}

StatusOutcome Engine::Status() {
  questions_.fetch_add(1, std::memory_order_relaxed);
  if (!Serving()) return {Outcome::Unavailable(), {}};
  MemoryLoad load;
  if (const win32::Error error = sampler_.Read(&load); error != win32::kSuccess) return {Outcome::OsRefused(error), {}};
  return {Outcome::Done(), StatusOf(load, ledger_.budget().Use())};
}

Outcome Engine::CheckGate() const {
  const std::uint32_t gate = gate_.load();
  if ((gate & kDown) != 0) return Outcome::Unavailable();
  if ((gate & kHeld) != 0 && owner_.load() != threads_.CurrentThread()) return Outcome::ExclusiveElsewhere();
  return Outcome::Done();
}

bool Engine::IsHostOwned(Address address, std::uint64_t size) const {
  if (!host_owns_.load(std::memory_order_relaxed)) return false;
  auto range = PageRange::Covering(address, std::max<std::uint64_t>(size, 1));
  if (size == 0) {
    if (const auto region = ledger_.FindRegion(address); region) range = region->Range();
  }
  if (!range) return false;
  const auto meets = [&](PageRange own) { return own.first < range->end() && range->first < own.end(); };
  return meets(emergency_.Range()) || meets(address_space_.Range()) || seals_.Touches(*range);
}

}  // namespace clr_host_memory
