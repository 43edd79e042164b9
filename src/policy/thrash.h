// Tells a CLR that spins at its limit from one that lives there: refusals go on and on, the charge stays where it is,
// and hardly anything is granted. Pure: counts and time come in, a report or none comes out.
//
// In a window, no two refusals are further apart than a quarter of it, and the charge never leaves the limit's
// neighbourhood; the refusals are many, the grants few, and what is obtained is little. So one who is refused now and
// then is none, nor one who fills its heap, drops it, and fills it again, nor one who waits. The window slides by
// quarters.
#ifndef CLRHM_POLICY_THRASH_H
#define CLRHM_POLICY_THRASH_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "base/units.h"

namespace clr_host_memory {

struct ThrashSettings {
  Milliseconds window{5000};    // 0: nothing is ever reported
  std::uint64_t refusals = 40;  // at least, in a window
};

// Counts since the manager was made; they never go back.
struct ThrashCounts {
  std::uint64_t refusals = 0;     // by the limit, of requests that may fail
  std::uint64_t grants = 0;       // requests for memory that were granted
  std::uint64_t collections = 0;  // how often the CLR asked how much memory there is, as each of its collections does
};

struct ThrashReading {
  ThrashCounts counts;
  Bytes charged;
  Bytes ceiling = kUnlimited;  // the most that may be charged for the requests whose refusals are counted
};

// Of one window.
struct ThrashReport {
  Milliseconds window{};
  std::uint64_t refusals = 0;
  std::uint64_t collections = 0;
  Bytes obtained;  // by which the charge has risen between readings, all rises added up
};

class ThrashGuard {
 public:
  // now: of any clock that does not go back.
  ThrashGuard(const ThrashSettings& settings, Milliseconds now) : settings_(settings) { quarter_.began = now; }

  // A report when a window is full and was spent in thrashing; the next one is of the next window.
  [[nodiscard]] std::optional<ThrashReport> Observe(const ThrashReading& reading, Milliseconds now);
  // A window that is under way begins again.
  void SetSettings(const ThrashSettings& settings);

 private:
  static constexpr std::size_t kQuarters = 4;
  struct Quarter {
    Milliseconds began{};
    std::uint64_t refusals = 0;
    std::uint64_t grants = 0;
    std::uint64_t collections = 0;
    Bytes obtained;
    bool at_limit = true;  // at every reading
  };

  [[nodiscard]] std::optional<ThrashReport> CloseQuarter(Milliseconds now, Bytes ceiling);

  ThrashSettings settings_;
  std::optional<ThrashReading> last_;
  Milliseconds refused_at_{};              // the last time; from the first reading on
  Quarter quarter_;                        // under way
  std::array<Quarter, kQuarters> steady_;  // those before it
  std::size_t steady_count_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_POLICY_THRASH_H
