// Memory pressure as a pure state machine: it decides from the available memory of several sources which notification
// the CLR receives. It uses no clock and no OS: time and readings go in, a notification or none comes out.
//
// The tightest source counts. Low and High have separate thresholds to enter and to leave, so a level that wavers
// about one of them sends nothing. Low is entered at once. Any other change waits until the current state has lasted
// for the dwell. Low is repeated while it lasts, at most once per period. The period fits the CLR: it wakes its
// finalizer for a gen-0 collection at most once per 8192 ms (contract: "What the desktop CLR does"). Low makes every
// GC of a CLR a low-memory GC until the next notification. So a Low must always be followed by Neutral or High
// (Finish).
#ifndef CLRHM_POLICY_PRESSURE_H
#define CLRHM_POLICY_PRESSURE_H

#include <cstdint>
#include <gsl/span>
#include <optional>

#include "base/time.h"
#include "base/units.h"

namespace clr_host_memory {

// Values of EMemoryAvailable.
enum class Availability : std::uint8_t { kLow = 1, kNeutral = 2, kHigh = 3 };

// Thresholds in percent of a source's total that is available. enter_low < leave_low <= leave_high < enter_high <=
// 100.
struct PressureThresholds {
  std::uint32_t enter_low = 8;    // at or below
  std::uint32_t leave_low = 15;   // at or above
  std::uint32_t leave_high = 40;  // at or below
  std::uint32_t enter_high = 50;  // at or above
  Milliseconds dwell{1000};
  Milliseconds repeat_low{8192};
};
[[nodiscard]] bool AreValid(const PressureThresholds& thresholds);

// One bound on memory: the limit, a job's limit, the machine's commit limit, physical memory.
struct PressureSource {
  Bytes total;  // kUnlimited or 0: no bound
  Bytes available;
};

struct PressureReading {
  gsl::span<const PressureSource> sources;
  bool os_says_low = false;     // the OS's low-memory notification is signalled: counts as nothing available
  bool os_denies_high = false;  // the OS's high-memory notification is not signalled: never High
};

// Returns the least available of the sources, in percent of its total, rounded down; 100 if there is no bound.
[[nodiscard]] std::uint32_t AvailablePercent(const PressureReading& reading);

class Pressure {
 public:
  // thresholds: valid. now: a time of any clock that never goes back.
  Pressure(const PressureThresholds& thresholds, Milliseconds now) : thresholds_(thresholds), since_(now) {}

  // Returns the notification due now, if any.
  [[nodiscard]] std::optional<Availability> Observe(const PressureReading& reading, Milliseconds now);
  // Returns the state for a callback that has received nothing yet. A Low counts as a repetition.
  [[nodiscard]] Availability Repeat(Milliseconds now);
  // Sets the thresholds for all later readings. thresholds: valid.
  void SetThresholds(const PressureThresholds& thresholds) { thresholds_ = thresholds; }
  // Ends the sequence: returns Neutral if the last notification was Low.
  [[nodiscard]] std::optional<Availability> Finish(Milliseconds now);

  [[nodiscard]] Availability state() const { return state_; }

 private:
  [[nodiscard]] Availability Target(const PressureReading& reading) const;
  [[nodiscard]] Availability Enter(Availability state, Milliseconds now);

  PressureThresholds thresholds_;
  Availability state_ = Availability::kNeutral;  // the state a CLR assumes before any notification
  Milliseconds since_;
  Milliseconds last_low_{};  // valid in kLow
};

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_PRESSURE_H
