// Sections and views, which the CLR or the bridge announces to the engine.
#include <algorithm>

#include "engine/engine.h"

namespace clr_host_memory {

SectionOutcome Engine::AddSection(std::uint64_t size, bool committed, Criticality level) {
  const auto pages = PageRange::Covering(0, size);
  if (!pages) return {Outcome::OsRefused(win32::kInvalidParameter)};
  return AllocateNonPages<SectionOutcome>(level, [&](RequestCharge& request_charge) -> SectionOutcome {
    const Pages charged = committed ? pages->count : Pages{};
    if (!request_charge.TryCharge(charged.InBytes())) return {Outcome::OverLimit()};
    const SectionName section = ledger_.sections().Add(pages->count, charged);
    if (section == 0) {
      request_charge.Cancel(charged.InBytes());
      return {Outcome::NoMetadata()};
    }
    request_charge.Confirm(charged.InBytes());
    return {Outcome::Done(), section};
  });
}

Outcome Engine::DropSection(SectionName section) {
  if (!ledger_.sections().Keep(section)) return Outcome::NotOurs();
  ledger_.sections().Drop(section);
  ledger_.sections().Drop(section);
  return Outcome::Done();
}

Outcome Engine::AcquireView(Address base, std::uint64_t size, SectionName section, std::uint64_t offset) {
  if (!Serving()) return Outcome::Unavailable();
  const auto range = PageRange::Covering(base, size);
  if (!range || !PageMap::Tracks(*range) || !IsGranuleAligned(base) || base == 0) {
    return Outcome::OsRefused(win32::kInvalidParameter);
  }
  // A range that the manager reserved and the OS still holds as reserved is no view. Records of memory that is gone
  // are replaced.
  bool reserved = false;
  ledger_.ForEachRegionIn(*range, [&](const Region& other) {
    if (other.kind != Region::Kind::kReserved) return;
    const PageRun run = os_.Describe(std::max(other.base, base));
    reserved = reserved || (run.is_private && run.allocation_base == other.base);
  });
  if (reserved) return Outcome::OsRefused(win32::kInvalidParameter);

  SectionView shown;
  if (section != 0) {
    const std::uint64_t granule = offset >> kGranuleShift;
    if (!IsGranuleAligned(offset) || granule > UINT32_MAX) return Outcome::OsRefused(win32::kInvalidParameter);
    if (!ledger_.sections().Keep(section)) return Outcome::OsRefused(win32::kInvalidParameter);
    shown = {section, static_cast<std::uint32_t>(granule)};
  }
  if (!ledger_.AddRegion({base, range->count, Region::Kind::kView, 0, shown.Pack()})) {
    if (section != 0) ledger_.sections().Drop(section);
    return Outcome::NoMetadata();
  }
  return Outcome::Done();
}

// Returns the view at address if the ledger knows it and the OS still has it there.
std::optional<Region> Engine::FindMappedView(Address address) {
  const auto region = ledger_.FindRegion(address);
  if (!region || region->kind != Region::Kind::kView) return std::nullopt;
  const PageRun run = os_.Describe(address);
  if (run.is_private || run.allocation_base != region->base) return std::nullopt;
  return region;
}

Outcome Engine::ReleaseView(Address base) {
  // The desktop CLR unmaps first and announces afterwards. Another view may be mapped and known there by then.
  const auto view = ledger_.RegionAt(base);
  if (!view && !Serving()) return Outcome::Unavailable();
  if (view && view->kind == Region::Kind::kView && FindMappedView(base)) return Outcome::Done();
  if (view && view->kind == Region::Kind::kView) {
    if (const auto gone = ledger_.RemoveRegion(*view)) ledger_.UnchargeUnmappedView(*gone);
    return Outcome::Done();
  }
  // The view was mapped before the manager existed, or the address is known as something else by now.
  (void)UnchargeFreedElsewhere();
  return Outcome::Done();
}

}  // namespace clr_host_memory
