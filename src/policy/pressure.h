// Memory pressure as a pure state machine: what is left, from several sources, and what the CLR is to be told about it.
// It knows no clock and no OS: time and readings come in, a message or none comes out.
//
// The tightest source counts. Low and High have separate thresholds to enter and to leave, so that a level that wavers
// about one of them sends nothing. Low is entered at once; any other change waits until the state has lasted for the
// dwell. Low is repeated while it lasts, at most once in a period that fits the CLR's own: it wakes its finalizer for a
// gen-0 collection at most once per 8192 ms (contract: "What the desktop CLR does"). Low makes every GC of a CLR a
// low-memory GC until something else is said, so it never stays without a Neutral or High behind it (Finish).
#ifndef CLRHM_POLICY_PRESSURE_H
#define CLRHM_POLICY_PRESSURE_H

#include <cstdint>
#include <gsl/span>
#include <optional>

#include "base/time.h"
#include "base/units.h"

namespace clr_host_memory {

// The values of EMemoryAvailable.
enum class Availability : std::uint8_t { kLow = 1, kNeutral = 2, kHigh = 3 };

// Percent of a source's total that is available. enter_low < leave_low <= leave_high < enter_high <= 100.
struct PressureThresholds {
  std::uint32_t enter_low = 8;    // at or below
  std::uint32_t leave_low = 15;   // at or above
  std::uint32_t leave_high = 40;  // at or below
  std::uint32_t enter_high = 50;  // at or above
  Milliseconds dwell{1000};
  Milliseconds repeat_low{8192};
};
[[nodiscard]] bool AreValid(const PressureThresholds& thresholds);

// One bound on memory: the limit, a job's, the machine's commit limit, physical memory.
struct PressureSource {
  Bytes total;  // kUnlimited or 0: no bound
  Bytes available;
};

struct PressureReading {
  gsl::span<const PressureSource> sources;
  bool os_says_low = false;     // the OS's own low-memory notification is signalled: counts as nothing available
  bool os_denies_high = false;  // its high-memory notification is not signalled: never High
};

// The least available of the sources, in percent of its total, rounded down; 100 when there is no bound.
[[nodiscard]] std::uint32_t AvailablePercent(const PressureReading& reading);

class Pressure {
 public:
  // thresholds: valid. now: of any clock that does not go back.
  Pressure(const PressureThresholds& thresholds, Milliseconds now) : thresholds_(thresholds), since_(now) {}

  // The message due now, if any.
  [[nodiscard]] std::optional<Availability> Observe(const PressureReading& reading, Milliseconds now);
  // For someone who was told nothing yet: the state. Low counts as said again.
  [[nodiscard]] Availability Repeat(Milliseconds now);
  // Valid ones, for every reading from now on.
  void SetThresholds(const PressureThresholds& thresholds) { thresholds_ = thresholds; }
  // At the end: Neutral, if the last message was Low.
  [[nodiscard]] std::optional<Availability> Finish(Milliseconds now);

  [[nodiscard]] Availability state() const { return state_; }

 private:
  [[nodiscard]] Availability Target(const PressureReading& reading) const;
  [[nodiscard]] Availability Enter(Availability state, Milliseconds now);

  PressureThresholds thresholds_;
  Availability state_ = Availability::kNeutral;  // what a CLR believes that was told nothing
  Milliseconds since_;
  Milliseconds last_low_{};  // meaningful in kLow
};

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_PRESSURE_H
