// Allocations: which kind of memory a request is for, and its retries. commit.cpp has the commits.
#include <algorithm>

#include "engine/engine.h"
#include "ledger/commit.h"

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

}  // namespace

AddressOutcome Engine::AllocateWithRetries(const AllocateRequest& request, Criticality level) {
  RequestCharge request_charge(ledger_.budget(), level);
  return RetryUntilDone(request, request_charge, AllocateOnce(request, request_charge));
}

AddressOutcome Engine::RetryAllocation(const AllocateRequest& request, Criticality level, AddressOutcome first,
                                       Pages requested) {
  RequestCharge request_charge(ledger_.budget(), level, requested.InBytes());
  // The first attempt charged without the committed headroom, so a refusal by the limit is tried once with it.
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
  if (!commits) return ReserveRegion(request, *expected, reserved_as);
  if (HasAny(request.type, ~kInTwoSteps)) return CommitNewRegion(request, *expected, reserved_as, request_charge);

  // Reserves first and commits second, so that a taken address or a lack of address space is never charged. If the
  // limit would refuse the commit now, reserves nothing.
  if (!request_charge.WouldAdmit(expected->count.InBytes())) return {Outcome::OverLimit()};
  AllocateRequest step = request;
  step.type = (request.type & ~win32::kMemCommit) | win32::kMemReserve;
  const AddressOutcome reserved = ReserveRegion(step, *expected, reserved_as);
  if (!reserved.outcome.ok()) return reserved;
  step = {reserved.address, expected->count.InBytes().value, win32::kMemCommit, request.protect, request.node};
  const PageRange range{reserved.address >> kPageShift, expected->count};
  const AddressOutcome committed = CommitInKnownRegion(step, range, Region::Kind::kReserved, request_charge);
  if (committed.outcome.ok()) return committed;
  // If the OS does not release it, it stays reserved and the ledger keeps its record.
  (void)ReleaseRegion(reserved.address, 0);
  return {committed.outcome};
}

// Reserves a region, which costs no charge.
AddressOutcome Engine::ReserveRegion(const AllocateRequest& request, PageRange expected, std::uint16_t reserved_as) {
  const std::uint64_t conflicts = ledger_.ConflictCount();
  const AllocateResult result = os_.Allocate(request);
  if (result.error != win32::kSuccess) return {Outcome::OsRefused(result.error)};
  const Region region{result.address, expected.count, Region::Kind::kReserved, reserved_as};
  const Outcome outcome = RecordRegion(request, region, conflicts, false);
  return outcome.ok() ? AddressOutcome{outcome, result.address} : AddressOutcome{outcome};
}

Outcome Engine::RecordRegion(const AllocateRequest& request, const Region& region, std::uint64_t conflicts,
                             bool committed) {
  const auto give_back = [&](Outcome outcome) {
    const win32::Error error = os_.Free(region.base, 0, win32::kMemRelease);
    return error == win32::kSuccess ? outcome : Outcome::InvariantBroken();
  };
  const bool elsewhere = request.address != 0 && region.base != RoundDownToGranule(request.address);
  if (elsewhere || !IsGranuleAligned(region.base) || !PageMap::Tracks(region.Range()) || region.base == 0) {
    return give_back(Outcome::InvariantBroken());
  }
  // Register the commit before the region's record: another thread that finds the region may free some of it.
  std::optional<CommitInFlight> commit;
  if (committed && !commit.emplace(ledger_, region.Range()).Enter()) return give_back(Outcome::NoMetadata());
  if (!ledger_.AddRegion(region)) return give_back(Outcome::NoMetadata());
  if (commit) commit->Settle(region.pages);
  if (ledger_.ConflictCount() != conflicts) ledger_.AskOsAbout(region.Range());
  return Outcome::Done();
}

}  // namespace clr_host_memory
