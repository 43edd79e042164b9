// The engine: one request from admission to settlement. Each function reads admit → charge → act → settle, with its
// rollback in the same place.
//
// Threads: any number, at any time; no function waits, takes a lock or allocates from a heap. A thread may be suspended
// anywhere inside without holding up another.
#ifndef CLRHM_ENGINE_ENGINE_H
#define CLRHM_ENGINE_ENGINE_H

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/outcome.h"
#include "ledger/ledger.h"
#include "os/memory_system.h"
#include "policy/admission.h"

namespace clr_host_memory {

struct MemoryLoadOutcome {
  Outcome outcome;
  std::uint32_t percent_in_use = 0;
  Bytes available = {};
};

class Engine {
 public:
  // os outlives the engine. limits: valid by policy::Validate.
  Engine(os::MemorySystem& os, const policy::Limits& limits) : os_(os), ledger_(os, limits) {}

  [[nodiscard]] Ledger& ledger() { return ledger_; }
  [[nodiscard]] const Ledger& ledger() const { return ledger_; }
  [[nodiscard]] os::MemorySystem& os() { return os_; }

  // VirtualAlloc with all its flags. What commits is charged at `level`; reserving is free.
  AddressOutcome Allocate(const os::AllocateRequest& request, Criticality level);
  // VirtualFree. Memory the manager did not give out is kNotOurs and stays as it is. Works in every state.
  Outcome Free(Address address, std::uint64_t size, std::uint32_t type);
  Outcome Query(Address address, void* buffer, std::size_t length, std::size_t* written);
  Outcome Protect(Address address, std::uint64_t size, std::uint32_t protect, std::uint32_t* old_protect);
  // Physical memory and limit together: the tighter of the two.
  MemoryLoadOutcome Load();
  // A view was mapped at base, or is gone; what was committed in it is returned with it.
  Outcome AcquireView(Address base, std::uint64_t size);
  Outcome ReleaseView(Address base);

  // False after Shutdown or Latch: nothing new is served.
  [[nodiscard]] bool Serving() const { return serving_.load(std::memory_order_relaxed); }
  void Shutdown() { serving_.store(false); }
  // An invariant broke: the manager serves nothing new from now on.
  void Latch() { serving_.store(false); }

 private:
  AddressOutcome AllocateSlowly(const os::AllocateRequest& request, Criticality level);
  AddressOutcome AllocateRegion(const os::AllocateRequest& request, Criticality level);
  AddressOutcome CommitInForeignMemory(const os::AllocateRequest& request, PageRange range, Criticality level);
  AddressOutcome Forward(const os::AllocateRequest& request);
  Outcome ReleaseRegion(Address address, std::uint64_t size);
  Outcome Decommit(Address address, std::uint64_t size);
  Outcome DecommitElsewhere(Address address, std::uint64_t size);
  [[nodiscard]] std::optional<PageSpan> LocateInOwnRegion(Address address, std::uint64_t size) const;

  os::MemorySystem& os_;
  std::atomic<bool> serving_ = true;
  Ledger ledger_;
};

}  // namespace clr_host_memory

#endif  // CLRHM_ENGINE_ENGINE_H
