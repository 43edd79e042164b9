// Frees: decommit and release, of memory the manager knows and of foreign memory.
#include "engine/engine.h"

namespace clr_host_memory {
namespace {

// Decommits located pages. Where: PageSpan or PageRange. removals: read before the pages were located. Local to this
// file, so that the compiler inlines it into the hot path.
template <typename Where>
Outcome DecommitPages(Ledger& ledger, MemorySystem& os, const Where& pages, Address address, std::uint64_t size,
                      std::uint64_t removals) {
  const Pages cleared = ledger.ClearCharged(pages);
  const win32::Error error = os.Free(address, size, win32::kMemDecommit);
  if (error != win32::kSuccess) [[unlikely]] {
    ledger.AskOsAbout(pages);
    ledger.budget().Uncharge(cleared.InBytes());
    return Outcome::OsRefused(error);
  }
  ledger.budget().Uncharge(cleared.InBytes());
  ledger.NoteConflictUnless(removals);
  ledger.SweepAfterFree(pages);
  return Outcome::Done();
}

}  // namespace

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

Outcome Engine::DecommitOwned(Address address, std::uint64_t size) {
  return IsHostOwned(address, size) ? Outcome::NotOwner() : Decommit(address, size, true);
}

Outcome Engine::Decommit(Address address, std::uint64_t size, bool by_owner) {
  const std::uint64_t removals = ledger_.RemovalCount();
  const PageSpan span = ledger_.LocateOwn(address, size);
  if (span.word == nullptr) [[unlikely]]
    return DecommitWidely(address, size, by_owner, removals);
  if (span.Owner() != 0 && !by_owner) return Outcome::NotOurs();
  return DecommitPages(ledger_, os_, span, address, size, removals);
}

Outcome Engine::DecommitWidely(Address address, std::uint64_t size, bool by_owner, std::uint64_t removals) {
  if (!by_owner && ledger_.OwnedAt(address).owner != 0) return Outcome::NotOurs();
  const auto range = RangeInOwnRegion(address, size);
  return range ? DecommitPages(ledger_, os_, *range, address, size, removals) : DecommitElsewhere(address, size);
}

std::optional<PageRange> Engine::RangeInOwnRegion(Address address, std::uint64_t size) const {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kReserved) return std::nullopt;
  if (size == 0 && RoundDownToPage(address) == region->base) return region->Range();  // the whole region
  const auto range = PageRange::Covering(address, size);
  if (!range || !region->Range().Contains(*range)) return std::nullopt;
  return range;
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

}  // namespace clr_host_memory
