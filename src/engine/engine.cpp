// Query, protect and status, and what the heaps need for their own tables.
#include "engine/engine.h"

#include <algorithm>

namespace clr_host_memory {

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

void Engine::FreeMetadata(void* memory, std::size_t size) {
  os_.FreeMetadata(memory, size);
  ledger_.SubtractMetadata({size});
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
  return meets(headroom_pool_.Range()) || meets(address_space_.Range()) || seals_.Touches(*range);
}

}  // namespace clr_host_memory
