// An engine over the fake OS, with short names for the calls of a CLR.
#ifndef CLRHM_TESTS_SUPPORT_ENGINE_FIXTURE_H
#define CLRHM_TESTS_SUPPORT_ENGINE_FIXTURE_H

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>

#include "engine/engine.h"
#include "support/fake_memory_system.h"
#include "support/fake_thread_system.h"

namespace clr_host_memory {

inline void PrintTo(const Outcome& outcome, std::ostream* os) {
  *os << "verdict " << static_cast<int>(outcome.verdict) << ", error " << outcome.error;
}
inline bool operator==(const Outcome& a, const Outcome& b) { return a.verdict == b.verdict && a.error == b.error; }

}  // namespace clr_host_memory

namespace clr_host_memory::test {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

// A base class, so that the fake is constructed before the engine and destroyed after it. The page map's destructor
// frees its nodes through the fake.
struct FakeOsHolder {
  FakeMemorySystem os;
  FakeThreadSystem threads;
};

class ManagedEngine : public FakeOsHolder {
 public:
  explicit ManagedEngine(const Limits& limits = {}) : engine(os, threads, limits) {}

  [[nodiscard]] AddressOutcome Allocate(Address address, std::uint64_t size, std::uint32_t type,
                                        Criticality level = Criticality::kTask) {
    return engine.Allocate({.address = address, .size = size, .type = type, .protect = kPageReadWrite}, level);
  }
  AddressOutcome Reserve(std::uint64_t size, Address address = 0) {
    return Allocate(address, size, win32::kMemReserve);
  }
  AddressOutcome Commit(Address address, std::uint64_t size, Criticality level = Criticality::kTask) {
    return Allocate(address, size, win32::kMemCommit, level);
  }
  AddressOutcome ReserveAndCommit(std::uint64_t size, Address address = 0) {
    return Allocate(address, size, win32::kMemReserve | win32::kMemCommit);
  }
  Outcome Decommit(Address address, std::uint64_t size) { return engine.Free(address, size, win32::kMemDecommit); }
  Outcome Release(Address address) { return engine.Free(address, 0, win32::kMemRelease); }

  [[nodiscard]] Bytes Charged() const { return engine.ledger().budget().Charged(); }
  [[nodiscard]] std::uint64_t ChargedPages() const { return Charged().value / kPageSize; }

  // Expects an audit without a mismatch, and a charge that equals the pages the fake has committed. `foreign` pages
  // are committed, but not charged.
  [[nodiscard]] testing::AssertionResult Exact(Pages foreign = {}) const {
    const LedgerAudit audit = engine.ledger().Audit();
    const Bytes committed = (os.Committed() - foreign).InBytes();
    if (audit.mismatch.value != 0 || audit.in_flight.value != 0) {
      return testing::AssertionFailure() << "audit: mismatch " << audit.mismatch.value << " pages, in flight "
                                         << audit.in_flight.value << ", charged " << audit.charged.value
                                         << ", committed " << audit.committed.value;
    }
    if (Charged() != committed) {
      return testing::AssertionFailure() << "charged " << Charged().value << ", the OS has " << committed.value;
    }
    return testing::AssertionSuccess();
  }

  Engine engine;
};

class EngineTest : public testing::Test, public ManagedEngine {
 protected:
  explicit EngineTest(const Limits& limits = {}) : ManagedEngine(limits) {}
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_ENGINE_FIXTURE_H
